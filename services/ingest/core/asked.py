"""What follows from a command alone: the ids by which it is known, and the messages that a reply queues."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel

from contracts.commands import Forward, Reply
from contracts.envelope import Command
from contracts.ticket import AuthorKind, Direction, Message
from kit.base.ids import stable_id
from services.ingest.core.pieces import split_reply
from services.ingest.core.policy import TicketPolicy
from services.ingest.core.state import Pending

KEY_CHARACTERS = 200
_COUNTED_AT_DEFAULT = frozenset({
    "add", "address", "agent_id", "attachments", "attachments_left_out", "authentication", "automated", "brand",
    "channel_message_id", "contact", "country", "customer", "html", "id", "identity", "in_reply_to", "inline",
    "language", "lifetime_value", "listing", "location", "market", "marketplace", "media_id", "name", "order_line",
    "order_ref", "orders", "parameters", "preferred_skills", "queue", "raw", "reason", "received_at", "ref", "remove",
    "replace", "reply_by", "required_skills", "shop", "since", "size", "status", "subject", "summary", "text_full",
    "tier", "url",
})  # fmt: skip
"""Optional fields of commands that always count, since they did when tickets began to remember commands. Any other
counts only if it is not at its default, so that a new field changes no fingerprint. Nothing is ever added here.
"""


def message_of(command: Command) -> str | None:
    """Return the id of the message that a reply or forward adds to its ticket; None for other commands."""
    if isinstance(command.data, Forward):
        return command.data.message.id
    return reply_id(command) if isinstance(command.data, Reply) else None


def reply_id(command: Command) -> str:
    """Return the id of a reply: the same each time its command is read."""
    return stable_id("reply", command.subject, command.source, command.id)


def note_id(command: Command) -> str:
    """Return the id of a note: the same each time its command is read."""
    return stable_id("note", command.subject, command.source, command.id)


def fingerprint(command: Command) -> str:
    """Return what a ticket remembers of a command: its id, and after "#" a hash of what it asks."""
    key = f"{command.source}:{command.id}"
    key = key if len(key) <= KEY_CHARACTERS else stable_id("command", command.source, command.id)
    data = command.data.model_dump_json(exclude=_at_default(command.data))
    return f"{key}#{stable_id('asked', command.type, data)[:16]}"


def _at_default(value: BaseModel) -> dict[Any, Any]:
    """Return the fields that do not count in a fingerprint, as pydantic's `exclude` names them."""
    found: dict[Any, Any] = {}
    for name, field in type(value).model_fields.items():
        each = getattr(value, name)
        optional = name not in _COUNTED_AT_DEFAULT and not field.is_required()
        if optional and each == field.get_default(call_default_factory=True):
            found[name] = True
        elif isinstance(each, BaseModel):
            found[name] = _at_default(each)
        elif isinstance(each, tuple):
            found[name] = {at: _at_default(part) for at, part in enumerate(each) if isinstance(part, BaseModel)}
    return found


def same_id(one: str, other: str) -> bool:
    """Whether two fingerprints are of commands with the same id."""
    return one.rpartition("#")[0] == other.rpartition("#")[0]


def queued(command: Command, answers: str | None, policy: TicketPolicy, now: datetime) -> tuple[Pending, ...]:
    """Return the messages of a reply, to be sent. `answers` is the message that the ticket answers next."""
    data = command.data
    assert isinstance(data, Reply)
    message = Message(
        id=reply_id(command),
        direction=Direction.OUT,
        author=data.by,
        text=data.text,
        attachments=data.attachments,
        sent_at=min(command.time, now),  # the author has not seen what arrived after the command was sent
        automated=data.by.kind == AuthorKind.SYSTEM,
        in_reply_to=answers,
    )
    whole = Pending(message, command.id, now, now, html=data.html, template=data.template, status=data.status)
    return split_reply(whole, one_file_per_message=policy.one_file_per_message)
