"""SMS through Twilio: signature of the public URL and the form, messages, status callbacks, replies."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from contracts.contacts import Identity
from contracts.inbound import InboundRecord
from contracts.ticket import Attachment, Channel
from kit.policy.secrets import Secrets
from services.ingest.accounts import Account, Accounts
from services.ingest.channels import originals
from services.ingest.channels.channel import Answer, Challenge, Forged, Request, public_url
from services.ingest.channels.reading import clean, line, read_answer
from services.ingest.core.messages import (
    Delivery,
    DeliveryStatus,
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

CHANNEL = Channel.SMS.value
NAME = CHANNEL
NEEDS: tuple[str, ...] = ("signing", "external_id", "public_url")
ONE_FILE_PER_MESSAGE = False
HEADERS: frozenset[str] = frozenset()
ACCOUNT_BY_SECRET = False
SUCCESS = Answer(204)
"""Twilio parses a body as TwiML and logs warnings for anything else (12200, 12300), so there is none."""
REFUSAL_STATUS = 401
CHALLENGES: Mapping[str, Challenge] = {}
#: The Messages API accepts no idempotency key.
IDEMPOTENT = False
_MAX_FIELDS = 500
_MAX_FORM = 64 * 1024
_TEXT_LIMIT = 1600
_MAX_MEDIA = 10
_STATES = {
    "sent": Delivery.SENT,
    "delivered": Delivery.DELIVERED,
    "read": Delivery.READ,
    "undelivered": Delivery.FAILED,
    "failed": Delivery.FAILED,
}
_OPT_OUT = {"STOP", "START", "HELP"}
"""Keywords that Twilio answers itself."""


def _form(body: bytes) -> list[tuple[str, str]]:
    """Return the fields of a form. Raises ValueError if it is invalid or too large."""
    if len(body) > _MAX_FORM:
        raise ValueError("larger than any form of Twilio's")
    return parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="replace")


@dataclass(frozen=True, slots=True)
class _Form:
    """A parsed form; empty if the body is not a form."""

    fields: list[tuple[str, str]]
    by_name: dict[str, str]
    is_form: bool = True


def _read_form(body: bytes) -> _Form:
    try:
        fields = _form(body)
    except ValueError:
        return _Form([], {}, is_form=False)
    return _Form(fields, dict(fields))


def account_id(request: Request) -> str | None:
    """Return our number: `To` of a message, `From` of a status callback."""
    form = request.cached(_read_form).by_name
    return line(form.get("From") if _is_status(form) else form.get("To"))


def _is_status(form: Mapping[str, str]) -> bool:
    state = form.get("MessageStatus") or form.get("SmsStatus") or ""
    return "Body" not in form and state not in {"", "received"}


@lru_cache(maxsize=256)
def _bases(public_url: str) -> tuple[str, str, str]:
    """Return the URL without query, with port and without; and the query."""
    parts = urlsplit(public_url)
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname or ""
    user = parts.netloc.rpartition("@")[0]
    bare = f"{user}@{host}" if user else host
    port = parts.port or (443 if parts.scheme == "https" else 80)
    with_port, without = (urlunsplit((parts.scheme, netloc, parts.path, "", "")) for netloc in (f"{bare}:{port}", bare))
    return with_port, without, parts.query


def urls(public_url: str, raw_query: str) -> tuple[str, str]:
    """Return the URLs that Twilio may have signed: with port and without."""
    with_port, without, own = _bases(public_url)
    query = f"{own}&{raw_query}" if own and raw_query else own or raw_query
    return (f"{with_port}?{query}", f"{without}?{query}") if query else (with_port, without)


def _signed_texts(request: Request, public_url: str) -> Iterable[bytes]:
    """Yield the texts that may have been signed. Fields are sorted by name, then value. Raises Forged for no form."""
    form = request.cached(_read_form)
    if not form.is_form:
        raise Forged("body")
    tail = "".join([name + value for name, value in sorted(set(form.fields))])
    for url in urls(public_url, request.raw_query):
        yield (url + tail).encode("utf-8", "replace")


def verify(request: Request, account: Account, secrets: Secrets, now: datetime) -> None:  # noqa: ARG001 - no timestamp
    """Verify `X-Twilio-Signature`: base64 HMAC-SHA1 (or SHA-256 if a header says so) of URL and fields.

    There is no signed timestamp. A replayed request has a known message id, and is dropped as a duplicate.
    """
    try:
        signature = base64.b64decode(request.headers.get("x-twilio-signature", ""), validate=True)
    except (binascii.Error, ValueError):
        signature = b""
    if not signature:
        raise Forged("missing")
    keys = [key.encode() for key in secrets.secrets(account.signing)]
    settings = request.headers.get("x-twilio-webhooks-signature-settings", "")
    stronger = "algorithm=HMAC_SHA256" in settings.replace(" ", "").split(",")
    found = False
    for text in _signed_texts(request, secrets.expand(account.public_url or "")):
        for key in keys:
            expected = hmac.digest(key, text, "sha256" if stronger else "sha1")
            found |= hmac.compare_digest(expected, signature)
    if not found:
        raise Forged("signature")


def contact_key(request: Request) -> str | None:
    """Return the customer's number."""
    form = request.cached(_read_form).by_name
    return line(form.get("To") if _is_status(form) else form.get("From"))


