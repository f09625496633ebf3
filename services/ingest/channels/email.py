"""Mail: MIME in, MIME out. Who is meant, what is new in it, what it answers, and whether a machine wrote it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime

from contracts.contacts import Identity
from contracts.inbound import InboundRecord
from contracts.values import to_instant
from services.ingest.accounts import Account, Accounts, MissingSecret, Outside, without_tag
from services.ingest.channels import address_token, mime, reports
from services.ingest.channels.compose import compose
from services.ingest.channels.html import html_with_quotes_marked
from services.ingest.channels.quoting import newest
from services.ingest.channels.reading import MAX_FULL_TEXT, MAX_TEXT, clean, line
from services.ingest.core.messages import (
    Inbound,
    InboundMessage,
    Mail,
    MailOut,
    OutgoingReply,
    Part,
    Refused,
    Sender,
    SendOutcome,
    Sent,
    Unreadable,
)

CHANNEL = "email"
_LIGHT_LOOK = 64 * 1024
_MAX_REFERENCES = 200
_TICKET_IN_SUBJECT = re.compile(r"\[#([0-9a-z][0-9a-z-]{7,39})\]", re.IGNORECASE)
_PICTURES = {"image/jpeg", "image/png", "image/gif", "image/webp", "image/heic", "image/bmp", "image/svg+xml"}


def contact_key(raw: bytes) -> str:
    """The oldest id of the thread that the mail names, so that a thread stays in one partition."""
    headers = mime.read_headers(mime.split_headers(raw[:_LIGHT_LOOK])[0])
    for name in ("references", "in-reply-to", "message-id"):
        found = reports.message_ids(mime.unfolded(headers, name, mime.MAX_LONG_HEADER))
        if found:
            return found[0]
    return hashlib.sha256(raw).hexdigest()[:32]


def envelope(record: InboundRecord) -> tuple[str | None, list[str]]:
    """The sender and the recipients that the SMTP door noted; ("" is the null sender)."""
    query = record.http.query if record.http else {}
    return query.get("mail_from"), query.get("rcpt_to", "").split()


def parse(record: InboundRecord, account: Account, accounts: Accounts, outside: Outside) -> list[Inbound]:
    """Facts out of a report first, then the mail itself."""
    if not record.body.strip():
        raise Unreadable("an empty mail")
    root = mime.read(record.body)
    headers = root.headers
    sender_name, sender_address = _sender(headers)
    if sender_address is None:
        raise Unreadable("a mail without a sender")
    mail = _mail(record, headers, sender_address, account, outside)
    body, as_html, used = _body(root)
    text = newest(body)[:MAX_TEXT]
    because = reports.automated_because(headers, mail.return_path)
    if accounts.addressed(sender_address) is not None:
        because = because or "from one of our own addresses"
    found: list[Inbound] = list(reports.facts(root, account.name, record.received_at))
    alias = next(filter(None, map(account.alias, mail.recipients)), None)
    found.append(
        InboundMessage(
            channel=CHANNEL,
            account=account.name,
            message_id=mail.message_id,
            sender=Sender(
                (Identity(channel=CHANNEL, id=sender_address),),
                name=sender_name,
                address=mail.reply_to or sender_address,
                email=sender_address,
            ),
            sent_at=_date(headers, record.received_at),
            text=text,
            text_full=body if body != text else None,
            html=as_html,
            subject=mime.header(headers, "subject"),
            language=(alias.language if alias else None) or _language(headers),
            in_reply_to=next(iter(mail.ancestors), None),
            parts=tuple(_parts(root, used)),
            mail=mail,
            automated_because=because,
            brand=alias.brand if alias else None,
            market=alias.market.market() if alias and alias.market else None,
            tags=alias.tags if alias else (),
        )
    )
    return found


# --- Headers. ---


def _sender(headers: Message) -> tuple[str | None, str | None]:
    for name in ("from", "sender", "reply-to", "return-path"):
        for shown, address in mime.addresses(mime.every(headers, name)):
            return shown or None, address
    # Reports may come from nobody, and must not be lost for it.
    if headers.get_content_type() == "multipart/report" or mime.unfolded(headers, "return-path") == "<>":
        return None, "mailer-daemon@invalid"
    return None, None


def _mail(record: InboundRecord, headers: Message, sender: str, account: Account, outside: Outside) -> Mail:
    mail_from, rcpt_to = envelope(record)
    recipients = _recipients(headers, rcpt_to)
    own = reports.message_ids(mime.unfolded(headers, "message-id"))
    references = reports.message_ids(mime.unfolded(headers, "references", mime.MAX_LONG_HEADER))
    if len(references) > _MAX_REFERENCES:
        references = references[:50] + references[50 - _MAX_REFERENCES :]
    made_up = not own
    message_id = own[0] if own else _made_up_id(record.body)
    reply_to = next((address for _, address in mime.addresses(mime.every(headers, "reply-to"))), None)
    subject = _TICKET_IN_SUBJECT.search(mime.header(headers, "subject") or "")
    return Mail(
        message_id=message_id,
        made_up=made_up,
        in_reply_to=tuple(each for each in _replied_to(headers) if each != message_id),
        references=tuple(each for each in references if each != message_id),
        sender=sender,
        reply_to=reply_to if reply_to != sender else None,
        return_path=_return_path(headers) if mail_from is None else mail_from.strip("<> ").lower(),
        recipients=recipients,
        ticket_by_address=address_token.ticket_in(recipients, _keys(account, outside)),
        ticket_by_subject=subject[1].lower() if subject else None,
        no_auto_reply=bool(mime.unfolded(headers, "x-auto-response-suppress")),
    )


def _keys(account: Account, outside: Outside) -> list[str]:
    try:
        return outside.secrets(account.signing)
    except MissingSecret:
        return []  # the other steps of threading remain


def _replied_to(headers: Message) -> tuple[str, ...]:
    return reports.message_ids(mime.unfolded(headers, "in-reply-to"))[:10]


def _return_path(headers: Message) -> str | None:
    value = mime.unfolded(headers, "return-path")
    if not value:
        return None
    return next((address for _, address in mime.addresses([value])), "")


def _recipients(headers: Message, rcpt_to: list[str]) -> tuple[str, ...]:
    listed = [address.lower() for address in rcpt_to]
    for name in ("delivered-to", "x-original-to", "to", "cc"):
        listed.extend(address for _, address in mime.addresses(mime.every(headers, name, mime.MAX_ADDRESSES)))
    return tuple(dict.fromkeys(listed))[:200]


def _made_up_id(raw: bytes) -> str:
    """An id for a mail without one: the same for the same mail, whichever way it came."""
    block, body = mime.split_headers(raw)
    headers = mime.read_headers(block)
    digest = hashlib.sha256()
    for name in ("from", "to", "date", "subject"):
        digest.update(mime.unfolded(headers, name).encode("utf-8", "surrogateescape") + b"\0")
    digest.update(body.replace(b"\r\n", b"\n").strip())
    return f"<{digest.hexdigest()[:40]}@made-up.invalid>"


def _date(headers: Message, fallback: datetime) -> datetime:
    try:
        date = parsedate_to_datetime(mime.unfolded(headers, "date", 100))
        return to_instant(date if date.tzinfo else date.replace(tzinfo=UTC))
    except (ValueError, TypeError, OverflowError, IndexError):
        return fallback


def _language(headers: Message) -> str | None:
    told = mime.unfolded(headers, "content-language", 40).split(",")[0].strip()
    return told if re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}", told) else None


# --- Body. ---


def _is_attachment(leaf: mime.Node) -> bool:
    return leaf.disposition == "attachment" or bool(leaf.filename() and leaf.disposition != "inline")


def _shown(node: mime.Node) -> tuple[list[mime.Node], list[mime.Node]]:
    """The parts to be shown, and with them the alternatives that they were preferred to."""
    if not node.children:
        textual = node.media_type in {"text/plain", "text/html"} and not _is_attachment(node)
        return ([node], []) if textual else ([], [])
    shown: list[mime.Node] = []
    passed: list[mime.Node] = []
    for child in node.children:
        more, less = _shown(child)
        shown += more
        passed += less
    if node.media_type == "multipart/alternative" and len(shown) > 1:
        plain = [leaf for leaf in shown if leaf.media_type == "text/plain" and leaf.text().strip()]
        chosen = plain or [leaf for leaf in shown if leaf.media_type == "text/html"] or shown[:1]
        return chosen, passed + [leaf for leaf in shown if leaf not in chosen]
    return shown, passed


def _body(root: mime.Node) -> tuple[str, bool, set[int]]:
    """The whole text, whether it came as HTML, and the parts that it was made of (by identity)."""
    shown, passed = _shown(root)
    texts, as_html, room = [], False, MAX_FULL_TEXT
    for leaf in shown:
        raw = leaf.text()
        is_html = leaf.media_type == "text/html"
        text = (html_with_quotes_marked(raw, room) if is_html else clean(raw, room)).strip()
        if text and room > 0:
            texts.append(text)
            room -= len(text) + 2
            as_html |= is_html
    return "\n\n".join(texts)[:MAX_FULL_TEXT], as_html, {id(leaf) for leaf in (*shown, *passed)}


def _parts(root: mime.Node, used: set[int]) -> Iterator[Part]:
    for number, leaf in enumerate(root.leaves(), 1):
        if id(leaf) in used or leaf.media_type.startswith("multipart/"):
            continue
        content = leaf.content()
        if not content and not leaf.filename():
            continue
        inline = leaf.media_type in _PICTURES and (leaf.disposition == "inline" or "content-id" in leaf.headers)
        media_type = line(leaf.media_type, 100) or "application/octet-stream"
        yield Part(leaf.named(number), media_type, content=content, size=len(content), inline=inline)


# --- The way out. ---


def render(reply: OutgoingReply, account: Account, outside: Outside) -> MailOut:
    """A mail whose answers come back to the ticket: by address, and by ids."""
    own = account.addresses[0]
    return compose(
        reply, account, address_token.mint(without_tag(own), reply.ticket_id, outside.secret(account.signing))
    )


def outcome(status: int, headers: Mapping[str, str], body: bytes) -> SendOutcome:  # noqa: ARG001
    """A reply code of SMTP: 2xx taken, 4xx later, 5xx never."""
    if 200 <= status < 300:
        return Sent(None)
    told = line(body[:500].decode("utf-8", "replace")) or "no reason given"
    return Refused(f"SMTP {status}: {told}", permanent=500 <= status < 600)
