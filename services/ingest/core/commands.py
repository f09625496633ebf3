"""Commands from people, bots and systems, and what they do to a ticket. A refusal is an event, not an error.

Rule: a command is carried out at most once per id. A reply is only queued here; `sending.py` decides its outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from contracts.commands import (
    AddNote,
    CommandPayload,
    Forward,
    HandOff,
    Merge,
    Reply,
    SetFacts,
    SetPriority,
    SetStatus,
    SetTags,
    Transfer,
)
from contracts.envelope import Command
from contracts.ticket import (
    Attachment,
    Author,
    AuthorKind,
    ContactRef,
    CustomerFacts,
    Direction,
    Facts,
    Message,
    Status,
    Ticket,
)
from contracts.tickets import (
    CloseReason,
    CommandRejected,
    MessageReceived,
    NoteAdded,
    RejectReason,
    TicketFactsChanged,
    TicketHandedOff,
    TicketMerged,
    TicketPriorityChanged,
    TicketTagged,
)
from contracts.values import Value
from kit.base.errors import TransientError
from kit.protocol.document import Decision
from services.ingest.core.asked import fingerprint, message_of, note_id, queued, same_id
from services.ingest.core.lifecycle import MOVE_TO, IllegalMove, Move, allowed
from services.ingest.core.moves import close, move, receive
from services.ingest.core.policy import TicketPolicy
from services.ingest.core.state import COMMANDS_CAP, PARTICIPANTS_CAP, Draft, Pending, TicketState, remember

#: Maximum number of messages of one ticket that wait to be sent.
PENDING_CAP = 100
#: Maximum bytes of these messages; they are stored in the ticket's document.
PENDING_BYTES = 2_000_000
#: Maximum bytes of the messages that a merge forwards; they wait in the ticket's document as well.
FORWARDED_BYTES = 4_000_000
#: Maximum bytes of a ticket (as JSON); every event of the ticket contains it.
TICKET_BYTES = 100_000
#: Maximum bytes of a command: its texts are repeated in events that also contain the ticket.
COMMAND_BYTES = 384 * 1024
AUTHOR_CHARACTERS = 10_000
CUSTOMER_FACTS = frozenset(CustomerFacts.model_fields)
SOURCE = "/deskbus/ingest"


@dataclass(frozen=True, slots=True)
class CommandContext:
    """A command, and what the worker looked up for it."""

    command: Command
    #: Merge: the ticket to merge into.
    other: Ticket | None = None
    #: Merge: the customer's unanswered messages on the ticket.
    messages: tuple[Message, ...] = ()
    #: Reply: ids of the attached files that the caller may use.
    files: frozenset[str] = frozenset()
    #: Reply and forward: the ticket already took the message, and TAKEN says so.
    taken: bool = False
    #: Why the command's data cannot be read.
    fault: str | None = None


class CommandRefused(Exception):
    """The command is refused; `reason` and the message go into `command.rejected`."""

    def __init__(self, reason: RejectReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def decide(state: TicketState, context: CommandContext, policy: TicketPolicy, now: datetime) -> Decision[TicketState]:
    """Carry out a command, or refuse it with `command.rejected`. Raises TransientError if a merge must be retried."""
    command = context.command
    data, asked = command.data.model_dump_json(), fingerprint(command)
    out_of_scope = state.ticket is not None and not command.reaches(state.ticket.brand, state.ticket.account)
    if asked in state.commands or (isinstance(command.data, Transfer) and not out_of_scope):
        return Decision()  # already handled; or a transfer, which routing carries out
    id_used = any(same_id(known, asked) for known in state.commands)
    if id_used and isinstance(command.data, Forward):
        return Decision()  # forwards come from ingest itself: the id is enough to recognize one
    noted = replace(state, commands=remember(state.commands, asked, COMMANDS_CAP))
    try:
        if id_used:
            raise CommandRefused(RejectReason.INVALID, "this id was used for another command")
        if state.ticket is None:
            raise CommandRefused(RejectReason.UNKNOWN_TICKET, "there is no such ticket")
        if out_of_scope:
            raise CommandRefused(RejectReason.FORBIDDEN, "the caller is limited to other brands or accounts")
        if context.fault is not None:
            raise CommandRefused(RejectReason.INVALID, context.fault)
        if len(data.encode()) > COMMAND_BYTES and not isinstance(command.data, Forward):
            raise CommandRefused(RejectReason.INVALID, f"the command exceeds {COMMAND_BYTES} bytes")
        draft = Draft(noted, now)
        _carry_out(draft, context, policy)
    except CommandRefused as refused:
        return _refusal(noted, command, refused.reason, str(refused))
    except IllegalMove as illegal:
        return _refusal(noted, command, RejectReason.NOT_ALLOWED, str(illegal))
    return draft.decision()


def _refusal(state: TicketState, command: Command, reason: RejectReason, detail: str) -> Decision[TicketState]:
    by: Author | None = getattr(command.data, "by", None)
    if by is not None and len(by.model_dump_json()) > AUTHOR_CHARACTERS:
        by = None  # the event must stay small, however large the command was
    rejected = CommandRejected(
        ticket=state.ticket,
        ticket_id=command.subject,
        command_id=command.id,
        command_type=command.type,
        reason=reason.value,
        detail=detail,
        actor=by,
    )
    return Decision(state, [rejected])


def _carry_out(draft: Draft, context: CommandContext, policy: TicketPolicy) -> None:
    command, data = context.command, context.command.data
    handler = _HANDLERS.get(type(data))
    if handler is None:
        raise CommandRefused(RejectReason.UNKNOWN_COMMAND, f"unknown command {command.type}")
    if draft.ticket.merged_into is not None and not isinstance(data, Forward):
        raise CommandRefused(
            RejectReason.NOT_ALLOWED, f"merged into {draft.ticket.merged_into}: send the command there"
        )
    if data.by.kind == AuthorKind.CONTACT:
        raise CommandRefused(RejectReason.NOT_ALLOWED, "a contact cannot send commands")
    handler(draft, context, data, policy)
    if len(draft.ticket.model_dump_json()) > TICKET_BYTES:
        raise CommandRefused(RejectReason.INVALID, f"the ticket would exceed {TICKET_BYTES} bytes")


def _not_closed(draft: Draft) -> None:
    if draft.ticket.status == Status.CLOSED:
        raise CommandRefused(RejectReason.NOT_ALLOWED, "the ticket is closed")


def _reply(draft: Draft, context: CommandContext, data: Reply, policy: TicketPolicy) -> None:
    command = context.command
    if _is_known(draft, context):
        return
    _not_closed(draft)
    for file in data.attachments:
        _check_file(file, context.files)
    if data.template is not None:
        _check_template(data, policy)
    if data.status is not None and not allowed(draft.ticket.status, MOVE_TO[data.status]):
        raise CommandRefused(RejectReason.NOT_ALLOWED, f"from {draft.ticket.status.value} to {data.status.value}")
    pending = (*draft.state.pending, *queued(command, draft.state.answers, policy, draft.now))
    if len(pending) > PENDING_CAP or sum(map(_max_bytes, pending)) > PENDING_BYTES:
        raise CommandRefused(RejectReason.NOT_ALLOWED, "too many replies are waiting to be sent")
    draft.update(pending=pending)


def _check_template(data: Reply, policy: TicketPolicy) -> None:
    if policy.window is None or not policy.window.templates:
        raise CommandRefused(RejectReason.NOT_ALLOWED, "the channel takes no templates")
    if data.attachments or data.html is not None:
        raise CommandRefused(RejectReason.INVALID, "a template has neither html nor attachments")


def _is_known(draft: Draft, context: CommandContext) -> bool:
    """Whether the message is already on the ticket or queued. Needed since only recent command ids are remembered."""
    message, state = message_of(context.command), draft.state
    return context.taken or message in state.taken or any(message == each.message.id for each in state.pending)


def _check_file(file: Attachment, known: Collection[str]) -> None:
    """Raise CommandRefused unless the file belongs to the ticket or the caller. Knowing its id is not enough."""
    if file.media_id is not None or (file.ref is None) == (file.url is None):
        raise CommandRefused(RejectReason.INVALID, f"the file {file.name!r} must have either a ref or a url")
    if file.url is not None and not file.url.startswith(("https://", "http://")):
        raise CommandRefused(RejectReason.INVALID, f"the url of the file {file.name!r} is not an http(s) URL")
    if file.ref is not None and file.ref not in known:
        raise CommandRefused(
            RejectReason.FORBIDDEN, f"the file {file.name!r} belongs neither to this ticket nor to the caller's uploads"
        )


def _max_bytes(pending: Pending) -> int:
    """Return at most how many bytes a queued message takes in the ticket's document."""
    template = "" if pending.template is None else pending.template.model_dump_json()
    files = (file.model_dump_json(exclude_none=True) for file in pending.message.attachments)
    return 4 * sum(map(len, (pending.message.text, pending.html or "", template, *files)))


