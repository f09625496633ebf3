"""Machines that write mail: reports about mail that we sent (RFC 3464, 8098), and what else is automatic (RFC 3834)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from email.message import Message

from services.ingest.channels import headers as heads
from services.ingest.channels import mime
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
    """Why a machine wrote this; None: a person did, as far as one can tell."""
    submitted = heads.unfolded(headers, "auto-submitted").split(";")[0].strip().lower()
    if submitted and submitted != "no":
        return f"Auto-Submitted: {line(submitted, 60)}"
    if return_path == "":
        return "null return path"
    if any(name.lower().startswith("list-") for name in headers.keys()):  # noqa: SIM118 - a Message is no dict
        return "List-* header"
    precedence = heads.unfolded(headers, "precedence").lower()
    if precedence in {"bulk", "list", "junk"}:
        return f"Precedence: {precedence}"
    if headers.get_content_type() == "multipart/report":
        return "multipart/report"
    if heads.unfolded(headers, "x-autoreply") or heads.unfolded(headers, "x-autorespond"):
        return "auto-reply header"
    return None


def facts(root: mime.Node, account: str, at: datetime) -> list[DeliveryStatus]:
    """What a report says about our messages; nothing for any other mail."""
    if root.media_type != "multipart/report":
        return []
    original = _original(root)
    found: list[DeliveryStatus] = []
    for leaf in root.leaves():
        if leaf.media_type in {"message/delivery-status", "message/global-delivery-status"} and original:
            found.extend(_deliveries(leaf, original, account, at))
        elif leaf.media_type in {"message/disposition-notification", "message/global-disposition-notification"}:
            found.extend(_dispositions(leaf, account, at))
    return found


def _original(root: mime.Node) -> str | None:
    """Message-ID of what the report is about: out of the copy that it carries, else out of what it answers."""
    copies = {"message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers"}
    for leaf in root.leaves():
        if leaf.media_type in copies:
            block = heads.read(leaf.content(heads.MAX_BLOCK))
            if found := message_ids(heads.unfolded(block, "message-id")):
                return found[0]
    for name in ("original-message-id", "in-reply-to", "references"):
        if found := message_ids(heads.unfolded(root.headers, name)):
            return found[-1]
    return None


def _groups(leaf: mime.Node) -> Iterator[Message]:
    for block in re.split(rb"\r?\n(?:[ \t]*\r?\n)+", leaf.content(heads.MAX_BLOCK).strip())[: _MAX_RECIPIENTS + 1]:
        yield heads.read(block)


def _deliveries(leaf: mime.Node, original: str, account: str, at: datetime) -> Iterator[DeliveryStatus]:
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
