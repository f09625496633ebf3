"""Recognize bounces of mail systems that do not follow RFC 3464, with `flufl.bounce` on a copy of limited size.

Its detectors match anything that looks like an address. So they are used only if something else indicates that a mail
system wrote the mail, since a customer may quote a bounce.
"""

from __future__ import annotations

import logging
import re
from email.message import Message

from flufl.bounce import all_failures

from services.ingest.channels import headers as heads
from services.ingest.channels import mime
from services.ingest.channels.charsets import decode
from services.ingest.channels.html import html_to_text
from services.ingest.channels.reading import line

logging.getLogger("flufl.bounce").setLevel(logging.CRITICAL)  # it logs every detector that it runs

MAX_TEXT = 16 * 1024
"""Maximum characters of a report that are read. Lines are truncated too: some patterns take quadratic time per line."""
_MAX_LINE = 300
_MAX_PARTS = 20
_NEEDED = ("content-type", "content-description", "x-mailer", "x-failed-recipients")
STATUSES = {"message/delivery-status", "message/global-delivery-status"}
DISPOSITIONS = {"message/disposition-notification", "message/global-disposition-notification"}
REPORTS = STATUSES | DISPOSITIONS
_SYSTEM = re.compile(r"(?:mailer-?daemon|mail-?daemon|mdaemon)(?:[-+._].*)?@")
_POSSIBLE_SYSTEM = re.compile(
    r"(?:postmaster|mail-?adm(?:in)?|mail\.delivery\.system|mail-?delivery|bounces?|ndr|badmsg\w*|imss|\w*antivirus\w*)"
    r"(?:[-+._].*)?@"
)
_SUBJECT = re.compile(
    r"(?:undeliver(?:ed|able)|un?deliverable|returned mail|mail delivery|message delivery|failure notice"
    r"|delivery (?:status|notification|failure|failed|report|error|has failed|delayed)|failed (?:mail|delivery)"
    r"|mail (?:failure|error|system error)|non-?delivery|unzustellbar|nicht zustellbar|your message"
    r"|(?:message|mail|e-?mail) (?:could not be|was not|not|undeliverable)|warning: (?:message|mail|could not))",
    re.IGNORECASE,
)
_REASON = re.compile(r"(?:^|[\s(:])([45]\d\d[ -](?:#?[45]\.\d+\.\d+ )?[^\r\n]{3,200})", re.MULTILINE)
_MESSAGE_ID = re.compile(r"^[>| \t]{0,20}Message-ID:\s{0,20}(<[^<>\s]{1,400}>)", re.IGNORECASE | re.MULTILINE)


def by_mail_system(headers: Message) -> bool:
    """Whether a mail system wrote this: its From says so, or it is a postmaster's with the subject of a report."""
    senders = _senders(headers)
    if any(_SYSTEM.match(address) for address in senders):
        return True
    return any(_POSSIBLE_SYSTEM.match(address) for address in senders) and _reports_by_subject(headers)


def may_be_report(root: mime.Node, return_path: str | None) -> bool:
    """Whether anything indicates that a mail system wrote this."""
    headers = root.headers
    return (
        return_path == ""
        or root.media_type == "multipart/report"
        or any(leaf.media_type in REPORTS for leaf in root.leaves())
        or bool(heads.unfolded(headers, "x-failed-recipients"))
        or not _senders(headers)
        or by_mail_system(headers)
    )


def _senders(headers: Message) -> list[str]:
    return [address for _, address in heads.addresses(heads.every(headers, "from"))]


def _reports_by_subject(headers: Message) -> bool:
    return bool(_SUBJECT.match(heads.header(headers, "subject") or ""))


def failures(root: mime.Node) -> tuple[list[str], list[str]]:
    """Return the addresses in a report: those with temporary failures, and those with permanent ones."""
    budget = [MAX_TEXT]
    copy = _copy(root, budget)
    try:
        temporary, permanent = all_failures(copy)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return [], []
    return _addresses(temporary), _addresses(permanent)


def _addresses(found: frozenset[bytes]) -> list[str]:
    read = (heads.address(each.decode("ascii", "replace").strip("<> ")) for each in found)
    return sorted(filter(None, read))[:100]


def _copy(node: mime.Node, budget: list[int]) -> Message:
    """Return a copy for the library: in ASCII, without the returned mail, of limited size."""
    copy = Message()
    for name in _NEEDED:
        for value in heads.every(node.headers, name)[:20]:
            copy[name] = value[:1000].encode("ascii", "replace").decode()
    copy["from"] = next(iter(_senders(node.headers)), "unknown@invalid").encode("ascii", "replace").decode()
    if node.children:
        copy.set_payload([_copy(child, budget) for child in node.children[:_MAX_PARTS]])
    elif node.media_type in STATUSES:
        blocks = re.split(rb"\r?\n(?:[ \t]*\r?\n)+", node.content(MAX_TEXT).strip())[:50]
        copy.set_payload([_status(block) for block in blocks])
    else:
        copy.set_payload(_text(node, budget))
    return copy


def _status(block: bytes) -> Message:
    read, copy = heads.read(block), Message()
    for name in ("action", "original-recipient", "final-recipient"):
        if value := heads.unfolded(read, name, 400):
            copy[name] = value.encode("ascii", "replace").decode()
    return copy


def _text(leaf: mime.Node, budget: list[int]) -> str:
    text = text_of(leaf)[: budget[0]]
    budget[0] -= len(text)
    return "\n".join(row[:_MAX_LINE] for row in text.split("\n")).encode("ascii", "replace").decode()


def text_of(leaf: mime.Node) -> str:
    """Return the beginning of a part's text with line feeds as line ends; "" for parts that are not text."""
    if not leaf.media_type.startswith(("text/", "multipart/")):
        return ""
    text = decode(leaf.content(4 * MAX_TEXT), leaf.parameter("charset"))
    return html_to_text(text, MAX_TEXT) if leaf.media_type == "text/html" else text.replace("\r\n", "\n")


def reason(root: mime.Node) -> str | None:
    """Return the first line that contains an SMTP reply code; None if there is none."""
    for leaf in root.leaves():
        if found := _REASON.search(text_of(leaf)):
            return line(found[1])
    return None


def quoted_id(root: mime.Node) -> str | None:
    """Return the Message-ID in a copy of the mail within the report's text; None if there is none."""
    for leaf in root.leaves():
        if found := _MESSAGE_ID.search(text_of(leaf)):
            return found[1]
    return None