def _note(draft: Draft, context: CommandContext, data: AddNote, _: TicketPolicy) -> None:
    command = context.command
    note = Message(
        id=note_id(command),
        direction=Direction.OUT,
        author=data.by,
        text=data.text,
        sent_at=draft.now,
    )
    draft.store(note, kind="note")
    draft.emit(lambda t: NoteAdded(ticket=t, note_id=note.id, author=data.by, text=data.text, command_id=command.id))


def _status(draft: Draft, _: CommandContext, data: SetStatus, policy: TicketPolicy) -> None:
    move(draft, MOVE_TO[data.status], data.by, data.reason or "command", policy)


def _priority(draft: Draft, _: CommandContext, data: SetPriority, __: TicketPolicy) -> None:
    _not_closed(draft)
    old = draft.ticket.priority
    if old != data.priority:
        draft.emit(
            lambda t: TicketPriorityChanged(ticket=t, old=old, new=data.priority, actor=data.by, reason=data.reason),
            priority=data.priority,
        )


def _tags(draft: Draft, _: CommandContext, data: SetTags, __: TicketPolicy) -> None:
    _not_closed(draft)
    old = set(draft.ticket.tags)
    wanted = set(data.replace) if data.replace is not None else (old | set(data.add)) - set(data.remove)
    new = {tag.strip() for tag in wanted if tag.strip()}
    if new != old:
        added, removed = tuple(sorted(new - old)), tuple(sorted(old - new))
        draft.emit(
            lambda t: TicketTagged(ticket=t, added=added, removed=removed, actor=data.by), tags=tuple(sorted(new))
        )


