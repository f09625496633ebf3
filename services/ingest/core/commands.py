"""What a person, a bot or a system may ask of a ticket, and what becomes of it. Refusals are facts, not errors.

Rule: a command is taken once by its id. A reply is only promised here; `sending.py` says what became of it.
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
from kit.base.ids import stable_id
from kit.protocol.document import Decision
from services.ingest.core.lifecycle import SET, Illegal, Move, allowed
from services.ingest.core.moves import close, move, receive
from services.ingest.core.pieces import pieces
from services.ingest.core.policy import TicketPolicy
from services.ingest.core.state import COMMANDS_CAP, PARTICIPANTS_CAP, Draft, Pending, TicketState, remember

PENDING_CAP = 100
#: Bytes of all messages of one ticket that wait to be sent: the document has its limit.
PENDING_BYTES = 2_000_000
#: Bytes of the messages that go on to the other ticket in a merge: they wait in the document too.
FORWARDED_BYTES = 4_000_000
#: Bytes that a ticket may take in each of its events.
TICKET_BYTES = 100_000
KEY_CHARACTERS = 200
#: Bytes of a command: its texts come back in events that carry the ticket too.
COMMAND_BYTES = 384 * 1024
AUTHOR_CHARACTERS = 10_000
CUSTOMER_FACTS = frozenset(CustomerFacts.model_fields)
SOURCE = "/deskbus/ingest"


@dataclass(frozen=True, slots=True)
class CommandContext:
    """A command, and what the worker looked up for it.

    For a merge the other ticket and this one's messages; for a reply which of the files that it names it may name; for
    a message whether the ticket took it so long ago that it no longer remembers it. `fault` says why its data cannot be
    read.
    """

    command: Command
    other: Ticket | None = None
    messages: tuple[Message, ...] = ()
    files: frozenset[str] = frozenset()
    taken: bool = False
    fault: str | None = None


def message_of(command: Command) -> str | None:
    """Return the id of the message that a command puts on its ticket, if it is one that does."""
    if isinstance(command.data, Forward):
        return command.data.message.id
    return reply_id(command) if isinstance(command.data, Reply) else None


def reply_id(command: Command) -> str:
    """Return the id of a reply: the same whenever its command is read again."""
    return stable_id("reply", command.subject, command.source, command.id)


class CommandRefused(Exception):
    """The command is not carried out."""

    def __init__(self, reason: RejectReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def decide(state: TicketState, asked: CommandContext, policy: TicketPolicy, now: datetime) -> Decision[TicketState]:
    """Carry a command out, or say why not."""
    command = asked.command
    key = f"{command.source}:{command.id}"
    key = key if len(key) <= KEY_CHARACTERS else stable_id("command", command.source, command.id)
    data = command.data.model_dump_json()
    taken = f"{key}#{stable_id('asked', command.type, data)[:16]}"
    beyond = state.ticket is not None and not command.reaches(state.ticket.brand, state.ticket.account)
    if taken in state.commands or (isinstance(command.data, Transfer) and not beyond):
        return Decision()  # taken already; or routing's to carry out
    others = any(known.rpartition("#")[0] == key for known in state.commands)
    if others and isinstance(command.data, Forward):
        return Decision()  # ours, and told apart by its id alone
    noted = replace(state, commands=remember(state.commands, taken, COMMANDS_CAP))
    try:
        if others:
            raise CommandRefused(RejectReason.INVALID, "this id was used for another command")
        if state.ticket is None:
            raise CommandRefused(RejectReason.UNKNOWN_TICKET, "there is no such ticket")
        if beyond:
            raise CommandRefused(RejectReason.FORBIDDEN, "the caller is limited to other brands or accounts")
        if asked.fault is not None:
            raise CommandRefused(RejectReason.INVALID, asked.fault)
        if len(data.encode()) > COMMAND_BYTES and not isinstance(command.data, Forward):
            raise CommandRefused(RejectReason.INVALID, f"the command exceeds {COMMAND_BYTES} bytes")
        draft = Draft(noted, now)
        _carry_out(draft, asked, policy)
    except CommandRefused as refused:
        return _refusal(noted, command, refused.reason, str(refused))
    except Illegal as illegal:
        return _refusal(noted, command, RejectReason.NOT_ALLOWED, str(illegal))
    return draft.decision()


def _refusal(state: TicketState, command: Command, reason: RejectReason, detail: str) -> Decision[TicketState]:
    by: Author | None = getattr(command.data, "by", None)
    if by is not None and len(by.model_dump_json()) > AUTHOR_CHARACTERS:
        by = None  # the answer must fit into an event, however large the command was
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


def _carry_out(draft: Draft, asked: CommandContext, policy: TicketPolicy) -> None:
    command, data = asked.command, asked.command.data
    handler = _HANDLERS.get(type(data))
    if handler is None:
        raise CommandRefused(RejectReason.UNKNOWN_COMMAND, f"unknown command {command.type}")
    if draft.ticket.merged_into is not None and not isinstance(data, Forward):
        raise CommandRefused(
            RejectReason.NOT_ALLOWED, f"merged into {draft.ticket.merged_into}: send the command there"
        )
    if data.by.kind == AuthorKind.CONTACT:
        raise CommandRefused(RejectReason.NOT_ALLOWED, "a contact cannot send commands")
    handler(draft, asked, data, policy)
    if len(draft.ticket.model_dump_json()) > TICKET_BYTES:
        raise CommandRefused(RejectReason.INVALID, f"the ticket would exceed {TICKET_BYTES} bytes")


def _not_closed(draft: Draft) -> None:
    if draft.ticket.status == Status.CLOSED:
        raise CommandRefused(RejectReason.NOT_ALLOWED, "the ticket is closed")


def _reply(draft: Draft, asked: CommandContext, data: Reply, policy: TicketPolicy) -> None:
    command = asked.command
    if _is_there(draft, asked):
        return
    _not_closed(draft)
    for file in data.attachments:
        _may_send(file, asked.files)
    if data.status is not None and not allowed(draft.ticket.status, SET[data.status]):
        raise CommandRefused(RejectReason.NOT_ALLOWED, f"from {draft.ticket.status.value} to {data.status.value}")
    message = Message(
        id=reply_id(command),
        direction=Direction.OUT,
        author=data.by,
        text=data.text,
        attachments=data.attachments,
        sent_at=min(command.time, draft.now),  # not when it was taken: what came in between is not answered by it
        automated=data.by.kind == AuthorKind.SYSTEM,
        in_reply_to=draft.state.answers,
    )
    whole = Pending(message, command.id, draft.now, draft.now, html=data.html, status=data.status)
    pending = (*draft.state.pending, *pieces(whole, files_apart=policy.files_apart))
    if len(pending) > PENDING_CAP or sum(_weight(each.message.text, each.html) for each in pending) > PENDING_BYTES:
        raise CommandRefused(RejectReason.NOT_ALLOWED, "too many replies are waiting to be sent")
    draft.keep(pending=pending)


def _is_there(draft: Draft, asked: CommandContext) -> bool:
    """Whether the ticket has the message, or it waits to be sent: of commands only the latest are remembered."""
    message, state = message_of(asked.command), draft.state
    return asked.taken or message in state.taken or any(message == each.message.id for each in state.pending)


def _may_send(file: Attachment, known: Collection[str]) -> None:
    """Refuse a file that is neither the ticket's nor the caller's: its id alone opens nothing."""
    if file.media_id is not None or (file.ref is None) == (file.url is None):
        raise CommandRefused(RejectReason.INVALID, f"the file {file.name!r} must have either a ref or a url")
    if file.url is not None and not file.url.startswith(("https://", "http://")):
        raise CommandRefused(RejectReason.INVALID, f"the url of the file {file.name!r} is not an http(s) URL")
    if file.ref is not None and file.ref not in known:
        raise CommandRefused(
            RejectReason.FORBIDDEN, f"the file {file.name!r} belongs neither to this ticket nor to the caller's uploads"
        )


def _weight(text: str, html: str | None) -> int:
    return 4 * (len(text) + len(html or ""))


def _note(draft: Draft, asked: CommandContext, data: AddNote, _: TicketPolicy) -> None:
    command = asked.command
    note = Message(
        id=stable_id("note", draft.ticket.id, command.source, command.id),
        direction=Direction.OUT,
        author=data.by,
        text=data.text,
        sent_at=draft.now,
    )
    draft.store(note, kind="note")
    draft.say(lambda t: NoteAdded(ticket=t, note_id=note.id, author=data.by, text=data.text, command_id=command.id))


def _status(draft: Draft, _: CommandContext, data: SetStatus, policy: TicketPolicy) -> None:
    move(draft, SET[data.status], data.by, data.reason or "command", policy)


def _priority(draft: Draft, _: CommandContext, data: SetPriority, __: TicketPolicy) -> None:
    _not_closed(draft)
    old = draft.ticket.priority
    if old != data.priority:
        draft.say(
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
        draft.say(
            lambda t: TicketTagged(ticket=t, added=added, removed=removed, actor=data.by), tags=tuple(sorted(new))
        )


def _facts(draft: Draft, asked: CommandContext, data: SetFacts, _: TicketPolicy) -> None:
    """Take what is given and differs; of the customer fact by fact, and what is not given stays as it is."""
    _not_closed(draft)
    ticket = draft.ticket
    if data.brand is not None and not asked.command.reaches(data.brand, ticket.account):
        raise CommandRefused(RejectReason.FORBIDDEN, "the caller is limited to other brands")
    changes: dict[str, Any] = _differing(data, ticket, set(Facts.model_fields) - {"customer"})
    changed = sorted(changes)
    old: dict[str, Any] = {name: getattr(ticket, name) for name in changes}
    if data.customer is not None and (of_customer := _differing(data.customer, ticket.customer, CUSTOMER_FACTS)):
        changes["customer"] = ticket.customer.model_copy(update=of_customer)
        changed += [f"customer.{name}" for name in sorted(of_customer)]
        old["customer"] = CustomerFacts(**{name: getattr(ticket.customer, name) for name in of_customer})
    if changes:
        before, command = Facts(**old), asked.command
        draft.say(
            lambda t: TicketFactsChanged(
                ticket=t, changed=tuple(changed), old=before, actor=data.by, command_id=command.id
            ),
            **changes,
        )


def _differing(given: Value, known: Value, names: Collection[str]) -> dict[str, Any]:
    """The given values that differ from the known ones."""
    values = {name: value for name in names if (value := getattr(given, name)) is not None}
    return {name: value for name, value in values.items() if value != getattr(known, name)}


def _hand_off(draft: Draft, _: CommandContext, data: HandOff, __: TicketPolicy) -> None:
    _not_closed(draft)
    if not draft.ticket.handled_by_bot:
        raise CommandRefused(RejectReason.NOT_ALLOWED, "agents already have the conversation")
    skills = {**draft.ticket.required_skills, **(data.required_skills or {})}
    hand_off(draft, data.by, data.reason, data.summary, required_skills=skills)


def hand_off(draft: Draft, actor: Author, reason: str | None, summary: str | None = None, **changes: Any) -> None:
    """Give the conversation from the bot to people."""
    draft.say(
        lambda t: TicketHandedOff(ticket=t, actor=actor, reason=reason, summary=summary),
        handled_by_bot=False,
        handed_off_at=draft.now,
        **changes,
    )


def _merge(draft: Draft, asked: CommandContext, data: Merge, _: TicketPolicy) -> None:
    """Merge into the older one (ids grow with time), and let the customer's open questions go on to it."""
    if data.into >= draft.ticket.id:
        raise CommandRefused(
            RejectReason.INVALID, f"the older ticket must survive: merge {data.into} into {draft.ticket.id}"
        )
    if asked.other is None or asked.other.status == Status.CLOSED:
        raise CommandRefused(RejectReason.INVALID, f"ticket {data.into} does not exist or is closed")
    _not_closed(draft)
    other, ticket = asked.other, draft.ticket
    if (other.channel, other.account, other.brand) != (ticket.channel, ticket.account, ticket.brand):
        raise CommandRefused(
            RejectReason.NOT_ALLOWED, "a ticket can only be merged into one of the same account and brand"
        )
    waiting = set(draft.state.unanswered)
    messages = [message for message in asked.messages if _came_at(message) in waiting and not message.automated]
    if {_came_at(message) for message in messages} != waiting:
        raise TransientError("some messages of the ticket are not stored yet")
    if sum(len(message.model_dump_json().encode()) for message in messages) > FORWARDED_BYTES:
        detail = f"what is unanswered takes more than {FORWARDED_BYTES} bytes: answer or solve the ticket first"
        raise CommandRefused(RejectReason.NOT_ALLOWED, detail)
    for message in messages:
        _forward_on(draft, message, asked.command, data.into, draft.ticket.contact)
    draft.say(lambda t: TicketMerged(ticket=t, into=data.into, actor=data.by), merged_into=data.into)
    close(draft, CloseReason.MERGED, data.by, Move.MERGE)


