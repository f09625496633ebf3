"""Who should get it, worked out by hand from the rules over random offices: no index, no needs, no code of the core.

The oracle reads agents, tickets and the policy as plain data and follows docs and policy file sentence by sentence.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.assignments import AssignReason
from contracts.ticket import Status
from services.routing.core import agents, ranking
from services.routing.core.agents import AgentState
from services.routing.core.need import needs_of
from services.routing.core.policy import RoutingPolicy
from services.routing.core.pool import Pool
from services.routing.core.state import Overflowed, Target, TicketState
from tests.routing.scenario import START, agent, at, ticket

SKILLS, QUEUES = ["lang-en", "lang-th", "vip", "billing"], ["a", "b", "c"]
levels = st.dictionaries(st.sampled_from(SKILLS), st.integers(1, 3), max_size=2)
seconds = st.sampled_from([0, 10, 20, 30, 60])


@st.composite
def policies(draw: st.DrawFn) -> RoutingPolicy:
    def queue(number: int) -> dict[str, Any]:
        made: dict[str, Any] = {"required": draw(levels), "preferred": draw(levels)}
        made["relax_after"] = [f"{step}s" for step in sorted(draw(st.sets(seconds, max_size=3)))]
        if number + 1 < len(QUEUES):
            made["overflow"] = {"after": "30s", "to": QUEUES[number + 1], "keep_required": draw(st.booleans())}
        return made

    return RoutingPolicy.model_validate(
        {
            "channel_weights": {"email": 1, "whatsapp": 2},
            "status_weights": {"pending": draw(st.sampled_from([0, 0.5]))},
            "language_level": draw(st.integers(1, 3)),
            "queues": {name: queue(number) for number, name in enumerate(QUEUES)},
        }
    )


@st.composite
def offices(draw: st.DrawFn) -> list[AgentState]:
    def one(name: str) -> AgentState:
        state = agent(
            name,
            capacity=draw(st.sampled_from([0, 1, 2, 5])),
            presence=draw(st.sampled_from(["online", "online", "online", "away", "offline"])),
            skills=draw(levels),
            languages=draw(st.sampled_from([(), ("th",), ("en-GB", "th")])),
            queues=draw(st.sampled_from([(), (), ("a",), ("b", "c")])),
            brands=draw(st.sampled_from([(), (), ("nimbus",), ("korale",)])),
            channel_weights=draw(st.sampled_from([{}, {}, {"email": 0.5}, {"chat": 3}])),
            load=draw(st.sampled_from([0, 0, 0.5, 1, 2])),
            last=draw(st.none() | st.integers(0, 3)),
        )
        return agents.remove(state, START).state if draw(st.integers(0, 9)) == 0 else state  # type: ignore[union-attr,return-value]

    return [one(f"a{number}") for number in range(draw(st.integers(0, 6)))]


names = st.sampled_from(["a0", "a1", "a2", "nobody"])


@st.composite
def waiting(draw: st.DrawFn) -> TicketState:
    facts = ticket(
        channel=draw(st.sampled_from(["email", "whatsapp", "chat", "fax"])),
        language=draw(st.sampled_from([None, "th", "en-US"])),
        brand=draw(st.sampled_from([None, "nimbus"])),
    ).facts()
    wider = draw(st.integers(0, 2))
    more = tuple(Overflowed(QUEUES[n + 1], at(draw(seconds)), draw(st.booleans())) for n in range(wider))
    target = Target(draw(names), at(900), command=draw(st.sampled_from([None, "c1"])))
    return TicketState(
        id="t",
        facts=facts,
        status=draw(st.sampled_from([Status.OPEN, Status.OPEN, Status.PENDING, Status.ON_HOLD])),
        phase="waiting",
        queue="a",
        overflow=more,
        required=tuple(draw(levels).items()),
        preferred=tuple(draw(levels).items()),
        rule_required=tuple(draw(levels).items()),
        rule_preferred=tuple(draw(levels).items()),
        queued_at=START,
        entered_at=START,
        waiting_since=START,
        previous=draw(st.none() | names),
        target=draw(st.sampled_from([None, None, None, target])),
        avoid=draw(st.sampled_from([(), (), ("a0",), ("a1", "nobody")])),
    )


# -- the oracle --------------------------------------------------------------------------------------------------------


@dataclass
class Oracle:
    """The rules, sentence by sentence."""

    policy: RoutingPolicy
    office: list[AgentState]
    of: TicketState
    now: datetime

    def answer(self) -> tuple[str, AssignReason] | None:
        here = {a.profile.id: a for a in self.office if a.removed_at is None}
        if self.of.target is not None and self.of.target.agent in here:
            return self.the_one(here[self.of.target.agent], answered=self.of.target.command is None)
        for queue, since, own in self.queues():
            able = [a for a in here.values() if self.serves(a, queue, since, own=own)]
            if self.of.previous in [a.profile.id for a in able]:
                return str(self.of.previous), AssignReason.STICKY
            if able:
                found = sorted(able, key=lambda a, q=queue, o=own: self.rank(a, q, own=o))  # type: ignore[misc]
                return found[0].profile.id, AssignReason.BEST_MATCH
        return None

    def the_one(self, who: AgentState, *, answered: bool) -> tuple[str, AssignReason] | None:
        """Meant for one agent: they and nobody else, when there is room; who answered keeps what is not owed."""
        owed = self.of.status in (Status.NEW, Status.OPEN)
        if not self.fits(who) or not (who.profile.presence == "online" or (answered and not owed)):
            return None
        return who.profile.id, AssignReason.ANSWERED if answered else AssignReason.TRANSFERRED

    def queues(self) -> list[tuple[str, datetime, bool]]:
        """Its own first, then those it has overflowed to, in their order."""
        return [("a", START, True), *((more.queue, more.since, more.own) for more in self.of.overflow)]

    def serves(self, who: AgentState, queue: str, since: datetime, *, own: bool) -> bool:
        profile, waited = who.profile, (self.now - since).total_seconds()
        if profile.presence != "online" or not self.fits(who):
            return False
        if profile.queues and queue not in profile.queues:
            return False
        if profile.brands and self.of.facts.brand and self.of.facts.brand not in profile.brands:
            return False
        if profile.id in self.of.avoid and self.now - START < self.policy.unroutable_after:
            return False
        must = self.must(queue, own=own)
        wished = self.wished(queue, own=own)
        steps = [step.total_seconds() for step in self.policy.queues[queue].relax_after]
        if steps and waited < steps[-1]:
            over = len([step for step in steps if step <= waited])
            for skill, level in sorted(wished.items(), key=lambda pair: (pair[1], pair[0]))[over:]:
                must[skill] = max(level, must.get(skill, 0))
        return all(self.level(who, skill) >= level for skill, level in must.items())

    def must(self, queue: str, *, own: bool) -> dict[str, int]:
        asked = list(self.policy.queues[queue].required.items())
        if own:
            asked += [*self.of.required, *self.of.rule_required]
            if self.of.facts.language:
                asked.append((f"lang-{self.of.facts.language[:2]}", self.policy.language_level))
        return {skill: max(level for name, level in asked if name == skill) for skill, _ in asked}

    def wished(self, queue: str, *, own: bool) -> dict[str, int]:
        asked = list(self.policy.queues[queue].preferred.items())
        asked += [*self.of.preferred, *self.of.rule_preferred] if own else []
        most = {skill: max(level for name, level in asked if name == skill) for skill, _ in asked}
        must = self.must(queue, own=own)
        return {skill: level for skill, level in most.items() if level > must.get(skill, 0)}

    def level(self, who: AgentState, skill: str) -> int:
        if skill in who.profile.skills:
            return who.profile.skills[skill]
        return 5 if skill in {f"lang-{language[:2]}" for language in who.profile.languages} else 0

    def fits(self, who: AgentState) -> bool:
        channel = self.of.facts.channel
        units = who.profile.channel_weights.get(channel, {"email": 1, "whatsapp": 2}.get(channel, 1))
        if self.of.status == Status.PENDING and channel != "chat":
            units *= self.policy.status_weights.pending
        return sum(claim.weight for claim in who.claims.values()) + units <= who.profile.capacity

    def rank(self, who: AgentState, queue: str, *, own: bool) -> tuple[int, float, float, str]:
        """More wishes fulfilled, less of the capacity in use, longer without new work, the id."""
        fulfilled = sum(self.level(who, s) >= level for s, level in self.wished(queue, own=own).items())
        used = sum(claim.weight for claim in who.claims.values())
        share = used / who.profile.capacity if who.profile.capacity else float("inf")
        since = who.last_assigned_at.timestamp() if who.last_assigned_at else float("-inf")
        return -fulfilled, share, since, who.profile.id


@settings(max_examples=600)
@given(policies(), offices(), waiting(), st.sampled_from([0, 5, 15, 25, 40, 90]))
def test_whoever_should_get_it_gets_it(
    policy: RoutingPolicy, office: list[AgentState], of: TicketState, after: int
) -> None:
    choice = Pool(policy, office).pick(needs_of(of, policy, at(after)))
    found = (choice.agent.profile.id, choice.reason) if choice is not None else None
    assert found == Oracle(policy, office, of, at(after)).answer()


@settings(max_examples=300)
@given(policies(), offices(), waiting(), st.sampled_from([5, 40, 90]))
def test_reasons_counted_by_the_index_are_those_of_looking_at_everybody(
    policy: RoutingPolicy, office: list[AgentState], of: TicketState, after: int
) -> None:
    needs = needs_of(of, policy, at(after))[:1]
    pool = Pool(policy, office)
    choice = pool.pick(needs)
    if choice is not None:
        told = ranking.explain(office, needs, policy, at(after), choice, 8)
        assert pool.passed_over(choice) == told.passed_over
        assert sum(told.passed_over.values()) + 1 == told.looked_at
