"""Who may do what in Kafka, by the table of topics: the one source of ACLs for deployment, tests and documents. Pure.

Rule: least privilege, by literal names. Operations are spelt as in Kafka's own tools and Strimzi's KafkaUser.
"""

from dataclasses import dataclass
from typing import Literal

from contracts.topics import CONSUMES, PRODUCES, SERVICES, TOPICS, group_name, retry, topic_name

Resource = Literal["topic", "group"]
Operation = Literal["Read", "Write", "Create", "Describe", "DescribeConfigs", "AlterConfigs"]

CREATOR = "topics"
"""The user of `deskbus topics`, which creates and configures topics and reads nothing."""
OPERATOR = "operator"
"""The user of `deskbus audit`, `tail` and `dlq`: reads all topics, and sends dead letters back."""
USERS = (*SERVICES, CREATOR, OPERATOR)


@dataclass(frozen=True, order=True)
class Access:
    """What a user may do with one topic or consumer group, named in full."""

    resource: Resource
    name: str
    operations: tuple[Operation, ...]


def access(user: str, prefix: str = "") -> tuple[Access, ...]:
    """Return everything that a user of an installation may do; nothing else is needed. Raises ValueError if unknown.

    An idempotent producer needs no operation beyond Write (Kafka 3.0 and later).
    """
    if user == CREATOR:
        operations: tuple[Operation, ...] = ("Create", "Describe", "DescribeConfigs", "AlterConfigs")
        return tuple(Access("topic", topic_name(topic.name, prefix), operations) for topic in TOPICS)
    if user == OPERATOR:
        # Offsets of the groups show whether a replayed letter was handled.
        groups = [Access("group", group_name(service, prefix), ("Describe",)) for service in SERVICES]
        retries = {retry(service) for service in SERVICES}
        return *(_topic(t.name, prefix, reads=True, writes=t.name in retries) for t in TOPICS), *groups
    if user not in SERVICES:
        raise ValueError(f"unknown user: {user}; users: {', '.join(USERS)}")
    reads, writes = CONSUMES[user], PRODUCES[user]
    names = [topic.name for topic in TOPICS if topic.name in {*reads, *writes}]
    topics = [_topic(name, prefix, reads=name in reads, writes=name in writes) for name in names]
    return *topics, Access("group", group_name(user, prefix), ("Read", "Describe"))


def _topic(name: str, prefix: str, *, reads: bool, writes: bool) -> Access:
    operations: tuple[Operation, ...] = (*(("Read",) if reads else ()), *(("Write",) if writes else ()), "Describe")
    return Access("topic", topic_name(name, prefix), operations)
