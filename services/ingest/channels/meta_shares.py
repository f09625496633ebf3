"""What a message on Messenger or Instagram carries besides its text: files, stickers, stories, shares, places.

Rule: what is not a file of the customer's becomes a note in brackets; no attachment disappears.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from contracts.ticket import Location
from services.ingest.channels.reading import clean, degrees, line, obj, objects
from services.ingest.core.messages import Part

HOSTS = ("fbcdn.net", "fbsbx.com", "cdninstagram.com")
"""Domains from which Meta serves the files of messages."""
_MEDIA_TYPES = {"image": "image/jpeg", "video": "video/mp4", "audio": "audio/mp4", "file": "application/octet-stream"}
_STORY = "application/octet-stream"
_THUMBS = {"369239263222822", "369239343222814", "369239383222810"}
"""The sticker behind the thumb button, in three sizes."""
_URL_CHARACTERS = 4000
_MAX_ATTACHMENTS = 50


@dataclass(frozen=True, slots=True)
class Shared:
    """What `read` returns."""

    notes: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    location: Location | None = None


def read(message: Mapping[str, Any]) -> Shared:
    """Return what a message carries besides its text."""
    notes: list[str] = []
    parts: list[Part] = []
    location = None
    seen = set[str]()
    for attachment in list(objects(message.get("attachments")))[:_MAX_ATTACHMENTS]:
        kind, payload = line(attachment.get("type"), 40) or "unknown", obj(attachment.get("payload"))
        url, sticker = line(payload.get("url"), _URL_CHARACTERS), line(payload.get("sticker_id"))
        if sticker or kind == "sticker":
            if (sticker or url or "") not in seen:  # Messenger lists a sticker twice: as an image, and as a sticker
                notes.append("👍" if sticker in _THUMBS else "[sticker]")
                parts += [Part("sticker", "image/png", ref=url)] if url else []
            seen.add(sticker or url or "")
        elif kind == "location":
            location = location or _location(attachment, payload)
            notes += [] if location else ["[location]"]
        elif kind in _MEDIA_TYPES and url:
            parts.append(Part(_name(kind, url), _MEDIA_TYPES[kind], ref=url))
        elif kind == "story_mention":
            notes.append("[mention in a story]")
            parts += [Part("story", _STORY, ref=url)] if url else []
        else:
            notes.append(_note(kind, attachment, payload, url))
    story = obj(obj(message.get("reply_to")).get("story"))
    if story:
        notes.append("[reply to a story]")
        url = line(story.get("url"), _URL_CHARACTERS)
        parts += [Part("story", _STORY, ref=url)] if url else []
    if message.get("is_unsupported") is True:
        notes.append("[unsupported]")
    return Shared(tuple(notes), tuple(parts), location)


def _note(kind: str, attachment: Mapping[str, Any], payload: Mapping[str, Any], url: str | None) -> str:
    """Return a note for a share: a link, a post, a reel, a product."""
    titles = [line(attachment.get("title")), line(payload.get("title"))]
    titles += [line(each.get("title")) for each in objects(obj(payload.get("product")).get("elements"))]
    shown = list(dict.fromkeys(filter(None, (*titles, url or line(attachment.get("url"), _URL_CHARACTERS)))))
    return clean(" ".join((f"[{kind}]", *shown)), 2 * _URL_CHARACTERS)


def _name(kind: str, url: str) -> str:
    if kind != "file":
        return kind
    try:
        name = line(unquote(urlsplit(url).path.rpartition("/")[2]), 200)
    except ValueError:
        name = None
    return name or kind


def _location(attachment: Mapping[str, Any], payload: Mapping[str, Any]) -> Location | None:
    place = obj(payload.get("coordinates"))
    latitude, longitude = degrees(place.get("lat"), 90), degrees(place.get("long"), 180)
    if latitude is None or longitude is None:
        return None
    return Location(latitude=latitude, longitude=longitude, name=line(attachment.get("title")))


def referral(message: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a note on what led the customer to the conversation: a product, an ad, a link."""
    found = obj(message.get("referral"))
    ad = line(obj(found.get("ads_context_data")).get("ad_title")) or line(found.get("ad_id"))
    origins = (("product", line(obj(found.get("product")).get("id"))), ("ad", ad), ("link", line(found.get("ref"))))
    return tuple(f"[from {kind}: {value}]" for kind, value in origins if value)
