"""Routing under simulation: two processes over one store, tickets that come and go, a door that changes agents.

Delivery, assigner, claims, roster, dispatcher, timers, absence and reconciler are real. Switching off a rule replaces
only the code of that rule.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from unittest.mock import patch

from contracts.agents import Agent
from contracts.envelope import Command, Event
from contracts.tickets import TicketEvent
from contracts.topics import ASSIGNMENTS
from kit.base.errors import TransientError
from kit.protocol.document import Decision, Document
from kit.protocol.ports import Guarded, WriteOutcome
from services.routing import ticker
from services.routing.assignment.claims import Claims, Pair, Releases
from services.routing.assignment.shares import Shares
from services.routing.core import agents
from services.routing.core.agents import AgentState, Release
from services.routing.core.policy import RoutingPolicy
from services.routing.core.state import TicketState
from tests.kit.fake_store import Row
from tests.kit.raw import Raw
from tests.kit.simulation.processes import Servers, StepStore, at_once
from tests.kit.simulation.servers import SimSender
from tests.kit.simulation.world import step
from tests.routing.scenario import START, Replica, fake_clock, transfer

Change = Callable[[Replica], Any]
"""A change of an agent through the door."""
OLD = 131.0
"""Age in seconds from which the reconciler checks a claim, including one that it found valid before."""


@dataclass(frozen=True)
class To:
    """A command that transfers a ticket to an agent."""

    ticket: str
    agent: str


def told(*payloads: TicketEvent | To, partition: int = 0) -> list[Raw]:
    """Return the records of one partition: ticket events, numbered per ticket, with transfers in between."""
    numbers: dict[str, Iterator[int]] = {}
    records = []
    for offset, payload in enumerate(payloads):
        if isinstance(payload, To):
            asked = Command.of(
                transfer(agent_id=payload.agent), id=f"c-{offset}", source="/test", subject=payload.ticket, time=START
            )
            records.append(Raw("deskbus.commands.v1", partition, offset, asked.encode()))
            continue
        subject = payload.ticket.id
        sequence = next(numbers.setdefault(subject, itertools.count(1)))
        event = Event.of(payload, source="/deskbus/ingest", subject=subject, sequence=sequence, time=START)
        records.append(Raw("deskbus.tickets.v1", partition, offset, event.encode()))
    return records


class Office(Servers):
    """`reads`: the partitions of each process. `early`: how many background jobs may run before all is idle."""

    def __init__(
        self, off: Collection[str], budget: int, inputs: Sequence[Sequence[Raw]], people: Sequence[Agent], *,
        reads: Sequence[Sequence[int]], asks: Sequence[Change] = (), early: int = 1, size: int = 1,
    ) -> None:  # fmt: skip
        super().__init__(budget, inputs)
        self.off, self.clock, self.early, self.asks, self.asked = off, fake_clock(), early, asks, 0
        self.replicas: dict[str, Replica] = {}
        self._hire(people)
        self.busy = []
        for n, mine in enumerate(reads):
            p = f"P{n}"
            self.process(p, partial(self.boot, p), self._actors(p, mine, size))
            self.busy += [f"{p} reads", f"{p} looks"]
        if asks:
            self.process("DOOR", partial(self.boot, "DOOR"), {"DOOR": self.door})
            self.busy.append("DOOR")
        for kind in ("tickets", "agents"):
            self.start(f"SWEEP {kind}", partial(self.sweeper, kind))

    def _hire(self, people: Sequence[Agent]) -> None:
        self.boot("P0")
        for person in people:
            at_once(self.replicas["P0"].put(person))

    def _actors(self, p: str, mine: Sequence[int], size: int) -> dict[str, Any]:
        actors: dict[str, Any] = {
            f"{p} reads": lambda: self.read(self.replicas[p].delivery, mine, size),
            f"{p} looks": partial(self.looks, p),
            f"{p} reconciles": partial(self.reconciles, p),
        }
        if "look-again" not in self.off:
            actors[f"{p} timers"] = partial(self.timers, p)
        if "gone-swept" not in self.off:
            actors[f"{p} absence"] = partial(self.absence, p)
        return actors

    def boot(self, p: str) -> None:
        """Start a process with empty memory."""
        log: Any = SimSender(self)
        self.replicas[p] = Replica(OfficeStore(self), self.clock, log)

    def calm(self) -> bool:
        return self.idle(*self.busy)

    def _now_or_early(self) -> bool:
        return self.early > 0 or self.calm()

    def _begin(self) -> None:
        self.early -= self.early > 0 and not self.calm()

    # -- actors --------------------------------------------------------------------------------------------------

    async def looks(self, p: str) -> None:
        """Run the continuous jobs: read changed agents, requeue tickets of absent ones, assign waiting tickets."""
        mine = self.replicas[p]
        while True:
            await step("look", when=lambda: self.news(mine))
            with contextlib.suppress(TransientError):
                if not mine.roster.loaded:
                    await mine.roster.load_all()
                    mine.assigner.claims.freed.set()
                await ticker.follow_agents(mine.assigner, mine.absence.told)
                await mine.absence.turn()
                if self.is_behind(mine):
                    await mine.roster.load_all()
                await mine.dispatcher.turn()
                await mine.assigner.claims.write_releases()

    def news(self, mine: Replica) -> bool:
        claims, dispatcher = mine.assigner.claims, mine.dispatcher
        told = claims.freed.is_set() or bool(dispatcher._due) or bool(mine.roster.owing())
        return not mine.roster.loaded or told or self.is_behind(mine)

    def is_behind(self, mine: Replica) -> bool:
        known = {i: doc.version for i in self.people() if (doc := mine.roster.get(i)) is not None}
        return known != {i: row["version"] for i, row in self.people().items()}

    async def reconciles(self, p: str) -> None:
        mine = self.replicas[p]
        while True:
            await step("reconcile", when=lambda: bool(self.loose() or self.heavy()) and self._now_or_early())
            self._begin()
            self.clock.advance(OLD)
            with contextlib.suppress(TransientError):
                await mine.roster.load_all()
                await mine.reconciler.turn()

    async def timers(self, p: str) -> None:
        mine = self.replicas[p]
        while True:
            await step("look again", when=lambda: bool(self.starving()) and self._now_or_early())
            self._begin()
            looks = [row["due"] for row in self.tickets().values() if row.get("due")]
            self.clock.set(max([self.clock.now(), *looks]) + timedelta(seconds=1))
            with contextlib.suppress(TransientError):
                await mine.timers.tick()

    async def absence(self, p: str) -> None:
        mine = self.replicas[p]
        while True:
            await step("look who is gone", when=lambda: bool(self.orphans()) and self._now_or_early())
            self._begin()
            with contextlib.suppress(TransientError):
                await mine.roster.load_all()
                await mine.absence.sweep()

    async def sweeper(self, kind: str) -> None:
        documents = getattr(Replica(OfficeStore(self), self.clock, SimSender(self)), kind)  # type: ignore[arg-type]
        while True:
            await step("sweep", when=lambda: self.talking(kind) and self._now_or_early())
            self._begin()
            self.clock.advance(0.001)
            with contextlib.suppress(TransientError):
                await documents.sweep(timedelta(0))

    async def door(self) -> None:
        """Send the changes in order, each until it succeeds."""
        while self.asked < len(self.asks):
            await step("ask the door")
            with contextlib.suppress(TransientError):
                await self.asks[self.asked](self.replicas["DOOR"])
                self.asked += 1
        await step("nothing more to ask", when=lambda: False)

    # -- what must hold ------------------------------------------------------------------------------------------

    def tickets(self) -> Mapping[str, Row]:
        return {i: row for i, row in self.rows.get("tickets", {}).items() if row.get("state")}

    def people(self) -> Mapping[str, Row]:
        return self.rows.get("agents", {})

    def claims(self, agent: str) -> dict[str, Row]:
        return {claim["ticket"]: claim for claim in self.people()[agent]["state"]["claims"]}

    def is_online(self, agent: str) -> bool:
        state = self.people()[agent]["state"]
        return state["profile"]["presence"] == "online" and state["removed_at"] is None

    def loose(self) -> list[Pair]:
        whose = {i: row["state"]["agent"] for i, row in self.tickets().items()}
        return [(a, t) for a in self.people() for t in self.claims(a) if whose.get(t) != a]

    def orphans(self) -> list[str]:
        states = (row["state"] for row in self.tickets().values())
        return [state["id"] for state in states if state["agent"] and not self.is_online(state["agent"])]

    def starving(self) -> list[str]:
        free = [a for a in self.people() if self.is_online(a) and self._load(a) < self._capacity(a)]
        return [i for i, row in self.tickets().items() if row["state"]["phase"] == "waiting"] if free else []

    def _weight(self, row: Row) -> float:
        return 0.0 if row["state"]["status"] == "pending" else 1.0

    def heavy(self) -> list[Pair]:
        """Return claims that are heavier than their tickets."""
        having = {i: row for i, row in self.tickets().items() if row["state"]["agent"]}
        whose = [(row["state"]["agent"], i) for i, row in having.items()]
        return [(a, i) for a, i in whose if self.claims(a)[i]["weight"] > self._weight(having[i])]

    def _load(self, agent: str) -> float:
        return sum((float(claim["weight"]) for claim in self.claims(agent).values()), 0.0)

    def _capacity(self, agent: str) -> float:
        return float(self.people()[agent]["state"]["profile"]["capacity"])

    def check(self) -> None:
        loads = dict.fromkeys(self.people(), 0.0)
        for i, row in self.tickets().items():
            if (agent := row["state"]["agent"]) is not None:
                assert i in self.claims(agent), f"no claim: {i} is with {agent}"
                weight = self.claims(agent)[i]["weight"]
                assert weight >= self._weight(row), f"claimed too little: {i} weighs more than {weight} of {agent}"
                loads[agent] += weight
        for agent, load in loads.items():
            assert load <= self._capacity(agent), f"above capacity: {agent} has {load}"
        if self.grown():
            self._check_said()

    def _check_said(self) -> None:
        has: dict[str, str | None] = {}
        for event in self.events(ASSIGNMENTS):
            kind = event.type.split(".")[2]
            if kind == "assigned":
                assert has.get(event.subject) is None, f"two agents for {event.subject}"
                has[event.subject] = event.data.agent.id
            elif kind == "unassigned":
                assert has.get(event.subject) == event.data.agent.id, f"taken from somebody else: {event.subject}"
                has[event.subject] = None

    def final(self) -> None:
        self.silent()
        assert not self.loose(), f"a claim leaked: {self.loose()}"
        assert not self.heavy(), f"a claim stays too heavy: {self.heavy()}"
        assert not self.starving(), f"waits though an agent is free: {self.starving()}"
        assert not self.orphans(), f"with an agent who is gone: {self.orphans()}"
        said = {e.subject: e for e in self.events(ASSIGNMENTS)}
        for i, row in self.tickets().items():
            agent = row["state"]["agent"]
            last = said[i].type.split(".")[2] if i in said else None
            assert (last == "assigned") == (agent is not None), f"last said of {i}: {last}, but it is with {agent}"


# -- rules, switched off -------------------------------------------------------------------------------------------


class OfficeStore(StepStore):
    """The store. Without *claim-bumps*, claims do not increase the version; without *claim-guarded*, they ignore it."""

    w: Office

    def unguarded(self, collection: str, writes: Sequence[Guarded]) -> Sequence[Guarded]:
        off = collection == "agents" and "claim-guarded" in self.w.off
        return [w if w.push_outbox else self.as_there(collection, w) for w in writes] if off else writes

    async def write(self, collection: str, writes: Sequence[Guarded]) -> WriteOutcome:
        outcome = await super().write(collection, writes)
        if collection == "agents" and "claim-bumps" in self.w.off and not outcome.unknown:
            for write in writes:
                if not write.push_outbox and write.id not in outcome.lost:
                    self.rows["agents"][write.id]["version"] = write.version
        return outcome


ALWAYS = Release(1 << 40)
"""Whatever the claim was made for."""


async def _release_unfenced(self: Claims, pairs: Sequence[Pair], *, fence: bool) -> int:
    """Without *release-fenced*: every claim of a ticket that is not assigned to the agent now is released."""
    docs = await self._tickets.load({t for _, t in pairs})
    free: Releases = {}
    for a, t in pairs:
        state = docs[t].state
        if state is None or state.agent != a:
            free.setdefault(a, {})[t] = ALWAYS
    await self.release(free)
    return len(free)


_look_at = Claims.look_at


async def _loser_does_not_look(self: Claims, pairs: Sequence[Pair], *, fence: bool) -> int:
    """Without *loser-looks*: a replica that lost the ticket releases the claim, even if another one uses it."""
    if fence:
        return await _look_at(self, pairs, fence=True)
    await self.release({a: {t: ALWAYS for b, t in pairs if a == b} for a, _ in pairs})
    return 0


_claim = agents.claim


def _first_stamp(state: AgentState, ticket: str, stamp: int, weight: float, now: datetime) -> AgentState:
    """Without *stamp-max*: an existing claim keeps its first stamp."""
    claimed, old = _claim(state, ticket, stamp, weight, now), state.claims.get(ticket)
    if old is None:
        return claimed
    return replace(claimed, claims={**claimed.claims, ticket: replace(claimed.claims[ticket], stamp=old.stamp)})


def _last_weight(state: AgentState, ticket: str, stamp: int, weight: float, now: datetime) -> AgentState:
    """Without *claim-heaviest*: a claim gets the last claimant's weight."""
    claimed = _claim(state, ticket, stamp, weight, now)
    return replace(claimed, claims={**claimed.claims, ticket: replace(claimed.claims[ticket], weight=weight)})


