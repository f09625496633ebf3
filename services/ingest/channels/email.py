"""Mail: parse MIME (sender, new text, thread, whether a machine wrote it), and render replies."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.message import Message
from email.parser import BytesHeaderParser
from email.utils import parsedate_to_datetime

from contracts.contacts import Identity
from contracts.inbound import InboundRecord
from contracts.ticket import Attachment, Authentication, Channel
from contracts.values import to_instant
from kit.policy.secrets import Secrets, Unresolved
from services.ingest.accounts import Account, Accounts, without_tag
from services.ingest.channels import address_token, bodies, mime, originals, reports
from services.ingest.channels import headers as heads
from services.ingest.channels.authentication import authentication
from services.ingest.channels.compose import compose
from services.ingest.channels.quoting import newest
from services.ingest.channels.reading import MAX_TEXT, line
from services.ingest.core.messages import (
    HttpCall,
    Inbound,
    InboundMessage,
    Mail,
    MailOut,
    OutgoingReply,
    Sender,
    SendFailure,
    SendOutcome,
    Sent,
    Unreadable,
)

CHANNEL = Channel.EMAIL.value
NAME = CHANNEL
NEEDS: tuple[str, ...] = ("addresses", "signing")
ONE_FILE_PER_MESSAGE = False
#: All attempts have the same Message-ID, but not every mailbox deduplicates by it.
IDEMPOTENT = False
#: Reply-To is used for authenticated senders, and if authentication is not checked.
_TRUSTED = {None, Authentication.PASS}
HEADER_BYTES = 64 * 1024
_MAX_REFERENCES = 200
_TICKET_IN_SUBJECT = re.compile(r"\[#([0-9a-z][0-9a-z-]{7,39})\]", re.IGNORECASE)
_NO_REPLY = re.compile(r"(?:no|do-?_?not)[-_.]?reply(?:[-_.+][^@]*)?@")
_VIA = re.compile(r"'?(.+?)'? via .+")


def contact_key(raw: bytes) -> str:
    """Return the oldest Message-ID of the thread that the mail refers to, so that a thread stays in one partition."""
    headers = heads.read(raw[:HEADER_BYTES])
    for name in ("references", "in-reply-to", "message-id"):
        found = reports.message_ids(heads.unfolded(headers, name, heads.MAX_LONG_HEADER))
        if found:
            return found[0]
    return hashlib.sha256(raw).hexdigest()[:32]


def envelope(record: InboundRecord) -> tuple[str | None, list[str]]:
    """Return the envelope's sender and recipients, as recorded by the SMTP door; "" is the null sender."""
    query = record.http.query if record.http else {}
    return query.get("mail_from"), query.get("rcpt_to", "").split()


def signed_by(record: InboundRecord) -> tuple[str, ...] | None:
    """Return the domains whose DKIM signatures the worker found valid; None if it did not check."""
    query = record.http.query if record.http else {}
    return tuple(query["dkim"].split()) if "dkim" in query else None


def parse(record: InboundRecord, account: Account, accounts: Accounts, secrets: Secrets) -> list[Inbound]:
    """Return the delivery statuses in a report, if it is one, then the mail itself."""
    if not record.body or record.body.isspace():
        raise Unreadable("an empty mail")
    root = mime.read(record.body)
    headers, charset = root.headers, bodies.charset(root)
    return_path = _return_path(record, headers)
    recipients = _recipients(headers, envelope(record)[1])
    ticket = address_token.ticket_in(recipients, _keys(account, secrets))
    report = reports.read(root, return_path, account.name, record.received_at, ticket)
    author = _author(headers, accounts, charset)
    if author is None:
        author = _author_from_envelope(headers, return_path, charset, is_report=report.is_report)
    proven = authentication(headers, author[1], account, signed_by(record))
    mail = _mail(root, author[1], return_path, recipients, ticket, accounts, proven)
    body, as_html, used = bodies.body(root)
    text = newest(body)[:MAX_TEXT]
    alias = next(filter(None, map(account.alias, mail.recipients)), None)
    message = InboundMessage(
        channel=CHANNEL,
        account=account.name,
        message_id=mail.message_id,
        sender=Sender(
            (Identity(channel=CHANNEL, id=author[1]),),
            name=author[0],
            address=(mail.reply_to if proven in _TRUSTED else None) or author[1],
            email=author[1],
        ),
        sent_at=mail.dated or record.received_at,
        text=text,
        text_full=body if body != text else None,
        html=as_html,
        subject=heads.header(headers, "subject", charset),
        language=(alias.language if alias else None) or _language(headers),
        in_reply_to=next(iter(mail.ancestors), None),
        parts=tuple(bodies.files(root, used)),
        parts_left_out=root.left_out,
        mail=mail,
        automated_because=_automated_because(headers, return_path, report, author[1], accounts),
        brand=alias.brand if alias else None,
        market=alias.market.market() if alias and alias.market else None,
        tags=alias.tags if alias else (),
    )
    return [*report.statuses, message]


# --- Headers. ---


def _author(headers: Message, accounts: Accounts, charset: str | None) -> tuple[str | None, str] | None:
    """Return the author's name and address; None if the headers contain no address.

    If From is one of our addresses or a no-reply address, a web form or a mailing group has sent the mail, and its
    Reply-To is the author.
    """
    for name in ("from", "sender", "reply-to", "return-path"):
        found = heads.addresses(heads.every(headers, name), charset)
        if not found:
            continue
        shown, address = found[0]
        if accounts.addressed(address) is not None or _NO_REPLY.match(address):
            for answered, reply_to in heads.addresses(heads.every(headers, "reply-to"), charset):
                if accounts.addressed(reply_to) is None and reply_to != address:
                    via = _VIA.fullmatch(shown)
                    return answered or (via[1] if via else None), reply_to
        return shown or None, address
    return None


