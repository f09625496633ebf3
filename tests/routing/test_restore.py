"""A ticket in routing, restored from what routing heard and said, is the one that was stored."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from contracts.ticket import Priority, Status, Ticket
from kit.protocol import document
from kit.protocol.restoring import Heard, Restored, fold
from services.routing.core.agents import AgentState
from services.routing.core.restore import RestoreTickets, Staff
from services.routing.core.state import TicketState
from services.routing.core.transfers import REMEMBERED
from services.routing.handlers import RoutingHandling
from services.routing.store.kinds import TICKET_KIND
from tests.kit.fake_store import FakeStore, copied
from tests.kit.raw import Raw
from tests.routing.scenario import (
    Log,
    Replica,
    fake_clock,
    message,
    opened,
    pass_time,
    policy,
    profile,
    reopened,
    sent,
    status,
    ticket,
    transfer,
)

TICKETS, AGENTS = ("t1", "t2", "t3"), ("ann", "bea")
STATUSES = (Status.OPEN, Status.PENDING, Status.SOLVED, Status.CLOSED)
MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("open"), st.sampled_from(TICKETS), st.sampled_from(["en", "th", "returns", "urgent"])),
        st.tuples(st.just("message"), st.sampled_from(TICKETS), st.just("")),
        st.tuples(st.just("reply"), st.sampled_from(TICKETS), st.sampled_from(AGENTS)),
        st.tuples(st.just("status"), st.sampled_from(TICKETS), st.sampled_from(STATUSES)),
        st.tuples(st.just("reopen"), st.sampled_from(TICKETS), st.just("")),
        st.tuples(st.just("to_agent"), st.sampled_from(TICKETS), st.sampled_from([*AGENTS, "nobody"])),
        st.tuples(st.just("to_queue"), st.sampled_from(TICKETS), st.sampled_from(["english", "thai", "none"])),
        st.tuples(st.just("again"), st.sampled_from(TICKETS), st.integers(1, 3)),
        st.tuples(st.just("presence"), st.sampled_from(AGENTS), st.sampled_from(["online", "away", "offline"])),
        st.tuples(st.just("wait"), st.sampled_from([1, 5, 31, 130, 700]), st.just("")),
    ),
    max_size=25,
)
FACTS: dict[str, dict[str, Any]] = {
    "en": {},
    "th": {"language": "th"},
    "returns": {"tags": ("returns",)},
    "urgent": {"priority": Priority.URGENT},
}
UNKNOWN = ("looks", "next_look")
"""When a waiting ticket is looked at, which is told to nobody."""


class Past:
    """A replica whose records are kept by ticket."""

    def __init__(self) -> None:
        self.replica = Replica(FakeStore(), fake_clock(), Log())
        self.tickets: dict[str, Ticket] = {}
        self.heard: dict[str, list[Heard]] = defaultdict(list)
        self.values: dict[str, list[tuple[bytes, str]]] = defaultdict(list)
        self.commands = 0
        record, expand = self.replica.record, RoutingHandling.read

        def noted(value: bytes, topic: str = "deskbus.tickets.v1") -> Raw:
            made = record(value, topic)
            for item in expand(made):
                subject = item.head.subject if item.head is not None else item.value.subject
                self.heard[subject].append(Heard(item, self.replica.clock.now()))
                self.values[subject].append((value, topic))
            return made

        self.replica.record = noted  # type: ignore[method-assign]

    async def move(self, what: str, which: str, how: Any) -> None:
        pass_time(self.replica, 0.05)
        if what == "wait":
            for _ in range(min(int(which), 40)):
                pass_time(self.replica, int(which) / min(int(which), 40))
                await self.replica.turn()
        elif what == "presence":
            await self.replica.presence(which, how)
            await self.replica.turn()
        elif what == "remove":
            await self.replica.remove(which)
            await self.replica.turn()
        elif what == "again":  # a process died between publishing and clearing its outbox
            copies = [self.replica.record(*each) for each in self.values[which][-how:]]
            assert await self.replica.delivery.handle(copies) == set()
        elif what == "open" and which not in self.tickets:
            self.tickets[which] = ticket(which, **FACTS[how])
            await self.replica.hear(opened(self.tickets[which]))
        elif which in self.tickets:
            await self._change(what, which, how)

    async def _change(self, what: str, which: str, how: Any) -> None:
        if what in {"to_agent", "to_queue"}:
            self.commands += 1
            target = {"agent_id" if what == "to_agent" else "queue": how}
            assert await self.replica.command(which, transfer(**target), f"c-{self.commands}") == set()
            return
        old = self.tickets[which]
        new = old.model_copy(update={"version": (old.version or 0) + 1})
        if what == "status" and old.status != Status.CLOSED:
            new = new.model_copy(update={"status": how})
            event: Any = status(new, old.status)
        elif what == "reopen" and old.status == Status.SOLVED:
            new = new.model_copy(update={"status": Status.OPEN})
            event = reopened(new)
        elif what == "message":
            event = message(new)
        elif what == "reply":
            event = sent(new, how)
        else:
            return
        self.tickets[which] = new
        await self.replica.hear(event)

    def staff(self) -> Staff:
        """Return the agents as their events, and those of the tickets, tell."""
        staff = Staff(policy())
        for event in self.replica.log.events:
            staff.note(event)
        return staff

    async def restored(self, which: str, *, compacted: bool = False) -> Restored[TicketState]:
        said = [event for event in self.replica.log.events if event.subject == which]
        staff = self.staff()
        past = (lambda _agent, _at: True) if compacted else staff.was_online
        return fold(RestoreTickets(policy(), staff.people, past), which, self.heard[which], said)


def known(row: dict[str, Any], now: Any) -> dict[str, Any]:
    """Return a stored document without what cannot be known."""
    state = {name: value for name, value in row["state"].items() if name not in UNKNOWN}
    if state["phase"] != "assigned":
        del state["share"]
    target = state["target"]
    if target is not None and target["command"] is None and target["until"] <= now:
        state["target"] = None  # the wait for who answered ends without a word
    return {"_id": row.get("_id"), "seen": row["seen"], "emitted": row["emitted"], "state": state}


#: The customer writes again when the agent who answered is gone: nothing is said, and the ticket waits for anybody.
GONE = [("open", "t3", "returns"), ("presence", "ann", "away"), ("reply", "t3", "ann"), ("message", "t3", "")]
#: A record that was published twice, by which the ticket lost its agent.
TWICE = [
    ("open", "t1", "en"),
    ("status", "t1", Status.PENDING),
    ("presence", "ann", "offline"),
    ("presence", "bea", "offline"),
    ("status", "t1", Status.OPEN),
    ("wait", 8, ""),
    ("again", "t1", 1),
]


#: An agent is removed and their ticket goes to somebody else.
REMOVED = [("open", "t1", "en"), ("remove", "ann", ""), ("wait", 40, "")]
#: More commands than a ticket remembers.
COMMANDED = [("open", "t1", "en"), *[("to_agent", "t1", "nobody")] * (REMEMBERED + 2)]


@example(GONE)
@example(TWICE)
@example(REMOVED)
@example(COMMANDED)
@settings(max_examples=150)
@given(MOVES)
def test_the_tickets_are_the_same_again(moves: list[tuple[str, Any, Any]]) -> None:
    async def happened() -> None:
        past = Past()
        await past.replica.put(profile("ann", capacity=1))
        await past.replica.put(profile("bea", capacity=2, skills={"lang-en": 2, "lang-th": 2, "returns": 2}))
        for move in moves:
            await past.move(*((move[0], str(move[1]), move[2])))
        for which in past.heard:
            restored = await past.restored(which)
            assert restored.differences == []
            row = copied({"_id": which, **document.fields(TICKET_KIND, restored.document, 0)})
            (stored,) = await past.replica.store.fetch("tickets", [which])
            now = past.replica.clock.now()
            assert known(row, now) == known(stored, now)

        await past.replica.turn()
        staff = past.staff()
        for which in past.heard:
            restored = await past.restored(which)
            if restored.document.state is not None:
                staff.took(restored.document.state)
        for name in AGENTS:
            assert told(staff.people[name]) == told(await past.replica.agent(name))
            document_of = (await past.replica.agents.load([name]))[name]
            assert staff.emitted[name] == document_of.emitted

    asyncio.run(happened())


def told(agent: AgentState) -> dict[str, Any]:
    """Return what is known of an agent: not when it got tickets, nor at which versions."""
    return {
        "profile": agent.profile,
        "removed": agent.removed_at,
        "claims": {ticket: claim.weight for ticket, claim in agent.claims.items()},
    }


async def test_who_was_gone_follows_from_what_was_said_if_compaction_has_dropped_it() -> None:
    past = Past()
    await past.replica.put(profile("ann", capacity=1))
    for move in (("open", "t1", "en"), ("status", "t1", Status.PENDING), ("presence", "ann", "offline")):
        await past.move(*move)
    await past.move("status", "t1", Status.OPEN)
    assert past.replica.log.said("t1") == ["queued", "assigned", "unassigned", "queued"]
    restored = await past.restored("t1", compacted=True)
    assert restored.differences == []
    stored = await past.replica.ticket("t1")
    assert restored.document.state is not None
    assert (restored.document.state.phase, restored.document.state.cause) == (stored.phase, stored.cause)
