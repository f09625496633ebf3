"""Compose the bytes of a reply by mail.

Rule: no text can inject a header line.

Headers are written here and folded with the standard library's `Header`, because its newer folding breaks long
Message-IDs into encoded words, so that answers would not find their thread.
"""

from __future__ import annotations

import re
from email import policy
from email.header import Header
from email.message import EmailMessage
from email.utils import format_datetime

from services.ingest.accounts import Account
from services.ingest.channels.headers import to_ascii
from services.ingest.channels.reading import MAX_FULL_TEXT, clean, line
from services.ingest.channels.reports import MESSAGE_ID
from services.ingest.core.messages import File, MailOut, OutgoingReply, Unsendable

_LOCAL = r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}|\"(?:[ !#-\[\]-~]|\\[ -~]){1,62}\""
_ADDRESS = re.compile(rf"(?:{_LOCAL})@[A-Za-z0-9.-]{{1,250}}")
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,60}/[a-z0-9][a-z0-9!#$&^_.+-]{0,60}")
_SAFE_HEADERS = re.compile(r"(?:[A-Za-z-]+: [\x20-\x7e]+\r\n(?:[ \t][\x20-\x7e]+\r\n)*)+")
_MAX_REFERENCES = 20


def _encoded(text: str, name: str) -> str:
    return Header(text, "us-ascii" if text.isascii() else "utf-8", 76, name, " ").encode(linesep="\r\n")


def _mailbox(shown: str | None, address: str, name: str) -> str:
    shown = line(shown, 100) if shown else None
    if not shown:
        return address
    if shown.isascii():
        quoted = shown.replace("\\", "").replace('"', "")
        return f'"{quoted}" <{address}>'
    return f"{_encoded(shown, name)}\r\n <{address}>"


def _address(text: str) -> str:
    """Return the address with an ASCII domain (IDNA). Raises Unsendable if it is not an address."""
    local, _, domain = text.rpartition("@")
    address = f"{local}@{to_ascii(domain) or ''}"
    if not _ADDRESS.fullmatch(address):
        raise Unsendable("not an address that mail can be sent to")
    return address


def _ids(values: tuple[str, ...]) -> list[str]:
    return [each for value in dict.fromkeys(values) if (each := value.strip()).isascii() and MESSAGE_ID.fullmatch(each)]


def _subject(reply: OutgoingReply) -> str:
    subject = line(reply.subject, 400) or "Your message"
    return subject if re.match(r"(?i)(re|aw|odp|답장|ตอบ)\s*:", subject) else f"Re: {subject}"


def message_id(reply: str, address: str) -> str:
    """Return our Message-ID, the same for every attempt to send a reply. `reply` is our id of it."""
    local = re.sub(r"[^A-Za-z0-9.-]", "-", reply)[:100] or "reply"
    return f"<{local}@{address.rpartition('@')[2]}>"


def message_id_of(reply: str, account: Account) -> str:
    """Return the Message-ID that a reply from this account has."""
    return message_id(reply, _address(account.addresses[0]))


def _headers(reply: OutgoingReply, account: Account, own: str, tagged: str, to: str) -> list[tuple[str, str]]:
    shown = account.display_name
    if reply.author_name and not reply.automated:
        shown = f"{reply.author_name} ({shown})" if shown else reply.author_name
    headers = [
        ("From", _mailbox(shown, own, "From")),
        ("Reply-To", tagged),
        ("To", _mailbox(reply.to_name, to, "To")),
        ("Subject", _encoded(_subject(reply), "Subject")),
        ("Date", format_datetime(reply.at)),
        ("Message-ID", message_id(reply.message_id, own)),
    ]
    answered = _ids((reply.in_reply_to,) if reply.in_reply_to else ())
    chain = _ids((*reply.references, *answered))
    if len(chain) > _MAX_REFERENCES:
        chain = chain[:1] + chain[1 - _MAX_REFERENCES :]
    if answered:
        headers.append(("In-Reply-To", answered[0]))
    if chain:
        headers.append(("References", "\r\n ".join(chain)))
    if reply.automated:
        headers += [("Auto-Submitted", "auto-replied"), ("X-Auto-Response-Suppress", "All")]
    return headers


def _attach(body: EmailMessage, file: File) -> None:
    if file.content is None:
        raise Unsendable(f"the file {line(file.name) or '?'} has no content to attach")
    media_type = file.media_type.lower()
    main, _, sub = (media_type if _MEDIA_TYPE.fullmatch(media_type) else "application/octet-stream").partition("/")
    if main in {"message", "multipart"}:
        main, sub = "application", "octet-stream"
    body.add_attachment(file.content, maintype=main, subtype=sub, filename=line(file.name, 200) or "file")


def compose(reply: OutgoingReply, account: Account, tagged: str) -> MailOut:
    """Return the mail. `tagged` is our address with the ticket's token, for answers and delivery reports."""
    to, own = _address(reply.to), _address(account.addresses[0])
    if not (reply.text.strip() or reply.html or reply.files):
        raise Unsendable("an empty message")
    body = EmailMessage(policy=policy.SMTP)
    body.set_content(clean(reply.text, MAX_FULL_TEXT))
    if reply.html:
        body.add_alternative(clean(reply.html, 4 * MAX_FULL_TEXT), subtype="html")
    for file in reply.files:
        _attach(body, file)
    block = "".join(f"{name}: {value}\r\n" for name, value in _headers(reply, account, own, _address(tagged), to))
    if not _SAFE_HEADERS.fullmatch(block):
        raise Unsendable("a header cannot be written")
    # Automatic mail has an empty envelope sender, so that two machines never answer each other.
    sender = "" if reply.automated else tagged
    return MailOut(sender, (to,), block.encode("ascii") + body.as_bytes(), message_id(reply.message_id, own))
