"""What changes an escalation: events, timers and acknowledgements. Outcomes of sending are in settle.py.

Rules: an alert raised again while it is open is the same alert, and notified again only after its `repeat_interval`;
raised again after it was resolved, it is new. A warning is superseded by the next one and by the breach, and ends with
the clock; a pause ends nothing. Each step is taken once per round. An acknowledgement stops the chain at once; it is
followed by a reminder, then undone. "Resolved" goes only to receivers that got "firing". A duplicate is better than a
missed notification.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from contracts.envelope import Event
from contracts.notifications import (
    EscalationAcknowledged,
    EscalationExhausted,
    EscalationOpened,
    EscalationStepReached,
    NotificationKind,
    ResolveReason,
    Target,
)
from contracts.tickets import TicketEvent
from kit.protocol.document import Decision
from services.notify.core import alerts
from services.notify.core.alerts import Ended, OwnerChanged, Paused, Raised, Reopened, Resumed
from services.notify.core.draft import Draft
from services.notify.core.latest import OWNER, LatestEvent
from services.notify.core.policy import NotifyPolicy
from services.notify.core.route import Destination, route
from services.notify.core.state import Alarm, Escalation, Planned, Standing

UNLIMITED = 1_000_000


@dataclass(frozen=True, slots=True)
class EffectiveChain:
    """The steps that an alarm follows: those of its chain, or its route's receiver again and again."""

    steps: Sequence[tuple[Sequence[str], timedelta]]
    """Receivers, and the time until the next step."""
    repeat: int
    """How often the steps are repeated."""
    remind_after: timedelta | None = None
    undo_after: timedelta | None = None


# --- Events. ---


def decide(
    state: Escalation | None, event: Event, policy: NotifyPolicy, now: datetime, *, incomplete: bool = False
) -> Decision[Escalation]:
    """Apply an event. Most are of no interest here, and leave a ticket without a state.

    `incomplete`: events of the same source are missing, or this is one that was missing.
    """
    signals = alerts.read(event, state.queue if state else None)
    if not signals:
        return Decision()
    draft = Draft.of(state or Escalation(ticket_id=event.subject), policy, now, incomplete=incomplete)
    if isinstance(event.data, TicketEvent) and event.data.ticket.version is not None:
        if event.data.ticket.version < (draft.old.ticket_version or 0):
            return Decision()
        draft.changes["ticket_version"] = event.data.ticket.version
    for signal in signals:
        match signal:
            case Raised():
                _raise(draft, signal, event)
            case Ended():
                _end(draft, signal, event)
            case Paused(about):
                _pause(draft, about, event)
            case Resumed(about):
                _resume(draft, about, event)
            case OwnerChanged():
                _change_owner(draft, signal, event)
            case Reopened():
                draft.changes["over_at"] = None
    return draft.decision()


def _raise(draft: Draft, raised: Raised, event: Event) -> None:
    latest = draft.latest_event(raised.about)
    late = event.sequence < latest.sequence
    refuted = event.sequence < latest.refuted
    # Without a clock the alert is "unroutable", and a later event replaced it. A clock that has not ended goes on.
    outdated = refuted or (late and (latest.ended_at is not None or not raised.about))
    ended = (latest.reason or ResolveReason.CANCELLED, latest.ended_at or event.time) if outdated else None
    draft.record(LatestEvent(about=raised.about, sequence=event.sequence))
    routed = route(draft.policy, raised.alert.labels, raised.alert.tags)
    destinations = {_key(raised, destination): destination for destination in routed.destinations}
    for key, destination in destinations.items():
        alarm = Alarm(
            key=key,
            kind=raised.kind.value,
            about=raised.about,
            alert=raised.alert,
            route=destination.route,
            chain=destination.chain,
            receiver=destination.receiver,
            repeat_interval=destination.repeat_interval.total_seconds(),
            opened_at=draft.now,
            raised_at=event.time,
        )
        _open(draft, alarm, ended)
        if refuted:
            draft.set(draft.alarms[key], superseded=True)
    for alarm in list(draft.alarms.values()) if ended is None else ():
        same = alarm.about == raised.about and alarm.kind in raised.supersedes
        if same and alarm.key not in destinations and not alarm.superseded:
            draft.supersede(alarm)


def _key(raised: Raised, destination: Destination) -> str:
    level = f"/{raised.level}" if raised.level else ""
    return f"{raised.kind}:{raised.about}{level}@{destination.route}"


