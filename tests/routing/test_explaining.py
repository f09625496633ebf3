"""Why this agent and not that one: what is said is true, and nobody is left out of the count."""

from typing import Any

import pytest

from contracts.assignments import AssignmentDecision, AssignReason
from contracts.ticket import Status
from services.routing.core import ranking
from services.routing.core.agents import AgentState
from services.routing.core.need import Need
from services.routing.core.picking import SHOWN, SMALL
from services.routing.core.pool import Pool
from services.routing.core.ranking import Choice
from tests.kit.fake_store import FakeStore
from tests.routing.scenario import (
    Log,
    Replica,
    agent,
    at,
    fake_clock,
    opened,
    policy,
    profile,
    reopened,
    status,
    ticket,
    transfer,
)

POLICY = policy()


def need(**more: Any) -> Need:
    return Need(**{"ticket": "t", "channel": "email", "queue": "english", "required": (("lang-en", 1),), **more})


def told(office: list[AgentState], choice: Choice | None, *needs: Need) -> AssignmentDecision:
    return ranking.explain(office, needs, POLICY, at(60), choice, 8)


def reasons(decision: AssignmentDecision) -> dict[str, str | None]:
    return {c.agent_id: c.passed_over for c in decision.candidates}


@pytest.fixture
def replica() -> Replica:
    return Replica(FakeStore(), fake_clock(), Log())


BUSY, IDLE, FULL = agent("busy", load=1, last=50), agent("idle"), agent("full", load=2)


@pytest.mark.parametrize(
    ("asked", "how", "why"),
    [
        (need(sticky="busy"), AssignReason.STICKY, "not_sticky"),
        (need(target="busy"), AssignReason.TRANSFERRED, "not_named"),
        (need(target="busy", target_reason=AssignReason.ANSWERED), AssignReason.ANSWERED, "not_named"),
    ],
)
def test_who_is_passed_over_for_a_certain_agent_is_told_so_and_not_that_they_were_assigned_later(
    asked: Need, how: AssignReason, why: str
) -> None:
    office = [BUSY, IDLE, FULL, agent("away", presence="away")]
    choice = Pool(POLICY, office).pick([asked])
    assert choice == Choice(BUSY, asked, how)
    decision = told(office, choice, asked)
    assert reasons(decision) == {"busy": None, "idle": why, "full": "at_capacity", "away": "away"}
    assert Pool(POLICY, office).passed_over(Choice(BUSY, asked, how)) == decision.passed_over
    assert [c.chosen for c in decision.candidates] == [True, False, False, False]


def test_who_is_passed_over_for_a_claim_of_an_earlier_try_is_told_so() -> None:
    assert reasons(told([BUSY, IDLE], Choice(BUSY, need(), claimed=True), need())) == {
        "busy": None,
        "idle": "not_claimed",
    }


def test_of_agents_equal_in_all_one_is_taken_and_the_others_are_told_that() -> None:
    office = [agent("a"), agent("b"), agent("c", last=1), agent("d", last=2)]
    assert reasons(told(office, Choice(office[0], need()), need()))["b"] == "equal"
    apart = told(office, Choice(office[2], need()), need())
    assert reasons(apart) == {"c": None, "a": "equal", "b": "equal", "d": "assigned_later"}
    assert Pool(POLICY, office).passed_over(Choice(office[2], need())) == {"assigned_later": 1, "equal": 2}


def test_details_say_what_was_wanted_and_what_there_was() -> None:
    asked = need(preferred=(("vip", 3),), required=(("lang-en", 2),), language="lang-en", brand="nimbus")
    office = [
        agent("best", skills={"lang-en": 3, "vip": 3}),
        agent("busier", skills={"lang-en": 3, "vip": 3}, load=1),
        agent("plain"),
        agent("full", load=2),
        agent("thai", skills={"lang-en": 1}),
        agent("korale", brands=("korale",)),
        agent("elsewhere", queues=("thai", "returns")),
        agent("gave", skills={"lang-en": 3}),
    ]
    asked = Need(**{n: getattr(asked, n) for n in Need.__slots__} | {"avoid": frozenset({"gave"})})
    decision = told(office, Pool(POLICY, office).pick([asked]), asked)
    assert {c.agent_id: c.detail for c in decision.candidates} == {
        "best": None,
        "busier": "50% of capacity in use, not 0%",
        "plain": "0 preferred skills, not 1",
        "full": "2 of 2 in use, 1 wanted",
        "gave": "gave it away",
        "thai": "lang-en at 2 is needed, has 1",
        "korale": "serves korale",
        "elsewhere": "serves thai, returns",
    }
    best = decision.candidates[0]
    assert (best.skill_score, best.load, best.capacity, best.idle_seconds) == (1, 0, 2, None)
    assert {c.agent_id: c.idle_seconds for c in told([BUSY], None, need()).candidates} == {"busy": 10}


