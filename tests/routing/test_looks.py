"""What a look at a waiting ticket does, step by step: falling back, overflowing, telling; each at its instant."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from contracts.assignments import QueueReason, TicketQueued, TicketRoutable, TicketTransferAnswered, TicketUnroutable
from contracts.payload import Payload
from contracts.ticket import Status
from kit.protocol.document import Decision
from services.routing.core import looks
from services.routing.core.agents import AgentState
from services.routing.core.policy import RoutingPolicy
from services.routing.core.state import Overflowed, Target, TicketState
from tests.routing.scenario import agent, at, ticket

RULES = RoutingPolicy.model_validate(
    {
        "unroutable_after": "30s",
        "look": {"first": "1s", "most": "1h"},
        "queues": {
            "a": {"overflow": {"after": "100s", "to": "b", "keep_required": True}, "relax_after": ["10s", "20s"]},
            "b": {"overflow": {"after": "50s", "to": "c"}, "relax_after": ["15s"]},
            "c": {},
            "d": {"overflow": {"after": "40s", "to": "c", "keep_required": True}},
        },
        "rules": [{"queue": "a"}],
    }
)
ANN = {"ann": agent("ann")}


def waiting(queue: str | None = "a", **more: Any) -> TicketState:
    fields: dict[str, Any] = {
        "queue": queue, "queued_at": at(0), "entered_at": at(0), "waiting_since": at(0), "pinned": True, "looks": 3,
    }  # fmt: skip
    return TicketState(id="t1", facts=ticket().facts(), status=Status.OPEN, phase="waiting", **{**fields, **more})


def looked(state: TicketState, now: float, people: Any = ANN) -> tuple[TicketState, list[Payload]]:
    decision = looks.look(state, at(now), RULES, people)
    assert isinstance(decision, Decision)
    assert decision.state is not None
    return decision.state, list(decision.events)


def test_a_look_is_counted_and_sets_the_next_one() -> None:
    state, events = looked(waiting(), 5)
    assert events == []
    assert state == replace(waiting(), looks=4, next_look=at(10))
    assert looks.next_look(replace(state, looks=4), at(5), RULES) == at(10)


@pytest.mark.parametrize(
    ("state", "instants"),
    [
        (waiting("a"), [10, 20, 30, 100]),
        (waiting("c"), [30]),
        (waiting(None), [30]),
        (waiting("a", overflow=(Overflowed("b", at(100)),)), [10, 20, 30, 115, 130, 150]),
        (waiting("a", overflow=(Overflowed("b", at(100)), Overflowed("c", at(150)))), [10, 20, 30, 115, 180]),
        (waiting("c", target=Target("ann", at(77))), [30, 77]),
        (waiting("lost", entered_at=at(7)), [37]),
    ],
)
def test_each_step_that_a_wait_brings_is_looked_at(state: TicketState, instants: list[float]) -> None:
    state, found, now = replace(state, looks=20), list[float](), at(0)
    while (later := looks.next_look(state, now, RULES)) - now < timedelta(minutes=40):
        found.append((later - at(0)).total_seconds())
        now = later
    assert found == instants


def test_the_looks_of_a_ticket_are_spread_by_its_id_and_their_number() -> None:
    late = at(1000)
    first = [(looks.next_look(replace(waiting("c", looks=n), id=i), late, RULES) - late) for i in "xy" for n in (0, 1)]
    assert first == [timedelta(milliseconds=ms) for ms in (977, 3425, 920, 4777)]


@pytest.mark.parametrize(
    ("now", "people", "gone"),
    [
        (59, ANN, False),
        (60, ANN, True),
        (60, None, False),
        (5, {}, True),
        (5, {"ann": replace(agent("ann"), removed_at=at(1))}, True),
        (5, {"ann": agent("ann", presence="offline")}, False),
    ],
)
@pytest.mark.parametrize("command", ["c1", None])
def test_a_ticket_waits_for_its_agent_until_the_instant_or_until_they_are_no_more(
    now: float, people: dict[str, AgentState] | None, gone: bool, command: str | None
) -> None:
    state, events = looked(waiting("c", target=Target("ann", at(60), command=command)), now, people)
    assert (state.target is None) is gone
    told = [event for event in events if isinstance(event, TicketTransferAnswered)]
    assert len(told) == (gone and command is not None)


@pytest.mark.parametrize(
    ("state", "now", "added"),
    [
        (waiting("a"), 99.999, None),
        (waiting("a"), 100, Overflowed("b", at(100), own=True)),
        (waiting("d"), 40, Overflowed("c", at(40), own=True)),
        (waiting("c"), 5000, None),
        (waiting("lost"), 5000, None),
        (waiting("a", overflow=(Overflowed("b", at(100), own=True),)), 149.999, None),
        (waiting("a", overflow=(Overflowed("b", at(100), own=True),)), 150, Overflowed("c", at(150), own=False)),
        (waiting("a", overflow=(Overflowed("d", at(100), own=True),)), 140, Overflowed("c", at(140), own=True)),
        (waiting("a", overflow=(Overflowed("d", at(100), own=False),)), 140, Overflowed("c", at(140), own=False)),
        (waiting("a", overflow=(Overflowed("b", at(100)), Overflowed("c", at(150)))), 5000, None),
    ],
)
def test_a_queue_is_added_after_the_last_ones_wait_and_asks_for_the_own_skills_as_long_as_all_before_did(
    state: TicketState, now: float, added: Overflowed | None
) -> None:
    after = looks.overflow(state, at(now), RULES, ANN)
    assert after.state is not None
    assert after.state.overflow == (*state.overflow, *((added,) if added else ()))
    reasons = [event.reason for event in after.events if isinstance(event, TicketQueued)]
    assert reasons == ([QueueReason.OVERFLOW] if added else [])


@pytest.mark.parametrize(
    ("state", "now", "people", "said"),
    [
        (waiting("c"), 29.999, {}, None),
        (waiting("c"), 30, {}, "no_agent_in_queue"),
        (waiting("c"), 30, None, None),
        (waiting("c"), 30, ANN, None),
        (waiting("c", target=Target("ann", at(900))), 30, ANN, None),
        (waiting("a"), 5000, {}, None),  # it overflows further before anything is said
        (waiting("a", overflow=(Overflowed("c", at(100)),)), 129.999, {}, None),
        (waiting("a", overflow=(Overflowed("c", at(100)),)), 130, {}, "no_agent_in_queue"),
        (waiting("a", overflow=(Overflowed("b", at(100)),)), 5000, {}, None),
        (waiting("a", overflow=(Overflowed("lost", at(100)),)), 130, {}, "no_agent_in_queue"),
        (waiting(None), 0, {}, "no_queue"),
        (waiting("lost"), 0, None, "no_queue"),
        (waiting("c", unroutable="no_agent_in_queue"), 30, {}, None),
    ],
)
def test_that_nobody_could_serve_it_is_said_once_when_no_more_queues_come(
    state: TicketState, now: float, people: Any, said: str | None
) -> None:
    decision = looks._announce_unroutable(state, at(now), RULES, people)
    events = [(type(event), event.reason) for event in decision.events if isinstance(event, TicketUnroutable)]
    assert events == ([(TicketUnroutable, said)] if said else [])
    after = decision.state or state
    assert after.unroutable == (said or state.unroutable)


def test_that_somebody_could_again_is_said_once() -> None:
    decision = looks._announce_unroutable(waiting("c", unroutable="no_agent_in_queue"), at(30), RULES, ANN)
    (event,) = decision.events
    assert isinstance(event, TicketRoutable)
    assert (event.reason, event.ticket_id) == ("agent_found", "t1")
    assert decision.state is not None
    assert decision.state.unroutable is None
    assert not looks._announce_unroutable(decision.state, at(31), RULES, ANN).events