def _open(draft: Draft, alarm: Alarm, ended: tuple[str, datetime] | None = None) -> None:
    """Open an alarm and notify its first step, unless it is open already.

    `ended`: the alert has ended meanwhile, for this reason and at this time; then nobody is notified.
    """
    last = draft.alarms.get(alarm.key)
    is_open = last is not None and last.standing != Standing.RESOLVED
    if last is not None and is_open and not last.superseded:
        return
    # A "resolved" that is not sent yet would be wrong now: it is withdrawn, and its receivers still count as notified.
    unsent = tuple(dict.fromkeys(p.receiver for p in draft.planned if p.alarm == alarm.key and _is_resolved(p)))
    draft.withdraw([alarm.key])
    alarm = draft.set(alarm, notified=last.notified if last is not None and is_open else unsent)
    if not is_open:
        draft.events.append(
            EscalationOpened(
                **draft.facts(), alert=alarm.alert, route=alarm.route, chain=alarm.chain, opened_at=draft.now
            )
        )
    over_at = draft.old.over_at
    if ended is None and over_at is not None and alarm.raised_at <= over_at:
        ended = ResolveReason.CANCELLED, over_at
    if ended is not None:
        # The end was received before the alert: topics have no common order, and replayed events come late. The bus
        # gets the same events as in the other order, but no receiver is notified.
        draft.end(alarm, *ended)
        return
    next_step(draft, alarm)


def _is_resolved(planned: Planned) -> bool:
    return planned.kind == NotificationKind.RESOLVED and not planned.withdrawn


def _end(draft: Draft, ended: Ended, event: Event) -> None:
    about = ended.about or ""
    if ended.whole_ticket:
        draft.changes["over_at"] = event.time
    elif event.sequence < draft.latest_event(about).sequence:
        return  # a later event is known
    else:
        refuted = event.sequence if ended.refuted else 0
        draft.record(
            LatestEvent(about=about, sequence=event.sequence, ended_at=event.time, reason=ended.reason, refuted=refuted)
        )
    for alarm in list(draft.alarms.values()):
        kind_fits = ended.kinds is None or alarm.kind in ended.kinds
        # The clock was resumed by a reopening after this event, and that was received first.
        newer = ended.whole_ticket and alarm.about != "" and alarm.raised_at > event.time
        if alarm.standing != Standing.RESOLVED and kind_fits and ended.about in {None, alarm.about} and not newer:
            draft.end(alarm, ended.reason, event.time)
        if ended.refuted and ended.about == alarm.about:
            draft.set(draft.alarms[alarm.key], superseded=True)


def _change_owner(draft: Draft, owner: OwnerChanged, event: Event) -> None:
    if event.sequence >= draft.latest_event(OWNER).sequence:
        draft.record(LatestEvent(about=OWNER, sequence=event.sequence))
        draft.changes |= {"queue": owner.queue, "agent": owner.agent}


def _pause(draft: Draft, about: str, event: Event) -> None:
    """Suspend the warnings of a paused clock. A breach is followed up all the same."""
    if event.sequence < draft.latest_event(about).sequence:
        return
    draft.record(LatestEvent(about=about, sequence=event.sequence, paused=True))
    for alarm in list(draft.alarms.values()):
        is_open = alarm.standing != Standing.RESOLVED and not alarm.superseded
        if alarm.about == about and alarm.kind in alerts.WARNINGS and is_open and not alarm.paused:
            remaining = None if alarm.next_at is None else (alarm.next_at - event.time).total_seconds()
            draft.set(alarm, paused=True, next_at=None, remaining=remaining)


def _resume(draft: Draft, about: str, event: Event) -> None:
    """Continue the warnings of a resumed clock, and reopen its alarms that ended when the ticket was solved."""
    latest = draft.latest_event(about)
    if event.sequence < latest.sequence and (latest.paused or latest.ended_at is not None):
        return
    draft.record(LatestEvent(about=about, sequence=event.sequence))
    for alarm in [alarm for alarm in draft.alarms.values() if alarm.about == about]:
        if alarm.paused:
            next_at = None if alarm.remaining is None else event.time + timedelta(seconds=alarm.remaining)
            draft.set(alarm, paused=False, next_at=next_at, remaining=None)
        elif alarm.standing == Standing.RESOLVED and not alarm.superseded:
            identity = {name: getattr(alarm, name) for name in _IDENTITY}
            alert = alarm.alert.model_copy(update={"cause": event.id})
            _open(draft, Alarm(**identity, alert=alert, opened_at=draft.now, raised_at=event.time))


_IDENTITY = ("key", "kind", "about", "route", "chain", "receiver", "repeat_interval")
"""Fields of an alarm that stay the same when it opens again."""


# --- Time. ---


def fire(state: Escalation, policy: NotifyPolicy, now: datetime) -> Decision[Escalation] | None:
    """Take the steps, and send the reminders, that are due by `now`; None if there are none."""
    draft = Draft.of(state, policy, now)
    due = [alarm for alarm in state.alarms if alarm.next_at is not None and alarm.next_at <= now]
    for alarm in due:
        if alarm.standing == Standing.OPEN:
            next_step(draft, alarm)
        elif alarm.standing == Standing.ACKNOWLEDGED:
            _follow_up_acknowledgement(draft, alarm)
    return draft.decision() if due else None


