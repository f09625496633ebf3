"""What a waiting ticket currently requires of an agent, in its own queue and in its overflow queues.

Rule: the longer the wait, the less is required: preferred skills are dropped step by step.
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
    """Requirements of a ticket in one queue: `required` and `preferred` skills; `dropped` are no longer required.

    Only `target` may take the ticket, while that agent exists; with `even_absent` also when not online, because the
    agent answered and no further answer is owed. `share` is the fraction of the channel's weight that the ticket takes.
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
class Unroutable:
    """Why no agent could serve a ticket, even if all were online and free."""

    reason: UnroutableReason
    detail: str


def needs_of(state: TicketState, policy: RoutingPolicy, now: datetime) -> tuple[Need, ...]:
    """Return the ticket's current needs: in its own queue, then in each overflow queue."""
    home = _need(state, policy, now, state.queue, state.entered_at, own=True)
    wider = (_need(state, policy, now, more.queue, more.since, own=more.own) for more in state.overflow)
    return (home, *(need for need in wider if need.queue in policy.queues))


def why_unplaced(state: TicketState, policy: RoutingPolicy) -> Unroutable | None:
    """Return why no agent is considered for a waiting ticket: it has neither queue nor target. None if it has one."""
    if state.queue in policy.queues or state.target is not None:
        return None
    return Unroutable(UnroutableReason.NO_QUEUE, "no rule of the policy matches the ticket")


def minimal_needs(state: TicketState, policy: RoutingPolicy) -> tuple[Need, ...]:
    """Return the needs that remain after any wait."""
    return needs_of(state, policy, _AFTER_ANY_WAIT)


def _need(
    state: TicketState, policy: RoutingPolicy, now: datetime, name: str | None, since: datetime | None, *, own: bool
) -> Need:
    """Return the need in one queue. Skills and language of the ticket count only with `own`."""
    queue = policy.queues.get(name or "", Queue())
    language = _language_skill(policy, state.facts.language) if own else None
    required = _merge(
        queue.required.items(),
        state.rule_required if own else (),
        state.required if own else (),
        [(language, policy.language_level)] if language else (),
    )
    preferred = _merge(queue.preferred.items(), state.rule_preferred if own else (), state.preferred if own else ())
    preferred = {skill: level for skill, level in preferred.items() if required.get(skill, 0) < level}
    still_required, dropped = _relaxed(preferred, queue.relax_after, now - (since or now))
    # Agents who gave the ticket away are avoided for a while only: they may be the only ones who can serve it.
    avoiding = now - (state.entered_at or now) < policy.unroutable_after
    target = state.target
    answered = target is not None and target.command is None
    return Need(
        ticket=state.id,
        channel=state.facts.channel,
        queue=name,
        brand=state.facts.brand,
        required=tuple(sorted(_merge(required.items(), still_required.items()).items())),
        preferred=tuple(sorted(preferred.items())),
        dropped=dropped,
        language=language,
        sticky=state.previous,
        target=target.agent if target is not None else None,
        target_reason=AssignReason.ANSWERED if answered else AssignReason.TRANSFERRED,
        even_absent=answered and state.status not in OURS_TO_ANSWER,
        avoid=frozenset(state.avoid) if avoiding else frozenset(),
        share=policy.share(state.facts.channel, state.status),
    )


def _relaxed(
    preferred: Mapping[str, int], steps: tuple[timedelta, ...], waited: timedelta
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Split preferred skills into those still required and those dropped. Without steps, none is ever required."""
    if not steps:
        return {}, ()
    passed = sum(waited >= step for step in steps)
    order = sorted(preferred, key=lambda skill: (preferred[skill], skill))
    dropped = order if passed == len(steps) else order[:passed]
    return {skill: preferred[skill] for skill in order[len(dropped) :]}, tuple(dropped)


def _language_skill(policy: RoutingPolicy, language: str | None) -> str | None:
    return next(iter(policy.language_skills((language,))), None) if language else None


def _merge(*sources: Pairs) -> dict[str, int]:
    merged: dict[str, int] = {}
    for source in sources:
        for skill, level in source:
            merged[skill] = max(level, merged.get(skill, 0))
    return merged
