"""The definition of who may serve a ticket and who is best, rule by rule: exact reasons, words and orders."""

import math
from dataclasses import replace
from typing import Any

import pytest

from contracts.assignments import AssignmentDecision, AssignReason, Candidate, PassedOver, UnroutableReason
from services.routing.core import ranking
from services.routing.core.agents import AgentState
from services.routing.core.need import Need, Unroutable
from services.routing.core.ranking import NEVER, Choice, Judged
from tests.routing.scenario import agent, at, policy

POLICY = policy()


def need(**more: Any) -> Need:
    return Need(**{"ticket": "t", "channel": "email", "queue": "english", "required": (("lang-en", 1),), **more})


def removed(state: AgentState) -> AgentState:
    return replace(state, removed_at=at(0))


@pytest.mark.parametrize(
    ("state", "asked", "why"),
    [
        (agent("a"), {}, None),
        (agent("a"), {"queue": None}, None),
        (agent("a", queues=("thai", "returns")), {"queue": None}, None),
        (agent("a", queues=("thai", "english")), {}, None),
        (agent("a", queues=("thai", "returns")), {}, (PassedOver.WRONG_QUEUE, "serves thai, returns")),
        (agent("a", brands=("korale", "x")), {}, None),
        (agent("a", brands=("korale", "nimbus")), {"brand": "nimbus"}, None),
        (agent("a", brands=("korale", "x")), {"brand": "nimbus"}, (PassedOver.WRONG_BRAND, "serves korale, x")),
        (agent("a"), {"required": (("lang-en", 3),)}, None),
        (agent("a"), {"required": (("lang-en", 4),)}, (PassedOver.MISSING_SKILL, "lang-en at 4 is needed, has 3")),
        (agent("a"), {"required": (("vip", 1),)}, (PassedOver.MISSING_SKILL, "vip at 1 is needed, has 0")),
        (agent("a"), {"required": (("lang-th", 1),), "language": "lang-th"},
         (PassedOver.LANGUAGE, "lang-th at 1 is needed, has 0")),
        (agent("a", languages=("th-TH",)), {"required": (("lang-th", 5),)}, None),
        (agent("a", languages=("en",)), {"required": (("lang-en", 4),)},
         (PassedOver.MISSING_SKILL, "lang-en at 4 is needed, has 3")),
    ],
)  # fmt: skip
def test_what_keeps_an_agent_from_ever_serving_a_ticket(state: AgentState, asked: dict[str, Any], why: Any) -> None:
    assert ranking.unfit(state, need(**asked), POLICY) == why


@pytest.mark.parametrize(
    ("state", "asked", "why"),
    [
        (agent("a", load=1), {}, None),
        (agent("a", presence="away"), {}, (PassedOver.AWAY, "away")),
        (agent("a", presence="offline"), {}, (PassedOver.OFFLINE, "offline")),
        (removed(agent("a", presence="away")), {}, (PassedOver.OFFLINE, "offline")),
        (agent("a", load=1.5), {}, (PassedOver.AT_CAPACITY, "1.5 of 2 in use, 1 wanted")),
        (agent("a", load=1.5), {"share": 0.5}, None),
        (agent("a", load=1), {"channel": "whatsapp"}, (PassedOver.AT_CAPACITY, "1 of 2 in use, 2 wanted")),
        (agent("a", load=1, channel_weights={"email": 1.5}), {}, (PassedOver.AT_CAPACITY, "1 of 2 in use, 1.5 wanted")),
        (agent("a"), {"avoid": frozenset({"a", "b"})}, (PassedOver.DECLINED, "gave it away")),
        (agent("a"), {"avoid": frozenset({"b"})}, None),
    ],
)
def test_what_keeps_an_agent_from_taking_a_ticket_now(state: AgentState, asked: dict[str, Any], why: Any) -> None:
    assert ranking.unavailable(state, need(**asked), POLICY) == why


