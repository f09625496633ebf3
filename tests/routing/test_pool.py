"""The index beside the definition: what it finds, counts and forgets, also while agents change under it."""

from dataclasses import replace
from typing import Any

import pytest

from contracts.assignments import AssignReason
from services.routing.core import ranking
from services.routing.core.agents import AgentState
from services.routing.core.need import Need
from services.routing.core.policy import RoutingPolicy
from services.routing.core.pool import NEAR, Pool
from services.routing.core.ranking import Choice
from tests.routing.scenario import agent, at

POLICY = RoutingPolicy.model_validate(
    {
        "channel_weights": {"email": 1, "whatsapp": 2},
        "status_weights": {"new": 0.5, "open": 1, "pending": 0.25},
        "queues": {"english": {}, "thai": {}},
    }
)


def need(**more: Any) -> Need:
    return Need(**{"ticket": "t", "channel": "email", "queue": "english", "required": (("lang-en", 1),), **more})


def names(pool: Pool, asked: Need) -> list[str]:
    return [found.profile.id for found in pool.best_first(asked)]


OFFICE = [
    agent("best", last=5, skills={"lang-en": 3, "vip": 2, "billing": 1}),
    agent("same", last=5, skills={"lang-en": 3, "vip": 2, "billing": 1}),
    agent("later", last=6, skills={"lang-en": 3, "vip": 2, "billing": 1}),
    agent("latest", last=7, skills={"lang-en": 3, "vip": 2, "billing": 1}),
    agent("earlier", last=4, skills={"lang-en": 3, "vip": 2, "billing": 1}),
    agent("busy", load=0.5, skills={"lang-en": 3, "vip": 2, "billing": 1}),
    agent("busier", load=1, skills={"lang-en": 3, "vip": 2, "billing": 1}),
    agent("half", skills={"lang-en": 3, "vip": 2}),
    agent("none"),
    agent("none2"),
    agent("full", load=1.5),
    agent("full2", load=2),
    agent("thai", queues=("thai",)),
    agent("thai2", queues=("thai", "returns")),
    agent("english", queues=("thai", "english")),
    agent("korale", brands=("korale",)),
    agent("korale2", brands=("korale",)),
    agent("nimbus", brands=("korale", "nimbus")),
    agent("mute", skills={"vip": 5}),
    agent("mute2", skills={"vip": 5}),
    agent("tax", skills={"lang-en": 3, "tax": 1}),
    agent("gave", skills={"lang-en": 3, "tax": 2, "vip": 2, "billing": 1}),
    agent("gave2", skills={"lang-en": 3, "tax": 2, "vip": 2, "billing": 1}),
    agent("own", channel_weights={"email": 2.5}),
    agent("away", presence="away"),
    agent("away2", presence="away"),
    agent("off", presence="offline"),
    agent("off2", presence="lunch"),
    replace(agent("gone"), removed_at=at(1)),
]  # fmt: skip

ASKED = [
    need(),
    need(brand="nimbus", preferred=(("vip", 2), ("billing", 1)), avoid=frozenset({"gave", "gave2"})),
    need(brand="nimbus", required=(("lang-en", 1), ("vip", 1)), avoid=frozenset({"nobody", "gave"})),
    need(brand="nimbus", required=(("lang-en", 1), ("tax", 2)), language="lang-en"),
    need(queue=None, required=(), preferred=(("tax", 1), ("vip", 5), ("lang-en", 3))),
    need(queue="thai", channel="whatsapp", share=0.5, required=()),
    need(channel="fax", share=0.25, brand="korale"),
    need(channel="fax", required=(("nothing", 1),)),
]  # fmt: skip


@pytest.mark.parametrize("asked", ASKED)
def test_the_index_finds_whom_the_definition_finds_in_its_order(asked: Need) -> None:
    able = [
        one
        for one in OFFICE
        if ranking.unfit(one, asked, POLICY) is None and ranking.unavailable(one, asked, POLICY) is None
    ]
    pool = Pool(POLICY, OFFICE)
    assert names(pool, asked) == [
        one.profile.id for one in sorted(able, key=lambda one: ranking.order(one, asked, POLICY))
    ]
    assert pool.able(asked).bit_count() == len(able)
    fit = [one for one in OFFICE if ranking.absent(one) is None and ranking.unfit(one, asked, POLICY) is None]
    assert pool.online(asked) == len(fit)
    assert pool.choose(asked) == ranking.best(OFFICE, asked, POLICY)


