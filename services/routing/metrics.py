"""All metrics of routing. kit counts delivery and version conflicts."""

from collections.abc import Iterable

from contracts.agents import Presence
from contracts.assignments import AssignReason, TicketUnroutable, UnroutableReason
from kit.base.series import Counter, Gauge, Histogram
from kit.protocol.document import Document
from services.routing.core.state import TicketState

QUEUES = 31
"""Queues with series of their own, the first ones of the policy file, and `other`."""
_WAITS = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14_400, 86_400)
_DECISIONS = (0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.005, 0.02, 0.1)

ASSIGNED = Counter(
    "deskbus_routing_assigned_total",
    "Tickets assigned, by the reason for the choice of agent.",
    ("reason",),
    most=len(AssignReason) + 1,
)
WAIT_SECONDS = Histogram(
    "deskbus_routing_wait_seconds",
    "Time tickets waited until they were assigned.",
    ("queue",),
    buckets=_WAITS,
    most=QUEUES,
)
ACCEPTED_TO_ASSIGNED = Histogram(
    "deskbus_routing_accepted_to_assigned_seconds",
    "Time from accepting a ticket's first message to its assignment, for tickets that found an agent at once: others "
    "wait for an agent, not for Deskbus.",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
DECISION_SECONDS = Histogram(
    "deskbus_routing_decision_seconds", "Time to choose an agent for one ticket.", buckets=_DECISIONS
)
CLAIMS = Counter("deskbus_routing_claims_total", "Claims on agents' capacity, by outcome.", ("outcome",), most=4)
RECONCILED = Counter(
    "deskbus_routing_reconciled_claims_total",
    "Claims corrected by the reconciler: the ticket is elsewhere, or takes less capacity.",
)
REQUEUED = Counter(
    "deskbus_routing_requeued_total", "Tickets taken from agents who went offline, went away or were removed."
)
UNROUTABLE = Counter(
    "deskbus_routing_unroutable_total",
    "Tickets announced as unroutable, by reason.",
    ("reason",),
    most=len(UnroutableReason) + 1,
)
WAITING = Gauge(
    "deskbus_routing_waiting_tickets",
    "Tickets waiting for an agent, in all partitions (other: in no queue, or in one without series of its own).",
    ("queue",),
    most=QUEUES,
)
OLDEST_SECONDS = Gauge(
    "deskbus_routing_oldest_wait_seconds", "Waiting time of the oldest waiting ticket.", ("queue",), most=QUEUES
)
QUEUE_AGENTS = Gauge(
    "deskbus_routing_queue_agents",
    "Agents online who serve the queue and have the skills that it requires, busy or not.",
    ("queue",),
    most=QUEUES,
)
AGENTS = Gauge("deskbus_routing_agents", "Agents by presence.", ("presence",), most=len(Presence) + 1)
OCCUPANCY = Gauge("deskbus_routing_occupancy_ratio", "Load divided by capacity, over all agents online.")

for _reason in AssignReason:
    ASSIGNED.labels(str(_reason))
for _why in UnroutableReason:
    UNROUTABLE.labels(str(_why))
for _outcome in ("won", "lost", "released"):
    CLAIMS.labels(_outcome)
for _presence in Presence:
    AGENTS.labels(str(_presence))


def count(docs: Iterable[Document[TicketState]]) -> None:
    """Count events of written tickets; called after each write."""
    for doc in docs:
        for event in doc.announced:
            if isinstance(event, TicketUnroutable):
                UNROUTABLE.labels(event.reason).inc()


class Counting:
    """Counts what the assigner does."""

    def assigned(self, queue: str, reason: str, waited: float) -> None:
        """Count an assigned ticket; `waited` is in seconds."""
        ASSIGNED.labels(reason).inc()
        WAIT_SECONDS.labels(queue).observe(waited)

    def decided(self, seconds: float) -> None:
        """Record the duration of a choice, whether an agent was found or not."""
        DECISION_SECONDS.observe(seconds)

    def claims(self, outcome: str, count: int) -> None:
        """Count claims by outcome."""
        CLAIMS.labels(outcome).inc(count)
