"""One line of text per record: what happened, to which ticket, and why. No colours, no layout."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from cli.reading import TopicRecord
from cli.screen import clean
from contracts import agents, assignments, contacts, notifications, queues, sla, tickets, topics
from contracts.dlq import DeadLetter
from contracts.envelope import Command, Event
from contracts.inbound import InboundRecord


@dataclass(frozen=True, slots=True)
class Described:
    """One line: time, ticket (or other subject), kind of record, and text."""

    at: datetime
    subject: str
    kind: str
    words: str

    def __str__(self) -> str:
        return f"{self.at:%H:%M:%S} {short(self.subject):<8} {self.kind:<20} {self.words}"


def short(identifier: str) -> str:
    """Return the end of an id. A UUIDv7 begins with the time, which is nearly the same for all recent ids."""
    return identifier[-8:]


def describe(record: TopicRecord) -> Described:
    """Describe any record, also an unreadable one. Control characters are escaped."""
    try:
        described = _describe(record)
    except ValueError as error:
        at, place = _instant(record.timestamp_ms), f"{record.topic}/{record.partition}/{record.offset}"
        described = Described(at, "-", "unreadable", f"{place}: {error}")
    return Described(described.at, clean(described.subject), clean(described.kind), clean(described.words))


def _instant(timestamp_ms: int) -> datetime:
    """Return the record's time; the epoch if its producer sent an impossible one."""
    try:
        return datetime.fromtimestamp(timestamp_ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0, UTC)


def _describe(record: TopicRecord) -> Described:
    if record.topic == topics.INBOUND:
        inbound = InboundRecord.from_kafka(record.value, record.headers)
        words = f"{inbound.size} bytes on {inbound.account}" + (" (claim check)" if inbound.claim else "")
        return Described(inbound.received_at, inbound.receipt, f"inbound {inbound.channel}", words)
    if record.topic == topics.COMMAND:
        command = Command.parse(record.value or b"")
        words = f"by {command.data.by.name or command.data.by.id}" if command.known else "unknown command"
        kind = command.type.removeprefix("deskbus.command.").removesuffix(".v1")
        return Described(command.time, command.subject, kind, words)
    if record.topic.endswith(".dlq.v1"):
        letter = DeadLetter.from_kafka(record.key, record.value, record.headers)
        words = f"{letter.topic}/{letter.partition}/{letter.offset}: {letter.error}"
        return Described(letter.at, letter.subject or "-", f"dead letter {letter.service}", words)
    event = Event.parse(record.value or b"")
    kind = ".".join(event.type.split(".")[1:-1])
    return Described(event.time, event.subject, kind, words_of(event))


def words_of(event: Event) -> str:
    """Return the text for an event; empty for an unknown type."""
    for describer in (_ticket, _assignment, _clock, _notification, _other):
        if (words := describer(event)) is not None:
            return words
    return ""


def _quoted(text: str, limit: int = 60) -> str:
    flat = " ".join(text.split())
    return f"“{flat[:limit]}{'…' if len(flat) > limit else ''}”"


def _ticket(event: Event) -> str | None:
    match event.data:
        case tickets.TicketOpened(ticket=ticket, message=message):
            market = "/".join(filter(None, (ticket.market.marketplace, ticket.market.country)))
            where = " ".join(filter(None, (ticket.channel, ticket.brand, market, ticket.language)))
            return f"[{where}] {ticket.contact.name or ticket.contact.id}: {_quoted(message.text if message else '')}"
        case tickets.MessageReceived(message=message):
            return f"{message.author.name or message.author.id}: {_quoted(message.text)}"
        case tickets.MessageSent(message=message):
            return f"{message.author.name or message.author.id} answered: {_quoted(message.text)}"
        case tickets.MessageFailed(error=error, attempts=attempts, may_have_arrived=doubtful):
            return f"{'perhaps not sent' if doubtful else 'not sent'} after {attempts} attempts: {error}"
        case tickets.MessageDelivered(state=state):
            return f"our message is {state}"
        case tickets.MessageBounced(error=error):
            return f"our message bounced: {error}"
        case tickets.NoteAdded(text=text, author=author):
            return f"{author.name or author.id}: {_quoted(text)}"
        case tickets.TicketStatusChanged(old=old, new=new) | tickets.TicketPriorityChanged(old=old, new=new):
            return f"{old} → {new}"
        case tickets.TicketTagged(added=added, removed=removed):
            return " ".join([*(f"+{tag}" for tag in added), *(f"-{tag}" for tag in removed)])
        case tickets.TicketFactsChanged(changed=changed, actor=actor):
            return f"{', '.join(changed)}, by {actor.name or actor.id}"
        case tickets.TicketReopened(old=old, actor=actor):
            return f"was {old}, by {actor.name or actor.id}"
        case tickets.TicketClosed(reason=reason, actor=actor):
            return f"{reason}, by {actor.name or actor.id}"
        case tickets.TicketSplit(new_ticket_id=new, message_ids=moved):
            return f"{len(moved)} messages to {short(new)}"
        case tickets.TicketHandedOff(actor=actor, reason=reason):
            return f"by {actor.name or actor.id}: {reason or ''}"
        case tickets.TicketMerged(into=into):
            return f"into {short(into)}"
        case tickets.CommandRejected(command_type=command_type, reason=reason, detail=detail):
            return f"{command_type}: {reason} {detail or ''}"
    return None


