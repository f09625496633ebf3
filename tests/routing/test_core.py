"""The rules one by one, as values: what is in a state and in an event after each, also what nobody looks at soon."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.assignments import (
    AgentRef,
    AssignmentDecision,
    QueueReason,
    TicketAssigned,
    TicketQueued,
    TicketTransferAnswered,
    TicketUnassigned,
    TicketUnroutable,
    TransferReason,
    UnassignReason,
)
from contracts.ticket import Status
from services.routing.core import looks, moves, tickets, transfers
from services.routing.core.agents import AgentState
from services.routing.core.need import Need
from services.routing.core.policy import RoutingPolicy
from services.routing.core.pool import Pool
from services.routing.core.state import Overflowed, Target, TicketState
from tests.routing.scenario import POLICY, START, agent, at, opened, policy, status, ticket, transfer

RULES = policy()
PEOPLE = {name: agent(name) for name in ("ann", "bob", "cat")}


def waiting(**more: Any) -> TicketState:
    fields: dict[str, Any] = {"queue": "english", "queued_at": at(0), "entered_at": at(0), "waiting_since": at(0)}
    made = TicketState(id="t1", facts=ticket().facts(), status=Status.OPEN, phase="waiting", **{**fields, **more})
    return replace(made, next_look=at(1))


def held(by: str = "ann", **more: Any) -> TicketState:
    return replace(
        waiting(**more), phase="assigned", agent=by, agent_name=by.title(), assigned_at=at(5), next_look=None
    )


# -- moves -------------------------------------------------------------------------------------------------------------


def test_overflow_begins_the_looks_anew_and_forgets_who_gave_it_away() -> None:
    decision = moves.widen(waiting(looks=7, avoid=("ann",)), "all", at(60), RULES, own=True)
    assert decision.state is not None
    assert decision.state.overflow == (Overflowed("all", at(60), own=True),)
    assert (decision.state.looks, decision.state.avoid, decision.state.next_look) == (0, (), at(61))
    assert (decision.state.entered_at, decision.state.waiting_since) == (at(0), at(0))


def test_rules_that_lead_elsewhere_begin_the_wait_there_anew_but_not_the_wait() -> None:
    state = waiting(
        queue="thai", overflow=(Overflowed("english", at(3)),), looks=7, avoid=("ann",), unroutable="no_queue"
    )
    after = moves.place_again(state, at(60), RULES).state
    assert after is not None
    assert (after.queue, after.overflow, after.looks, after.avoid, after.unroutable) == ("english", (), 0, (), None)
    assert (after.entered_at, after.waiting_since, after.queued_at) == (at(60), at(0), at(0))


def test_an_assignment_leaves_nothing_of_the_wait_behind() -> None:
    state = waiting(
        target=Target("ann", at(99)), avoid=("bob",), unroutable="no_queue", looks=4, left=("ann", "bob"),
        waiting_since=at(4),
    )  # fmt: skip
    how = AssignmentDecision(looked_at=3)
    ann = AgentRef(id="ann", name="Ann")
    decision = moves.assigned(
        state, ann, "sticky", at(9), load_before=1, load_after=2, decision=how, overflow_queue="thai", share=0.5
    )
    assert decision.events == [
        TicketAssigned(
            ticket_id="t1", queue="english", facts=state.facts, agent=ann, reason="sticky", sticky=True,
            queued_at=at(0), assigned_at=at(9), waited_ms=5000, load_before=1, load_after=2, decision=how,
            overflow_queue="thai",
        )
    ]  # fmt: skip
    assert decision.state == replace(
        state, phase="assigned", agent="ann", agent_name="Ann", assigned_at=at(9), share=0.5, previous="ann",
        target=None, avoid=(), unroutable=None, next_look=None, looks=0, left=("bob",), decision=how,
    )  # fmt: skip


def test_only_a_waiting_ticket_is_assigned() -> None:
    given: dict[str, Any] = {"load_before": 0, "load_after": 1, "decision": None}
    for state in (held(), waiting(queued_at=None)):
        with pytest.raises(ValueError, match="only a waiting ticket"):
            moves.assigned(state, Any, "best_match", at(9), **given)  # type: ignore[arg-type]


def test_who_left_a_ticket_is_remembered_the_last_three_of_them() -> None:
    state = held(left=("a", "b", "ann", "c"))
    after, event = moves.unassigned(state, UnassignReason.SOLVED, at(9))
    assert after.left == ("b", "c", "ann")
    assert (after.agent, after.agent_name, after.assigned_at) == (None, None, None)
    assert event == TicketUnassigned(
        ticket_id="t1", queue="english", facts=state.facts, agent={"id": "ann", "name": "Ann"},
        reason="solved", assigned_at=at(5), unassigned_at=at(9),
    )  # fmt: skip


def test_queued_says_what_the_ticket_asks_for() -> None:
    state = waiting(required=(("gold", 2),), preferred=(("vip", 3),), overflow=(Overflowed("thai", at(3)),))
    (event,) = moves.queue(state, QueueReason.OVERFLOW, at(9), RULES).events
    assert event == TicketQueued(
        ticket_id="t1", queue="english", facts=state.facts, reason="overflow", required_skills={"gold": 2},
        preferred_skills={"vip": 3}, queued_at=at(0), overflow_queues=("thai",), entered_at=at(9),
    )  # fmt: skip


# -- what events make of a ticket --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "state", [waiting(), held("bob"), replace(held(), phase="aside"), replace(held(), phase="waiting")]
)
def test_a_ticket_is_taken_only_from_the_agent_who_has_it(state: TicketState) -> None:
    assert tickets.evict(state, "ann", UnassignReason.AGENT_REMOVED, at(9), RULES, all_work=True) is None


@pytest.mark.parametrize(
    ("why", "reason"),
    [
        (UnassignReason.AGENT_OFFLINE, "agent_offline"),
        (UnassignReason.AGENT_REMOVED, "agent_offline"),
        (UnassignReason.AGENT_FULL, "agent_full"),
    ],
)
def test_work_that_is_taken_away_says_why(why: UnassignReason, reason: str) -> None:
    decision = tickets.evict(held(), "ann", why, at(9), RULES, all_work=False)
    assert decision is not None
    gone, queued = decision.events
    assert isinstance(gone, TicketUnassigned)
    assert isinstance(queued, TicketQueued)
    assert (gone.reason, queued.reason, queued.queued_at) == (why, reason, at(0))


def test_what_waits_on_the_customer_stays_unless_all_work_goes() -> None:
    rests = replace(held(), status=Status.PENDING)
    assert tickets.evict(rests, "ann", UnassignReason.AGENT_OFFLINE, at(9), RULES, all_work=False) is None
    assert tickets.evict(rests, "ann", UnassignReason.AGENT_REMOVED, at(9), RULES, all_work=True) is not None


def test_a_ticket_that_is_put_aside_forgets_what_only_waiting_needs() -> None:
    state = waiting(target=Target("bob", at(99)), avoid=("ann",), unroutable="no_queue")
    after = tickets.decide(state, status(ticket("t1", 2, status=Status.SOLVED)), at(9), RULES, lambda _: True).state
    assert after is not None
    assert (after.phase, after.aside, after.next_look, after.target) == ("aside", "solved", None, None)
    assert (after.avoid, after.unroutable) == ((), None)
    again = tickets.decide(after, opened(ticket("t1", 3)), at(20), RULES, lambda _: True).state
    assert again is not None
    assert (again.aside, again.queued_at, again.entered_at, again.waiting_since) == (None, at(20), at(20), at(20))


# -- transfers ---------------------------------------------------------------------------------------------------------


def carried_out(state: TicketState, rules: RoutingPolicy = RULES, **target: Any) -> TicketState:
    after = transfers.transfer(state, transfer(**target), "c-1", at(50), rules, PEOPLE).state
    assert after is not None
    return after


def test_transfer_to_a_queue_takes_all_with_it_that_belonged_to_the_old_one() -> None:
    state = waiting(
        rule_required=(("gold", 1),), rule_preferred=(("vip", 1),), overflow=(Overflowed("thai", at(1)),),
        previous="ann", target=Target("bob", at(99)),
    )  # fmt: skip
    after = carried_out(state, queue="returns")
    assert (after.queue, after.pinned, after.entered_at, after.queued_at) == ("returns", True, at(50), at(0))
    assert (after.rule_required, after.rule_preferred, after.overflow) == ((), (), ())
    assert (after.previous, after.target, after.waiting_since) == (None, None, at(0))


def test_transfer_to_an_agent_leaves_the_queue_as_it_is() -> None:
    after = carried_out(held(rule_required=(("gold", 1),)), agent_id="bob")
    assert after.target == Target("bob", at(350), "Bob", "c-1")
    assert (after.queue, after.pinned, after.avoid, after.previous) == ("english", False, ("ann",), None)
    assert (after.phase, after.waiting_since, after.entered_at) == ("waiting", at(50), at(50))


def test_transfer_to_who_has_the_ticket_is_remembered_as_done() -> None:
    after = carried_out(held(), agent_id="ann")
    assert after == replace(held(), commands=(":c-1",))


def test_transfer_keeps_the_cause_that_it_has_when_it_brings_none() -> None:
    assert carried_out(held(cause=None), agent_id="bob").cause is None


@pytest.mark.parametrize(
    ("who", "channel", "state", "reason", "detail"),
    [
        (None, "email", Status.OPEN, "agent_removed", None),
        (agent("a", presence="away"), "email", Status.OPEN, "agent_away", None),
        (agent("a", presence="offline"), "email", Status.OPEN, "agent_offline", None),
        (agent("a", load=2), "email", Status.OPEN, "agent_full", "2 of 2 in use, 1 wanted"),
        (agent("a", load=2), "whatsapp", Status.OPEN, "agent_full", "2 of 2 in use, 2 wanted"),
        (agent("a", load=2), "chat", Status.PENDING, "agent_full", "2 of 2 in use, 1 wanted"),
        (agent("a", load=3), "whatsapp", Status.PENDING, "agent_full", "3 of 2 in use, 0 wanted"),
    ],
)
def test_what_keeps_an_agent_from_a_ticket(
    who: AgentState | None, channel: str, state: Status, reason: str, detail: str | None
) -> None:
    of = replace(waiting(), facts=ticket(channel=channel).facts(), status=state)
    assert transfers.hindrance(of, who, RULES) == (reason, detail)
    if who is not None:
        assert transfers.hindrance(of, replace(who, removed_at=at(1)), RULES) == ("agent_removed", None)


def test_a_refusal_says_everything_that_the_caller_asked_for() -> None:
    state = waiting()
    (event,) = transfers.transfer(state, transfer(agent_id="zoe"), "c-1", at(50), RULES, PEOPLE).events
    assert event == TicketTransferAnswered(
        ticket_id="t1", queue="english", facts=state.facts, command_id="c-1", outcome="refused",
        reason="unknown_agent", detail="there is no agent 'zoe'", to_agent=AgentRef(id="zoe"),
    )  # fmt: skip
    (event,) = transfers.transfer(state, transfer(queue="no"), "c-1", at(50), RULES, PEOPLE).events
    assert isinstance(event, TicketTransferAnswered)
    assert (event.to_queue, event.to_agent, event.detail) == ("no", None, "there is no queue 'no'")
    placeholder = transfers.unknown_ticket("t9")
    (event,) = transfers.transfer(placeholder, transfer(queue="thai"), "c-1", at(50), RULES, PEOPLE).events
    assert event == TicketTransferAnswered(
        ticket_id="t9", command_id="c-1", outcome="refused", reason="unknown_ticket",
        detail="there is no such ticket", to_queue="thai",
    )  # fmt: skip


def test_a_wait_and_its_end_say_whom_the_ticket_waits_for() -> None:
    target = Target("bob", at(350), "Bob", "c-1")
    state, full = waiting(target=target), agent("bob", load=2)
    said = transfers.wait(state, full, RULES)
    assert said is not None
    assert said.state == replace(state, target=replace(target, announced=True))
    told = TicketTransferAnswered(
        ticket_id="t1", queue="english", facts=state.facts, command_id="c-1", outcome="waiting",
        reason="agent_full", detail="2 of 2 in use, 1 wanted", to_agent=AgentRef(id="bob", name="Bob"), until=at(350),
    )  # fmt: skip
    assert said.events == [told]
    assert transfers.wait(said.state, full, RULES) is None
    over = transfers.fall_back(said.state, full, RULES)
    assert over.state == replace(state, target=None)
    assert over.events == [told.model_copy(update={"outcome": "fell_back", "until": None})]
    assert transfers.superseded(waiting(target=Target("bob", at(350))), TransferReason.SOLVED) == []


def test_who_has_answered_and_has_no_room_in_time_leaves_the_ticket_to_the_others_without_a_word() -> None:
    state = waiting(target=Target("bob", at(99)))
    decision = transfers.fall_back(state, agent("bob", load=2), RULES)
    assert (decision.state, list(decision.events)) == (replace(state, target=None), [])
    assert transfers.wait(state, agent("bob", load=2), RULES) is None


# -- looks -------------------------------------------------------------------------------------------------------------

PATIENT = policy(b"""
unroutable_after: 30s
look: {first: 1s, most: 1h}
queues:
  a: {preferred: {vip: 1}, relax_after: [10s, 20s], overflow: {after: 100s, to: b}}
  b: {relax_after: [15s], overflow: {after: 50s, to: c}}
  c: {}
