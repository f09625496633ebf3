"""The metrics of the notify service; kit's are in kit/base/metrics.py. No labels for receivers: there may be many."""

from collections.abc import Iterable

from contracts.notifications import (
    EscalationAcknowledged,
    EscalationExhausted,
    EscalationOpened,
    EscalationResolved,
    EscalationStepReached,
)
from kit.base.series import Counter, Gauge, Histogram
from kit.protocol.document import Document
from services.notify.core.alerts import Kind
from services.notify.core.state import Escalation
from services.notify.sinks import SINKS

OUTCOMES = ("sent", "later", "failed", "dropped")

ALARMS = Counter(
    "deskbus_notify_alarms_total",
    "Alarms opened (one per alert and route), by kind of alert.",
    ("kind",),
    most=len(Kind) + 1,
)
RESOLVED = Counter("deskbus_notify_resolved_total", "Alarms resolved, by kind of alert.", ("kind",), most=len(Kind) + 1)
STEPS = Counter("deskbus_notify_steps_total", "Escalation steps reached.")
ACKNOWLEDGED = Counter("deskbus_notify_acknowledged_total", "Acknowledgements that stopped an escalation.")
EXHAUSTED = Counter("deskbus_notify_exhausted_total", "Escalations that ended without an acknowledgement.")
NOTIFICATIONS = Counter(
    "deskbus_notify_notifications_total",
    "Attempts to send a notification by sink and outcome (later: to be retried; dropped: withdrawn before sending).",
    ("sink", "outcome"),
    most=len(SINKS) * len(OUTCOMES) + 1,
)
SEND_SECONDS = Histogram(
    "deskbus_notify_send_seconds",
    "Duration of one attempt to send.",
    ("sink",),
    most=len(SINKS) + 1,
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
DELAY_SECONDS = Histogram(
    "deskbus_notify_delay_seconds",
    "Time from the decision to notify until the receiver accepted the notification.",
    ("sink",),
    most=len(SINKS) + 1,
    buckets=(0.1, 0.25, 0.5, 1, 5, 15, 60, 300, 3600, 86400),
)
IN_FLIGHT = Gauge("deskbus_notify_in_flight", "Notifications being sent.")

for _kind in Kind:
    ALARMS.labels(_kind.value)
    RESOLVED.labels(_kind.value)
for _sink in SINKS:
    SEND_SECONDS.labels(_sink)
    DELAY_SECONDS.labels(_sink)
    for _outcome in OUTCOMES:
        NOTIFICATIONS.labels(_sink, _outcome)


def count(docs: Iterable[Document[Escalation]]) -> None:
    """Count the events of documents that were written."""
    for event in (event for doc in docs for event in doc.announced):
        match event:
            case EscalationOpened():
                ALARMS.labels(event.alert.labels.get("kind", "")).inc()
            case EscalationResolved():
                RESOLVED.labels(event.alert.labels.get("kind", "") if event.alert else "").inc()
            case EscalationStepReached():
                STEPS.inc()
            case EscalationAcknowledged():
                ACKNOWLEDGED.inc()
            case EscalationExhausted():
                EXHAUSTED.inc()
