"""Allegro: messages of the message center. Allegro pushes nothing: `polling.py` runs `poll`.

Rule: a record is one message of a buyer, as Allegro's API gave it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Generator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from contracts.contacts import Identity
from contracts.inbound import InboundRecord
from contracts.ticket import Attachment, Channel, Market
from contracts.values import to_instant
from kit.policy.secrets import Secrets
from services.ingest.accounts import Account, Accounts
from services.ingest.channels import originals
from services.ingest.channels.channel import Batch, OAuthFlow, Poll, Polled, json_body, require_text_alone
from services.ingest.channels.reading import (
    line,
    obj,
    objects,
    peek,
    read_answer,
    read_object,
    text_or_empty,
)
from services.ingest.core.messages import (
    HttpCall,
    Inbound,
    InboundMessage,
    OutgoingReply,
    Part,
    Sender,
    SendOutcome,
    Unreadable,
    Unsendable,
)

NAME = "allegro"
CHANNEL = Channel.MARKETPLACE.value
NEEDS: tuple[str, ...] = ("username", "signing", "refresh", "base_url")
ONE_FILE_PER_MESSAGE = False
IDEMPOTENT = False
MAX_TEXT = 2000
PAGE = 20
MAX_PAGES = 500
OVERLAP = timedelta(minutes=5)
"""Messages appear late: they are verified first, and clocks differ. What is younger is asked for again each time."""
MAX_SEEN = 2000

_TYPE = "application/vnd.allegro.public.v1+json"


# --- Access. ---


def _refresh(account: Account, secrets: Secrets, refresh: str, now: datetime) -> HttpCall:  # noqa: ARG001 - OAuthFlow's
    """Return the call for a token. It is made at allegro.pl, the API at api.allegro.pl."""
    plain = f"{originals.username(account, secrets)}:{secrets.secret(account.signing)}".encode()
    headers = {
        "authorization": f"Basic {base64.b64encode(plain).decode()}",
        "content-type": "application/x-www-form-urlencoded",
    }
    site = originals.api(account, secrets).replace("://api.", "://", 1)
    form = urlencode({"grant_type": "refresh_token", "refresh_token": refresh}).encode()
    return HttpCall("POST", f"{site}/auth/oauth/token", headers, form)


OAUTH = OAuthFlow(_refresh, originals.grant)


# --- Polling. ---


def poll(cursor: Mapping[str, Any] | None, account: Account, secrets: Secrets, now: datetime) -> Poll:
    """Ask for threads with messages since the cursor, newest first, then for their messages, oldest thread first.

    Without a cursor, it begins now: what was written before is not taken. The cursor moves at the end only, since a
    thread that was written to last may have older messages as well.
    """
    since = _instant((cursor or {}).get("since")) or now
    seen = [each for each in (cursor or {}).get("seen", ()) if isinstance(each, str)]
    threads, latest = yield from _threads(since - OVERLAP, account, secrets)
    found: list[str] = []
    for thread in reversed(threads):
        items = []
        for message in (yield from _messages(thread, since - OVERLAP, account, secrets)):
            found.append(str(message["id"]))
            if obj(message.get("author")).get("isInterlocutor") is True and found[-1] not in seen:
                items.append(Polled(thread, json_body(message)))
        yield Batch(tuple(items))
    since = max(since, min(latest or since, now))  # were it ahead of time, nothing would be found until then
    # Known ids are kept as long as they would be asked for again; a repeated one is dropped by the worker anyway.
    kept = list(dict.fromkeys((*found, *seen)))[:MAX_SEEN] if found else []
    yield Batch((), {"since": since.isoformat(), "seen": kept})


def _threads(
    since: datetime, account: Account, secrets: Secrets
) -> Generator[HttpCall | Batch, bytes | None, tuple[list[str], datetime | None]]:
    """Return the threads with messages since then, newest first, and the instant of the latest message.

    A thread that is written to moves to the first page, possibly from one that was about to be read. So after several
    pages, what is newer than the first is looked at again.
    """
    found: list[str] = []
    latest: datetime | None = None
    while True:
        newer, newest, pages = yield from _newer_threads(latest or since, account, secrets)
        found = [*newer, *found]
        latest = newest or latest
        if newest is None or pages == 1:
            return list(dict.fromkeys(found)), latest


def _newer_threads(
    since: datetime, account: Account, secrets: Secrets
) -> Generator[HttpCall | Batch, bytes | None, tuple[list[str], datetime | None, int]]:
    """Return the same, and how many pages were read."""
    found: list[str] = []
    latest: datetime | None = None
    for page in range(MAX_PAGES):
        query = {"limit": PAGE, "offset": page * PAGE}
        listed = list(objects(_read((yield _get("/messaging/threads", query, account, secrets))).get("threads")))
        for thread in listed:
            at, identifier = _instant(thread.get("lastMessageDateTime")), line(thread.get("id"), 200)
            if at is None or identifier is None:
                continue
            if at <= since:
                return found, latest, page + 1
            found.append(identifier)
            latest = max(at, latest or at)
        if len(listed) < PAGE:
            return found, latest, page + 1
    return found, latest, MAX_PAGES


def _messages(
    thread: str, since: datetime, account: Account, secrets: Secrets
) -> Generator[HttpCall | Batch, bytes | None, list[Mapping[str, Any]]]:
    """Return the thread's messages since then, oldest first."""
    found: list[Mapping[str, Any]] = []
    path = f"/messaging/threads/{quote(thread, safe='')}/messages"
    for page in range(MAX_PAGES):
        query = {"limit": PAGE, "offset": page * PAGE, "after": _text(since)}
        listed = list(objects(_read((yield _get(path, query, account, secrets))).get("messages")))
        found += [each for each in listed if each.get("id") is not None]
        if len(listed) < PAGE:
            break
    return sorted(found, key=lambda each: str(each.get("createdAt")))


