"""X: direct messages and mentions through the Account Activity API; replies by the API v2.

Rule: the challenge signs what anybody sends with the secret of webhooks, so it never signs what could be a webhook.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from contracts.contacts import Identity
from contracts.inbound import InboundRecord
from contracts.ticket import Attachment, Channel
from contracts.values import to_instant
from kit.policy.secrets import Secrets
from services.ingest.accounts import Account, Accounts
from services.ingest.channels import originals
from services.ingest.channels.channel import (
    Answer,
    Challenge,
    Forged,
    OAuthFlow,
    Request,
    document_of,
    json_body,
    owner,
    public_url,
    require_hmac,
)
from services.ingest.channels.reading import (
    PEEK_BYTES,
    clean,
    each,
    find_value,
    first,
    instant,
    line,
    obj,
    objects,
    peek,
    read_answer,
    read_object,
    text_or_empty,
)
from services.ingest.core.messages import (
    Faulty,
    HttpCall,
    Inbound,
    InboundMessage,
    OutgoingReply,
    Part,
    Sender,
    SendFailure,
    SendOutcome,
    Sent,
    Unreadable,
    Unsendable,
)

CHANNEL = Channel.X.value
NAME = CHANNEL
NEEDS: tuple[str, ...] = ("signing", "external_id", "username", "access", "refresh", "base_url")
ONE_FILE_PER_MESSAGE = False
HEADERS: frozenset[str] = frozenset()
ACCOUNT_BY_SECRET = True
SUCCESS = Answer(200)
REFUSAL_STATUS = 401
#: The API v2 accepts no idempotency key.
IDEMPOTENT = False
_POST = "post:"
"""Prefix of public posts, their authors' conversations and addresses. Ids of direct messages have none."""
_POST_LIMIT = 280
_DIRECT_LIMIT = 10_000
_CRC = re.compile(r"[A-Za-z0-9_+/=.~-]{1,500}")
_URL = re.compile(r"https?://\S*[\w/=&#%+-]")
_BASE = (
    "(?:[\U0001f000-\U0001faff\u2300-\u23ff\u24c2\u25a0-\u27bf\u2900-\u2bff\u3030\u303d\u3297\u3299"
    "\u203c\u2049\u2122\u2139\u2190-\u21ff]|[\u00a9\u00ae]\ufe0f)[\ufe0f\U0001f3fb-\U0001f3ff]*"
)
_EMOJI = re.compile(
    rf"[\U0001f1e6-\U0001f1ff]{{2}}|[0-9#*]\ufe0f?\u20e3|{_BASE}[\U000e0020-\U000e007f]*(?:\u200d{_BASE})*"
)
_SINGLE = ((0, 4351), (8192, 8205), (8208, 8223), (8242, 8247))
"""Ranges of characters that count as one; all others count as two."""


def account_id(request: Request) -> str | None:
    """Return `for_user_id`: our account, whose activity it is."""
    if len(request.body) > PEEK_BYTES:
        return find_value(request.body, "for_user_id")
    return line(request.cached(peek).get("for_user_id"))


def verify(request: Request, account: Account, secrets: Secrets, now: datetime) -> None:  # noqa: ARG001 - no timestamp
    """Verify `x-twitter-webhooks-signature`: `sha256=` and the base64 HMAC of the body with the consumer secret."""
    scheme, _, digest = request.headers.get("x-twitter-webhooks-signature", "").partition("=")
    try:
        signature = base64.b64decode(digest, validate=True) if scheme == "sha256" else b""
    except (binascii.Error, ValueError):
        signature = b""
    if not signature:
        raise Forged("missing")
    require_hmac(signature, account, secrets, request.body)


def challenge(request: Request, account: Account, secrets: Secrets) -> Answer | None:
    """Return the HMAC of `crc_token`, unless the token contains what a JSON object is made of."""
    token = request.query.get("crc_token", "")
    if not _CRC.fullmatch(token):
        return None
    mac = hmac.digest(secrets.secret(account.signing).encode(), token.encode(), "sha256")
    return Answer(200, json_body({"response_token": f"sha256={base64.b64encode(mac).decode()}"}))


CHALLENGES: Mapping[str, Challenge] = {"GET": challenge}


def _refresh(account: Account, secrets: Secrets, refresh: str, now: datetime) -> HttpCall:  # noqa: ARG001 - OAuthFlow's
    """Return the call for a token, with the app's client id and secret. Each refresh token is good for one."""
    plain = f"{originals.username(account, secrets)}:{secrets.secret(account.access)}".encode()
    headers = {
        "authorization": f"Basic {base64.b64encode(plain).decode()}",
        "content-type": "application/x-www-form-urlencoded",
    }
    form = urlencode({"grant_type": "refresh_token", "refresh_token": refresh}).encode()
    return HttpCall("POST", f"{originals.api(account, secrets)}/2/oauth2/token", headers, form)