def _facts(draft: Draft, context: CommandContext, data: SetFacts, _: TicketPolicy) -> None:
    """Set the given facts. Those that are omitted keep their value; customer facts are compared one by one."""
    _not_closed(draft)
    ticket = draft.ticket
    if data.brand is not None and not context.command.reaches(data.brand, ticket.account):
        raise CommandRefused(RejectReason.FORBIDDEN, "the caller is limited to other brands")
    changes: dict[str, Any] = _differences(data, ticket, set(Facts.model_fields) - {"customer"})
    changed = sorted(changes)
    old: dict[str, Any] = {name: getattr(ticket, name) for name in changes}
    if data.customer is not None and (customer_changes := _differences(data.customer, ticket.customer, CUSTOMER_FACTS)):
        changes["customer"] = ticket.customer.model_copy(update=customer_changes)
        changed += [f"customer.{name}" for name in sorted(customer_changes)]
        old["customer"] = CustomerFacts(**{name: getattr(ticket.customer, name) for name in customer_changes})
    if changes:
        before, command = Facts(**old), context.command
        draft.emit(
            lambda t: TicketFactsChanged(
                ticket=t, changed=tuple(changed), old=before, actor=data.by, command_id=command.id
            ),
            **changes,
        )


def _differences(given: Value, known: Value, names: Collection[str]) -> dict[str, Any]:
    """Return the given values that differ from the known ones; None counts as not given."""
    values = {name: value for name in names if (value := getattr(given, name)) is not None}
    return {name: value for name, value in values.items() if value != getattr(known, name)}