def parse(record: InboundRecord, account: Account, accounts: Accounts, secrets: Secrets) -> Sequence[Inbound]:  # noqa: ARG001
    """Return the message or status in the form. Raises Unreadable."""
    try:
        form = dict(_form(record.body))
    except ValueError as error:
        raise Unreadable(f"not a form: {str(error)[:100]}") from None
    identifier = line(form.get("MessageSid")) or line(form.get("SmsSid"))
    if identifier is None:
        raise Unreadable("no MessageSid")
    if _is_status(form):
        return _status(form, identifier, account, record.received_at)
    number = line(form.get("From"))
    if number is None:
        raise Unreadable("no From")
    text = clean(form.get("Body", ""))
    return [
        InboundMessage(
            channel=CHANNEL,
            account=account.name,
            message_id=identifier,
            # A number does not identify a person, but SMS provides nothing else.
            sender=Sender((Identity(channel=CHANNEL, id=number),), address=number, phone=number),
            conversation=number,
            sent_at=record.received_at,
            text=text,
            in_reply_to=line(form.get("OriginalRepliedMessageSid")),
            parts=_parts(form),
            automated_because="opt-out keyword" if form.get("OptOutType", "").upper() in _OPT_OUT else None,
        )
    ]


def _parts(form: Mapping[str, str]) -> tuple[Part, ...]:
    count = form.get("NumMedia", "0")
    number = min(int(count), 10) if count.isascii() and count.isdigit() and len(count) < 4 else 0
    found = []
    for n in range(number):
        url = line(form.get(f"MediaUrl{n}"), 2000)
        if url:
            media_type = line(form.get(f"MediaContentType{n}"), 100) or "application/octet-stream"
            found.append(Part(f"media-{n + 1}", media_type, ref=url))
    return tuple(found)


def _status(form: Mapping[str, str], identifier: str, account: Account, at: datetime) -> list[Inbound]:
    state = _STATES.get(form.get("MessageStatus") or form.get("SmsStatus") or "")
    if state is None:
        return []  # queued or sending: not a result
    reason = " ".join(filter(None, (line(form.get("ErrorCode")), line(form.get("ErrorMessage"))))) or None
    return [
        DeliveryStatus(
            channel=CHANNEL,
            account=account.name,
            channel_message_id=identifier,
            state=state,
            at=at,
            permanent=state is Delivery.FAILED,
            reason=reason,
            recipient=line(form.get("To")),
        )
    ]


def _login(sid: str, account: Account, secrets: Secrets) -> dict[str, str]:
    login = base64.b64encode(f"{sid}:{secrets.secret(account.access)}".encode()).decode()
    return {"authorization": f"Basic {login}"}


def render(reply: OutgoingReply, account: Account, secrets: Secrets) -> HttpCall:
    """Return `POST Messages.json`. There is no idempotency key. Files (MMS) need a URL; there may be up to ten."""
    if not reply.to or not (reply.text.strip() or reply.files):
        raise Unsendable("a message needs a recipient and a text or a file")
    media = [public_url(file, "Twilio") for file in reply.files]
    if len(media) > _MAX_MEDIA:
        raise Unsendable(f"Twilio takes at most {_MAX_MEDIA} files")
    if len(reply.text) > _TEXT_LIMIT:
        raise Unsendable(f"Twilio takes at most {_TEXT_LIMIT} characters")
    if account.base_url is None or not account.username or not account.external_id:
        raise Unsendable(f"{account.name} needs base_url, username and external_id")
    sid = secrets.expand(account.username)
    fields = [("To", reply.to), ("From", account.external_id), ("Body", clean(reply.text))]
    fields += [("MediaUrl", url) for url in media]
    if account.public_url:
        callback = f"{secrets.expand(account.public_url)}?{urlencode({'account': account.name})}"
        fields.append(("StatusCallback", callback))
    return HttpCall(
        "POST",
        f"{secrets.expand(account.base_url).rstrip('/')}/2010-04-01/Accounts/{quote(sid, safe='')}/Messages.json",
        {"content-type": "application/x-www-form-urlencoded", **_login(sid, account, secrets)},
        urlencode(fields, errors="replace").encode(),
    )


def outcome(status: int, headers: Mapping[str, str], body: bytes) -> SendOutcome:
    """Read the response: `sid` is the message's id, which status callbacks contain."""
    return read_answer(status, headers, body, "sid")


def original(file: Attachment, account: Account, secrets: Secrets) -> HttpCall:
    """Return the request for a file; with credentials if Twilio stores it ("Media subresource")."""
    ours = account.username is not None and account.base_url is not None
    if ours and (file.url or "").startswith(f"{originals.api(account, secrets)}/"):
        return originals.by_url(file, _login(originals.username(account, secrets), account, secrets))
    return originals.by_url(file)


def message_ids(body: bytes) -> list[str]:
    """Return the message's id; none for a status, which has no `Body`."""
    form = dict(parse_qsl(body.decode(), keep_blank_values=True))  # a picture has an empty `Body`
    return [form["MessageSid"]] if "Body" in form else []