def test_one_who_could_serve_by_overflow_too_is_judged_by_the_first_queue_that_they_can_serve() -> None:
    home, wider = need(required=(("lang-th", 1),), queue="thai", language="lang-th"), need()
    office = [agent("bua", skills={"lang-th": 3}), agent("ann"), agent("full", load=2), agent("fr", skills={})]
    decision = told(office, Pool(POLICY, office).pick([home, wider]), home, wider)
    assert reasons(decision) == {"bua": None, "ann": "only_overflow", "full": "at_capacity", "fr": "language"}
    assert [c.agent_id for c in decision.candidates] == ["bua", "ann", "full", "fr"]


async def test_a_sticky_assignment_explains_the_idle_agent_truly(replica: Replica) -> None:
    await replica.put(profile("zoe"))
    await replica.hear(opened(ticket("t0")), opened(ticket("t1")))
    await replica.hear(status(ticket("t1", 2, status=Status.SOLVED)))
    await replica.put(profile("idle"))
    await replica.hear(reopened(ticket("t1", 3, status=Status.OPEN)))
    assert reasons(replica.log.last("t1").decision) == {"zoe": None, "idle": "not_sticky"}


async def test_in_a_large_office_eight_are_named_and_all_are_counted(replica: Replica) -> None:
    for number in range(SMALL):
        presence = ("online", "away", "offline")[number % 3]
        await replica.put(profile(f"a{number:02}", presence=presence, queues=("thai",) if number % 4 == 0 else ()))
    await replica.put(profile("korale", brands=("korale",)))
    await replica.put(profile("gone"))
    await replica.remove("gone")
    await replica.hear(opened(ticket("t1")))
    decision = replica.log.last("t1").decision
    assert len(decision.candidates) == SHOWN
    assert decision.looked_at == SMALL + 1 == sum(decision.passed_over.values()) + 1
    everybody = ranking.explain(
        list(replica.roster.states()), [need(brand="nimbus")], replica.policy, at(0),
        Choice((await replica.agent("a03")), need(brand="nimbus")), 100,
    )  # fmt: skip
    assert decision.passed_over.keys() == {"away", "offline", "wrong_queue", "wrong_brand", "equal"}
    assert {k: decision.passed_over[k] for k in ("away", "offline", "wrong_queue", "wrong_brand")} == {
        k: everybody.passed_over[k] for k in ("away", "offline", "wrong_queue", "wrong_brand")
    }


async def test_the_next_in_a_large_office_is_told_who_had_work_later(replica: Replica) -> None:
    for number in range(SMALL + 2):
        await replica.put(profile(f"a{number:02}", capacity=1 if number == 0 else 4))
    for number in range(3):
        replica.clock.advance(1)  # type: ignore[attr-defined]
        await replica.hear(opened(ticket(f"t{number}")))
    counts = replica.log.last("t2").decision.passed_over
    assert counts == {"at_capacity": 1, "equal": SMALL - 1, "higher_load": 1}


async def test_while_a_ticket_waits_for_one_agent_the_others_are_told_so(replica: Replica) -> None:
    asked = need(target="full")
    decision = told([FULL, IDLE], Pool(POLICY, [FULL, IDLE]).pick([asked]), asked)
    assert reasons(decision) == {"full": "at_capacity", "idle": "not_named"}
    await replica.put(profile("bob", capacity=0))
    await replica.hear(opened(ticket()))
    await replica.command("t1", transfer(agent_id="bob"))
    assert replica.log.last("t1").to_agent.name == "Bob"