def _author_from_envelope(
    headers: Message, return_path: str | None, charset: str | None, *, is_report: bool
) -> tuple[str | None, str]:
    """Return the author of a mail without an address in its headers. Raises Unreadable if there is none."""
    if return_path and (address := heads.address(return_path)) is not None:
        return heads.header(headers, "from", charset), address
    # Reports need not have a sender, and must not be lost.
    if is_report or return_path == "" or headers.get_content_type() == "multipart/report":
        return None, "mailer-daemon@invalid"
    raise Unreadable("a mail without a sender")


def _automated_because(
    headers: Message, return_path: str | None, report: reports.Report, author: str, accounts: Accounts
) -> str | None:
    because = reports.automated_because(headers, return_path)
    if because is None and report.is_report:
        because = "a delivery report"
    if because is None and accounts.addressed(author) is not None:
        because = "from one of our own addresses"
    return because


def _mail(
    root: mime.Node,
    sender: str,
    return_path: str | None,
    recipients: tuple[str, ...],
    ticket: str | None,
    accounts: Accounts,
    proven: Authentication | None,
) -> Mail:
    headers = root.headers
    own = reports.message_ids(heads.unfolded(headers, "message-id"))
    references = reports.message_ids(heads.unfolded(headers, "references", heads.MAX_LONG_HEADER))
    if len(references) > _MAX_REFERENCES:
        references = references[:50] + references[50 - _MAX_REFERENCES :]
    message_id = own[0] if own else _generated_id(root)
    answered = (address for _, address in heads.addresses(heads.every(headers, "reply-to")))
    # A reply to one of our own addresses would come back as the customer's next message.
    reply_to = next((address for address in answered if accounts.addressed(address) is None), None)
    subject = _TICKET_IN_SUBJECT.search(heads.header(headers, "subject") or "")
    return Mail(
        message_id=message_id,
        generated_id=not own,
        in_reply_to=tuple(each for each in _replied_to(headers) if each != message_id),
        references=tuple(each for each in references if each != message_id),
        sender=sender,
        reply_to=reply_to if reply_to != sender else None,
        return_path=return_path,
        recipients=recipients,
        ticket_by_address=ticket,
        ticket_by_subject=subject[1].lower() if subject else None,
        no_auto_reply=reports.wants_no_answer(headers),
        authentication=proven,
        dated=_date(headers),
    )


def _keys(account: Account, secrets: Secrets) -> list[str]:
    try:
        return secrets.secrets(account.signing)
    except Unresolved:
        return []  # the other steps of threading still work


def _replied_to(headers: Message) -> tuple[str, ...]:
    return reports.message_ids(heads.unfolded(headers, "in-reply-to"))[:10]


def _return_path(record: InboundRecord, headers: Message) -> str | None:
    mail_from, _ = envelope(record)
    if mail_from is not None:
        return mail_from.strip("<> ").lower()
    value = heads.unfolded(headers, "return-path")
    if not value:
        return None
    # Without an "@", it is the null sender or some server's name for it. An unreadable address is None: unknown.
    return next((address for _, address in heads.addresses([value])), None if "@" in value else "")


def _recipients(headers: Message, rcpt_to: list[str]) -> tuple[str, ...]:
    listed = [address.lower() for address in rcpt_to]
    for name in ("delivered-to", "x-original-to", "to", "cc"):
        listed.extend(address for _, address in heads.addresses(heads.every(headers, name, heads.MAX_ADDRESSES)))
    return tuple(dict.fromkeys(listed))[:200]


def _generated_id(root: mime.Node) -> str:
    """Return an id for a mail without a Message-ID; equal for copies of one mail that took different routes."""
    digest = hashlib.sha256()
    for name in ("from", "to", "date", "subject"):
        digest.update(heads.unfolded(root.headers, name).encode("utf-8", "surrogateescape") + b"\0")
    digest.update(root.source[root.start :].replace(b"\r\n", b"\n").strip())
    return f"<{digest.hexdigest()[:40]}@made-up.invalid>"


def _date(headers: Message) -> datetime | None:
    try:
        date = parsedate_to_datetime(heads.unfolded(headers, "date", 100))
        return to_instant(date if date.tzinfo else date.replace(tzinfo=UTC))
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _language(headers: Message) -> str | None:
    value = heads.unfolded(headers, "content-language", 40).split(",")[0].strip()
    return value if re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}", value) else None


# --- Replies. ---


def render(reply: OutgoingReply, account: Account, secrets: Secrets) -> MailOut:
    """Return a mail whose answers find the ticket by address and by Message-ID."""
    own = account.addresses[0]
    return compose(
        reply, account, address_token.mint(without_tag(own), reply.ticket_id, secrets.secret(account.signing))
    )


def outcome(status: int, headers: Mapping[str, str], body: bytes) -> SendOutcome:  # noqa: ARG001
    """Return the outcome for an SMTP reply code: 2xx sent, 4xx temporary failure, 5xx permanent failure."""
    if 200 <= status < 300:
        return Sent(None)
    value = line(body[:500].decode("utf-8", "replace")) or "no reason given"
    return SendFailure(f"SMTP {status}: {value}", permanent=500 <= status < 600)


def original(file: Attachment, account: Account, secrets: Secrets) -> HttpCall:  # noqa: ARG001 - mails carry theirs
    """Return the request for a file with a URL; files of mails are stored already. Raises Unsendable without one."""
    return originals.by_url(file)


def message_ids(body: bytes) -> list[str] | None:
    """Return the Message-ID, or None if the mail has none."""
    identifier = BytesHeaderParser().parsebytes(body[:HEADER_BYTES]).get("message-id")
    return [identifier.strip()] if identifier else None
