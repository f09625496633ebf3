"""Agents, tickets and events for the tests of routing, and one replica of routing over a fake store."""

import asyncio
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from contracts.agents import Agent
from contracts.commands import Transfer
from contracts.envelope import Command, Event
from contracts.payload import Payload
from contracts.ticket import Author, ContactRef, CustomerFacts, Market, Message, Priority, Status, Ticket
from contracts.tickets import (
    MessageReceived,
    MessageSent,
    TicketClosed,
    TicketEvent,
    TicketHandedOff,
    TicketMerged,
    TicketOpened,
    TicketReopened,
    TicketStatusChanged,
)
from kit.base.clock import Clock
from kit.policy.file import parse
from kit.protocol.deadletter import DeadLetters
from kit.protocol.delivery import Delivery
from kit.protocol.document import Document
from kit.protocol.ports import Outgoing, Store
from services.routing import metrics, ticker
from services.routing.assignment.assigner import Assigner
from services.routing.core import agents
from services.routing.core.agents import AgentState
from services.routing.core.policy import RoutingPolicy
from services.routing.core.state import TicketState
from services.routing.dispatcher import Dispatcher
from services.routing.handlers import RoutingHandling
from services.routing.settings import RoutingSettings
from services.routing.store.kinds import TICKET_KIND, agent_kind
from services.routing.store.roster import Roster
from tests.clearing import ClearedAtOnce
from tests.fake_clock import FakeClock
from tests.kit.raw import Raw

START = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
BOT = Author(kind="bot", id="bot")
SYSTEM = Author(kind="system")
CUSTOMER = Author(kind="contact", id="c1")

POLICY = b"""
channel_weights: {email: 1, whatsapp: 2}
unroutable_after: 30s
requeue: {offline: 0s, away: 10m}
look: {first: 1s, most: 60s}
queues:
  thai: {required: {lang-th: 2}, overflow: {after: 2m, to: english}}
  returns: {required: {returns: 2}, preferred: {billing: 2, vip: 3}, relax_after: [20s, 40s]}
  english: {required: {lang-en: 1}}
rules:
  - {match: {tags: returns}, queue: returns}
  - {match: {language: th}, queue: thai}
  - {queue: english}
"""


@functools.cache
def policy(text: bytes = POLICY) -> RoutingPolicy:
    return parse("routing.yaml", text, RoutingPolicy)


@functools.cache
def routing_settings(**more: Any) -> RoutingSettings:
    return RoutingSettings(policy=Path("routing.yaml"), **more)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def profile(agent_id: str, *, capacity: float = 2, presence: str = "online", **more: Any) -> Agent:
    more.setdefault("skills", {"lang-en": 3})
    return Agent(id=agent_id, name=agent_id.title(), capacity=capacity, presence=presence, **more)


def agent(
    agent_id: str, *, load: float = 0, last: float | None = None, **more: Any
) -> AgentState:  # fmt: skip
    state = AgentState(profile(agent_id, **more), last_assigned_at=None if last is None else at(last))
    if load:
        state = agents.claim(state, f"work-of-{agent_id}", 1, load, at(last or 0))
        state = AgentState(state.profile, state.claims, None if last is None else at(last))
    return state


def ticket(ticket_id: str = "t1", version: int = 1, **more: Any) -> Ticket:
    tier = more.pop("tier", None)
    country = more.pop("country", None)
    fields: dict[str, Any] = {
        "channel": "email", "account": "support-nimbus", "brand": "nimbus", "language": "en", "status": Status.NEW,
        "contact": ContactRef(id="c1"), "created_at": START, "updated_at": START,
        "customer": CustomerFacts(tier=tier), "market": Market(country=country),
    }  # fmt: skip
    return Ticket(id=ticket_id, version=version, **{**fields, **more})


def opened(of: Ticket) -> TicketOpened:
    return TicketOpened(ticket=of)