def _get(path: str, query: Mapping[str, object], account: Account, secrets: Secrets) -> HttpCall:
    url = f"{originals.api(account, secrets)}{path}?{urlencode(query)}"
    return HttpCall("GET", url, {**originals.bearer_token(account, secrets), "accept": _TYPE}, b"")


def _read(body: bytes | None) -> Mapping[str, Any]:
    """Return the answer. Raises Unreadable, so that the cursor does not move beyond what was not read."""
    return read_object(body or b"")


def _instant(value: object) -> datetime | None:
    try:
        return to_instant(datetime.fromisoformat(str(value)))
    except (ValueError, OverflowError):
        return None


def _text(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


# --- Messages. ---


def parse(record: InboundRecord, account: Account, accounts: Accounts, secrets: Secrets) -> Sequence[Inbound]:  # noqa: ARG001
    """Return the message, unless it is our own."""
    document = read_object(record.body)
    author, relates = obj(document.get("author")), obj(document.get("relatesTo"))
    identifier, thread = line(document.get("id"), 200), line(obj(document.get("thread")).get("id"), 200)
    login = line(author.get("login"), 200)
    if identifier is None or thread is None or login is None:
        raise Unreadable("a message without id, thread or author")
    if author.get("isInterlocutor") is not True:
        return []
    own = account.market.market()
    return [
        InboundMessage(
            channel=CHANNEL,
            account=account.name,
            message_id=identifier,
            sender=Sender(
                (Identity(channel=CHANNEL, account=account.name, id=login, verified=True),), name=login, address=login
            ),
            conversation=thread,
            sent_at=_instant(document.get("createdAt")) or record.received_at,
            text=text_or_empty(document.get("text")),
            subject=line(document.get("subject")),
            parts=tuple(_part(each) for each in objects(document.get("attachments"))),
            order_ref=line(obj(relates.get("order")).get("id"), 200),
            listing=line(obj(relates.get("offer")).get("id"), 200),
            shop=account.external_id,
            market=Market(marketplace=own.marketplace or NAME, country=own.country),
        )
    ]


def _part(attachment: Mapping[str, Any]) -> Part:
    """Return the file. Its URL is Allegro's own and needs a token, so its id is kept."""
    name, url = line(attachment.get("fileName"), 200) or "file", line(attachment.get("url"), 2000) or ""
    identifier = line(url.split("?")[0].rstrip("/").rpartition("/")[2], 200)
    media_type = line(attachment.get("mimeType"), 100) or "application/octet-stream"
    return Part(name, media_type, ref=identifier if line(attachment.get("status"), 20) in {"NEW", "SAFE"} else None)


# --- Replies. ---


def render(reply: OutgoingReply, account: Account, secrets: Secrets) -> HttpCall:
    """Return the call that writes into the thread."""
    require_text_alone(reply, "Allegro")
    if len(reply.text) > MAX_TEXT:
        raise Unsendable(f"Allegro takes at most {MAX_TEXT} characters")
    if not reply.conversation:
        raise Unsendable("the ticket has no thread at Allegro")
    url = f"{originals.api(account, secrets)}/messaging/threads/{quote(reply.conversation, safe='')}/messages"
    headers = {**originals.bearer_token(account, secrets), "accept": _TYPE, "content-type": _TYPE}
    return HttpCall("POST", url, headers, json_body({"text": reply.text}))


def outcome(status: int, headers: Mapping[str, str], body: bytes) -> SendOutcome:
    """Return the outcome, with the id that Allegro gave the message."""
    return read_answer(status, headers, body, "id")


def original(file: Attachment, account: Account, secrets: Secrets) -> HttpCall:
    """Return the request for a file. Raises Unsendable if Allegro has not found it safe."""
    if file.media_id is None:
        raise Unsendable(f"Allegro does not release {line(file.name, 100)}: unsafe, expired or not scanned yet")
    url = f"{originals.api(account, secrets)}/messaging/message-attachments/{quote(file.media_id, safe='')}"
    return HttpCall("GET", url, {**originals.bearer_token(account, secrets), "accept": "*/*"}, b"")


def message_ids(body: bytes) -> list[str] | None:
    """Return the message's id; none if it is our own."""
    document = json.loads(body) if len(body) <= 1 << 20 else peek(body, len(body))
    return [document["id"]] if document["author"]["isInterlocutor"] else []
