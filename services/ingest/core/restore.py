"""A ticket from the events that it published and the commands that it was asked. No IO, and nothing is sent.

Rule: every event carries the whole ticket, so nothing is decided again: the ticket is what its last event says, and
what is stored beside it follows from one event after the other. What only raw messages tell is in their `Detail`.
A reply that was asked for and has no outcome may have been sent; it is marked as lost, and fails for all to see.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from contracts.commands import Forward, Reply, Transfer
from contracts.envelope import Command, Event
from contracts.ticket import AuthorKind, Direction, Message, Status, Ticket
from contracts.tickets import (
    CommandRejected,
    MessageBounced,
    MessageDelivered,
    MessageFailed,
    MessageReceived,
    MessageSent,
    NoteAdded,
    TicketClosed,
    TicketEvent,
    TicketMerged,
    TicketOpened,
    TicketReopened,
    TicketStatusChanged,
)
from kit.protocol.document import Insert
from services.ingest.core import asked, moves, ticket
from services.ingest.core.policy import AccountDefaults, TicketPolicy
from services.ingest.core.restored import (
    Arrived,
    Claimed,
    Detail,
    Restored,
    arrival_of,
    detail_of,
    is_mail,
    sent_anchors,
)
from services.ingest.core.state import (
    ANSWERED_CAP,
    COMMANDS_CAP,
    MESSAGES,
    PARTICIPANTS_CAP,
    TAKEN,
    TAKEN_CAP,
    Answer,
    Draft,
    Pending,
    TicketState,
    message_document,
    remember,
    taken_id,
)
from services.ingest.core.threading import accepts, separate_anchor, successor_anchor


@dataclass(frozen=True, slots=True)
class Asked:
    """A command that the ticket was asked, written to Kafka at `at`."""

    command: Command
    at: datetime
    #: Whether the consumer group has committed past it. If not, it counts only if events name it.
    handled: bool = True


class Known(Protocol):
    """What is known besides the ticket's own events and commands."""

    def policy(self, channel: str, account: str) -> TicketPolicy: ...

    def defaults(self, channel: str, account: str) -> AccountDefaults: ...

    def detail(self, message: str, receipt: str | None) -> Detail | None:
        """Return what the raw record tells of a customer's message; None if the record is gone."""

    def forwarded(self, ticket: str, message: str, into: str) -> bool:
        """Whether a merged ticket's message was forwarded: the command was written, or the other ticket has it."""

    def mail_id(self, message: str, channel: str, account: str) -> str | None:
        """Return the Message-ID that a reply by mail had; None on other channels."""


def restore(
    ticket_id: str, events: Sequence[Event], commands: Sequence[Asked], links: Sequence[Event], known: Known
) -> Restored:
    """Return the ticket after its events. `links` are the events that opened tickets linked to this one, by mail."""
    fold = _Fold(ticket_id, events, commands, known)
    later = sorted(links, key=lambda event: event.time)
    for event in events:
        while later and later[0].time <= event.time:
            fold.link(later.pop(0))
        fold.ask_until(event.time, {event.causationid, getattr(event.data, "command_id", None)})
        fold.apply(event)
    fold.ask_until(None, set())
    for link in later:
        fold.link(link)
    return fold.finish(events)