def _whatever_the_stamp(state: AgentState, releases: Mapping[str, Release]) -> dict[str, Release]:
    """Without *release-stamped*: a claim is given up, or made lighter, whatever it was renewed for since."""
    claims = state.claims
    return {t: given for t, given in releases.items() if t in claims and given.weight != claims[t].weight}


async def _wakes_unclaimed(self: Shares, docs: Iterable[Document[TicketState]], policy: RoutingPolicy) -> None:
    """Without *wake-claims*: a ticket that takes more of its agent again just says so."""
    for doc in docs:
        if doc.changed and doc.state is not None and doc.state.agent is not None:
            share = policy.share(doc.state.facts.channel, doc.state.status)
            if share < doc.state.share:
                self.lighter.add(doc.id)
            self._apply(doc, Decision(replace(doc.state, share=share)))


_make = Claims.make


async def _make_without_bump(self: Claims, agent_ids: Sequence[str]) -> set[str]:
    """Without *claim-bumps*: a claim leaves the agent's version as it was, in the store and in memory."""
    won = await _make(self, agent_ids)
    for agent_id in won:
        doc = self._roster.get(agent_id)
        assert doc is not None
        doc.version -= 1
    return won


_SWITCHES: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "wake-claims": lambda: patch.object(Shares, "fit", _wakes_unclaimed),
    "release-fenced": lambda: patch.object(Claims, "look_at", _release_unfenced),
    "release-stamped": lambda: patch.object(agents, "effective", _whatever_the_stamp),
    "loser-looks": lambda: patch.object(Claims, "look_at", _loser_does_not_look),
    "claim-heaviest": lambda: patch.object(agents, "claim", _last_weight),
    "stamp-max": lambda: patch.object(agents, "claim", _first_stamp),
    "claim-bumps": lambda: patch.object(Claims, "make", _make_without_bump),
}


def without(rule: str) -> AbstractContextManager[object]:
    """Switch off a rule. Rules that are not listed here are switched off by the world itself."""
    return _SWITCHES.get(rule, contextlib.nullcontext)()