def _hand_off(draft: Draft, _: CommandContext, data: HandOff, __: TicketPolicy) -> None:
    _not_closed(draft)
    if not draft.ticket.handled_by_bot:
        raise CommandRefused(RejectReason.NOT_ALLOWED, "agents already have the conversation")
    skills = {**draft.ticket.required_skills, **(data.required_skills or {})}
    hand_off(draft, data.by, data.reason, data.summary, required_skills=skills)


def hand_off(draft: Draft, actor: Author, reason: str | None, summary: str | None = None, **changes: Any) -> None:
    """Hand the conversation from the bot to agents."""
    draft.emit(
        lambda t: TicketHandedOff(ticket=t, actor=actor, reason=reason, summary=summary),
        handled_by_bot=False,
        handed_off_at=draft.now,
        **changes,
    )


def _merge(draft: Draft, context: CommandContext, data: Merge, _: TicketPolicy) -> None:
    """Merge into the older ticket (ids grow with time), and forward the customer's unanswered messages to it."""
    if data.into >= draft.ticket.id:
        raise CommandRefused(
            RejectReason.INVALID, f"the older ticket must survive: merge {data.into} into {draft.ticket.id}"
        )
    if context.other is None or context.other.status == Status.CLOSED:
        raise CommandRefused(RejectReason.INVALID, f"ticket {data.into} does not exist or is closed")
    _not_closed(draft)
    other, ticket = context.other, draft.ticket
    if (other.channel, other.account, other.brand) != (ticket.channel, ticket.account, ticket.brand):
        raise CommandRefused(
            RejectReason.NOT_ALLOWED, "a ticket can only be merged into one of the same account and brand"
        )
    waiting = set(draft.state.unanswered)
    messages = [message for message in context.messages if _arrived_at(message) in waiting and not message.automated]
    if {_arrived_at(message) for message in messages} != waiting:
        raise TransientError("some messages of the ticket are not stored yet")
    if sum(len(message.model_dump_json().encode()) for message in messages) > FORWARDED_BYTES:
        detail = f"what is unanswered takes more than {FORWARDED_BYTES} bytes: answer or solve the ticket first"
        raise CommandRefused(RejectReason.NOT_ALLOWED, detail)
    for message in messages:
        _enqueue_forward(draft, message, context.command, data.into, draft.ticket.contact)
    draft.emit(lambda t: TicketMerged(ticket=t, into=data.into, actor=data.by), merged_into=data.into)
    close(draft, CloseReason.MERGED, data.by, Move.MERGE)


def _forward(draft: Draft, context: CommandContext, data: Forward, policy: TicketPolicy) -> None:
    if context.command.source != SOURCE:
        raise CommandRefused(RejectReason.NOT_ALLOWED, "only ingest may forward commands")
    message = data.message
    if _is_known(draft, context):
        return
    draft.mark_taken(message.id)
    if (next_ticket := draft.ticket.merged_into) is not None:
        _enqueue_forward(draft, message, context.command, next_ticket, data.contact)
        return
    draft.store(message)
    if draft.ticket.status == Status.CLOSED:  # closed while the forward was in transit: record it, reopen nothing
        draft.emit(lambda t: MessageReceived(ticket=t, message=message), message_count=draft.ticket.message_count + 1)
        return
    if data.contact is not None:
        draft.update(
            participants=tuple(dict.fromkeys((*draft.state.participants, data.contact.id)))[-PARTICIPANTS_CAP:]
        )
    receive(draft, message, _arrived_at(message), policy, {})


def _arrived_at(message: Message) -> datetime:
    return message.received_at or message.sent_at


def _enqueue_forward(draft: Draft, message: Message, command: Command, into: str, contact: ContactRef | None) -> None:
    pending = Pending(message, command.id, draft.now, draft.now, into=into, contact=contact)
    draft.update(pending=(*draft.state.pending, pending))


_HANDLERS: dict[type[CommandPayload], Callable[[Draft, CommandContext, Any, TicketPolicy], None]] = {
    Reply: _reply,
    AddNote: _note,
    SetStatus: _status,
    SetPriority: _priority,
    SetTags: _tags,
    SetFacts: _facts,
    HandOff: _hand_off,
    Merge: _merge,
    Forward: _forward,
}
