"""What a waiting ticket asks of an agent at an instant, in its own queue and in those that may serve it besides.

Rule: the longer the wait, the less is asked: preferred skills go step by step.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from contracts.assignments import AssignReason, UnroutableReason
from services.routing.core.policy import Queue, RoutingPolicy
from services.routing.core.state import OURS_TO_ANSWER, TicketState

Pairs = Iterable[tuple[str, int]]

_AFTER_ANY_WAIT = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Need:
    """What is asked of an agent: must have `required`, better has `preferred`; `dropped` was given up already.

    Nobody but `target` may take it, as long as there is such an agent; `even_absent` says that they need not be online,
    since they have answered and nothing is owed. `share` is the part of its channel's weight that the ticket takes.
    """

    ticket: str
    channel: str
    queue: str | None
    brand: str | None = None
    required: tuple[tuple[str, int], ...] = ()
    preferred: tuple[tuple[str, int], ...] = ()
    dropped: tuple[str, ...] = ()
    language: str | None = None
    sticky: str | None = None
    target: str | None = None
    target_reason: AssignReason = AssignReason.TRANSFERRED
    even_absent: bool = False
    avoid: frozenset[str] = frozenset()
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Nobody:
    """Why no agent there is could serve a ticket, were they all online and free."""

    reason: UnroutableReason
    detail: str


def needs_of(state: TicketState, policy: RoutingPolicy, now: datetime) -> tuple[Need, ...]:
    """Return what a ticket asks for at an instant: first in its own queue, then in each that it overflows to."""
    home = _need(state, policy, now, state.queue, state.entered_at, own=True)
    wider = (_need(state, policy, now, more.queue, more.since, own=more.own) for more in state.overflow)
    return (home, *(need for need in wider if need.queue in policy.queues))


def unplaced(state: TicketState, policy: RoutingPolicy) -> Nobody | None:
    """Say why nobody is asked to take a waiting ticket: it is in no queue, nor meant for one agent. None when it is."""
    if state.queue in policy.queues or state.target is not None:
        return None
    return Nobody(UnroutableReason.NO_QUEUE, "no rule of the policy matches the ticket")


def least_of(state: TicketState, policy: RoutingPolicy) -> tuple[Need, ...]:
    """Return what a ticket still asks for in its queues after any wait."""
    return needs_of(state, policy, _AFTER_ANY_WAIT)


def _need(
    state: TicketState, policy: RoutingPolicy, now: datetime, name: str | None, since: datetime | None, *, own: bool
) -> Need:
    """Return what is asked in one queue; the ticket's `own` skills and language count only with that."""
    queue = policy.queues.get(name or "", Queue())
    language = _language_skill(policy, state.facts.language) if own else None
    required = _merge(
        queue.required.items(),
        state.rule_required if own else (),
        state.required if own else (),
        [(language, policy.language_level)] if language else (),
    )
    wished = _merge(queue.preferred.items(), state.rule_preferred if own else (), state.preferred if own else ())
    wished = {skill: level for skill, level in wished.items() if required.get(skill, 0) < level}
    held, dropped = _relaxed(wished, queue.relax_after, now - (since or now))
    # "Not at once" is not "never": whoever gave it away may be the only one left.
    shunned = now - (state.entered_at or now) < policy.unroutable_after
    target = state.target
    answered = target is not None and target.command is None
    return Need(
        ticket=state.id,
        channel=state.facts.channel,
        queue=name,
        brand=state.facts.brand,
        required=tuple(sorted(_merge(required.items(), held.items()).items())),
        preferred=tuple(sorted(wished.items())),
        dropped=dropped,
        language=language,
        sticky=state.previous,
        target=target.agent if target is not None else None,
        target_reason=AssignReason.ANSWERED if answered else AssignReason.TRANSFERRED,
        even_absent=answered and state.status not in OURS_TO_ANSWER,
        avoid=frozenset(state.avoid) if shunned else frozenset(),
        share=policy.share(state.facts.channel, state.status),
    )


def _relaxed(
    wished: Mapping[str, int], steps: tuple[timedelta, ...], waited: timedelta
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Tell preferred skills that are still required from those given up; without steps none is ever required."""
    if not steps:
        return {}, ()
    passed = sum(waited >= step for step in steps)
    order = sorted(wished, key=lambda skill: (wished[skill], skill))
    gone = order if passed == len(steps) else order[:passed]
    return {skill: wished[skill] for skill in order[len(gone) :]}, tuple(gone)


def _language_skill(policy: RoutingPolicy, language: str | None) -> str | None:
    return next(iter(policy.language_skills((language,))), None) if language else None


def _merge(*sources: Pairs) -> dict[str, int]:
    merged: dict[str, int] = {}
    for source in sources:
        for skill, level in source:
            merged[skill] = max(level, merged.get(skill, 0))
    return merged
