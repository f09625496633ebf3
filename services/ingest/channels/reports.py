"""Machines that write mail: reports about mail that we sent (RFC 3464, 8098, `bounces`), and what else is automatic."""

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


def message_ids(text: str) -> tuple[str, ...]:
    """Message ids, with brackets, each once, in order."""
    return tuple(dict.fromkeys(each.encode("ascii", "replace").decode() for each in MESSAGE_ID.findall(text)))


def automated_because(headers: Message, return_path: str | None) -> str | None:
    """Why a machine wrote this; None: a person did, as far as the headers tell.

    List-* and Precedence: list do not say so: a support address may be a mailing group, and a person wrote to it.
    """
    submitted = heads.unfolded(headers, "auto-submitted").split(";")[0].strip().lower()
    if submitted and submitted != "no":
        return f"Auto-Submitted: {line(submitted, 60)}"
    if return_path == "":
        return "null return path"
    precedence = heads.unfolded(headers, "precedence").lower()
    if precedence in {"bulk", "junk"}:
        return f"Precedence: {precedence}"
    if headers.get_content_type() == "multipart/report":
        return "multipart/report"
    if heads.unfolded(headers, "x-autoreply") or heads.unfolded(headers, "x-autorespond"):
        return "auto-reply header"
    return "from a mail system" if bounces.by_mail_system(headers) else None


def wants_no_answer(headers: Message) -> bool:
    """Whether no automatic answer may be sent, although a person may have written (RFC 3834, section 2)."""
    return (
        bool(heads.unfolded(headers, "x-auto-response-suppress"))
        or any(name.lower().startswith("list-") for name, _ in headers.raw_items())
        or heads.unfolded(headers, "precedence").lower() in {"bulk", "list", "junk"}
    )


@dataclass(frozen=True, slots=True)
class Report:
    """What a mail says about mail of ours: facts about messages, and whether it is a report at all."""

    facts: list[DeliveryStatus] = field(default_factory=list)
    is_report: bool = False


def read(root: mime.Node, return_path: str | None, account: str, at: datetime, ticket: str | None = None) -> Report:
    """What a report says, in the words of RFC 3464 and 8098 or in a mail system's own; nothing for any other mail.

    `ticket` is whose address it was sent to: enough for a report that does not say which mail it is about.
    """
    if not bounces.suspected(root, return_path):
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
    later, never = bounces.failures(root)
    told = bounces.reason(root) if known and (later or never) else None
    for recipients, permanent in ((later, False), (never, True)):
        found += [
            DeliveryStatus(
                channel="email", account=account, channel_message_id=original, state=Delivery.BOUNCED, at=at,
                permanent=permanent, reason=told, recipient=recipient, ticket=ticket,
            )
            for recipient in recipients
            if known
        ]  # fmt: skip
    return Report(found, is_report=bool(later or never))


def _original(root: mime.Node) -> str | None:
    """Message-ID of what the report is about: out of the copy that it carries, else out of what it answers."""
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
            continue  # the group about the whole message, or an action that nobody has defined
        recipient = heads.unfolded(group, "final-recipient") or heads.unfolded(group, "original-recipient")
        told = [heads.header(group, "status"), _after_type(heads.header(group, "diagnostic-code") or "")]
        yield DeliveryStatus(
            channel="email",
            account=account,
            channel_message_id=original,
            state=state,
            at=at,
            permanent=action[0].lower() == "failed",
            reason=" ".join(filter(None, told)) or None,
            recipient=line(_after_type(recipient)),
            ticket=ticket,
        )


def _after_type(value: str) -> str:
    """`rfc822; a@b` -> `a@b`."""
    return value.partition(";")[2].strip() or value.strip()


def _dispositions(leaf: mime.Node, account: str, at: datetime) -> Iterator[DeliveryStatus]:
    for group in _groups(leaf):
        about = message_ids(heads.unfolded(group, "original-message-id"))
        if about and "displayed" in heads.unfolded(group, "disposition").lower():
            yield DeliveryStatus(
                channel="email", account=account, channel_message_id=about[0], state=Delivery.READ, at=at,
                recipient=line(_after_type(heads.unfolded(group, "final-recipient"))),
            )  # fmt: skip
