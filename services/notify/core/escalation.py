"""What happens to an escalation: alerts come and go, time passes, somebody acknowledges. A send's outcome: settle.py.

Rules: an alert that holds already is the same alert, and is said again only after its `repeat_interval`; one that was
resolved and holds again is news. A warning is superseded by the next one and by the breach, and ends when the clock
does; a pause ends nothing. A step is taken once a round; an acknowledgement stops the chain at once, is reminded when
it is forgotten, then undone; "resolved" goes only to those who were sent "firing". A duplicate is better than a miss.
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
from services.notify.core.alerts import Handled, Over, Paused, Raised, Reopened, Resumed
from services.notify.core.draft import Draft
from services.notify.core.heard import AGENT, Word
from services.notify.core.policy import NotifyPolicy
from services.notify.core.route import End, route
from services.notify.core.state import Alarm, Escalation, Planned, Standing

FOREVER = 1_000_000


@dataclass(frozen=True, slots=True)
class Course:
    """What is followed for an alarm: a chain, or a route's receiver again and again."""

    steps: Sequence[tuple[Sequence[str], timedelta]]
    """Receivers, and time until the next step."""
    repeat: int
    remind_after: timedelta | None = None
    undo_after: timedelta | None = None


# --- Events. ---


def decide(
    state: Escalation | None, event: Event, policy: NotifyPolicy, now: datetime, *, incomplete: bool = False
) -> Decision[Escalation]:
    """Decide on an event. Most say nothing to notify, and leave a ticket without a state.

    `incomplete`: events of the same source are missing, this may be one of them.
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
            case Over():
                _over(draft, signal, event)
            case Paused(about):
                _pause(draft, about, event)
            case Resumed(about):
                _resume(draft, about, event)
            case Handled():
                _handled(draft, signal, event)
            case Reopened():
                draft.changes["over_at"] = None
    return draft.decision()


def _raise(draft: Draft, raised: Raised, event: Event) -> None:
    word = draft.heard(raised.about)
    late = event.sequence < word.sequence
    untrue = event.sequence < word.untrue
    # A later word that nobody can take the ticket is in the place of this one; a clock that is not over goes on.
    moot = untrue or (late and (word.ended_at is not None or not raised.about))
    over = (word.reason or ResolveReason.CANCELLED, word.ended_at or event.time) if moot else None
    draft.hear(Word(about=raised.about, sequence=event.sequence))
    ends = {_key(raised, end): end for end in route(draft.policy, raised.alert.labels, raised.alert.tags).ends}
    for key, end in ends.items():
        alarm = Alarm(
            key=key,
            kind=raised.kind.value,
            about=raised.about,
            alert=raised.alert,
            route=end.route,
            chain=end.chain,
            receiver=end.receiver,
            repeat_interval=end.repeat_interval.total_seconds(),
            opened_at=draft.now,
            raised_at=event.time,
        )
        _open(draft, alarm, over)
        if untrue:
            draft.set(draft.alarms[key], superseded=True)
    for alarm in list(draft.alarms.values()) if over is None else ():
        same = alarm.about == raised.about and alarm.kind in raised.supersedes
        if same and alarm.key not in ends and not alarm.superseded:
            draft.supersede(alarm)


def _key(raised: Raised, end: End) -> str:
    level = f"/{raised.level}" if raised.level else ""
    return f"{raised.kind}:{raised.about}{level}@{end.route}"


def _open(draft: Draft, alarm: Alarm, over: tuple[str, datetime] | None = None) -> None:
    """Open an alarm and tell of it at once, unless it holds already, or is `over`: why, and since when."""
    last = draft.alarms.get(alarm.key)
    known = last is not None and last.standing != Standing.RESOLVED
    if last is not None and known and not last.superseded:
        return
    # "Resolved" of the last time, where it is not out yet, would be wrong by now; there it still counts as firing.
    unaware = tuple(dict.fromkeys(p.receiver for p in draft.planned if p.alarm == alarm.key and _is_resolved(p)))
    draft.withdraw([alarm.key])
    alarm = draft.set(alarm, notified=last.notified if last is not None and known else unaware)
    if not known:
        draft.events.append(
            EscalationOpened(
                **draft.facts(), alert=alarm.alert, route=alarm.route, chain=alarm.chain, opened_at=draft.now
            )
        )
    over_at = draft.old.over_at
    if over is None and over_at is not None and alarm.raised_at <= over_at:
        over = ResolveReason.CANCELLED, over_at
    if over is not None:
        # True when it was said, and moot since: it ended before the news came here. Nobody is told. The bus says the
        # same as when the news comes first, since there is no order between topics, nor with what is replayed.
        draft.end(alarm, *over)
        return
    _next_step(draft, alarm)


def _is_resolved(planned: Planned) -> bool:
    return planned.kind == NotificationKind.RESOLVED and not planned.moot


def _over(draft: Draft, over: Over, event: Event) -> None:
    about = over.about or ""
    if over.whole_ticket:
        draft.changes["over_at"] = event.time
    elif event.sequence < draft.heard(about).sequence:
        return  # what was said since is known
    else:
        said = {"ended_at": event.time, "reason": over.reason, "untrue": event.sequence if over.untrue else 0}
        draft.hear(Word(about=about, sequence=event.sequence, **said))
    for alarm in list(draft.alarms.values()):
        kind_fits = over.kinds is None or alarm.kind in over.kinds
        # Of a clock that went on after this: the news of the reopening came here first.
        newer = over.whole_ticket and alarm.about != "" and alarm.raised_at > event.time
        if alarm.standing != Standing.RESOLVED and kind_fits and over.about in {None, alarm.about} and not newer:
            draft.end(alarm, over.reason, event.time)
        if over.untrue and over.about == alarm.about:
            draft.set(draft.alarms[alarm.key], superseded=True)


def _handled(draft: Draft, handled: Handled, event: Event) -> None:
    if event.sequence >= draft.heard(AGENT).sequence:
        draft.hear(Word(about=AGENT, sequence=event.sequence))
        draft.changes |= {"queue": handled.queue, "agent": handled.agent}


def _pause(draft: Draft, about: str, event: Event) -> None:
    """Say nothing about a clock that stands still. A breach stays one, and is followed up."""
    if event.sequence < draft.heard(about).sequence:
        return
    draft.hear(Word(about=about, sequence=event.sequence, paused=True))
    for alarm in list(draft.alarms.values()):
        holds = alarm.standing != Standing.RESOLVED and not alarm.superseded
        if alarm.about == about and alarm.kind in alerts.WARNINGS and holds and not alarm.paused:
            left = None if alarm.next_at is None else (alarm.next_at - draft.now).total_seconds()
            draft.set(alarm, paused=True, next_at=None, left=left)


def _resume(draft: Draft, about: str, event: Event) -> None:
    """Go on where the pause left off; what the solving of the ticket has ended is the matter again."""
    word = draft.heard(about)
    if event.sequence < word.sequence and (word.paused or word.ended_at is not None):
        return
    draft.hear(Word(about=about, sequence=event.sequence))
    for alarm in [alarm for alarm in draft.alarms.values() if alarm.about == about]:
        if alarm.paused:
            left = None if alarm.left is None else timedelta(seconds=alarm.left)
            draft.wait(draft.set(alarm, paused=False), left)
        elif alarm.standing == Standing.RESOLVED and not alarm.superseded:
            again = {name: getattr(alarm, name) for name in _LASTING}
            alert = alarm.alert.model_copy(update={"cause": event.id})
            _open(draft, Alarm(**again, alert=alert, opened_at=draft.now, raised_at=event.time))


_LASTING = ("key", "kind", "about", "route", "chain", "receiver", "repeat_interval")
"""What of an alarm stays the same when it opens again."""


# --- Time. ---


def fire(state: Escalation, policy: NotifyPolicy, now: datetime) -> Decision[Escalation] | None:
    """Do what is due by `now`; None when nothing is."""
    draft = Draft.of(state, policy, now)
    due = [alarm for alarm in state.alarms if alarm.next_at is not None and alarm.next_at <= now]
    for alarm in due:
        if alarm.standing == Standing.OPEN:
            _next_step(draft, alarm)
        elif alarm.standing == Standing.ACKNOWLEDGED:
            _forgotten(draft, alarm)
    return draft.decision() if due else None


def _next_step(draft: Draft, alarm: Alarm) -> None:
    """Go on to the next step that has somebody to tell."""
    course = _course(draft.policy, alarm)
    if not course.steps:  # the policy tells nobody
        draft.wait(alarm, None)
        return
    step, turn = (0, alarm.round) if alarm.step is None else (alarm.step + 1, alarm.round)
    for _ in range(len(course.steps) + 1):
        if step >= len(course.steps):
            step, turn = 0, turn + 1
        if turn > course.repeat:
            break
        targets, wait = course.steps[step]
        alarm = draft.wait(draft.set(alarm, step=step, round=turn), wait)
        if _tell(draft, alarm, targets):
            return
        step += 1  # nobody of this step can be told: do not wait for them
    draft.wait(draft.set(alarm, exhausted=True), None)
    said = {"alert": alarm.alert, "chain": alarm.chain, "round": alarm.round, "exhausted_at": draft.now}
    draft.events.append(EscalationExhausted(**draft.facts(), **said))


def _tell(draft: Draft, alarm: Alarm, targets: Sequence[str]) -> bool:
    heard = draft.plan(alarm, NotificationKind.FIRING, targets)
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
    return heard > 0


def _forgotten(draft: Draft, alarm: Alarm) -> None:
    course = _course(draft.policy, alarm)
    if not alarm.reminded:
        # Acknowledged before anybody could be told (over REST): then those who would have been are reminded.
        present = course.steps[alarm.step][0] if alarm.step is not None and alarm.step < len(course.steps) else ()
        draft.plan(alarm, NotificationKind.REMINDER, alarm.notified or present)
        draft.wait(draft.set(alarm, reminded=True), course.undo_after)
        return
    again = {"standing": Standing.OPEN, "acked_by": None, "acked_at": None, "exhausted": False}
    _next_step(draft, draft.set(alarm, step=None, round=0, **again))


def _course(policy: NotifyPolicy, alarm: Alarm) -> Course:
    """What is followed now. A chain or receiver that the policy no longer has: where the alert would go today."""
    receiver, name = alarm.receiver, alarm.chain
    if name not in policy.chains and receiver not in policy.receivers and (name or receiver):
        today = route(policy, alarm.alert.labels, alarm.alert.tags).ends[0]
        receiver, name = today.receiver, today.chain
    if name is not None and name in policy.chains:
        chain = policy.chains[name]
        steps = [(step.targets, step.wait) for step in chain.steps]
        return Course(steps, chain.repeat, chain.remind_after, chain.undo_after)
    if receiver is not None and receiver in policy.receivers:
        return Course([((receiver,), timedelta(seconds=alarm.repeat_interval))], FOREVER)
    return Course([], 0)


def next_step(draft: Draft, alarm: Alarm) -> None:
    """Go on at once, because nobody of the present step can be reached."""
    _next_step(draft, alarm)


# --- People. ---


def acknowledge(
    state: Escalation | None, by: str, via: str, policy: NotifyPolicy, now: datetime
) -> Decision[Escalation] | None:
    """Somebody takes care of all that is open now; None when there is nothing open. What comes later is news."""
    opened = [a for a in state.alarms if a.standing == Standing.OPEN and not a.superseded] if state else []
    if state is None or not opened:
        return None
    draft = Draft.of(state, policy, now)
    draft.withdraw(alarm.key for alarm in opened)
    for alarm in opened:
        acked = draft.set(alarm, standing=Standing.ACKNOWLEDGED, acked_by=by, acked_at=now, reminded=False)
        draft.wait(acked, _course(policy, alarm).remind_after)
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
    """Why an alert goes where it goes, in words."""
    return [
        f"{at.route}: {at.verdict.value}{f' ({at.label})' if at.label else ''}"
        for at in route(policy, labels, tags).looked
    ]
