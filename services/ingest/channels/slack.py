"""Slack Events API: signature, URL verification, messages in threads and direct messages, also of shared channels.

An event does not say who of our company wrote it, but in a channel shared with another company, it says whose user did.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from contracts.contacts import Identity
from contracts.inbound import InboundRecord
from contracts.ticket import Attachment, Channel
from kit.policy.secrets import Secrets
from services.ingest.accounts import Account, Accounts
from services.ingest.channels import originals
from services.ingest.channels.channel import (
    Answer,
    Challenge,
    Forged,
    Request,
    document_of,
    is_fresh,
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
    Upload,
)

CHANNEL = Channel.SLACK.value
NAME = CHANNEL
NEEDS: tuple[str, ...] = ("signing", "external_id")
ONE_FILE_PER_MESSAGE = False
HEADERS: frozenset[str] = frozenset()
ACCOUNT_BY_SECRET = True
SUCCESS = Answer(200)
REFUSAL_STATUS = 401
#: chat.postMessage accepts no idempotency key.
IDEMPOTENT = False
_TEXT_LIMIT = 40_000
_SUBTYPES = {None, "file_share", "thread_broadcast", "me_message"}
"""Subtypes that a person writes. The others are edits, deletions, bots, and notices of the channel."""
_MAX_FORWARDED = 20
_FILES = "https://files.slack.com/"
_TO = re.compile(r"([A-Z0-9]{1,40})(?::([0-9]{1,20}\.[0-9]{1,20}))?")
_MARKUP = re.compile(r"<([@#!]?)([^<>|]*)(?:\|([^<>]*))?>")
#: Errors that operators can fix, or that pass.
_PASSING = {"invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired", "missing_scope",
            "no_permission", "ekm_access_denied", "org_login_required", "accesslimited", "access_denied",
            "team_access_not_granted", "not_in_channel", "restricted_action", "ratelimited", "rate_limited",
            "deprecated_endpoint", "two_factor_setup_required"}  # fmt: skip
_UNSURE = {"internal_error", "fatal_error", "request_timeout", "service_unavailable", "team_added_to_org"}
"""Errors after which the message may be there nevertheless."""


def _team(document: Mapping[str, Any]) -> str | None:
    """Return the workspace that the app is installed in; `team_id` alone may be the author's, in a shared channel."""
    return (
        line(first(document.get("authorizations")).get("team_id"))
        or line(document.get("context_team_id"))
        or line(document.get("team_id"))
    )


def account_id(request: Request) -> str | None:
    """Return the id of the workspace that the app is installed in."""
    if len(request.body) > PEEK_BYTES:
        return find_value(request.body, "context_team_id") or find_value(request.body, "team_id")
    return _team(request.cached(peek))


def verify(request: Request, account: Account, secrets: Secrets, now: datetime) -> None:
    """Verify `X-Slack-Signature`: `v0=` and the hex HMAC of version, timestamp and body."""
    timestamp = request.headers.get("x-slack-request-timestamp", "")
    version, _, digest = request.headers.get("x-slack-signature", "").partition("=")
    try:
        signature = bytes.fromhex(digest) if version == "v0" else b""
    except ValueError:
        signature = b""
    if not signature or not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 13):
        raise Forged("missing")
    signed = b"v0:%s:%s" % (timestamp.encode(), request.body)
    require_hmac(signature, account, secrets, signed)
    if not is_fresh(int(timestamp), now):
        raise Forged("stale")


def challenge(request: Request, account: Account, secrets: Secrets) -> Answer | None:  # noqa: ARG001 - verified before
    """Return the challenge of a request that verifies our URL; None for all other requests."""
    document = document_of(request)
    said = document.get("challenge")
    if document.get("type") != "url_verification" or not isinstance(said, str) or len(said) > 1000:
        return None
    return Answer(200, json_body({"challenge": said}))


CHALLENGES: Mapping[str, Challenge] = {"POST": challenge}


def _conversation(event: Mapping[str, Any]) -> str | None:
    """Return channel and thread; in direct messages, where few people use threads, the channel unless there is one."""
    channel, thread = line(event.get("channel"), 40), line(event.get("thread_ts"), 40)
    if channel is None or (thread is None and event.get("channel_type") == "im"):
        return channel
    return f"{channel}:{thread or line(event.get('ts'), 40)}"