@pytest.mark.parametrize("reason", [AssignReason.BEST_MATCH, AssignReason.STICKY, AssignReason.TRANSFERRED])
@pytest.mark.parametrize("asked", [each for each in ASKED if Pool(POLICY, OFFICE).choose(each)])
def test_the_index_counts_those_passed_over_as_the_definition_does(asked: Need, reason: AssignReason) -> None:
    pool = Pool(POLICY, OFFICE)
    best = pool.choose(asked)
    assert best is not None
    choice = Choice(best, asked, reason)
    explained = ranking.explain(OFFICE, [asked], POLICY, at(60), choice, 8)
    assert list(pool.passed_over(choice).items()) == list(explained.passed_over.items())


def test_an_agent_chosen_out_of_order_is_counted_by_what_the_others_had_before() -> None:
    pool = Pool(POLICY, [agent("a", last=1), agent("b", last=1), agent("c", last=2), agent("d")])
    choice = Choice(agent("b", last=1), need())
    assert pool.passed_over(choice) == {"assigned_later": 1, "equal": 2}
    assert pool.passed_over(replace(choice, agent=agent("d"))) == {"assigned_later": 3}


@pytest.mark.parametrize(
    ("ours", "found"), [("abcz", "a"), ("bcz", "b"), ("c", "c"), ("z", "a"), ("", "a")]
)  # fmt: skip
def test_ours_are_taken_first_among_those_who_are_as_good_and_as_busy(ours: str, found: str) -> None:
    pool = Pool(POLICY, [agent("c", last=2), agent("b", last=1), agent("a"), agent("z", load=0.5)])
    pool.ours = ours.__contains__
    assert pool.choose(need()) == pool.agents[found]
    assert pool.choose(need(required=(("x", 1),))) is None
    assert pool.choose(need(sticky="b")) == pool.agents["b"]


def test_ours_are_sought_among_a_few_only() -> None:
    pool = Pool(POLICY, [agent(f"a{number:02}") for number in range(NEAR + 1)])
    pool.ours = f"a{NEAR:02}".__eq__
    assert pool.choose(need()) == pool.agents["a00"]
    pool.ours = f"a{NEAR - 1:02}".__eq__
    assert pool.choose(need()) == pool.agents[f"a{NEAR - 1:02}"]


@pytest.mark.parametrize(("skip", "found"), [(0, "a"), (1, "b"), (2, "c"), (3, "a"), (7, "b")])
def test_with_a_skip_those_as_good_and_as_busy_are_taken_round_and_round(skip: int, found: str) -> None:
    pool = Pool(POLICY, [agent("c", last=2), agent("b", last=1), agent("a"), agent("z", load=0.5)])
    assert pool.pick([need()], skip=skip) == Choice(pool.agents[found], need(), AssignReason.BEST_MATCH)
    assert pool.choose(need(required=(("x", 1),)), skip=skip) is None


@pytest.mark.parametrize(
    ("needs", "found"),
    [
        ([need(target="full2")], None),
        ([need(target="thai")], ("thai", 0, AssignReason.TRANSFERRED)),
        ([need(target="thai", target_reason=AssignReason.ANSWERED)], ("thai", 0, AssignReason.ANSWERED)),
        ([need(target="gone", required=(("tax", 2),))], ("gave", 0, AssignReason.BEST_MATCH)),
        ([need(sticky="busier")], ("busier", 0, AssignReason.STICKY)),
        ([need(sticky="full2", required=(("tax", 2),))], ("gave", 0, AssignReason.BEST_MATCH)),
        ([need(sticky="thai", required=(("tax", 2),))], ("gave", 0, AssignReason.BEST_MATCH)),
        ([need(required=(("x", 1),)), need(queue="thai", required=(("tax", 2),))],
         ("gave", 1, AssignReason.BEST_MATCH)),
        ([need(required=(("x", 1),))], None),
    ],
)  # fmt: skip
def test_the_agent_it_is_meant_for_goes_before_who_had_it_and_before_the_best(needs: list[Need], found: Any) -> None:
    pool = Pool(POLICY, OFFICE)
    chosen = None if found is None else Choice(pool.agents[found[0]], needs[found[1]], found[2])
    assert pool.pick(needs) == chosen