@pytest.mark.parametrize(
    ("state", "asked", "can"),
    [
        (agent("a"), {"target": "a"}, True),
        (agent("a", load=2), {"target": "a"}, False),
        (agent("a", load=1.5), {"target": "a", "share": 0.5}, True),
        (agent("a", load=1, channel_weights={"email": 1.5}), {"target": "a"}, False),
        (agent("a", presence="away"), {"target": "a"}, False),
        (agent("a", presence="away"), {"target": "a", "even_absent": True}, True),
        (agent("a", load=2, presence="away"), {"target": "a", "even_absent": True}, False),
        (agent("a"), {"target": "b"}, None),
        (removed(agent("a")), {"target": "a"}, None),
        (None, {"target": "a"}, None),
    ],
)
def test_the_one_agent_a_ticket_is_meant_for_takes_it_with_room_and_online_unless_nothing_is_owed(
    state: AgentState | None, asked: dict[str, Any], can: bool | None
) -> None:
    assert ranking.awaited(state, need(**asked), POLICY) is can


def test_the_order_is_score_then_load_then_idleness_then_id() -> None:
    asked = need(preferred=(("vip", 2), ("billing", 1), ("lang-th", 5)))
    skilled = agent("a", load=1, last=7, capacity=4, skills={"vip": 2}, languages=("th",))
    assert ranking.order(skilled, asked, POLICY) == (-2, 0.25, at(7), "a")
    assert ranking.order(agent("b"), asked, POLICY) == (0, 0.0, NEVER, "b")
    assert ranking.order(agent("c", capacity=0), asked, POLICY) == (0, math.inf, NEVER, "c")


@pytest.mark.parametrize(("sticky", "reason"), [("a", AssignReason.STICKY), ("b", AssignReason.BEST_MATCH)])
def test_whoever_had_the_ticket_gets_it_for_that(sticky: str, reason: AssignReason) -> None:
    assert ranking.reason_of(agent("a"), need(sticky=sticky)) is reason


TWO = (need(required=(("lang-en", 1), ("vip", 2))), need(queue="thai", required=()), need(queue=None, required=()))


@pytest.mark.parametrize(
    ("office", "needs", "why"),
    [
        ([agent("a")], [need()], None),
        ([agent("a", presence="offline", load=2)], [need()], None),
        ([agent("a", capacity=1)], [need()], None),
        ([agent("a", queues=("thai",))], TWO, None),
        ([], [need()],
         Unroutable(UnroutableReason.NO_AGENT_IN_QUEUE, "lang-en at 1 in queue english; there are no agents")),
        ([removed(agent("a"))], [need(required=())],
         Unroutable(UnroutableReason.NO_AGENT_IN_QUEUE, "no skill in queue english; there are no agents")),
        ([agent("a", queues=("x",)), removed(agent("b")), agent("c", queues=("x",)), agent("d", brands=("x",))],
         [need(brand="nimbus"), need(queue="thai", brand="nimbus"), need(queue=None, required=(("z", 1),))],
         Unroutable(UnroutableReason.NO_AGENT_IN_QUEUE,
                    "lang-en at 1 in queue english; 1 wrong_brand, 2 wrong_queue, nor in thai, ")),
        ([agent("a"), agent("b", queues=("x",))], [need(required=(("lang-en", 1), ("vip", 2)))],
         Unroutable(UnroutableReason.NO_AGENT_WITH_SKILLS,
                    "lang-en at 1, vip at 2 in queue english; 1 missing_skill, 1 wrong_queue")),
        ([agent("a"), agent("b", queues=("x",))], [need(required=(("lang-th", 1),), language="lang-th")],
         Unroutable(UnroutableReason.NO_AGENT_WITH_LANGUAGE,
                    "lang-th at 1 in queue english; 1 language, 1 wrong_queue")),
        ([agent("a"), agent("b", skills={"lang-th": 1})],
         [need(required=(("lang-th", 1), ("vip", 1)), language="lang-th")],
         Unroutable(UnroutableReason.NO_AGENT_WITH_SKILLS,
                    "lang-th at 1, vip at 1 in queue english; 1 language, 1 missing_skill")),
        ([agent("a", capacity=0.5)], [need()],
         Unroutable(UnroutableReason.NO_AGENT_WITH_SKILLS, "lang-en at 1 in queue english; 1 at_capacity")),
        ([agent("a", capacity=0.5)], [need(share=0.5)], None),
        ([agent("a", channel_weights={"email": 3})], [need()],
         Unroutable(UnroutableReason.NO_AGENT_WITH_SKILLS, "lang-en at 1 in queue english; 1 at_capacity")),
    ],
)  # fmt: skip
def test_why_nobody_there_is_could_ever_serve_a_ticket(
    office: list[AgentState], needs: Any, why: Unroutable | None
) -> None:
    assert ranking.why_unroutable(office, needs, POLICY) == why