def contact_key(request: Request) -> str | None:
    """Return channel and thread of the event."""
    return _conversation(obj(document_of(request).get("event")))


def parse(record: InboundRecord, account: Account, accounts: Accounts, secrets: Secrets) -> list[Inbound]:  # noqa: ARG001
    """Return the message of an event. Other events, such as joins and reactions, open no ticket."""
    document = read_object(record.body)
    if line(document.get("type")) is None:
        raise Unreadable("no type: not an event of Slack")
    event = obj(document.get("event"))
    if document["type"] != "event_callback" or line(event.get("type")) not in {"message", "app_mention"}:
        return []
    ours = owner(_team(document), account, accounts, "team")
    if isinstance(ours, Faulty):
        return [ours]
    if _is_silent(event, document, ours):
        return []
    return list(each([event], lambda event: _message(event, ours, record.received_at)))


def _is_silent(event: Mapping[str, Any], document: Mapping[str, Any], account: Account) -> bool:
    subtype = event.get("subtype")
    if (None if subtype is None else line(subtype) or "") not in _SUBTYPES or event.get("hidden") is True:
        return True
    user, installed = line(event.get("user")), first(document.get("authorizations"))
    if event.get("bot_id") or user == "USLACKBOT":
        return True
    if user is not None and installed.get("is_bot") is True and user == line(installed.get("user_id")):
        return True  # our own message
    # In a channel that is shared with a customer's company, ours are colleagues who answer there.
    ours = {account.external_id, line(installed.get("enterprise_id")) or account.external_id}
    shared = document.get("is_ext_shared_channel") is True
    return shared and (line(event.get("user_team")) or line(event.get("team"))) in ours


def _message(event: Mapping[str, Any], account: Account, received_at: datetime) -> InboundMessage:
    channel, user, ts = (line(event.get(key), 40) for key in ("channel", "user", "ts"))
    conversation = _conversation(event)
    if channel is None or user is None or ts is None or conversation is None:
        raise Unreadable("a message without channel, user or ts")
    profile, thread = obj(event.get("user_profile")), line(event.get("thread_ts"), 40)
    names = (profile.get(key) for key in ("real_name", "display_name", "name"))
    parts = tuple(part for file in _files(event) if (part := _part(file)))
    return InboundMessage(
        channel=CHANNEL,
        account=account.name,
        message_id=f"{channel}:{ts}",
        sender=Sender(
            (Identity(channel=CHANNEL, account=account.name, id=user, verified=True),),
            name=next(filter(None, map(line, names)), None),
            address=conversation,
        ),
        conversation=conversation,
        sent_at=instant(ts, received_at),
        text=_text(event) or ("" if parts else "[unsupported]"),  # the agent must see that there was a message
        in_reply_to=f"{channel}:{thread}" if thread and thread != ts else None,
        parts=parts,
    )


