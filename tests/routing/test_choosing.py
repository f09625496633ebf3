"""Who gets a ticket: tables of the rules, and what holds for every pool of agents."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.routing.core import agents, ranking
from services.routing.core.agents import AgentState
from services.routing.core.need import Need
from services.routing.core.pool import Pool
from services.routing.core.ranking import Choice
from tests.routing.scenario import START, agent, at, policy

POLICY = policy()


def need(**more: Any) -> Need:
    return Need(**{"ticket": "t", "channel": "email", "queue": "english", "required": (("lang-en", 1),), **more})


def chosen(candidates: list[AgentState], asked: Need) -> str | None:
    found = Pool(POLICY, candidates).pick([asked])
    return found.agent.profile.id if found else None


@pytest.mark.parametrize(
    ("rule", "candidates", "asked", "winner"),
    [
        (
            "required skills are kept",
            [agent("a", skills={"lang-en": 1}), agent("b")],
            {"required": (("lang-en", 2),)},
            "b",
        ),
        ("a language is a skill", [agent("a"), agent("b", languages=("th-TH",))], {"required": (("lang-th", 2),)}, "b"),
        ("nobody with the skill", [agent("a")], {"required": (("lang-th", 1),)}, None),
        ("offline takes nothing", [agent("a", presence="offline")], {}, None),
        ("away takes nothing", [agent("a", presence="away")], {}, None),
        ("a presence not known takes nothing", [agent("a", presence="lunch")], {}, None),
        ("at the limit takes nothing", [agent("a", load=2)], {}, None),
        (
            "the channel's weight counts",
            [agent("a", load=1), agent("b", capacity=3, load=1)],
            {"channel": "whatsapp"},
            "b",
        ),
        ("an agent's own weight counts", [agent("a", load=1, channel_weights={"email": 1.5})], {}, None),
        ("an unknown channel has the default weight", [agent("a", load=1)], {"channel": "fax"}, "a"),
        ("another queue", [agent("a", queues=("thai",)), agent("b", queues=("english", "thai"))], {}, "b"),
        ("another brand", [agent("a", brands=("korale",)), agent("b")], {"brand": "nimbus"}, "b"),
        ("who gave it away", [agent("a"), agent("b", load=1)], {"avoid": frozenset({"a"})}, "b"),
        (
            "more preferred skills before less load",
            [agent("a"), agent("b", load=1, skills={"lang-en": 1, "vip": 3})],
            {"preferred": (("vip", 3),)},
            "b",
        ),
        (
            "a preferred skill counts at its level only",
            [agent("a", load=1, skills={"lang-en": 1, "vip": 2}), agent("b")],
            {"preferred": (("vip", 3),)},
            "b",
        ),
        ("share of capacity, not units", [agent("a", load=1), agent("b", capacity=4, load=1)], {}, "b"),
        ("equal in load: longest since the last", [agent("a", last=50), agent("b", last=20)], {}, "b"),
        ("never assigned is longest", [agent("a", last=1), agent("b")], {}, "b"),
        ("equal in all: by id", [agent("b"), agent("a")], {}, "a"),
        ("sticky goes before better", [agent("a", load=1), agent("b")], {"sticky": "a"}, "a"),
        ("not when offline", [agent("a", presence="offline"), agent("b")], {"sticky": "a"}, "b"),
        ("not when away", [agent("a", presence="away"), agent("b")], {"sticky": "a"}, "b"),
        ("not when at the limit", [agent("a", load=2), agent("b")], {"sticky": "a"}, "b"),
        ("not without the skill", [agent("a", skills={}), agent("b")], {"sticky": "a"}, "b"),
        ("a target needs no skill", [agent("a", skills={}), agent("b")], {"target": "a"}, "a"),
        ("but room, and nobody else gets it", [agent("a", load=2), agent("b")], {"target": "a"}, None),
        ("and must be online", [agent("a", presence="offline"), agent("b")], {"target": "a"}, None),
        (
            "except to keep what they have answered",
            [agent("a", presence="offline"), agent("b")],
            {"target": "a", "even_absent": True},
            "a",
        ),
        ("gave it away, and it is given back", [agent("a")], {"target": "a", "avoid": frozenset({"a"})}, "a"),
        ("a target who is not there holds nobody up", [agent("b")], {"target": "a"}, "b"),
        ("work that weighs nothing fits where all is full", [agent("a", load=2)], {"share": 0.0}, "a"),
    ],
)
def test_choice(rule: str, candidates: list[AgentState], asked: dict[str, Any], winner: str | None) -> None:
    assert chosen(candidates, need(**asked)) == winner, rule


SKILLS = ["lang-en", "lang-th", "vip", "billing"]
levels = st.dictionaries(st.sampled_from(SKILLS), st.integers(1, 5), max_size=4)


@st.composite
def some_agent(draw: st.DrawFn, agent_id: str) -> AgentState:
    state = agent(
        agent_id,
        capacity=draw(st.sampled_from([0, 1, 2, 2.5, 5])),
        presence=draw(st.sampled_from(["online", "online", "online", "away", "offline"])),
        skills=draw(levels),
        languages=draw(st.sampled_from([(), ("th",), ("en", "th")])),
        queues=draw(st.sampled_from([(), (), ("english",), ("thai", "returns")])),
        brands=draw(st.sampled_from([(), (), ("nimbus",), ("korale",)])),
        channel_weights=draw(st.sampled_from([{}, {}, {"email": 0.1}, {"chat": 0.5}])),
        load=draw(st.sampled_from([0, 0, 0.3, 1, 2])),
        last=draw(st.none() | st.integers(0, 5)),
    )
    return agents.remove(state, START).state if draw(st.integers(0, 9)) == 0 else state  # type: ignore[union-attr, return-value]


@st.composite
def some_agents(draw: st.DrawFn) -> list[AgentState]:
    return [draw(some_agent(f"a{n}")) for n in range(draw(st.integers(0, 8)))]


pairs = levels.map(lambda skills: tuple(sorted(skills.items())))
needs = st.builds(
    need,
    channel=st.sampled_from(["email", "whatsapp", "chat", "fax"]),
    queue=st.sampled_from(["english", "thai"]),
    brand=st.sampled_from([None, "nimbus"]),
    required=pairs,
    preferred=pairs,
    avoid=st.sampled_from([frozenset[str](), frozenset({"a0", "zz"})]),
)


@given(some_agents(), st.lists(needs, min_size=1, max_size=4), st.data())
def test_index_agrees_with_the_definition_after_every_change(
    pool_of: list[AgentState], asked: list[Need], data: st.DataObject
) -> None:
    pool, sometimes = Pool(POLICY, pool_of), st.booleans()
    changed: AgentState
    for turn, want in enumerate(asked):
        expected = ranking.best(pool.agents.values(), want, POLICY)
        assert pool.choose(want) is expected
        everyone = list(pool.best_first(want))
        assert everyone == sorted(everyone, key=lambda a: ranking.order(a, want, POLICY))
        if expected is not None:
            weight = POLICY.weight(want.channel, expected.profile.channel_weights)
            after = agents.claim(expected, f"{want.ticket}{turn}", 1, weight, at(10 + turn))
            assert after.load <= after.profile.capacity + 1e-9
            pool.put(after)
        change: bool = data.draw(sometimes)
        if pool_of and change:
            changed = data.draw(some_agent(data.draw(st.sampled_from(pool_of)).profile.id))
            pool.put(changed)


@given(some_agents(), needs, st.randoms())
def test_choice_does_not_depend_on_the_order_of_the_agents(pool_of: list[AgentState], asked: Need, random: Any) -> None:
    shuffled = list(pool_of)
    random.shuffle(shuffled)
    assert chosen(pool_of, asked) == chosen(shuffled, asked)


@given(some_agents(), needs)
def test_every_agent_gets_a_reason_and_the_chosen_one_none(pool_of: list[AgentState], asked: Need) -> None:
    best = Pool(POLICY, pool_of).pick([asked])
    told = ranking.explain(pool_of, [asked], POLICY, at(60), best, len(pool_of))
    assert len(told.candidates) == told.looked_at == sum(a.removed_at is None for a in pool_of)
    assert [c.agent_id for c in told.candidates if c.chosen] == ([best.agent.profile.id] if best else [])
    assert all((c.passed_over is None) == c.chosen for c in told.candidates)
    assert sum(told.passed_over.values()) == told.looked_at - (best is not None)


@given(some_agents(), needs)
def test_nobody_is_said_only_when_no_presence_and_no_free_room_would_help(
    pool_of: list[AgentState], asked: Need
) -> None:
    free = [AgentState(a.profile.model_copy(update={"presence": "online"})) for a in pool_of if a.removed_at is None]
    somebody = ranking.best(free, replace(asked, avoid=frozenset()), POLICY)
    assert (ranking.why_unroutable(pool_of, [asked], POLICY) is None) == (somebody is not None)


def test_explanation_names_the_step_at_which_each_was_passed_over() -> None:
    pool_of = [
        agent("best", skills={"lang-en": 3, "vip": 3}),
        agent("later", skills={"lang-en": 3, "vip": 3}, last=5),
        agent("busier", skills={"lang-en": 3, "vip": 3}, load=1, last=1),
        agent("plain"),
        agent("full", load=2),
        agent("thai", skills={"lang-th": 5}),
        agent("away", presence="away"),
        agent("other", queues=("thai",)),
    ]
    asked = need(preferred=(("vip", 3),), language="lang-en")
    told = ranking.explain(pool_of, [asked], POLICY, START + timedelta(minutes=1), Choice(pool_of[0], asked), 8)
    assert {c.agent_id: c.passed_over for c in told.candidates} == {
        "best": None,
        "later": "assigned_later",
        "busier": "higher_load",
        "plain": "lower_skill",
        "full": "at_capacity",
        "thai": "language",
        "away": "away",
        "other": "wrong_queue",
    }
    assert [c.agent_id for c in told.candidates][:4] == ["best", "later", "busier", "plain"]


@pytest.mark.parametrize(("skip", "winner"), [(0, "a"), (1, "b"), (2, "c"), (3, "a"), (7, "b")])
def test_who_passes_over_some_stays_among_those_who_are_as_good(skip: int, winner: str) -> None:
    candidates = [agent("a"), agent("b"), agent("c"), agent("busy", load=1), agent("other", queues=("thai",))]
    found = Pool(POLICY, candidates).choose(need(), skip=skip)
    assert found is not None
    assert found.profile.id == winner
