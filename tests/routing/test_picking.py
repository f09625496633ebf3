"""Who goes first, on whom a claim of an earlier try is used, and what a pick says: rule by rule."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from contracts.assignments import AssignReason
from contracts.ticket import Status
from services.routing.core import picking
from services.routing.core.agents import AgentState, Claim, has_room
from services.routing.core.need import Need
from services.routing.core.pool import Pool
from services.routing.core.ranking import Choice
from services.routing.core.state import Overflowed, Target, TicketState
from tests.routing.scenario import agent, at, policy, ticket

POLICY = policy()
FACTS = ticket("t").facts()
MEANT = Target("ann", at(100))


def waiting(**more: Any) -> TicketState:
    named: dict[str, Any] = {"id": "t", "facts": FACTS, "status": Status.OPEN, "phase": "waiting", "queue": "english"}
    return TicketState(**{**named, "queued_at": at(0), **more})


def need(**more: Any) -> Need:
    return Need(**{"ticket": "t", "channel": "email", "queue": "english", **more})


def holder(name: str, weight: float = 1.0, *, load: float = 0.0, **more: Any) -> AgentState:
    """An agent with a claim of the ticket, and other work."""
    state = agent(name, load=load, **more)
    return replace(state, claims={**state.claims, "t": Claim(3, weight, at(0))})


@pytest.mark.parametrize(
    ("capacity", "load", "weight", "fits"),
    [(2, 0, 2, True), (2, 1, 1.01, False), (0, 0, 0, True), (0.3, 0.1 + 0.1, 0.1, True), (0.3, 0.1 + 0.2, 0.0, True),
     (1, 1, 2e-9, False)],
)  # fmt: skip
def test_there_is_room_up_to_the_capacity_and_a_billionth(
    capacity: float, load: float, weight: float, fits: bool
) -> None:
    assert has_room(capacity, load, weight) is fits


@pytest.mark.parametrize(
    ("state", "asked"),
    [
        (waiting(), True),
        (waiting(phase="aside"), False),
        (waiting(phase="assigned", agent="ann"), False),
        (waiting(queue=None), False),
        (waiting(queue="gone"), False),
        (waiting(queue=None, target=MEANT), True),
    ],
)
def test_somebody_is_asked_for_what_waits_in_a_queue_or_for_one_agent(state: TicketState, asked: bool) -> None:
    assert picking.waits(state, POLICY) is asked


@pytest.mark.parametrize(
    ("state", "backlog", "first"),
    [
        (waiting(), set(), True),
        (waiting(), {"thai"}, True),
        (waiting(), {"english", "thai"}, False),
        (waiting(target=MEANT), {"english"}, True),
        (waiting(status=Status.PENDING), {"english"}, True),
    ],
)
def test_nobody_is_overtaken_but_by_what_takes_no_room_or_is_meant_for_one(
    state: TicketState, backlog: set[str], first: bool
) -> None:
    assert picking.may_go_first(state, frozenset(backlog), POLICY) is first


@pytest.mark.parametrize(
    ("state", "queues"),
    [
        (waiting(), {"english"}),
        (waiting(overflow=(Overflowed("thai", at(1)), Overflowed("spare", at(2)))), {"english", "thai", "spare"}),
        (waiting(queue=None), {""}),
        (waiting(target=MEANT), set()),
        (waiting(unroutable="no_queue"), set()),
        (waiting(phase="assigned"), set()),
    ],
)
def test_others_come_after_a_ticket_in_every_queue_that_may_serve_it(state: TicketState, queues: set[str]) -> None:
    assert picking.queues_behind(state) == queues


def test_the_most_urgent_goes_first_then_who_waits_longest_then_the_id() -> None:
    order = [
        waiting(id="z", urgency=3, queued_at=at(9)),
        waiting(id="y", urgency=1, queued_at=at(1)),
        waiting(id="b", urgency=1, queued_at=at(2)),
        waiting(id="c", urgency=1, queued_at=at(2)),
        waiting(id="a", urgency=0, queued_at=at(0)),
    ]
    backwards = order[::-1]
    assert sorted(backwards, key=picking.turn) == order


@pytest.mark.parametrize(
    ("holders", "needs", "found"),
    [
        ([], [need()], None),
        ([holder("a")], [need()], ("a", AssignReason.BEST_MATCH, 0)),
        ([holder("a"), holder("b")], [need()], ("a", AssignReason.BEST_MATCH, 0)),
        ([holder("a", presence="away"), holder("b")], [need()], ("b", AssignReason.BEST_MATCH, 0)),
        ([holder("a"), holder("b")], [need(avoid=frozenset({"a"}))], ("b", AssignReason.BEST_MATCH, 0)),
        ([holder("a")], [need(sticky="a")], ("a", AssignReason.STICKY, 0)),
        ([holder("a", load=1)], [need()], ("a", AssignReason.BEST_MATCH, 0)),
        ([holder("a", weight=0.5, load=1.5)], [need()], None),
        ([holder("a", weight=0.5, load=1.5)], [need(share=0.5)], ("a", AssignReason.BEST_MATCH, 0)),
        ([holder("a"), holder("b")], [need(target="b")], ("b", AssignReason.TRANSFERRED, 0)),
        ([holder("a")], [need(target="b")], None),
        ([holder("a", queues=("thai",))], [need(target="a", target_reason=AssignReason.ANSWERED)],
         ("a", AssignReason.ANSWERED, 0)),
        ([holder("a", queues=("thai",))], [need()], None),
        ([holder("a", queues=("thai",))], [need(), need(queue="thai")], ("a", AssignReason.BEST_MATCH, 1)),
    ],
)  # fmt: skip
def test_a_claim_of_an_earlier_try_is_used_if_its_agent_would_do(
    holders: list[AgentState], needs: list[Need], found: tuple[str, AssignReason, int] | None
) -> None:
    choice = picking.held(needs, holders, POLICY)
    if found is None:
        assert choice is None
        return
    name, reason, rank = found
    assert choice is not None
    assert (choice.agent.profile.id, choice.reason, choice.claimed) == (name, reason, True)
    assert choice.need is needs[rank]


def test_holders_are_asked_in_the_order_of_their_ids_and_then_everybody() -> None:
    pool = Pool(POLICY, [holder("b"), holder("a", load=1), agent("c")])
    choice = picking.choose([need()], pool, {"b", "a"}, POLICY, skip=0)
    assert choice is not None
    assert (choice.agent.profile.id, choice.claimed) == ("a", True)
    other = picking.choose([need()], pool, set(), POLICY, skip=0)
    assert other is not None
    assert (other.agent.profile.id, other.claimed) == ("c", False)


@pytest.mark.parametrize(
    ("chosen", "share", "lighter", "before", "after"),
    [
        (agent("a", load=0.5), 1.0, False, 0.5, 1.5),
        (holder("a", load=0.5), 1.0, False, 0.5, 1.5),
        (holder("a", load=0.5), 0.5, True, 0.5, 1.5),
        (holder("a", weight=0.5), 1.0, False, 0.0, 1.0),
    ],
)
def test_a_pick_claims_what_the_ticket_weighs_and_tells_the_load_without_it(
    chosen: AgentState, share: float, lighter: bool, before: float, after: float
) -> None:
    needs, claimed_at = [need(share=share)], at(7) + timedelta(microseconds=3)
    pool = Pool(POLICY, [chosen])
    picked = picking.pick(needs, Choice(chosen, needs[0]), 9, pool, POLICY, at(7), claimed_at)
    assert (picked.agent_id, picked.lighter, picked.share, picked.overflow_queue) == ("a", lighter, share, None)
    assert picked.load_before == pytest.approx(before)
    assert picked.claimed.load == pytest.approx(after)
    assert picked.claimed.claims["t"].stamp == 9
    assert picked.claimed.last_assigned_at == claimed_at
    assert picked.decision.looked_at == 1
    state = picking.assigned(waiting(), picked, at(8)).state
    assert state is not None
    assert (state.phase, state.agent, state.share, state.assigned_at) == ("assigned", "a", share, at(8))


def test_a_pick_by_another_need_than_the_first_names_the_queue_it_overflowed_to() -> None:
    needs = [need(), need(queue="thai")]
    picked = picking.pick(needs, Choice(agent("a"), needs[1]), 1, Pool(POLICY, [agent("a")]), POLICY, at(0), at(0))
    assert picked.overflow_queue == "thai"
