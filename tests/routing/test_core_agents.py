"""What becomes of an agent and their claims, rule by rule: the state and the event after each."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from contracts.agents import AgentPresenceChanged, AgentRemoved, AgentUpdated
from services.routing.core import agents, ranking
from services.routing.core.agents import AgentState, Claim, Release
from tests.routing.scenario import at, profile


def test_presence_is_changed_with_its_instant_and_version_and_said_with_both() -> None:
    decision = agents.set_presence(AgentState(profile("ann", version=4)), "away", at(9), "shift")
    assert decision is not None
    assert decision.state is not None
    mine = decision.state.profile
    assert (mine.presence, mine.presence_since, mine.version) == ("away", at(9), 5)
    assert (decision.state.announced_at, decision.state.touched_at) == (at(9), at(9))
    assert decision.events == [AgentPresenceChanged(agent=mine, old="online", new="away", reason="shift")]


def test_presence_of_who_is_removed_does_not_change() -> None:
    assert agents.set_presence(AgentState(profile("ann"), removed_at=at(1)), "away", at(9)) is None


def test_a_new_agent_is_as_they_were_put_and_a_known_one_keeps_presence_and_counts_versions() -> None:
    first = agents.put(None, profile("ann"), at(1))
    assert first is not None
    assert first.state is not None
    assert (first.state.profile.version, first.state.profile.presence_since) == (1, at(1))
    assert (first.state.announced_at, first.state.touched_at) == (at(1), at(1))
    again = agents.put(first.state, profile("ann", presence="offline", capacity=7), at(2))
    assert again is not None
    assert again.state is not None
    mine = again.state.profile
    assert (mine.version, mine.presence, mine.presence_since, mine.capacity) == (2, "online", at(1), 7)
    assert (again.state.announced_at, again.state.touched_at) == (at(2), at(2))
    assert again.events == [AgentUpdated(agent=mine)]
    assert agents.put(again.state, profile("ann", capacity=7), at(3)) is None


def test_who_was_removed_leaves_holds_and_comes_back_with_them_as_a_new_version() -> None:
    state = agents.claim(AgentState(profile("ann", version=3)), "t1", 1, 1, at(0))
    gone = agents.remove(state, at(4))
    assert gone is not None
    assert gone.state is not None
    assert (gone.state.removed_at, gone.state.touched_at, gone.state.claims) == (at(4), at(4), state.claims)
    assert (gone.state.profile.presence, gone.state.profile.presence_since) == ("offline", at(4))
    assert gone.events == [AgentRemoved(agent_id="ann", removed_at=at(4))]
    assert agents.remove(gone.state, at(5)) is None
    back = agents.put(gone.state, profile("ann"), at(6))
    assert back is not None
    assert back.state is not None
    assert (back.state.removed_at, back.state.claims, back.state.profile.version) == (None, state.claims, 4)


@pytest.mark.parametrize(("announced", "says"), [(None, True), (at(0), True), (at(1), False)])
def test_agents_are_announced_anew_once_the_period_is_over(announced: Any, says: bool) -> None:
    state = AgentState(profile("ann"), announced_at=announced)
    decision = agents.announce(state, at(3600), timedelta(hours=1))
    assert (decision is not None) == says
    if decision is not None:
        assert decision.events == [AgentUpdated(agent=state.profile)]
        assert decision.state == replace(state, announced_at=at(3600), touched_at=at(3600))
    gone = agents.announce(replace(state, removed_at=at(7)), at(7200), timedelta(hours=1))
    assert gone is not None
    assert gone.state is not None
    assert gone.state.announced_at == at(7200)
    assert gone.events == [AgentRemoved(agent_id="ann", removed_at=at(7))]


def test_a_claim_keeps_the_higher_stamp_and_weight_and_a_renewal_is_no_assignment() -> None:
    state = agents.claim(AgentState(profile("ann")), "t1", 5, 1.0, at(1))
    assert (state.claims, state.last_assigned_at, state.touched_at) == ({"t1": Claim(5, 1.0, at(1))}, at(1), at(1))
    assert agents.claim(state, "t1", 4, 0.5, at(2)).claims == {"t1": Claim(5, 1.0, at(2))}
    assert agents.claim(state, "t1", 6, 2.0, at(2)).claims == {"t1": Claim(6, 2.0, at(2))}
    renewed = agents.renew(state, "t1", 6, 2.0, at(3))
    assert (renewed.claims, renewed.last_assigned_at, renewed.touched_at) == (
        {"t1": Claim(6, 2.0, at(3))},
        at(1),
        at(3),
    )


def test_claims_are_given_up_or_made_lighter() -> None:
    state = AgentState(profile("ann"), {name: Claim(1, 1.0, at(0)) for name in ("a", "b", "c")})
    after = agents.release(state, {"a": Release(2), "b": Release(2, 0.0), "gone": Release(2, 0.0)})
    assert after.claims == {"b": Claim(1, 0.0, at(0)), "c": Claim(1, 1.0, at(0))}
    assert after.load == 1.0


def test_a_release_changes_nothing_of_a_claim_that_was_renewed_since_or_is_as_light() -> None:
    state = AgentState(profile("ann"), {name: Claim(2, 1.0, at(0)) for name in ("a", "b", "c")})
    late = {"a": Release(2), "b": Release(2, 0.0), "c": Release(3, 1.0)}
    assert agents.release(state, late) is state
    assert agents.effective(state, {**late, "d": Release(9)}) == {}


@pytest.mark.parametrize(("capacity", "load"), [(0, float("inf")), (4, 0.25)])
def test_load_is_a_share_of_capacity(capacity: float, load: float) -> None:
    state = agents.claim(AgentState(profile("ann", capacity=capacity)), "t1", 1, 1.0, at(0))
    assert state.relative_load == load
    assert ranking.room_share([state, AgentState(profile("bob", capacity=0))]) == (0.25 if capacity else 0.0)
