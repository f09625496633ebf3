"""The routing policy: queues, the rules that choose them, and how waiting relaxes requirements.

Rule: rules are ordered, and the first one that matches wins.
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
    """Assigns tickets to a queue, and sets the skills they require in addition to the queue's."""

    name: str = Field("", description="Name of the rule in explanations.")
    match: Match = Match()
    """Conditions that must all hold; without conditions the rule matches every ticket."""
    queue: str
    """Queue for the ticket."""
    required: SkillLevels = Field(default_factory=dict)
    """Skills required in addition to the queue's, with levels from 1 to 5."""
    preferred: SkillLevels = Field(default_factory=dict)
    """Skills preferred in addition to the queue's."""


class Overflow(Part):
    """Another queue whose agents may serve a ticket once it has waited too long in its own."""

    after: Duration
    """Waiting time after which the ticket overflows."""
    to: str
    """Name of the other queue."""
    keep_required: bool = Field(
        default=False,
        description="Whether the ticket's own skills and language stay required there, in addition to that queue's.",
    )


class Queue(Part):
    """A queue: the skills it requires, and how waiting relaxes them."""

    required: SkillLevels = Field(
        default_factory=dict, description="Skills required of every agent who serves the queue."
    )
    preferred: SkillLevels = Field(
        default_factory=dict, description="Skills preferred; required at first if `relax_after` is set."
    )
    relax_after: OneOrMany[Duration] = Field(
        (),
        description="Waits, each of which drops one more preferred skill, the lowest level first; the last drops all.",
    )
    overflow: Overflow | None = None
    """Another queue that may serve tickets that wait too long."""

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if list(self.relax_after) != sorted(set(self.relax_after)):
            raise ValueError("relax_after must be strictly increasing")
        return self


class Requeue(Part):
    """How long an agent may be absent before open tickets are reassigned.

    Tickets that wait for the customer stay, and are reassigned once the customer answers.
    """

    offline: Duration | None = Field(
        timedelta(0), description="Delay for agents who are offline; null keeps their tickets."
    )
    away: Duration | None = Field(
        timedelta(minutes=15), description="Delay for agents who are away; null keeps their tickets."
    )


class StatusWeights(Part):
    """Fraction of its channel's weight that a ticket takes of its agent's capacity, by status."""

    new: Whole = 1.0
    """No answer has been sent yet."""
    open: Whole = 1.0
    """We owe the customer an answer."""
    pending: Share = Field(0.0, description="The customer owes us an answer.")
    on_hold: Share = Field(1.0, description="A third party owes us an answer.")


class Transfers(Part):
    """Handling of tickets transferred to an agent who cannot take them now."""

    wait: Duration = Field(
        timedelta(minutes=5), description="How long the ticket waits for that agent before any agent may take it."
    )


class Look(Part):
    """When to try again to assign a waiting ticket if nothing has changed."""

    first: PositiveDuration = timedelta(seconds=1)
    """First delay; each further delay is four times as long."""
    most: PositiveDuration = timedelta(minutes=5)
    """Maximum delay."""


class RoutingPolicy(Part):
    """The whole file."""

    channel_weights: dict[str, Weight] = Field(
        default_factory=dict, description="Units of an agent's capacity that a ticket takes, by channel."
    )
    default_weight: Weight = 1.0
    """Units for channels not in `channel_weights`."""
    status_weights: StatusWeights = StatusWeights()
    """Fraction of that weight by status."""
    live_channels: Names = Field(
        (Channel.PHONE.value, Channel.CHAT.value),
        description="Live channels, whose tickets take their full weight in every status.",
    )
    language_skill: str = Field("lang-{language}", description="Template for the name of a language's skill.")
    language_level: Annotated[int, Field(ge=1, le=5)] = 1
    """Level of that skill that a ticket in the language requires, 1 to 5."""
    unroutable_after: Duration = Field(
        timedelta(seconds=30), description="Delay before a ticket is announced as unroutable."
    )
    requeue: Requeue = Requeue()
    """Tickets of absent agents."""
    transfer: Transfers = Transfers()
    """Tickets transferred to an agent who cannot take them now."""
    look: Look = Look()
    """When to try again to assign waiting tickets."""
    queues: dict[str, Queue] = Field(min_length=1)
    """Queues by name."""
    rules: tuple[Rule, ...] = ()
    """Rules in order; the first match wins. A ticket that no rule matches is unroutable."""

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        if "{language}" not in self.language_skill:
            raise ValueError("language_skill must contain {language}")
        for number, rule in enumerate(self.rules, start=1):
            if rule.queue not in self.queues:
                raise ValueError(f"rule {rule.name or number} names the unknown queue {rule.queue!r}")
        for name, queue in self.queues.items():
            for seen in self._overflows(name, queue):
                if seen not in self.queues:
                    raise ValueError(f"queue {name} overflows to the unknown queue {seen!r}")
        return self

    def _overflows(self, name: str, queue: Queue) -> Iterator[str]:
        passed = [name]
        while queue.overflow is not None:
            to = queue.overflow.to
            yield to
            if to in passed:
                raise ValueError(f"queues overflow in a cycle: {' -> '.join([*passed, to])}")
            passed.append(to)
            queue = self.queues[to]

    def place(self, facts: TicketFacts) -> Rule | None:
        """Return the first rule that matches a ticket; None if none does."""
        return next((rule for rule in self.rules if rule.match.holds(facts)), None)

    def weight(self, channel: str, own: Mapping[str, float], share: float = 1.0) -> float:
        """Return the units of capacity that a ticket takes; `own` are the agent's weights, which take precedence."""
        return share * own.get(channel, self.channel_weights.get(channel, self.default_weight))

    def share(self, channel: str, status: Status) -> float:
        """Return the fraction of the channel's weight that a ticket takes in a status."""
        return 1.0 if channel in self.live_channels else getattr(self.status_weights, status.value, 1.0)

    @cached_property
    def shares(self) -> tuple[float, ...]:
        """All distinct shares, including 1."""
        weights = self.status_weights
        return tuple(sorted({1.0, weights.new, weights.open, weights.pending, weights.on_hold}))

    @property
    def least_share(self) -> float:
        """The smallest share of a ticket that we owe an answer."""
        return min(self.status_weights.new, self.status_weights.open)

    def language_skills(self, languages: tuple[str, ...]) -> Mapping[str, int]:
        """Return the language skills of an agent who speaks these languages."""
        return _language_skills(self.language_skill, languages)


@lru_cache(maxsize=4096)
def _language_skills(name: str, languages: tuple[str, ...]) -> dict[str, int]:
    return {name.format(language=primary(language)): 5 for language in languages}
