"""Recognize automated mail, and read reports about mail that we sent (RFC 3464, RFC 8098, other bounces)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from email.message import Message

from services.ingest.channels import bounces, mime
from services.ingest.channels import headers as heads
from services.ingest.channels.reading import line
from services.ingest.core.messages import Delivery, DeliveryStatus

MESSAGE_ID = re.compile(r"<[^<>\s]{1,400}>")
_ACTIONS = {
    "failed": Delivery.BOUNCED,
    "delayed": Delivery.BOUNCED,
    "delivered": Delivery.DELIVERED,
    "relayed": Delivery.SENT,
    "expanded": Delivery.SENT,
}
_MAX_RECIPIENTS = 100
_PRECEDENCE_OF_MACHINES = {"bulk", "junk", "auto_reply"}
"""Values of Precedence that no person's mail has. The last is in no standard, but several autoresponders send it."""


def message_ids(text: str) -> tuple[str, ...]:
    """Return the Message-IDs in a header, with brackets, without duplicates, in order."""
    return tuple(dict.fromkeys(each.encode("ascii", "replace").decode() for each in MESSAGE_ID.findall(text)))


def automated_because(headers: Message, return_path: str | None) -> str | None:
    """Return why the mail counts as automated; None if, according to its headers, a person wrote it.

    List-* and Precedence: list do not count, since a support address may be a mailing group that people write to.
    """
    submitted = heads.unfolded(headers, "auto-submitted").split(";")[0].strip().lower()
    if submitted and submitted != "no":
        return f"Auto-Submitted: {line(submitted, 60)}"
    if return_path == "":
        return "null return path"
    precedence = heads.unfolded(headers, "precedence").lower()
    if precedence in _PRECEDENCE_OF_MACHINES:
        return f"Precedence: {precedence}"
    if headers.get_content_type() == "multipart/report":
        return "multipart/report"
    if heads.unfolded(headers, "x-autoreply") or heads.unfolded(headers, "x-autorespond"):
        return "auto-reply header"
    return "from a mail system" if bounces.by_mail_system(headers) else None


def wants_no_answer(headers: Message) -> bool:
    """Whether automatic answers must not be sent (RFC 3834, section 2). A person may have written the mail."""
    return (
        bool(heads.unfolded(headers, "x-auto-response-suppress"))
        or any(name.lower().startswith("list-") for name, _ in headers.raw_items())
        or heads.unfolded(headers, "precedence").lower() in {"list", *_PRECEDENCE_OF_MACHINES}
    )


@dataclass(frozen=True, slots=True)
class Report:
    """The delivery statuses in a mail, and whether it is a report at all."""

    statuses: list[DeliveryStatus] = field(default_factory=list)
    is_report: bool = False


def read(root: mime.Node, return_path: str | None, account: str, at: datetime, ticket: str | None = None) -> Report:
    """Read a report in the format of RFC 3464, RFC 8098 or some mail system. Other mail has no statuses.

    `ticket` is the ticket whose address the mail was sent to; it is used if the report does not name a mail.
    """
    if not bounces.may_be_report(root, return_path):
        return Report()
    original = _original(root) or ""
    ticket = None if original else ticket
    known = bool(original or ticket)
    found: list[DeliveryStatus] = []
    for leaf in root.leaves():
        if leaf.media_type in bounces.STATUSES and known:
            found.extend(_deliveries(leaf, original, ticket, account, at))
        elif leaf.media_type in bounces.DISPOSITIONS:
            found.extend(_dispositions(leaf, account, at))
    if found:
        return Report(found, is_report=True)
    temporary, final = bounces.failures(root)
    reason = bounces.reason(root) if known and (temporary or final) else None
    for recipients, permanent in ((temporary, False), (final, True)):
        found += [
            DeliveryStatus(
                channel="email", account=account, channel_message_id=original, state=Delivery.BOUNCED, at=at,
                permanent=permanent, reason=reason, recipient=recipient, ticket=ticket,
            )
            for recipient in recipients
            if known
        ]  # fmt: skip
    return Report(found, is_report=bool(temporary or final))


def _original(root: mime.Node) -> str | None:
    """Return the Message-ID of the reported mail, from the copy in the report, else from the report's headers."""
    copies = {"message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers"}
    for leaf in root.leaves():
        if leaf.media_type in copies:
            block = heads.read(leaf.content(heads.MAX_BLOCK))
            if found := message_ids(heads.unfolded(block, "message-id")):
                return found[0]
    if quoted := bounces.quoted_id(root):
        return quoted
    for name in ("original-message-id", "in-reply-to", "references"):
        if found := message_ids(heads.unfolded(root.headers, name)):
            return found[-1]
    return None


def _groups(leaf: mime.Node) -> Iterator[Message]:
    for block in re.split(rb"\r?\n(?:[ \t]*\r?\n)+", leaf.content(heads.MAX_BLOCK).strip())[: _MAX_RECIPIENTS + 1]:
        yield heads.read(block)


def _deliveries(
    leaf: mime.Node, original: str, ticket: str | None, account: str, at: datetime
) -> Iterator[DeliveryStatus]:
    for group in _groups(leaf):
        action = heads.unfolded(group, "action").split()[:1]
        state = _ACTIONS.get(action[0].lower()) if action else None
        if state is None:
            continue  # the group about the message as a whole, or an unknown action
        recipient = heads.unfolded(group, "final-recipient") or heads.unfolded(group, "original-recipient")
        reason = [heads.header(group, "status"), _after_type(heads.header(group, "diagnostic-code") or "")]
        yield DeliveryStatus(
            channel="email",
            account=account,
            channel_message_id=original,
            state=state,
            at=at,
            permanent=action[0].lower() == "failed",
            reason=" ".join(filter(None, reason)) or None,
            recipient=line(_after_type(recipient)),
            ticket=ticket,
        )


def _after_type(value: str) -> str:
    """Remove the type: `rfc822; a@b` -> `a@b`."""
    return value.partition(";")[2].strip() or value.strip()


def _dispositions(leaf: mime.Node, account: str, at: datetime) -> Iterator[DeliveryStatus]:
    for group in _groups(leaf):
        about = message_ids(heads.unfolded(group, "original-message-id"))
        if about and "displayed" in heads.unfolded(group, "disposition").lower():
            yield DeliveryStatus(
                channel="email", account=account, channel_message_id=about[0], state=Delivery.READ, at=at,
                recipient=line(_after_type(heads.unfolded(group, "final-recipient"))),
            )  # fmt: skip
