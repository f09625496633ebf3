"""What each event says to notify, word for word: labels that routes match on, and the line that people read."""

from typing import Any

import pytest

from contracts.assignments import AgentRef, TicketUnassigned
from contracts.envelope import Event
from contracts.notifications import Alert
from contracts.ticket import Status
from contracts.tickets import TicketClosed, TicketMerged, TicketStatusChanged
from services.notify.core.alerts import Ended, Kind, OwnerChanged, Paused, Raised, Reopened, Resumed, Signal, read
from tests.notify.examples import (
    AGENT,
    FACTS,
    TICKET,
    assigned,
    at,
    at_risk,
    breached,
    cancelled,
    due_soon,
    event,
    met,
    paused,
    queued,
    reopened,
    resumed,
    solved,
    ticket_with,
    unroutable,
)

WARNINGS = frozenset({Kind.AT_RISK, Kind.DUE_SOON})
LABELS = {
    "brand": "nimbus",
    "channel": "whatsapp",
    "account": "wa-th",
    "marketplace": "shopee",
    "country": "TH",
    "priority": "high",
    "tier": "gold",
    "language": "th",
}
CLOCK = {"metric": "first_reply", "policy": "marketplace", **LABELS}
WHERE = f"Ticket {TICKET} (nimbus/whatsapp/shopee/TH): "


def raised(event: Event, queue: str | None = None) -> Raised:
    (found,) = [signal for signal in read(event, queue) if isinstance(signal, Raised)]
    return found


def test_a_breach() -> None:
    found = raised(breached(7), queue="thai")
    assert found == Raised(
        Kind.BREACHED,
        "c1",
        Alert(
            name="sla_breached",
            labels={"kind": "breached", "queue": "thai", **CLOCK},
            summary=WHERE + "first_reply was not done within 4 h",
            cause=f"sla:{TICKET}:1",
            started_at=at(7),
        ),
        supersedes=WARNINGS,
    )


def test_a_clock_at_risk() -> None:
    due = with_data(at_risk(7, detail="75% of the time is used"), due_at=at(3600))
    assert raised(due) == Raised(
        Kind.AT_RISK,
        "c1",
        Alert(
            name="sla_at_risk",
            labels={"kind": "at_risk", "reason": "time", **CLOCK},
            summary=WHERE + "first_reply is at risk (75% of the time is used), due 2026-11-21 10:00Z",
            cause=f"sla:{TICKET}:1",
            started_at=at(7),
        ),
        "time 75% of the time is used",
        frozenset({Kind.AT_RISK}),
    )
    bare = raised(at_risk(7))
    assert bare.alert.summary == WHERE + "first_reply is at risk (time)"
    assert bare.level == "time"


def test_a_clock_that_is_due_soon() -> None:
    due = with_data(due_soon(7, before=5400), due_at=at(5400))
    assert raised(due) == Raised(
        Kind.DUE_SOON,
        "c1",
        Alert(
            name="sla_due_soon",
            labels={"kind": "due_soon", **CLOCK},
            summary=WHERE + "first_reply is due soon, 1.5 h of working time before its end, due 2026-11-21 10:30Z",
            cause=f"sla:{TICKET}:1",
            started_at=at(7),
        ),
        "5400",
        frozenset({Kind.DUE_SOON}),
    )