def _forwarded(event: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the messages that this one forwards. Other attachments are previews of links."""
    return [each for each in objects(event.get("attachments")) if each.get("is_share") is True][:_MAX_FORWARDED]


def _files(event: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for message in (event, *_forwarded(event)):
        yield from objects(message.get("files"))


def _text(event: Mapping[str, Any]) -> str:
    """Return the text, and those of forwarded messages, whose own text is often empty."""
    texts = [_plain(text_or_empty(event.get("text")))]
    for message in _forwarded(event):
        said = _plain(text_or_empty(message.get("text")) or text_or_empty(message.get("fallback")))
        texts.append(" ".join(filter(None, ("[forwarded]", said))))
    return clean("\n".join(filter(None, texts)))


def _plain(text: str) -> str:
    """Return a text without Slack's markup: `<@U1|ann>` is `@ann`, `<https://a.example|A>` is `A (https://a.example)`."""

    def shown(found: re.Match[str]) -> str:
        sign, target, label = found[1], found[2], found[3]
        if sign:
            return f"{'#' if sign == '#' else '@'}{label or target}".replace("@!", "@").replace("@@", "@")
        return f"{label} ({target})" if label and label != target else target

    return _MARKUP.sub(shown, text).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _part(file: Mapping[str, Any]) -> Part | None:
    """Return a file by its URL; by its id if only `files.info` tells the URL, as in some shared channels."""
    ref = (
        line(file.get("url_private_download"), 2000) or line(file.get("url_private"), 2000) or line(file.get("id"), 40)
    )
    if ref is None or line(file.get("mode")) in {"tombstone", "hidden_by_limit"}:
        return None
    size = file.get("size")
    known = isinstance(size, int) and not isinstance(size, bool) and 0 <= size < 1 << 53
    name = line(file.get("name")) or line(file.get("title")) or "file"
    media_type = line(file.get("mimetype"), 100) or "application/octet-stream"
    return Part(name, media_type, ref=ref, size=size if known else None)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def render(reply: OutgoingReply, account: Account, secrets: Secrets) -> HttpCall:
    """Return `chat.postMessage` in the thread. There is no idempotency key. Files are linked, so each needs a URL."""
    to = _TO.fullmatch(reply.to)
    if to is None or not (reply.text.strip() or reply.files):
        raise Unsendable("a message needs a channel and a text or a file")
    links = [f"<{_escaped(public_url(file, 'Slack'))}|{_label(file.name)}>" for file in reply.files]
    text = "\n".join(filter(None, (_escaped(clean(reply.text)), *links)))
    if len(text) > _TEXT_LIMIT:
        raise Unsendable(f"Slack takes at most {_TEXT_LIMIT} characters")
    document = {"channel": to[1], "text": text, **({"thread_ts": to[2]} if to[2] else {})}
    return HttpCall(
        "POST",
        f"{originals.api(account, secrets)}/chat.postMessage",
        {"content-type": "application/json; charset=utf-8", **originals.bearer(account, secrets)},
        json_body({**document, "unfurl_links": False, "unfurl_media": False}),
    )


def _label(name: str) -> str:
    return _escaped((line(name, 200) or "file").replace("|", " "))


def outcome(status: int, headers: Mapping[str, str], body: bytes) -> SendOutcome:
    """Read the response, whose status is 200 even if `ok` is false: channel and `ts` are the message's id."""
    found, answer = read_answer(status, headers, body), peek(body)
    if not isinstance(found, Sent):
        return found
    if answer.get("ok") is True:
        channel, ts = line(answer.get("channel"), 40), line(answer.get("ts"), 40)
        return Sent(f"{channel}:{ts}" if channel and ts else None)
    error = line(answer.get("error"), 100) or "an answer without ok"
    unsure = error in _UNSURE or "error" not in answer
    return SendFailure(f"Slack: {error}", permanent=not (unsure or error in _PASSING), unsure=unsure)


def original(file: Attachment, account: Account, secrets: Secrets) -> HttpCall | Upload:
    """Return the request for a file; with our token on Slack's host only. By id, `files.info` returns the URL first."""
    login = originals.bearer(account, secrets)
    if file.media_id is None:
        return originals.by_url(file, _login_for(file.url, login))

    def then(status: int, body: bytes) -> HttpCall | SendFailure:
        info = obj(peek(body).get("file"))
        url = line(info.get("url_private_download"), 2000) or line(info.get("url_private"), 2000)
        if url is None or not url.startswith("https://"):
            reason = line(peek(body).get("error"), 100) or f"HTTP {status}"
            return SendFailure(f"{reason}: the answer has no file URL", permanent=reason == "file_not_found")
        return HttpCall("GET", url, _login_for(url, login), b"")

    url = f"{originals.api(account, secrets)}/files.info?file={quote(file.media_id, safe='')}"
    return Upload(HttpCall("GET", url, login, b""), then)


def _login_for(url: str | None, login: dict[str, str]) -> dict[str, str]:
    return login if (url or "").startswith(_FILES) else {}


def message_ids(body: bytes) -> list[str]:
    """Return the id of the message; none if a robot wrote it, or in a shared channel a colleague."""
    document = json.loads(body)
    event, installed = document.get("event", {}), document.get("authorizations") or [{}]
    if event.get("type") not in {"message", "app_mention"} or event.get("bot_id"):
        return []
    if event.get("subtype") not in {None, "file_share", "thread_broadcast", "me_message"} or event.get("hidden"):
        return []
    if document.get("is_ext_shared_channel"):
        home = {installed[0].get("team_id") or document.get("context_team_id"), installed[0].get("enterprise_id")}
        if (event.get("user_team") or event.get("team")) in home - {None}:
            return []
    ours = {each["user_id"] for each in installed if each.get("is_bot")} | {"USLACKBOT"}
    return [] if event["user"] in ours else [f"{event['channel']}:{event['ts']}"]