""")


def test_a_ticket_is_looked_at_at_every_step_of_its_wait() -> None:
    state, now, seen = waiting(queue="a", looks=12, target=Target("bob", at(300))), at(0), list[float]()
    while len(seen) < 12:
        now = looks.next_look(state, now, PATIENT)
        seen.append((now - START).total_seconds())
        if now == at(100):
            state = replace(state, overflow=(Overflowed("b", now),))
    assert seen[:8] == [10, 20, 30, 100, 115, 130, 150, 300], "its steps, then only now and then"
    assert looks.next_look(replace(state, overflow=(Overflowed("c", at(200)),)), at(150), PATIENT) == at(230)


@given(st.integers(0, 30), st.text(max_size=5))
def test_looks_of_many_tickets_are_spread_and_later_each_time_up_to_the_most(number: int, name: str) -> None:
    state = waiting(queue="c", looks=number)
    state = replace(state, id=name)
    pause = (looks.next_look(state, at(1000.0005), PATIENT) - at(1000.0005)).total_seconds()
    assert 0.799 * min(4**number, 3600) <= pause <= 1.2 * min(4**number, 3600)
    assert looks.next_look(state, at(1000.0005), PATIENT).microsecond % 1000 == 0


@pytest.mark.parametrize("state", [held(), replace(waiting(), phase="aside"), waiting(queued_at=None),
                                   waiting(entered_at=None)])  # fmt: skip
def test_only_what_waits_is_looked_at(state: TicketState) -> None:
    assert looks.look(state, at(9), PATIENT, {}) is None


def test_that_nobody_can_serve_it_is_said_with_all_that_is_known() -> None:
    state = waiting(queue=None, next_look=None)
    rules = policy(b"queues: {a: {}}\nrules: [{match: {brand: korale}, queue: a}]")
    decision = looks.look(state, at(60), rules, PEOPLE)
    assert decision is not None
    assert decision.events == [
        TicketUnroutable(
            ticket_id="t1", queue=None, facts=state.facts, reason="no_queue", queued_at=at(0),
            detail="no rule of the policy matches the ticket",
        )
    ]  # fmt: skip
    state = waiting(queue="c", pinned=True)
    decision = looks.look(state, at(60), PATIENT, {"ann": agent("ann", queues=("a",))})
    assert decision is not None
    assert decision.events == [
        TicketUnroutable(
            ticket_id="t1", queue="c", facts=state.facts, reason="no_agent_in_queue", queued_at=at(0),
            detail="lang-en at 1 in queue c; 1 wrong_queue",
        )
    ]  # fmt: skip


def test_nothing_is_said_of_nobody_before_the_agents_are_known() -> None:
    for people, said in ((None, 0), ({}, 1)):
        decision = looks.look(waiting(queue="c", pinned=True), at(60), PATIENT, people)
        assert decision is not None
        assert len(decision.events) == said


@pytest.mark.parametrize(
    ("queues", "left"),
    [
        (b"{a: {}, b: {overflow: {after: 1s, to: a}}, c: {}}", []),
        (b"{a: {}, b: {}, c: {overflow: {after: 1h, to: a}}}", ["a"]),
        (b"{a: {overflow: {after: 1h, to: b}}, b: {}, c: {overflow: {after: 1h, to: a}}}", ["a", "b"]),
        (b"{a: {}, b: {overflow: {after: 1s, to: a}}, c: {overflow: {after: 1s, to: b}}}", ["b"]),
    ],
)
def test_queues_that_the_file_leads_to_no_more_are_taken_away(queues: bytes, left: list[str]) -> None:
    state = waiting(queue="c", pinned=True, overflow=(Overflowed("a", at(0)), Overflowed("b", at(0))))
    decision = looks.look(state, at(500), policy(b"queues: " + queues), PEOPLE)
    assert decision is not None
    assert decision.state is not None
    assert [more.queue for more in decision.state.overflow] == left


@pytest.mark.parametrize(("known", "told", "counts"), [(0, 0, True), (1, 0, False), (2, 1, False), (1, 1, True)])
def test_an_older_picture_counts_for_nothing(known: int, told: int, counts: bool) -> None:
    state = waiting(ticket_version=known)
    decision = tickets.decide(state, opened(ticket("t1", told)), at(9), RULES, lambda _: True)
    assert (decision.state is not None) == counts


# -- the index ---------------------------------------------------------------------------------------------------------


def test_another_policy_counts_from_the_next_choice() -> None:
    need = Need(ticket="t", channel="email", queue="english")
    pool = Pool(RULES, [agent("ann", capacity=1)])
    assert pool.choose(need) is not None
    pool.set_policy(policy(POLICY.replace(b"email: 1", b"email: 2")))
    assert pool.choose(need) is None