def _assignment(event: Event) -> str | None:
    match event.data:
        case assignments.TicketAssigned() as data:
            return f"to {data.agent.name or data.agent.id} from {data.queue} after {data.waited_ms} ms: {why(data)}"
        case assignments.TicketQueued(queue=queue, reason=reason):
            return f"in {queue} ({reason})"
        case assignments.TicketOffered(agent=agent, expires_at=until):
            return f"to {agent.name or agent.id} until {until:%T}"
        case assignments.TicketOfferExpired(agent=agent):
            return f"{agent.name or agent.id} did not answer"
        case assignments.TicketOfferDeclined(agent=agent, reason=reason):
            return f"by {agent.name or agent.id}: {reason or ''}"
        case assignments.TicketUnassigned(agent=agent, reason=reason):
            return f"from {agent.name or agent.id} ({reason})"
        case assignments.TicketUnroutable(reason=reason, detail=detail):
            return f"{reason}: {detail or ''}"
        case assignments.TicketRoutable(queue=queue, reason=reason):
            return f"in {queue} ({reason})"
        case assignments.TicketTransferAnswered(outcome=outcome, reason=reason, to_agent=agent, to_queue=queue):
            return f"to {(agent.name or agent.id) if agent else queue}: {outcome} ({reason})"
    return None


def why(data: assignments.TicketAssigned) -> str:
    """Return why this agent was chosen, and why the others were not."""
    passed = data.decision.passed_over
    others = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in passed.items())
    known = data.load_before is not None and data.load_after is not None
    load = f"load {data.load_before:g}→{data.load_after:g}" if known else ""
    return "; ".join(filter(None, (data.reason.replace("_", " "), load, f"others: {others}" if others else "")))


def _clock(event: Event) -> str | None:
    match event.data:
        case sla.ClockStarted(metric=metric, policy=policy, target_seconds=target):
            return f"{metric}: {target:g} s by policy {policy.name}"
        case sla.ClockBreached(metric=metric, target_seconds=target):
            return f"{metric} breached after {target:g} s"
        case sla.ClockMet(metric=metric, remaining_seconds=left):
            return f"{metric} with {left:.1f} s left"
        case sla.ClockCancelled(metric=metric, reason=reason):
            return f"{metric}: {reason}"
        case sla.ClockPaused(metric=metric, reason=reason) | sla.ClockResumed(metric=metric, reason=reason):
            return f"{metric}: {reason}"
        case (
            sla.ClockDueSoon(metric=metric, remaining_seconds=left)
            | sla.ClockAtRisk(metric=metric, remaining_seconds=left)
        ):
            return f"{metric}: {left:.1f} s left"
    return None


def _notification(event: Event) -> str | None:
    match event.data:
        case notifications.EscalationOpened(alert=alert, route=route, chain=chain):
            return f"{alert.summary} (route {route}{f', chain {chain}' if chain else ''})"
        case notifications.EscalationStepReached(step=step, targets=targets):
            return f"step {step + 1}: {', '.join(target.name for target in targets)}"
        case notifications.EscalationAcknowledged(by=by, via=via):
            return f"by {by} over {via}"
        case notifications.EscalationExhausted(alert=alert, round=turn):
            return f"{alert.summary} (not acknowledged in {turn + 1} rounds)"
        case notifications.EscalationResolved(reason=reason):
            return reason
        case notifications.NotificationSent(target=target, sink=sink, kind=kind):
            return f"{kind} to {target.name} by {sink}"
        case notifications.NotificationFailed(target=target, sink=sink, error=error):
            return f"to {target.name} by {sink}: {error}"
        case notifications.NotificationWithdrawn(target=target, sink=sink, kind=kind):
            return f"{kind} to {target.name} by {sink} may have arrived"
    return None


def _other(event: Event) -> str | None:
    match event.data:
        case agents.AgentUpdated(agent=agent):
            return f"{agent.name}: {', '.join(agent.languages)}, capacity {agent.capacity:g}, {agent.presence}"
        case agents.AgentPresenceChanged(agent=agent, old=old, new=new):
            return f"{agent.name}: {old} → {new}"
        case agents.AgentRemoved(agent_id=agent_id):
            return agent_id
        case contacts.ContactUpdated(contact=contact) | contacts.ContactUnmerged(contact=contact):
            return contact.name or contact.id
        case contacts.ContactMerged(contact=contact, into=into):
            return f"{contact.name or contact.id} into {short(into)}"
        case contacts.ContactErased():
            return "on request"
        case queues.QueueReported(depth=depth):
            return f"{depth} waiting"
    return None