def message(of: Ticket, *, automated: bool = False) -> MessageReceived:
    sent = Message(id="m", direction="in", author=CUSTOMER, text="hello", sent_at=START, automated=automated)
    return MessageReceived(ticket=of, message=sent)


def sent(of: Ticket, by: str | Author, *, automated: bool = False) -> MessageSent:
    """Return the event of a reply; `by` is an agent's id or an author."""
    author = Author(kind="agent", id=by) if isinstance(by, str) else by
    text = Message(id="r", direction="out", author=author, text="hi", sent_at=START, automated=automated)
    return MessageSent(ticket=of, message=text)


def status(of: Ticket, old: Status = Status.NEW) -> TicketEvent:
    if of.status == Status.CLOSED:
        return TicketClosed(ticket=of, reason="quiet", actor=SYSTEM)
    return TicketStatusChanged(ticket=of, old=old, new=of.status, actor=SYSTEM)


def reopened(of: Ticket) -> TicketReopened:
    return TicketReopened(ticket=of, old=Status.SOLVED, actor=CUSTOMER)


def handed_off(of: Ticket) -> TicketHandedOff:
    return TicketHandedOff(ticket=of, actor=BOT)


def merged(of: Ticket) -> TicketMerged:
    return TicketMerged(ticket=of, into=of.merged_into or "", actor=SYSTEM)


def urgent(ticket_id: str, **more: Any) -> Ticket:
    return ticket(ticket_id, priority=Priority.URGENT, **more)


@dataclass
class Log:
    """A producer that records events, and confirms none while `refuse` is set."""

    events: list[Event] = field(default_factory=list)
    refuse: bool = False

    async def send_runs(self, runs: Sequence[Sequence[Outgoing]]) -> list[int]:
        await asyncio.sleep(0)
        if self.refuse:
            return [0] * len(runs)
        self.events += [Event.parse(record.value or b"") for run in runs for record in run]
        return [len(run) for run in runs]

    async def partitions(self, topic: str) -> int:
        return 4

    def said(self, subject: str) -> list[str]:
        """Return the short types of a subject's events, in order, without resends."""
        once = {event.id: event for event in self.events if event.subject == subject}
        return [event.type.split(".")[2] for event in sorted(once.values(), key=lambda e: e.sequence)]

    def last(self, subject: str) -> Any:
        return max((e for e in self.events if e.subject == subject), key=lambda e: e.sequence).data


class Everywhere:
    """Stands in for a consumer that owns all partitions and has handled everything up to an instant."""

    def __init__(self, until: Callable[[], datetime] = lambda: datetime.max.replace(tzinfo=UTC)) -> None:
        self.until = until

    def owned(self, topic: str) -> list[int]:
        return [0, 1, 2, 3]

    async def handled_until(self, topics: Any, partitions: Any) -> dict[int, datetime]:
        return dict.fromkeys(partitions, self.until())