def next_step(draft: Draft, alarm: Alarm) -> None:
    """Take the next step that has an available receiver; without one, the chain is exhausted."""
    chain = _effective_chain(draft.policy, alarm)
    if not chain.steps:  # a silent route
        draft.schedule(alarm, None)
        return
    step, turn = (0, alarm.round) if alarm.step is None else (alarm.step + 1, alarm.round)
    for _ in range(len(chain.steps) + 1):
        if step >= len(chain.steps):
            step, turn = 0, turn + 1
        if turn > chain.repeat:
            break
        targets, wait = chain.steps[step]
        alarm = draft.schedule(draft.set(alarm, step=step, round=turn), wait)
        if _notify(draft, alarm, targets):
            return
        step += 1  # no receiver of this step is available: do not wait
    draft.schedule(draft.set(alarm, exhausted=True), None)
    draft.events.append(
        EscalationExhausted(
            **draft.facts(), alert=alarm.alert, chain=alarm.chain, round=alarm.round, exhausted_at=draft.now
        )
    )


def _notify(draft: Draft, alarm: Alarm, targets: Sequence[str]) -> bool:
    """Plan the notifications of a step; return whether any receiver is available."""
    available = draft.plan(alarm, NotificationKind.FIRING, targets)
    known = draft.policy.receivers
    draft.events.append(
        EscalationStepReached(
            **draft.facts(),
            alert=alarm.alert,
            chain=alarm.chain,
            step=alarm.step or 0,
            round=alarm.round,
            targets=tuple(Target(kind=known[t].kind, name=t) for t in targets if t in known),
            reached_at=draft.now,
        )
    )
    return available > 0


def _follow_up_acknowledgement(draft: Draft, alarm: Alarm) -> None:
    """Send the reminder; or, when that was sent before, undo the acknowledgement and start the chain again."""
    chain = _effective_chain(draft.policy, alarm)
    if not alarm.reminded:
        # Acknowledged over REST before any receiver was notified: remind those of the current step.
        current = chain.steps[alarm.step][0] if alarm.step is not None and alarm.step < len(chain.steps) else ()
        draft.plan(alarm, NotificationKind.REMINDER, alarm.notified or current)
        draft.schedule(draft.set(alarm, reminded=True), chain.undo_after)
        return
    reopened = {"standing": Standing.OPEN, "acked_by": None, "acked_at": None, "exhausted": False}
    next_step(draft, draft.set(alarm, step=None, round=0, **reopened))


def _effective_chain(policy: NotifyPolicy, alarm: Alarm) -> EffectiveChain:
    """Return the steps by the policy in force; if that lacks the alarm's chain or receiver, route the alert again."""
    receiver, name = alarm.receiver, alarm.chain
    if name not in policy.chains and receiver not in policy.receivers and (name or receiver):
        destination = route(policy, alarm.alert.labels, alarm.alert.tags).destinations[0]
        receiver, name = destination.receiver, destination.chain
    if name is not None and name in policy.chains:
        chain = policy.chains[name]
        steps = [(step.targets, step.wait) for step in chain.steps]
        return EffectiveChain(steps, chain.repeat, chain.remind_after, chain.undo_after)
    if receiver is not None and receiver in policy.receivers:
        return EffectiveChain([((receiver,), timedelta(seconds=alarm.repeat_interval))], UNLIMITED)
    return EffectiveChain([], 0)


# --- Acknowledgements. ---


def acknowledge(
    state: Escalation | None, by: str, via: str, policy: NotifyPolicy, now: datetime
) -> Decision[Escalation] | None:
    """Acknowledge all open alarms; None if there are none. Alarms that open later are not acknowledged."""
    opened = [a for a in state.alarms if a.standing == Standing.OPEN and not a.superseded] if state else []
    if state is None or not opened:
        return None
    draft = Draft.of(state, policy, now)
    draft.withdraw(alarm.key for alarm in opened)
    for alarm in opened:
        acked = draft.set(alarm, standing=Standing.ACKNOWLEDGED, acked_by=by, acked_at=now, reminded=False)
        draft.schedule(acked, _effective_chain(policy, alarm).remind_after)
    since = min(alarm.opened_at for alarm in opened)
    steps = [alarm.step for alarm in opened if alarm.step is not None]
    draft.events.append(
        EscalationAcknowledged(
            **draft.facts(),
            by=by,
            via=via,
            step=max(steps, default=None),
            acknowledged_at=now,
            after_ms=max(0, round((now - since).total_seconds() * 1000)),
        )
    )
    return draft.decision()


def explain(policy: NotifyPolicy, labels: Mapping[str, str], tags: tuple[str, ...] = ()) -> list[str]:
    """Return, per route of the tree, whether it was taken and which label decided."""
    return [
        f"{visit.route}: {visit.verdict.value}{f' ({visit.label})' if visit.label else ''}"
        for visit in route(policy, labels, tags).visits
    ]