def test_whoever_has_room_for_something_that_we_owe_is_free() -> None:
    office = [
        agent("a", load=1.5, last=3), agent("b", load=1.6), agent("c", load=1.6, channel_weights={"sms": 0.1}, last=1),
        agent("d", presence="away"), agent("e"),
    ]  # fmt: skip
    pool = Pool(POLICY, office)
    assert (pool.with_room(), pool.free()) == (3, ["e", "c", "a"])
    assert pool.channels == {"email", "whatsapp", "sms"}
    assert (Pool(POLICY).with_room(), Pool(POLICY).free(), Pool(POLICY).agents) == (0, [], {})


# -- what changes under it --


def holds(pool: Pool, office: dict[str, AgentState]) -> None:
    """Check that the pool answers as one that is made anew."""
    anew = Pool(pool.policy, office.values())
    for asked in ASKED:
        assert names(pool, asked) == names(anew, asked)
        chosen = pool.choose(asked)
        if chosen is not None:
            assert pool.passed_over(Choice(chosen, asked)) == anew.passed_over(Choice(chosen, asked))
    assert pool.with_room() == anew.with_room()
    assert pool.free() == anew.free()


@pytest.mark.parametrize(
    "changes",
    [
        [agent("best", load=0.5, last=8, skills={"lang-en": 3})],
        [agent("none", load=0.7), agent("none", load=0.7), agent("none", load=0.9), agent("none")],
        [agent("same", last=9), agent("best", last=9), agent("later", last=9), agent("later", last=10)],
        [agent("later", last=9), agent("best", last=8)],
        [agent("latest")],
        [agent("new", last=2, skills={"lang-en": 3, "tax": 2})],
        [agent("best", last=5, channel_weights={"sms": 0.1})],
        [agent("off"), agent("away"), agent("best", last=5, presence="away")],
        [replace(agent("best", last=5), removed_at=at(9))],
        [agent("thai", queues=("english",)), agent("korale", brands=("nimbus",))],
    ],
)
def test_an_agent_who_changed_is_found_as_if_the_index_were_made_anew(changes: list[AgentState]) -> None:
    pool, office = Pool(POLICY, OFFICE), {one.profile.id: one for one in OFFICE}
    holds(pool, office)
    for changed in changes:
        pool.put(changed)
        office[changed.profile.id] = changed
        holds(pool, office)
    assert dict(pool.agents) == office


def test_many_assignments_in_a_row_leave_the_index_right_and_small() -> None:
    pool, office = Pool(POLICY, OFFICE[:6]), {one.profile.id: one for one in OFFICE[:6]}
    assert pool.choose(need()) is not None
    for number in range(200):
        changed = replace(office[("best", "same", "busy")[number % 3]], last_assigned_at=at(100 + number))
        pool.put(changed)
        office[changed.profile.id] = changed
        assert pool.able(need()).bit_length() <= 2 * len(office) + 66
    holds(pool, office)


def test_another_policy_is_followed_from_the_next_choice() -> None:
    pool = Pool(POLICY, [agent("a", capacity=1)])
    assert pool.choose(need(channel="whatsapp")) is None
    pool.set_policy(POLICY.model_copy(update={"channel_weights": {"sms": 1}}))
    assert pool.choose(need(channel="whatsapp")) == agent("a", capacity=1)
    assert pool.channels == {"sms"}


def test_an_agent_put_before_the_first_choice_counts() -> None:
    pool = Pool(POLICY)
    pool.put(agent("a"))
    pool.put(agent("a", load=2))
    assert pool.choose(need()) is None
    pool.put(agent("b"))
    assert pool.choose(need()) == agent("b")