class Replica:
    """One process of routing without Kafka: records are passed to the real delivery."""

    def __init__(self, store: Store, clock: Clock, log: Log, text: bytes = POLICY, **settings: Any) -> None:
        self.clock, self.log, self.store = clock, log, store
        self.policy = policy(text)
        self.tickets = ClearedAtOnce(TICKET_KIND, store, log, clock)
        self.tickets.watch(metrics.count)
        self.agents = ClearedAtOnce(agent_kind(timedelta(hours=6)), store, log, clock)
        self.roster = Roster(self.agents, self.policy)
        self.assigner = Assigner(self.tickets, self.roster, lambda: self.policy, clock, metrics.Counting())
        handling = RoutingHandling(self.assigner)
        handling.positions = Everywhere(clock.now)
        self.delivery = Delivery(self.tickets, handling, DeadLetters("dlq", "routing", log))
        options = routing_settings(**settings)
        self.dispatcher = Dispatcher(self.assigner, clock)
        self.absence = ticker.Absence(self.assigner, clock)
        self.reconciler = ticker.Reconciler(self.assigner, Everywhere(), clock, options)
        self.timers = ticker.build_ticker(self.assigner, Everywhere(), self.dispatcher, options)
        self.changed = ticker.agent_changed(self.assigner, self.absence)
        self._sequences: dict[str, int] = {}
        self._offset = 0

    def records(self, *payloads: TicketEvent, sequences: Mapping[str, int] | None = None) -> list[Raw]:
        made = []
        for payload in payloads:
            subject = payload.ticket.id
            self._sequences[subject] = (sequences or self._sequences).get(subject, 0) + 1
            event = Event.of(
                payload, source="/deskbus/ingest", subject=subject, sequence=self._sequences[subject],
                time=self.clock.now(),
            )  # fmt: skip
            made.append(self.record(event.encode()))
        return made

    def record(self, value: bytes, topic: str = "deskbus.tickets.v1") -> Raw:
        self._offset += 1
        return Raw(topic, 0, self._offset, value)

    async def hear(self, *payloads: TicketEvent) -> None:
        """Handle events as one batch, and write what it owes to agents, which services do a little later."""
        assert await self.delivery.handle(self.records(*payloads)) == set()
        await self.assigner.claims.write_releases()

    async def command(
        self, ticket_id: str, data: Payload, command_id: str = "c-1", source: str = "/test", **limits: str
    ) -> set[Any]:
        left = await self.delivery.handle([self.asked(ticket_id, data, command_id, source, **limits)])
        await self.assigner.claims.write_releases()
        return left

    def asked(
        self, ticket_id: str, data: Payload, command_id: str = "c-1", source: str = "/test", **limits: str
    ) -> Raw:
        command = Command.of(data, id=command_id, source=source, subject=ticket_id, time=self.clock.now())
        return self.record(command.model_copy(update=limits).encode(), "deskbus.commands.v1")

    async def put(self, of: Agent) -> None:
        await self._change(of.id, lambda state: agents.put(state, of, self.clock.now()))

    async def presence(self, agent_id: str, presence: str) -> None:
        await self._change(agent_id, lambda s: agents.set_presence(s, presence, self.clock.now()) if s else None)

    async def remove(self, agent_id: str) -> None:
        await self._change(agent_id, lambda s: agents.remove(s, self.clock.now()) if s else None)

    async def _change(self, agent_id: str, decide: Any) -> None:
        self.changed(await self.agents.change(agent_id, decide))

    async def turn(self) -> None:
        """Run each background job once."""
        await ticker.follow_agents(self.assigner, self.absence.told)
        await self.absence.turn()
        await self.timers.tick()
        await self.dispatcher.turn()
        await self.assigner.claims.write_releases()

    async def ticket(self, ticket_id: str) -> TicketState:
        state = (await self.tickets.load([ticket_id]))[ticket_id].state
        assert state is not None
        return state

    async def agent(self, agent_id: str) -> AgentState:
        return (await self.doc(agent_id)).state or AgentState(profile(agent_id))

    async def doc(self, agent_id: str) -> Document[AgentState]:
        return (await self.agents.load([agent_id]))[agent_id]

    async def holders(self, *agent_ids: str) -> dict[str, list[str]]:
        """Return agent -> tickets with a claim on the agent."""
        return {i: sorted((await self.agent(i)).claims) for i in agent_ids}


def fake_clock() -> FakeClock:
    return FakeClock(START)


def transfer(**target: Any) -> Transfer:
    return Transfer(by=SYSTEM, **target)


def pass_time(assigner: Replica, seconds: float) -> None:
    assigner.clock.advance(seconds)  # type: ignore[attr-defined]


async def turns(assigner: Replica, seconds: float) -> None:
    """Advance the time in steps of 5 seconds, with a turn after each."""
    for _ in range(int(seconds // 5)):
        pass_time(assigner, 5)
        await assigner.turn()
    pass_time(assigner, seconds % 5)
    await assigner.turn()
