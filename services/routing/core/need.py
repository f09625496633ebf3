"""What a waiting ticket asks of an agent at an instant, and what its wait makes of it when it is looked at again.

Rule: the longer the wait, the less is asked: preferred skills go step by step, then the queue, then somebody is told.
"""

import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from contracts.assignments import QueueReason, TicketUnroutable, UnroutableReason
from kit.document import Decision
from services.routing.core.policy import Policy, Queue
from services.routing.core.tickets import TicketState, enter

Pairs = Iterable[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class Need:
    """What is asked of an agent: must have `required`, better has `preferred`; `dropped` was given up already."""

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
    avoid: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Nobody:
    """Why no agent there is could serve a ticket, were they all online and free."""

    reason: UnroutableReason
    detail: str


def need_of(state: TicketState, policy: Policy, now: datetime) -> Need:
    """Return what a ticket asks for at an instant."""
    queue = policy.queues.get(state.queue or "", Queue())
    own = state.keeps_required
    spoken = state.facts.language if own else None
    language = _language_skill(policy, spoken)
    required = _merge(
        queue.required.items(),
        state.rule_required if own else (),
        state.required if own else (),
        [(language, policy.language_level)] if language else (),
    )
    wished = _merge(queue.preferred.items(), state.rule_preferred if own else (), state.preferred if own else ())
    wished = {skill: level for skill, level in wished.items() if required.get(skill, 0) < level}
    steps, waited = queue.relax_after, now - (state.entered_at or now)
    held, dropped = _relaxed(wished, steps, waited)
    return Need(
        ticket=state.id,
        channel=state.facts.channel,
        queue=state.queue,
        brand=state.facts.brand,
        required=tuple(sorted(_merge(required.items(), held.items()).items())),
        preferred=tuple(sorted(wished.items())),
        dropped=dropped,
        language=language,
        sticky=state.previous,
        target=state.target,
        # "Not at once" is not "never": whoever gave it away may be the only one left.
        avoid=frozenset(state.avoid) if waited < policy.unroutable_after else frozenset(),
    )


def least_of(state: TicketState, policy: Policy) -> Need:
    """Return what a ticket still asks for in its queue after any wait."""
    queue = policy.queues.get(state.queue or "", Queue())
    assert state.entered_at is not None
    longest = max(queue.relax_after, default=timedelta(0))
    return replace(need_of(state, policy, state.entered_at + longest), avoid=frozenset())


def look(
    state: TicketState, now: datetime, policy: Policy, nobody: Callable[[Need], Nobody | None]
) -> Decision[TicketState] | None:
    """Let time act on a waiting ticket: another queue, word that nobody can serve it, and the instant of the next look.

    `nobody` says why no agent at all could serve a need.
    """
    if state.phase != "waiting" or state.queued_at is None or state.entered_at is None:
        return None
    state = replace(state, looks=state.looks + 1)
    known = state.queue in policy.queues
    decision = _overflow(state, now, policy) if known else _find_queue(state, now, policy)
    if decision is None:
        decision = _tell(state, now, policy, nobody)
    assert decision.state is not None
    return Decision(replace(decision.state, next_look=next_look(decision.state, now, policy)), decision.events)


def next_look(state: TicketState, now: datetime, policy: Policy) -> datetime:
    """Return when to look again: later and later, never all at once, and at each step that the wait brings.

    Each look is a write; room is given to who waits without one, so that only what was missed depends on looks.
    """
    pause = min(policy.look.most, policy.look.first * (1 << min(2 * state.looks, 20)))
    spread = 0.8 + 0.4 * (zlib.crc32(f"{state.id}/{state.looks}".encode()) % 1000) / 1000
    steps = [instant for instant in _steps(state, policy) if instant > now]
    instant = min([now + pause * spread, *steps])
    return instant.replace(microsecond=instant.microsecond // 1000 * 1000)


def _steps(state: TicketState, policy: Policy) -> list[datetime]:
    queue = policy.queues.get(state.queue or "", Queue())
    assert state.entered_at is not None
    waits = [*queue.relax_after, policy.unroutable_after]
    if queue.overflow is not None:
        waits.append(queue.overflow.after)
    return [state.entered_at + wait for wait in waits]


def _overflow(state: TicketState, now: datetime, policy: Policy) -> Decision[TicketState] | None:
    overflow = policy.queues[state.queue or ""].overflow
    if overflow is None or state.entered_at is None or now < state.entered_at + overflow.after:
        return None
    keeps = state.keeps_required and overflow.keep_required
    return enter(replace(state, overflowed=True, keeps_required=keeps), overflow.to, QueueReason.OVERFLOW, now, policy)


def _find_queue(state: TicketState, now: datetime, policy: Policy) -> Decision[TicketState] | None:
    """Place a ticket whose queue is not there (any more) by the rules of today."""
    rule = policy.place(state.facts)
    if rule is None:
        return None
    return enter(replace(state, pinned=False, overflowed=False), rule.queue, QueueReason.RULES_CHANGED, now, policy)


def _tell(
    state: TicketState, now: datetime, policy: Policy, nobody: Callable[[Need], Nobody | None]
) -> Decision[TicketState]:
    queue = policy.queues.get(state.queue or "")
    assert state.entered_at is not None
    if queue is None:
        why: Nobody | None = Nobody(UnroutableReason.NO_QUEUE, "no rule of the policy matches the ticket")
    elif queue.overflow is not None or now < state.entered_at + policy.unroutable_after:
        return Decision(state)
    else:
        why = nobody(least_of(state, policy))
    if why is None:
        return Decision(replace(state, unroutable=None))
    if state.unroutable is not None:
        return Decision(state)
    event = TicketUnroutable(
        ticket_id=state.id, queue=state.queue, facts=state.facts, reason=why.reason, detail=why.detail,
        queued_at=state.queued_at,
    )  # fmt: skip
    return Decision(replace(state, unroutable=str(why.reason)), [event])


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


def _language_skill(policy: Policy, language: str | None) -> str | None:
    return next(iter(policy.language_skills((language,))), None) if language else None


def _merge(*sources: Pairs) -> dict[str, int]:
    merged: dict[str, int] = {}
    for source in sources:
        for skill, level in source:
            merged[skill] = max(level, merged.get(skill, 0))
    return merged