def test_an_agent_whose_capacity_is_a_sum_of_tenths_has_room_for_it() -> None:
    weights = {"channel_weights": {"email": 0.1 + 0.2}}
    assert ranking.why_unroutable([agent("a", capacity=0.3)], [need()], POLICY.model_copy(update=weights)) is None
    assert (
        ranking.why_unroutable([agent("a", capacity=0.3 - 1e-6)], [need()], POLICY.model_copy(update=weights))
        is not None
    )


def test_an_agent_is_judged_by_the_first_need_that_they_could_serve() -> None:
    home, thai, last = need(required=(("vip", 1),), preferred=(("lang-en", 1),)), need(queue="thai"), need(queue=None)
    a = agent("a", load=1)
    assert ranking.judge(a, (home, thai, last), POLICY) == Judged(a, None, True, 1, (0, 0.5, NEVER, "a"))
    full = agent("a", load=2, skills={"vip": 1, "lang-en": 1})
    assert ranking.judge(full, (home, thai), POLICY) == Judged(
        full, (PassedOver.AT_CAPACITY, "2 of 2 in use, 1 wanted"), True, 0, (-1, 1.0, NEVER, "a")
    )
    misfit = agent("a", queues=("x",), skills={"vip": 1, "lang-en": 1})
    assert ranking.judge(misfit, (home, thai), POLICY) == Judged(
        misfit, (PassedOver.WRONG_QUEUE, "serves x"), False, 2, (-1, 0.0, NEVER, "a")
    )
    assert ranking.able(a, home, POLICY) == Judged(a, None, True, 0, (-1, 0.5, NEVER, "a"))


JUDGED = Judged(agent("a"), None, True, 1, (-2, 0.5, at(5), "a"))


@pytest.mark.parametrize(
    ("mine", "why"),
    [
        ({"rank": 2}, (PassedOver.ONLY_OVERFLOW, None)),
        ({"rank": 2, "order": (-9, 0.0, at(0), "a")}, (PassedOver.ONLY_OVERFLOW, None)),
        ({"order": (-1, 0.0, at(0), "a")}, (PassedOver.LOWER_SKILL, "1 preferred skills, not 2")),
        ({"order": (-2, 0.75, at(0), "a")}, (PassedOver.HIGHER_LOAD, "75% of capacity in use, not 50%")),
        ({"order": (-2, 0.5, at(6), "a")}, (PassedOver.ASSIGNED_LATER, None)),
        ({"order": (-2, 0.5, at(5), "b")}, (PassedOver.EQUAL, None)),
        ({"order": (-3, 0.75, at(6), "b")}, (PassedOver.EQUAL, None)),
        ({"order": (-2, 0.25, at(6), "b")}, (PassedOver.EQUAL, None)),
    ],
)
def test_the_first_thing_in_which_an_agent_is_beaten_is_the_reason(mine: dict[str, Any], why: Any) -> None:
    loser, chosen = replace(JUDGED, agent=agent("b"), **mine), JUDGED
    assert ranking.passed_over(loser, [need()], Choice(agent("a"), need()), chosen) == why