OAUTH = OAuthFlow(_refresh, originals.grant)


def contact_key(request: Request) -> str | None:
    """Return the sender of the first direct message, or the author of the first post."""
    document = document_of(request)
    direct = obj(first(document.get("direct_message_events")).get("message_create"))
    if sender := line(direct.get("sender_id")):
        return sender
    author = line(obj(first(document.get("tweet_create_events")).get("user")).get("id_str"))
    return f"{_POST}{author}" if author else None


def parse(record: InboundRecord, account: Account, accounts: Accounts, secrets: Secrets) -> list[Inbound]:  # noqa: ARG001
    """Return direct messages to us and posts that mention us. Other activities, and our own, open no ticket."""
    document = read_object(record.body)
    us = line(document.get("for_user_id"))
    if us is None and obj(document.get("user_event")):
        return []  # a user withdrew what they had granted to the app
    if us is None:
        raise Unreadable("no for_user_id: not an activity of X")
    direct, posts = (list(objects(document.get(each))) for each in ("direct_message_events", "tweet_create_events"))
    users, at, ours = obj(document.get("users")), record.received_at, owner(us, account, accounts, "user")
    if isinstance(ours, Faulty):
        return [ours] if direct or posts else []
    found = list(each(direct, lambda event: _direct(event, us, users, ours, at)))
    if document.get("user_has_blocked") in (True, "true"):
        return found
    return [*found, *each(posts, lambda post: _post(post, us, ours, at))]


def _direct(
    event: Mapping[str, Any], us: str, users: Mapping[str, Any], account: Account, received_at: datetime
) -> InboundMessage | None:
    if line(event.get("type")) != "message_create":
        return None
    created = obj(event.get("message_create"))
    identifier, sender = line(event.get("id")), line(created.get("sender_id"))
    if identifier is None or sender is None:
        raise Unreadable("a direct message without id or sender")
    if sender == us:
        return None
    said = obj(created.get("message_data"))
    attachment, milliseconds = obj(said.get("attachment")), line(event.get("created_timestamp"), 20) or ""
    kind, text = line(attachment.get("type"), 40), _text(said, text_or_empty(said.get("text")))
    return InboundMessage(
        channel=CHANNEL,
        account=account.name,
        message_id=identifier,
        sender=_sender(sender, obj(users.get(sender)), sender, account),
        conversation=sender,
        sent_at=instant(int(milliseconds) / 1000, received_at) if milliseconds.isdecimal() else received_at,
        text=text or (f"[{kind}]" if kind not in {None, "media"} else ""),
        parts=tuple(filter(None, [_part(obj(attachment.get("media")))])),
    )


def _post(post: Mapping[str, Any], us: str, account: Account, received_at: datetime) -> InboundMessage | None:
    author, identifier = obj(post.get("user")), line(post.get("id_str"))
    user = line(author.get("id_str"))
    if identifier is None or user is None:
        raise Unreadable("a post without id or author")
    if user == us or "retweeted_status" in post:
        return None
    whole = obj(post.get("extended_tweet")) or post
    mentioned = {line(each.get("id_str")) for each in objects(obj(whole.get("entities")).get("user_mentions"))}
    if us not in mentioned and line(post.get("in_reply_to_user_id_str")) != us:
        return None
    answered = line(post.get("in_reply_to_status_id_str"))
    media = objects((obj(whole.get("extended_entities")) or obj(post.get("extended_entities"))).get("media"))
    return InboundMessage(
        channel=CHANNEL,
        account=account.name,
        message_id=f"{_POST}{identifier}",
        sender=_sender(user, author, f"{_POST}{user}", account),
        conversation=f"{_POST}{user}",
        sent_at=_time(post.get("created_at"), received_at),
        text=_text(whole, text_or_empty(whole.get("full_text")) or text_or_empty(post.get("text"))),
        language=_language(post.get("lang")),
        in_reply_to=f"{_POST}{answered}" if answered else None,
        parts=tuple(filter(None, map(_part, media))),
    )


def _sender(user: str, profile: Mapping[str, Any], address: str, account: Account) -> Sender:
    name, handle = line(profile.get("name"), 100), line(profile.get("screen_name"), 50)
    shown = f"{name} (@{handle})" if name and handle else name or handle
    return Sender(
        (Identity(channel=CHANNEL, account=account.name, id=user, verified=True),), name=shown, address=address
    )


def _language(value: object) -> str | None:
    """Return the language that X has found; its `und` and codes such as `qme` (media only) say that there is none."""
    found = line(value, 10)
    return None if found is None or found == "und" or found.startswith("q") else found


def _time(value: object, fallback: datetime) -> datetime:
    try:
        return to_instant(datetime.strptime(str(line(value)), "%a %b %d %H:%M:%S %z %Y"))
    except (ValueError, OverflowError):
        return fallback


