"""The routing policy: queues, the rules that choose them, and how waiting loosens what is asked for. No agents here.

Rule: rules are ordered and the first one that matches wins.
"""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from functools import cached_property, lru_cache
from typing import Annotated, Self

from pydantic import Field, model_validator

from contracts.languages import primary
from contracts.matching import Match
from contracts.ticket import Channel, Status, TicketFacts
from contracts.values import OneOrMany, SkillLevels
from kit.policy.duration import Duration, PositiveDuration
from kit.policy.part import Part

Names = OneOrMany[str]
Weight = Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Whole = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]


class Rule(Part):
    """Where a ticket goes, and what it needs there besides what the queue needs."""

    name: str = Field("", description="For explanations.")
    match: Match = Match()
    """Conditions; without any it takes every ticket."""
    queue: str
    """Queue that the ticket waits in."""
    required: SkillLevels = Field(default_factory=dict)
    """Skills needed there besides the queue's, with levels from 1 to 5."""
    preferred: SkillLevels = Field(default_factory=dict)
    """Skills that are better to have, besides the queue's."""


class Overflow(Part):
    """A queue that may serve a ticket besides its own, once nobody of its own has taken it for a while."""

    after: Duration
    """Wait after which it begins."""
    to: str
    """The other queue."""
    keep_required: bool = Field(
        default=False,
        description="The ticket's own skills and language are required there too, besides what that queue requires.",
    )


class Queue(Part):
    """A queue: what serving it takes, and what becomes of those who wait in it."""

    required: SkillLevels = Field(default_factory=dict, description="Skills that every agent of the queue needs.")
    preferred: SkillLevels = Field(default_factory=dict, description="Skills that are better to have.")
    relax_after: OneOrMany[Duration] = Field(
        (), description="Until these waits preferred skills are required; each step drops one, the lowest level first."
    )
    overflow: Overflow | None = None
    """Another queue that may serve what waits here for long."""

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if list(self.relax_after) != sorted(set(self.relax_after)):
            raise ValueError("relax_after must rise from step to step")
        return self


class Requeue(Part):
    """How long an agent may be gone before open work is given to somebody else.

    What waits on the customer stays, and goes to somebody else as soon as the customer answers.
    """

    offline: Duration | None = Field(timedelta(0), description="null: work stays with agents who are offline.")
    away: Duration | None = Field(timedelta(minutes=15), description="null: work stays with agents who are away.")


class StatusWeights(Part):
    """Share of its channel's weight that a ticket takes of its agent's capacity, by status."""

    new: Whole = 1.0
    """Nobody has answered yet."""
    open: Whole = 1.0
    """We owe the customer an answer."""
    pending: Share = Field(0.0, description="The customer owes us an answer.")
    on_hold: Share = Field(1.0, description="A third party owes us an answer.")


class Transfers(Part):
    """What becomes of a ticket that was transferred to an agent who cannot take it now."""

    wait: Duration = Field(timedelta(minutes=5), description="So long it waits for them; then anybody may take it.")


class Look(Part):
    """When a waiting ticket is looked at again though nothing was heard that would help it."""

    first: PositiveDuration = timedelta(seconds=1)
    """First wait; each further one is four times as long."""
    most: PositiveDuration = timedelta(minutes=5)
    """Longest wait."""


class Policy(Part):
    """The whole file."""

    channel_weights: dict[str, Weight] = Field(default_factory=dict, description="Units of work a ticket takes.")
    default_weight: Weight = 1.0
    """Units of channels that `channel_weights` does not name."""
    status_weights: StatusWeights = StatusWeights()
    """Share of that weight by status."""
    live_channels: Names = Field(
        (Channel.PHONE.value, Channel.CHAT.value),
        description="Channels whose tickets keep their whole weight in every status: the customer is on the line.",
    )
    language_skill: str = Field("lang-{language}", description="Template for the name of a language's skill.")
    language_level: Annotated[int, Field(ge=1, le=5)] = 1
    """Level of that skill that a ticket in the language needs, 1 to 5."""
    unroutable_after: Duration = Field(
        timedelta(seconds=30), description="Delay before a ticket is announced as unroutable."
    )
    requeue: Requeue = Requeue()
    """Work of agents who are gone."""
    transfer: Transfers = Transfers()
    """Tickets transferred to an agent who cannot take them now."""
    look: Look = Look()
    """When waiting tickets are looked at again."""
    queues: dict[str, Queue] = Field(min_length=1)
    """Queues by name."""
    rules: tuple[Rule, ...] = ()
    """In order; the first that matches wins. A ticket that none matches is unroutable."""

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        if "{language}" not in self.language_skill:
            raise ValueError("language_skill must contain {language}")
        for number, rule in enumerate(self.rules, start=1):
            if rule.queue not in self.queues:
                raise ValueError(f"rule {rule.name or number} names the queue {rule.queue!r}, which is not there")
        for name, queue in self.queues.items():
            for seen in self._overflows(name, queue):
                if seen not in self.queues:
                    raise ValueError(f"queue {name} overflows to {seen!r}, which is not there")
        return self

    def _overflows(self, name: str, queue: Queue) -> Iterator[str]:
        passed = [name]
        while queue.overflow is not None:
            to = queue.overflow.to
            yield to
            if to in passed:
                raise ValueError(f"queues overflow in a circle: {' -> '.join([*passed, to])}")
            passed.append(to)
            queue = self.queues[to]

    def place(self, facts: TicketFacts) -> Rule | None:
        """Return the first rule that matches a ticket."""
        return next((rule for rule in self.rules if rule.match.holds(facts)), None)

    def weight(self, channel: str, own: Mapping[str, float], share: float = 1.0) -> float:
        """Return the units that a ticket of a channel takes of an agent with these weights of their own."""
        return share * own.get(channel, self.channel_weights.get(channel, self.default_weight))

    def share(self, channel: str, status: Status) -> float:
        """Return the share of its channel's weight that a ticket takes in a status."""
        return 1.0 if channel in self.live_channels else getattr(self.status_weights, status.value, 1.0)

    @cached_property
    def shares(self) -> tuple[float, ...]:
        """All shares that there are, 1 among them."""
        weights = self.status_weights
        return tuple(sorted({1.0, weights.new, weights.open, weights.pending, weights.on_hold}))

    @property
    def least_share(self) -> float:
        """The least share that a ticket takes which we owe an answer."""
        return min(self.status_weights.new, self.status_weights.open)

    def language_skills(self, languages: tuple[str, ...]) -> Mapping[str, int]:
        """Return the skills that speaking these languages is."""
        return _language_skills(self.language_skill, languages)


@lru_cache(maxsize=4096)
def _language_skills(name: str, languages: tuple[str, ...]) -> dict[str, int]:
    return {name.format(language=primary(language)): 5 for language in languages}
