"""Ingest's worker under simulation: three processes over one store, messages of one thread in several partitions.

Delivery, handlers, threads, people and the core are real. Switching off a rule replaces only the code of that rule.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from unittest.mock import patch

from contracts.ticket import Ticket
from contracts.topics import TICKETS
from kit.base.errors import TransientError
from kit.protocol.document import Decision
from kit.protocol.ports import Guarded
from services.ingest import handlers
from services.ingest.core import ticket
from services.ingest.core.arrivals import Arrival
from services.ingest.core.state import MESSAGES, TicketState
from services.ingest.store import THREADS
from services.ingest.threads import Threads
from tests.ingest.worker_rig import START, Worker
from tests.kit.fake_store import Row as Stored
from tests.kit.raw import Raw
from tests.kit.simulation.processes import Servers, StepStore, at_once
from tests.kit.simulation.servers import SimSender
from tests.kit.simulation.world import step

Letter = Callable[[Worker], Raw]
"""Makes the record of a raw message; the worker that it is given may be used to look into the store."""


class Post(Servers):
    """`reads`: the partitions of each process. `before`: messages handled earlier. `tickets` etc.: expected numbers.

    `asides`: how many more tickets are allowed, since the order of messages decides whether a sender may join.
    """

    def __init__(
        self, off: Collection[str], budget: int, inputs: Sequence[Sequence[Letter]], *, reads: Sequence[Sequence[int]],
        tickets: int = 1, messages: int = 2, contacts: int = 2, before: Sequence[Letter] = (),
        again: Letter | None = None, size: int = 2, asides: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(budget, [() for _ in inputs])
        self.off, self.clock = off, Worker().clock
        self.clock.set(START + timedelta(days=30))
        self.due = range(tickets, tickets + asides + 1), messages, contacts
        self.workers: dict[str, Worker] = {}
        self.boot("W0")
        self.pen = self.workers["W0"]
        if before:
            at_once(self.pen.delivery.handle(self._posted(99, before)))
        for p, letters in enumerate(inputs):
            self.inputs[p] += self._posted(p, letters)
        self.busy = []
        for n, mine in enumerate(reads):
            name = f"W{n}"
            self.process(name, partial(self.boot, name), {name: partial(self._reads, name, mine, size)})
            self.busy.append(name)
        self.start("SWEEP", self.sweeper)
        self.twice = again
        if again is not None:
            self.act("THE DOOR SENDS AGAIN", 0, lambda: self.twice is not None, self._send_again)

    def boot(self, name: str) -> None:
        """Start a process with empty memory."""
        log: Any = SimSender(self)
        self.workers[name] = Worker(PostStore(self), self.clock, log, beside=False)

    def _posted(self, partition: int, letters: Sequence[Letter]) -> list[Raw]:
        """Return the records of a partition of the inbound topic."""
        return [replace(letter(self.pen), partition=partition, offset=n) for n, letter in enumerate(letters)]

    async def _reads(self, name: str, mine: Sequence[int], size: int) -> None:
        await self.read(self.workers[name].delivery, mine, size)

    def _send_again(self) -> None:
        assert self.twice is not None
        self.inputs[0].append(replace(self.twice(self.pen), partition=0, offset=len(self.inputs[0])))
        self.twice = None

    async def sweeper(self) -> None:
        worker = Worker(PostStore(self), self.clock, SimSender(self), beside=False)  # type: ignore[arg-type]
        while True:
            await step("sweep", when=lambda: self.talking("tickets") or self.talking("contacts"))
            self.clock.advance(0.001)
            with contextlib.suppress(TransientError):
                await worker.tickets.sweep(timedelta(0))
                await worker.contacts.sweep(timedelta(0))

    # -- what must hold ------------------------------------------------------------------------------------------

    def states(self) -> Mapping[str, Stored]:
        rows = self.rows.get("tickets", {})
        return {i: row["state"] for i, row in rows.items() if row.get("state") and row["state"]["ticket"]}

    def check(self) -> None:
        states = self.states()
        assert len(states) < self.due[0].stop, f"too many tickets: {len(states)}"
        taken = Counter(message for state in states.values() for message in state["taken"])
        assert max(taken.values(), default=1) == 1, f"a message twice: {taken}"
        for state in states.values():
            assert state["ticket"]["message_count"] == len(state["taken"]), (
                f"a message is counted twice: {state['taken']}"
            )
        if self.grown():
            events = self.events(TICKETS)
            said = Counter(e.data.message.id for e in events if e.type.split(".")[1:3] != ["ticket", "closed"])
            assert max(said.values(), default=1) == 1, f"a message is told of twice: {said}"

    def final(self) -> None:
        self.silent()
        states = self.states()
        tickets, messages, contacts = self.due
        assert len(states) in tickets, f"tickets: {len(states)}"
        assert sum(len(state["taken"]) for state in states.values()) == messages, "lost: a message"
        kept = Counter(row["message"] for row in self.rows[MESSAGES].values())
        assert len(kept) == messages, f"lost: a message's document: {kept}"
        assert max(kept.values()) == 1, f"a message stands on two tickets: {kept}"
        told = [Ticket.model_validate(e.data.ticket) for e in self.events(TICKETS)]
        assert {t.linked_to for t in told} - {None} <= set(states), "linked to a ticket that never was"
        assert Counter(t.id for t in told) == Counter({i: s["ticket"]["message_count"] for i, s in states.items()})
        people = self.rows["contacts"]
        assert len(people) == contacts, f"contacts: {len(people)}"
        known = {ticket for row in people.values() for ticket, _ in row["state"]["tickets"]}
        assert known == set(states), f"contacts know of {known}"


# -- rules, switched off -------------------------------------------------------------------------------------------


class PostStore(StepStore):
    """The store. Without *thread-claim*, the last writer of a claim wins."""

    w: Post

    def unguarded(self, collection: str, writes: Sequence[Guarded]) -> Sequence[Guarded]:
        off = collection == THREADS and "thread-claim" in self.w.off
        return [self.as_there(collection, w) for w in writes] if off else writes


async def _knows_no_holder(self: Threads, arrivals: Sequence[Arrival]) -> list[Any]:
    """Without *message-stays*: tickets that already have the message are not looked up."""
    return []


_decide = ticket.decide


def _takes_everything(state: TicketState | None, what: Any, policy: Any, now: datetime) -> Decision[TicketState]:
    """Without *message-id*: a ticket does not remember the messages that it took."""
    if state is None or not isinstance(what, Arrival):
        return _decide(state, what, policy, now)
    return _decide(replace(state, taken=tuple(t for t in state.taken if t != what.id)), what, policy, now)


_SWITCHES: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "message-stays": lambda: patch.object(Threads, "find_holders", _knows_no_holder),
    "placed-claim": lambda: patch.object(Threads, "_by_mail", Threads._by_thread),
    "message-id": lambda: patch.object(handlers, "decide", _takes_everything),
}


def without(rule: str) -> AbstractContextManager[object]:
    """Switch off a rule. Rules that are not listed here are switched off by the world itself."""
    return _SWITCHES.get(rule, contextlib.nullcontext)()