def _text(said: Mapping[str, Any], text: str) -> str:
    """Return the text with the addresses that X has shortened, and without its escapes."""
    for link in objects(obj(said.get("entities")).get("urls")):
        short, whole = line(link.get("url"), 100), line(link.get("expanded_url"), 2000)
        if short and whole and short.startswith("https://t.co/"):
            text = text.replace(short, whole, 1)
    return clean(text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


def _part(media: Mapping[str, Any]) -> Part | None:
    kind, picture = line(media.get("type"), 40), line(media.get("media_url_https"), 2000)
    if kind not in {"video", "animated_gif"}:
        return Part(kind or "photo", "image/jpeg", ref=picture) if picture else None
    variants = objects(obj(media.get("video_info")).get("variants"))
    films = [(_rate(each), line(each.get("url"), 2000)) for each in variants if each.get("content_type") == "video/mp4"]
    best = max(((rate, url) for rate, url in films if url), default=None)
    return Part(kind, "video/mp4", ref=best[1]) if best else None


def _rate(variant: Mapping[str, Any]) -> int:
    rate = variant.get("bitrate")
    return rate if isinstance(rate, int) else 0


def length(text: str) -> int:
    """Return the length of a post as X counts it (twitter-text, configuration 3): links 23, emoji 2, Chinese 2 each."""
    rest, counted = unicodedata.normalize("NFC", text), 0
    for pattern, weight in ((_URL, 23), (_EMOJI, 2)):
        rest, number = pattern.subn("", rest)
        counted += weight * number
    return counted + sum(1 if any(low <= ord(c) <= high for low, high in _SINGLE) else 2 for c in rest)


def render(reply: OutgoingReply, account: Account, secrets: Secrets) -> HttpCall:
    """Return a direct message, or a post that answers the customer's. There is no idempotency key; files are linked."""
    public, user = reply.to.startswith(_POST), reply.to.removeprefix(_POST)
    if not (user.isascii() and user.isdigit()) or not (reply.text.strip() or reply.files):
        raise Unsendable("a message needs a recipient and a text or a file")
    text = "\n".join([*filter(None, [clean(reply.text)]), *_links(reply)])
    if public:
        said = reply.in_reply_to or ""
        answered = said.removeprefix(_POST) if said.startswith(_POST) else ""  # a direct message is not answered here
        if not (answered.isascii() and answered.isdigit()):
            raise Unsendable("a public reply needs the post that it answers")
        if (size := length(text)) > _POST_LIMIT:
            raise Unsendable(f"X takes posts of at most {_POST_LIMIT} characters, and this has {size} as X counts them")
        path, document = "/2/tweets", {"text": text, "reply": {"in_reply_to_tweet_id": answered}}
    else:
        if len(text) > _DIRECT_LIMIT:
            raise Unsendable(f"X takes direct messages of at most {_DIRECT_LIMIT} characters")
        path, document = f"/2/dm_conversations/with/{user}/messages", {"text": text}
    headers = {"content-type": "application/json", **originals.bearer_token(account, secrets)}
    return HttpCall("POST", f"{originals.api(account, secrets)}{path}", headers, json_body(document))


def _links(reply: OutgoingReply) -> Iterator[str]:
    return (public_url(file, "X") for file in reply.files)


def outcome(status: int, headers: Mapping[str, str], body: bytes) -> SendOutcome:
    """Read the response: `dm_event_id`, or the post's `id`. 403 is final unless our app or token is what is wrong."""
    found, answer = read_answer(status, headers, body), peek(body)
    if isinstance(found, SendFailure):
        ours = re.search(r"client-forbidden|authentication|permissions|usage-capped", str(answer.get("type")))
        return replace(found, permanent=True) if status == 403 and not ours else found
    data = obj(answer.get("data"))
    post = line(data.get("id"))
    return Sent(line(data.get("dm_event_id")) or (f"{_POST}{post}" if post else None))


def original(file: Attachment, account: Account, secrets: Secrets) -> HttpCall:  # noqa: ARG001 - no login
    """Return the request for a file by its URL. Those of direct messages need OAuth 1.0a, and are refused."""
    return originals.by_url(file)


def message_ids(body: bytes) -> list[str]:
    """Return the ids of direct messages to us and of posts that mention or answer us."""
    document = json.loads(body)
    if "user_event" in document:
        return []
    us = document["for_user_id"]
    direct = [event for event in document.get("direct_message_events", ()) if event["type"] == "message_create"]
    found = [event["id"] for event in direct if event["message_create"]["sender_id"] != us]
    if str(document.get("user_has_blocked")).lower() == "true":
        return found
    for post in document.get("tweet_create_events", ()):
        entities = post.get("extended_tweet", post).get("entities", {})
        about = {each["id_str"] for each in entities.get("user_mentions", ())} | {post.get("in_reply_to_user_id_str")}
        if us in about and post["user"]["id_str"] != us and "retweeted_status" not in post:
            found.append(f"post:{post['id_str']}")
    return found
