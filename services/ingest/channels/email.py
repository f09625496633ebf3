"""Mail: MIME in, MIME out. Who is meant, what is new in it, what it answers, and whether a machine wrote it."""

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
NEEDS: tuple[str, ...] = ("addresses", "signing")
ONE_FILE_PER_MESSAGE = False
#: Each try has the same Message-ID, by which not every mailbox tells copies.
IDEMPOTENT = False
#: Whose Reply-To is followed: whoever is proven, and anybody where nobody is asked.
_BELIEVED = {None, Authentication.PASS}
_LIGHT_LOOK = 64 * 1024
_MAX_REFERENCES = 200
_TICKET_IN_SUBJECT = re.compile(r"\[#([0-9a-z][0-9a-z-]{7,39})\]", re.IGNORECASE)
_NOT_READ = re.compile(r"(?:no|do-?_?not)[-_.]?reply(?:[-_.+][^@]*)?@")
_VIA = re.compile(r"'?(.+?)'? via .+")


def contact_key(raw: bytes) -> str:
    """The oldest id of the thread that the mail names, so that a thread stays in one partition."""
    headers = heads.read(raw[:_LIGHT_LOOK])
    for name in ("references", "in-reply-to", "message-id"):
        found = reports.message_ids(heads.unfolded(headers, name, heads.MAX_LONG_HEADER))
        if found:
            return found[0]
    return hashlib.sha256(raw).hexdigest()[:32]


def envelope(record: InboundRecord) -> tuple[str | None, list[str]]:
    """The sender and the recipients that the SMTP door noted; ("" is the null sender)."""
    query = record.http.query if record.http else {}
    return query.get("mail_from"), query.get("rcpt_to", "").split()


def signed_by(record: InboundRecord) -> tuple[str, ...] | None:
    """The domains whose DKIM signatures the worker found to be right; None where it did not look."""
    query = record.http.query if record.http else {}
    return tuple(query["dkim"].split()) if "dkim" in query else None


def parse(record: InboundRecord, account: Account, accounts: Accounts, secrets: Secrets) -> list[Inbound]:
    """Facts out of a report first, then the mail itself."""
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
        author = _named_by_envelope(headers, return_path, charset, is_report=report.is_report)
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
            address=(mail.reply_to if proven in _BELIEVED else None) or author[1],
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
    return [*report.facts, message]


# --- Headers. ---


def _author(headers: Message, accounts: Accounts, charset: str | None) -> tuple[str | None, str] | None:
    """Name and address of who wrote.

    A mail from an address of ours, or from one that nobody reads, which asks for answers to somebody else is written
    by a shop's form or passed on by a mailing group: the author is whom the answer goes to.
    """
    for name in ("from", "sender", "reply-to", "return-path"):
        found = heads.addresses(heads.every(headers, name), charset)
        if not found:
            continue
        shown, address = found[0]
        if accounts.addressed(address) is not None or _NOT_READ.match(address):
            for answered, reply_to in heads.addresses(heads.every(headers, "reply-to"), charset):
                if accounts.addressed(reply_to) is None and reply_to != address:
                    via = _VIA.fullmatch(shown)
                    return answered or (via[1] if via else None), reply_to
        return shown or None, address
    return None


def _named_by_envelope(
    headers: Message, return_path: str | None, charset: str | None, *, is_report: bool
) -> tuple[str | None, str]:
    """Who wrote a mail whose headers name no address; raises Unreadable."""
    if return_path and (address := heads.address(return_path)) is not None:
        return heads.header(headers, "from", charset), address
    # Reports may come from nobody, and must not be lost for it.
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
    message_id = own[0] if own else _made_up_id(root)
    answered = (address for _, address in heads.addresses(heads.every(headers, "reply-to")))
    # An answer to an address of ours would come back to us as the customer's next message.
    reply_to = next((address for address in answered if accounts.addressed(address) is None), None)
    subject = _TICKET_IN_SUBJECT.search(heads.header(headers, "subject") or "")
    return Mail(
        message_id=message_id,
        made_up=not own,
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
        return []  # the other steps of threading remain


def _replied_to(headers: Message) -> tuple[str, ...]:
    return reports.message_ids(heads.unfolded(headers, "in-reply-to"))[:10]


def _return_path(record: InboundRecord, headers: Message) -> str | None:
    mail_from, _ = envelope(record)
    if mail_from is not None:
        return mail_from.strip("<> ").lower()
    value = heads.unfolded(headers, "return-path")
    if not value:
        return None
    # The null sender, or its name in the words of some servers; an address that we cannot read is not known.
    return next((address for _, address in heads.addresses([value])), None if "@" in value else "")


def _recipients(headers: Message, rcpt_to: list[str]) -> tuple[str, ...]:
    listed = [address.lower() for address in rcpt_to]
    for name in ("delivered-to", "x-original-to", "to", "cc"):
        listed.extend(address for _, address in heads.addresses(heads.every(headers, name, heads.MAX_ADDRESSES)))
    return tuple(dict.fromkeys(listed))[:200]


def _made_up_id(root: mime.Node) -> str:
    """An id for a mail without one: the same for the same mail, whichever way it came."""
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
    told = heads.unfolded(headers, "content-language", 40).split(",")[0].strip()
    return told if re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}", told) else None


# --- The way out. ---


def render(reply: OutgoingReply, account: Account, secrets: Secrets) -> MailOut:
    """A mail whose answers come back to the ticket: by address, and by ids."""
    own = account.addresses[0]
    return compose(
        reply, account, address_token.mint(without_tag(own), reply.ticket_id, secrets.secret(account.signing))
    )


def outcome(status: int, headers: Mapping[str, str], body: bytes) -> SendOutcome:  # noqa: ARG001
    """A reply code of SMTP: 2xx taken, 4xx later, 5xx never."""
    if 200 <= status < 300:
        return Sent(None)
    told = line(body[:500].decode("utf-8", "replace")) or "no reason given"
    return SendFailure(f"SMTP {status}: {told}", permanent=500 <= status < 600)


def original(file: Attachment, account: Account, secrets: Secrets) -> HttpCall:  # noqa: ARG001 - mails carry theirs
    """A mail brings its files itself."""
    return originals.by_url(file)


def message_ids(body: bytes) -> list[str] | None:
    """`Message-ID`, which a mail may lack."""
    identifier = BytesHeaderParser().parsebytes(body[:_LIGHT_LOOK]).get("message-id")
    return [identifier.strip()] if identifier else None