def _forward(draft: Draft, asked: CommandContext, data: Forward, policy: TicketPolicy) -> None:
    if asked.command.source != SOURCE:
        raise CommandRefused(RejectReason.NOT_ALLOWED, "only ingest may forward commands")
    message = data.message
    if _is_there(draft, asked):
        return
    draft.take(message.id)
    if (further := draft.ticket.merged_into) is not None:
        _forward_on(draft, message, asked.command, further, data.contact)
        return
    draft.store(message)
    if draft.ticket.status == Status.CLOSED:  # closed while it was on its way: kept, but nobody is woken
        draft.say(lambda t: MessageReceived(ticket=t, message=message), message_count=draft.ticket.message_count + 1)
        return
    if data.contact is not None:
        draft.keep(participants=tuple(dict.fromkeys((*draft.state.participants, data.contact.id)))[-PARTICIPANTS_CAP:])
    receive(draft, message, _came_at(message), policy, {})


def _came_at(message: Message) -> datetime:
    return message.received_at or message.sent_at


def _forward_on(draft: Draft, message: Message, command: Command, into: str, contact: ContactRef | None) -> None:
    pending = Pending(message, command.id, draft.now, draft.now, into=into, contact=contact)
    draft.keep(pending=(*draft.state.pending, pending))


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