@pytest.mark.parametrize(
    ("choice", "asked", "passed", "why"),
    [
        (Choice(agent("a"), need()), {}, None, None),
        (Choice(agent("a"), need()), {}, (PassedOver.AWAY, "away"), None),
        (Choice(agent("b"), need()), {}, (PassedOver.AWAY, "away"), (PassedOver.AWAY, "away")),
        (Choice(agent("b"), need(), AssignReason.STICKY), {}, None, (PassedOver.NOT_STICKY, None)),
        (Choice(agent("b"), need(), AssignReason.STICKY, claimed=True), {}, None, (PassedOver.NOT_CLAIMED, None)),
        (Choice(agent("b"), need(), AssignReason.TRANSFERRED), {}, None, (PassedOver.NOT_NAMED, None)),
        (None, {}, None, None),
        (None, {"target": "z"}, None, (PassedOver.NOT_NAMED, None)),
        (None, {"target": "z"}, (PassedOver.AWAY, "away"), (PassedOver.AWAY, "away")),
    ],
)
def test_why_an_agent_did_not_get_the_ticket(choice: Choice | None, asked: Any, passed: Any, why: Any) -> None:
    mine = replace(JUDGED, passed=passed)
    chosen = None if choice is None else replace(JUDGED, agent=choice.agent)
    assert ranking.passed_over(mine, [need(**asked)], choice, chosen) == why


def test_a_candidate_is_told_with_its_load_and_how_long_it_was_idle() -> None:
    best = agent("a", load=1, last=5, capacity=4)
    judged = replace(JUDGED, agent=best)
    assert ranking.candidate(judged, at(65), Choice(best, need()), None) == Candidate(
        agent_id="a", chosen=True, skill_score=2, load=1, capacity=4, idle_seconds=60
    )
    assert ranking.candidate(judged, at(0), Choice(agent("b"), need()), (PassedOver.AWAY, "away")) == Candidate(
        agent_id="a", passed_over="away", detail="away", skill_score=2, load=1, capacity=4, idle_seconds=0
    )
    never = ranking.candidate(replace(JUDGED, agent=agent("c")), at(65), None, (PassedOver.EQUAL, None))
    assert never == Candidate(agent_id="c", passed_over="equal", skill_score=2, load=0, capacity=2)


def test_an_explanation_names_the_best_first_and_counts_everyone_there_is() -> None:
    office = [
        agent("away", presence="away", queues=("x",)),
        agent("misfit", queues=("x",)),
        agent("full", load=2),
        agent("overflow", skills={}),
        agent("later", last=9),
        agent("busy", load=1),
        agent("best"),
        removed(agent("gone")),
    ]
    needs = (need(dropped=("vip",)), need(queue="thai", required=(), dropped=()))
    choice = Choice(office[6], needs[0])
    told = ranking.explain(office, needs, POLICY, at(60), choice, 5)
    whys = [(c.agent_id, c.chosen, c.passed_over, c.detail) for c in told.candidates]
    assert whys == [
        ("best", True, None, None),
        ("later", False, "assigned_later", None),
        ("busy", False, "higher_load", "50% of capacity in use, not 0%"),
        ("overflow", False, "only_overflow", None),
        ("full", False, "at_capacity", "2 of 2 in use, 1 wanted"),
    ]
    assert told.looked_at == 7
    assert list(told.passed_over.items()) == [
        ("assigned_later", 1), ("at_capacity", 1), ("away", 1), ("higher_load", 1), ("only_overflow", 1),
        ("wrong_queue", 1),
    ]  # fmt: skip
    assert told.skills_dropped == ("vip",)
    assert told.candidates[1].idle_seconds == 51


def test_where_nobody_is_chosen_everyone_is_told_why_they_cannot() -> None:
    full = agent("full", load=2)
    told = ranking.explain([full], (need(dropped=("vip",)),), POLICY, at(60), None, 5)
    why = (PassedOver.AT_CAPACITY, "2 of 2 in use, 1 wanted")
    judged = Judged(full, why, True, 0, (0, 1.0, NEVER, "full"))
    assert told == AssignmentDecision(
        candidates=(ranking.candidate(judged, at(60), None, why),), looked_at=1, passed_over={"at_capacity": 1},
        skills_dropped=("vip",),
    )  # fmt: skip
    assert ranking.explain([], (need(),), POLICY, at(60), None, 5) == AssignmentDecision()


def test_the_room_in_use_is_all_load_over_all_capacity() -> None:
    assert ranking.room_share([agent("a", load=1), agent("b", capacity=6, load=3)]) == 0.5
    assert ranking.room_share([]) == ranking.room_share([agent("a", capacity=0)]) == 0.0
