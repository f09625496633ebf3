"""The table of topics: owner, contents, consumers and configuration. No IO, no environment."""

from collections.abc import Mapping
from dataclasses import dataclass

from contracts import inbound
from contracts.payload import Payload
from contracts.registry import COMMANDS, EVENTS, RESERVED

SERVICES = ("ingest", "routing", "sla", "notify")

DAY_MS = 24 * 60 * 60 * 1000
MAX_MESSAGE_BYTES = 1024 * 1024
DLQ_EXTRA_BYTES = 64 * 1024
"""Bytes that our headers may add to a record that is already as large as its topic allows."""
MAX_VALUE_BYTES = MAX_MESSAGE_BYTES - 64 * 1024
"""Largest value that fits into every topic, with key, headers and Kafka's overhead."""
MAX_DLQ_BYTES = MAX_MESSAGE_BYTES + DLQ_EXTRA_BYTES

DEFAULT_PARTITIONS = 12
LOCAL_PARTITIONS = 4
PARTITIONS_VARIABLE = "DESKBUS_PARTITIONS"


@dataclass(frozen=True)
class Topic:
    """One topic. `name` is without the installation's prefix; see `topic_name`."""

    name: str
    key: str
    owner: str
    carries: str
    sources: tuple[str, ...] = ()
    payloads: tuple[type[Payload], ...] = ()
    consumers: tuple[str, ...] = ()
    sequenced: bool = True
    """Whether its events have gap-free sequences, which the audit checks."""
    compacted: bool = False
    retention_ms: int = 30 * DAY_MS
    max_message_bytes: int = MAX_MESSAGE_BYTES

    @property
    def types(self) -> tuple[str, ...]:
        """The types of its events or commands."""
        return (inbound.TYPE,) if self.name == INBOUND else tuple(payload.type for payload in self.payloads)

    @property
    def reserved(self) -> bool:
        """Whether nothing is written to it yet."""
        return bool(self.types) and RESERVED.issuperset(self.types)


INBOUND = "deskbus.inbound.v1"
COMMAND = "deskbus.commands.v1"
TICKETS = "deskbus.tickets.v1"
CONTACTS = "deskbus.contacts.v1"
ASSIGNMENTS = "deskbus.assignments.v1"
AGENTS = "deskbus.agents.v1"
QUEUES = "deskbus.queues.v1"
SLA = "deskbus.sla.v1"
NOTIFICATIONS = "deskbus.notifications.v1"


def dlq(service: str) -> str:
    """Return the topic for records that a service could not handle."""
    return f"deskbus.{service}.dlq.v1"


def retry(service: str) -> str:
    """Return the topic on which a service gets its replayed dead letters."""
    return f"deskbus.{service}.retry.v1"


def _main_topics() -> tuple[Topic, ...]:
    return (
        Topic(
            INBOUND,
            "channel account and contact",
            "ingest",
            "raw messages as accepted; large bodies by claim check",
            sources=(inbound.SOURCE,),
            consumers=("ingest",),
            sequenced=False,
            retention_ms=14 * DAY_MS,
        ),
        Topic(
            COMMAND,
            "ticket id",
            "shared",
            "requests to change a ticket",
            payloads=COMMANDS,
            consumers=("ingest", "routing"),
            sequenced=False,
            retention_ms=14 * DAY_MS,
        ),
        Topic(
            TICKETS,
            "ticket id",
            "ingest",
            "what happened to a ticket; each event carries the whole ticket",
            sources=("/deskbus/ingest",),
            payloads=EVENTS["tickets"],
            consumers=("routing", "sla", "notify"),
        ),
        Topic(
            CONTACTS,
            "contact id",
            "ingest",
            "who our customers are",
            sources=("/deskbus/ingest/contacts",),
            payloads=EVENTS["contacts"],
        ),
        Topic(
            ASSIGNMENTS,
            "ticket id",
            "routing",
            "who works on a ticket and why",
            sources=("/deskbus/routing",),
            payloads=EVENTS["assignments"],
            consumers=("notify",),
        ),
        Topic(
            AGENTS,
            "agent id",
            "routing",
            "agents and their presence; the last event of an agent is complete",
            sources=("/deskbus/routing/agents",),
            payloads=EVENTS["agents"],
            sequenced=False,
            compacted=True,
        ),
        Topic(
            QUEUES,
            "queue",
            "routing",
            "figures of each queue, every 15 minutes",
            sources=("/deskbus/routing/queues",),
            payloads=EVENTS["queues"],
        ),
        Topic(
            SLA,
            "ticket id",
            "sla",
            "clocks of a ticket: started, paused, breached, met",
            sources=("/deskbus/sla",),
            payloads=EVENTS["sla"],
            consumers=("notify",),
        ),
        Topic(
            NOTIFICATIONS,
            "escalation id",
            "notify",
            "escalations and notifications",
            sources=("/deskbus/notify",),
            payloads=EVENTS["notifications"],
        ),
    )


def _service_topics(service: str) -> tuple[Topic, ...]:
    return (
        Topic(
            dlq(service),
            "as it came",
            service,
            "records that could not be handled, with the reason in headers",
            sequenced=False,
            max_message_bytes=MAX_DLQ_BYTES,
        ),
        Topic(
            retry(service),
            "as it came",
            service,
            "dead letters that are replayed",
            consumers=(service,),
            sequenced=False,
            retention_ms=14 * DAY_MS,
            max_message_bytes=MAX_DLQ_BYTES,  # the record, and the header that names its letter
        ),
    )


TOPICS: tuple[Topic, ...] = (*_main_topics(), *(topic for name in SERVICES for topic in _service_topics(name)))
BY_NAME: dict[str, Topic] = {topic.name: topic for topic in TOPICS}
TOPIC_OF: dict[str, str] = {kind: topic.name for topic in TOPICS for kind in topic.types}
"""Type of event or command -> topic."""

PRODUCES: dict[str, tuple[str, ...]] = {
    "ingest": (INBOUND, COMMAND, TICKETS, CONTACTS, dlq("ingest")),
    "routing": (ASSIGNMENTS, AGENTS, QUEUES, dlq("routing")),
    "sla": (SLA, dlq("sla")),
    "notify": (NOTIFICATIONS, dlq("notify")),
}
"""Service -> topics that it may write to. Ingest writes commands for its REST API and for merged tickets."""

CONSUMES: dict[str, tuple[str, ...]] = {
    service: tuple(topic.name for topic in TOPICS if service in topic.consumers) for service in SERVICES
}
"""Service -> topics that it may read."""


def topic_name(name: str, prefix: str = "") -> str:
    """Return the topic's name in an installation, with its prefix before "deskbus."."""
    return prefix + name


def group_name(service: str, prefix: str = "") -> str:
    """Return the consumer group of a service in an installation."""
    return f"{prefix}deskbus.{service}"


def base_name(name: str, prefix: str = "") -> str:
    """Return the name without the installation's prefix: the inverse of `topic_name`."""
    return name.removeprefix(prefix)


def partitions(environment: Mapping[str, str], default: int = DEFAULT_PARTITIONS) -> int:
    """Return the number of partitions of every topic. Changing it later would break the order of events."""
    return int(environment.get(PARTITIONS_VARIABLE) or default)


def settings(topic: Topic) -> dict[str, str]:
    """Return the topic's configuration in Kafka's terms."""
    cleanup = (
        {"cleanup.policy": "compact"}
        if topic.compacted
        else {
            "cleanup.policy": "delete",
            "retention.ms": str(topic.retention_ms),
        }
    )
    return {**cleanup, "max.message.bytes": str(topic.max_message_bytes)}