def test_a_ticket_that_nobody_can_take() -> None:
    alert = Alert(
        name="ticket_unroutable",
        labels={"kind": "unroutable", "reason": "no_agent_with_skills", "queue": "thai", **LABELS},
        summary=WHERE + "nobody can take the ticket: lang-th at level 4",
        cause=f"routing:{TICKET}:1",
        started_at=at(7),
    )
    assert read(unroutable(7), None) == (
        OwnerChanged("thai", None),
        Raised(Kind.UNROUTABLE, "", alert, "thai", frozenset({Kind.UNROUTABLE})),
    )
    bare = raised(with_data(unroutable(7), queue=None, detail=None, facts=None))
    assert bare.alert.labels == {"kind": "unroutable", "reason": "no_agent_with_skills"}
    assert bare.alert.summary == f"Ticket {TICKET}: nobody can take the ticket: no_agent_with_skills"
    assert bare.level == ""


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(45, "45 s"), (0.5, "0.5 s"), (60, "1 min"), (90, "1.5 min"), (900, "15 min"), (3600, "1 h"), (9000, "2.5 h")],
)
def test_spans_are_said_in_their_largest_unit(seconds: float, words: str) -> None:
    assert raised(due_soon(0, before=seconds)).alert.summary.endswith(f"soon, {words} of working time before its end")


def test_what_customers_wrote_cannot_break_the_line() -> None:
    facts = FACTS.model_copy(update={"brand": "nim\nbus\x1b[31m"})
    assert raised(with_data(breached(0), facts=facts)).alert.summary.startswith(f"Ticket {TICKET} (nim bus [31m/")


def with_data(event: Event, **changes: Any) -> Event:
    return event.model_copy(update={"data": event.data.model_copy(update=changes)})


def _status(new: Status) -> Event:
    return event(TicketStatusChanged(ticket=ticket_with(new), old=Status.OPEN, new=new, actor=AGENT), at(3), "ingest")


def _unassigned(queue: str | None) -> Event:
    data = TicketUnassigned(
        ticket_id=TICKET, queue=queue, agent=AgentRef(id="a"), reason="agent_offline", unassigned_at=at(3)
    )
    return event(data, at(3), "routing")


ENDED = Ended(None, None, "cancelled", whole_ticket=True)


@pytest.mark.parametrize(
    ("event", "signals"),
    [
        (met(3), (Ended(None, "c1", "met"),)),
        (cancelled(3), (Ended(None, "c1", "stopped_late"),)),
        (cancelled(3, reason="solved"), (Ended(None, "c1", "cancelled"),)),
        (cancelled(3, reason="policy_changed"), (Ended(None, "c1", "cancelled"),)),
        (paused(3), (Paused("c1"),)),
        (paused(3, reason="on_hold"), (Paused("c1"),)),
        (paused(3, reason="solved"), (Ended(None, "c1", "cancelled"),)),
        (resumed(3), (Resumed("c1"),)),
        (queued(3), (OwnerChanged("thai", None),)),
        (assigned(3), (OwnerChanged("thai", "Somchai"), Ended(frozenset({Kind.UNROUTABLE}), None, "assigned"))),
        (solved(3), (ENDED,)),
        (_status(Status.CLOSED), (ENDED,)),
        (_status(Status.PENDING), ()),
        (_status(Status.ON_HOLD), ()),
        (
            event(TicketClosed(ticket=ticket_with(Status.CLOSED), reason="quiet", actor=AGENT), at(3), "ingest"),
            (ENDED,),
        ),
        (event(TicketMerged(ticket=ticket_with(Status.OPEN), into="t-0", actor=AGENT), at(3), "ingest"), (ENDED,)),
        (reopened(3), (Reopened(),)),
    ],
    ids=str,
)
def test_what_an_event_says(event: Event, signals: tuple[Signal, ...]) -> None:
    assert read(event, None) == signals


def test_a_ticket_stays_in_its_queue_unless_another_is_named() -> None:
    nowhere = with_data(assigned(3), queue=None)
    assert read(nowhere, "thai")[0] == OwnerChanged("thai", "Somchai")
    unnamed = with_data(assigned(3), agent=nowhere.data.agent.model_copy(update={"name": None}))
    assert read(unnamed, "english")[0] == OwnerChanged("thai", "somchai")
    assert read(_unassigned("english"), "thai") == (OwnerChanged("english", None),)
    assert read(_unassigned(None), "thai") == (OwnerChanged("thai", None),)