class _Fold:
    def __init__(self, ticket_id: str, events: Sequence[Event], commands: Sequence[Asked], known: Known) -> None:
        self._id, self._known, self._state, self._made = ticket_id, known, TicketState(), Restored()
        named = {event.causationid for event in events} | {getattr(e.data, "command_id", None) for e in events}
        self._asked = [each for each in commands if each.handled or each.command.id in named]
        self._named = named
        refusals = [event.data.command_id for event in events if isinstance(event.data, CommandRejected)]
        distinct = {(each.command.id, asked.fingerprint(each.command)) for each in self._asked}
        times = Counter(number for number, _ in distinct)
        self._refused = {number for number, count in Counter(refusals).items() if count >= times[number]}
        self._rejected = set(refusals)
        self._taken: dict[str, None] = {}
        self._forwards = {each.command.id: each.command.data for each in self._asked}
        self._silent: list[tuple[Forward, str, datetime]] = []
        self._received: list[Message] = []
        self._whole: dict[str, str | None] = {}
        self._reopened_by: str | None = None

    # -- commands ------------------------------------------------------------------------------------------------

    def ask_until(self, at: datetime | None, named: set[str | None]) -> None:
        """Take the commands up to an instant, and those that an event names."""
        last = max((n for n, each in enumerate(self._asked) if each.command.id in named), default=-1)
        count = 0
        while count < len(self._asked) and (at is None or count <= last or self._asked[count].at <= at):
            self._ask(self._asked[count].command, self._asked[count].at)
            count += 1
        del self._asked[:count]

    def _ask(self, command: Command, at: datetime) -> None:
        known, data = self._state.commands, command.data
        print_ = asked.fingerprint(command)
        if print_ in known or (isinstance(data, Transfer) and command.id not in self._rejected):
            return
        id_used = any(asked.same_id(each, print_) for each in known)
        if id_used and isinstance(data, Forward):
            return
        self._update(commands=remember(known, print_, COMMANDS_CAP))
        if id_used or command.id in self._refused or self._state.ticket is None:
            return
        message = asked.message_of(command)
        if message in self._taken or any(message == each.message.id for each in self._state.pending):
            return
        if isinstance(data, Reply):
            queued = asked.queued(command, self._state.answers, self._policy(), at)
            self._update(pending=(*self._state.pending, *(replace(each, lost=True) for each in queued)))
        elif isinstance(data, Forward) and command.id not in self._named:
            self._silent.append((data, command.id, at))  # the ticket was merged before it took the message

    def _forward(self, pending: Pending) -> None:
        self._update(pending=(*self._state.pending, pending))

    # -- events --------------------------------------------------------------------------------------------------

    def apply(self, event: Event) -> None:
        """Apply one event, then take over the ticket that it carries."""
        data, now = event.data, event.time
        match data:
            case TicketOpened(message=Message() as message):
                self._arrived(event, data.ticket, message)
            case MessageReceived():
                self._receive(event, data)
            case MessageSent():
                self._sent(event, data)
            case MessageFailed():
                self._drop_pending(data.message.id)
                self._store(data.message, kind="failed")
                self._claim_sent(now, data.ticket, data.message, tried=False)
            case MessageDelivered():
                self._report(data.message_id, data.state)
            case MessageBounced(message_id=str() as number):
                self._report(number, "bounced" if data.permanent else "delayed")
                if data.permanent:
                    draft = Draft(self._state, now)
                    moves.withdraw_answer(draft, number)
                    self._state = draft.state
            case NoteAdded():
                self._note(data)
            case TicketReopened():
                self._reopened_by = data.message_id
                self._update(closes_at=None)
            case TicketStatusChanged(new=Status.SOLVED) if data.ticket.solved_at is not None:
                window = self._policy(data.ticket).reopen_window
                self._update(answered=(), closes_at=data.ticket.solved_at + window)
            case TicketMerged():
                self._merged(event, data)
            case TicketClosed():
                self._update(answered=(), closes_at=None)
        if isinstance(data, TicketEvent) or (isinstance(data, CommandRejected) and data.ticket is not None):
            assert data.ticket is not None
            self._follow(data.ticket)

    def _follow(self, carried: Ticket) -> None:
        """Take over the ticket of an event. What is unanswered is never older than the oldest that it names."""
        oldest = carried.oldest_unanswered_at
        unanswered = tuple(at for at in self._state.unanswered if oldest is not None and at >= oldest)
        self._update(ticket=carried, unanswered=unanswered)

    def _arrived(self, event: Event, carried: Ticket, message: Message) -> None:
        opens = isinstance(event.data, TicketOpened)
        detail = self._known.detail(message.id, event.causationid)
        if detail is None:
            self._made.guessed += 1
            detail = detail_of(carried, message, self._known.defaults(carried.channel, carried.account))
        self._state = ticket.with_author(self._state, arrival_of(carried, message, detail))
        self._store(message, whole=detail.whole)
        self._whole[message.id] = detail.whole
        self._take(message)
        self._made.arrived.append(
            Arrived(
                event.time,
                self._id,
                message.id,
                message.author.id or "",
                detail,
                opens=opens,
                linked=carried.linked_to is not None,
                mail=is_mail(carried),
            )
        )

    def _take(self, message: Message) -> None:
        self._taken[message.id] = None
        if message.automated:
            return
        self._received.append(message)
        at = _arrived_at(message)
        self._update(unanswered=tuple(sorted((*self._state.unanswered, at)))[: moves.UNANSWERED_CAP])

    def _receive(self, event: Event, data: MessageReceived) -> None:
        message, before = data.message, self._state.ticket
        if self._reopened_by == message.id:
            at = _arrived_at(message)
            recent = [each for each in self._state.reopened if at - each < self._policy(data.ticket).reopen_period]
            self._update(reopened=(*recent, at))
        self._reopened_by = None
        if not (event.causationid or "").startswith("forward:"):
            self._arrived(event, data.ticket, message)
            return
        self._store(message)
        if before is not None and before.status == Status.CLOSED:
            self._taken[message.id] = None
            return
        self._take(message)
        forward = self._forwards.get(event.causationid or "")
        if isinstance(forward, Forward) and forward.contact is not None:
            people = dict.fromkeys((*self._state.participants, forward.contact.id))
            self._update(participants=tuple(people)[-PARTICIPANTS_CAP:])

    def _sent(self, event: Event, data: MessageSent) -> None:
        message = data.message
        asked_for = self._drop_pending(message.id)
        self._taken[message.id] = None
        self._store(message)
        self._claim_sent(event.time, data.ticket, message)
        if message.author.kind != AuthorKind.AGENT or message.automated:
            return
        oldest = data.ticket.oldest_unanswered_at
        questions = tuple(at for at in self._state.unanswered if oldest is None or at < oldest)
        if asked_for is None:
            self._made.guessed += 1
        given = asked_for.message.sent_at if asked_for else max(questions, default=message.sent_at)
        answer = Answer(message.id, given, message.sent_at, questions)
        self._update(answered=(*self._state.answered, answer)[-ANSWERED_CAP:])

    def _merged(self, event: Event, data: TicketMerged) -> None:
        """Queue what was unanswered for the other ticket, as the merge did."""
        waiting, now = set(self._state.unanswered), data.ticket.updated_at
        for message in sorted(self._received, key=_arrived_at):
            if _arrived_at(message) in waiting:
                whole = self._whole.get(message.id)
                shown = message if whole is None else message.model_copy(update={"text_full": whole})
                cause = event.causationid or ""
                self._forward(Pending(shown, cause, now, now, into=data.into, contact=data.ticket.contact))

    def _note(self, data: NoteAdded) -> None:
        assert data.ticket.updated_at is not None
        at = data.ticket.updated_at
        note = Message(id=data.note_id, direction=Direction.OUT, author=data.author, text=data.text, sent_at=at)
        self._store(note, kind="note")

    def _report(self, message: str, reached: str) -> None:
        receipts = {**{k: v for k, v in self._state.receipts.items() if k != message}, message: reached}
        self._update(receipts=dict(list(receipts.items())[-ticket.RECEIPTS_CAP :]))

    # -- tickets that continue this one --------------------------------------------------------------------------

    def link(self, event: Event) -> None:
        """Claim what leads from this ticket to one that was opened by a mail to this thread.

        Either the thread went on there, or its sender may not join this ticket, and has a ticket of their own.
        """
        data, mine = event.data, self._state.ticket
        if not isinstance(data, TicketOpened) or data.message is None or mine is None or not is_mail(mine):
            return
        detail = self._known.detail(data.message.id, event.causationid)
        if detail is None:
            detail = detail_of(data.ticket, data.message, self._known.defaults(mine.channel, mine.account))
        arrival = arrival_of(data.ticket, data.message, detail)
        continues = not accepts(mine, arrival.received_at, self._policy(), automated=arrival.inbound.automated)
        joins = detail.signed or ticket.admits(self._state, mine, arrival)
        aside = separate_anchor(self._id, detail.brand, arrival.contact_id)
        anchor = successor_anchor(self._id) if continues and joins else aside
        self._made.claims.append(Claimed(event.time, anchor, data.ticket.id))

    # -- the rest ------------------------------------------------------------------------------------------------

    def finish(self, events: Sequence[Event]) -> Restored:
        """Return what was made. Only forwards that were not made yet wait to be sent, and replies marked as lost."""
        made = self._made
        self._pass_on()
        for each in self._state.pending:
            if each.into is None and self._state.ticket is not None:
                self._claim_sent(
                    events[-1].time if events else each.asked_at, self._state.ticket, each.message, tried=False
                )
        waiting = [p for p in self._state.pending if not p.into or not self._is_forwarded(p, p.into)]
        made.lost = sum(1 for each in waiting if each.lost)
        taken = list(self._taken)
        made.inserts += [Insert(TAKEN, {"_id": taken_id(self._id, number)}) for number in taken[:-TAKEN_CAP]]
        self._update(pending=tuple(waiting), taken=tuple(taken[-TAKEN_CAP:]))
        if events or self._state.commands:
            made.state = self._state
        made.emitted = events[-1].sequence if events else 0
        made.cut = bool(events) and events[0].sequence > 1
        return made

    def _pass_on(self) -> None:
        into = self._state.ticket.merged_into if self._state.ticket else None
        for data, number, at in self._silent:
            if into is not None and data.message.id not in self._taken:
                self._taken[data.message.id] = None
                self._forward(Pending(data.message, number, at, at, into=into, contact=data.contact))

    def _is_forwarded(self, pending: Pending, into: str) -> bool:
        return self._known.forwarded(self._id, pending.message.id, into)

    def _policy(self, carried: Ticket | None = None) -> TicketPolicy:
        about = carried or self._state.ticket
        return TicketPolicy() if about is None else self._known.policy(about.channel, about.account)

    def _update(self, **fields: object) -> None:
        self._state = replace(self._state, **fields)  # type: ignore[arg-type]

    def _drop_pending(self, message: str) -> Pending | None:
        found = next((each for each in self._state.pending if each.message.id == message), None)
        self._update(pending=tuple(each for each in self._state.pending if each is not found))
        return found

    def _store(self, message: Message, *, kind: str = "message", whole: str | None = None) -> None:
        self._made.inserts.append(Insert(MESSAGES, message_document(self._id, message, kind=kind, whole=whole)))

    def _claim_sent(self, at: datetime, carried: Ticket, message: Message, *, tried: bool = True) -> None:
        mail_id = self._known.mail_id(message.id, carried.channel, carried.account)
        anchors = sent_anchors(carried, message, mail_id)
        self._made.claims += [Claimed(at, anchor, self._id, message.id, tried) for anchor in anchors]


def _arrived_at(message: Message) -> datetime:
    return message.received_at or message.sent_at
