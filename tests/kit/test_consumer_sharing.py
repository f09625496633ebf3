"""How the replicas of a service share its partitions."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from faststream.kafka import KafkaRouter

from contracts.topics import CONSUMES, SERVICES
from kit.base.settings import ServiceSettings
from kit.kafka.consumer import Consumer
from tests.fake_clock import FakeClock


class Cluster:
    """All topics have as many partitions."""

    def __init__(self, partitions: int) -> None:
        self._partitions = set(range(partitions))

    def partitions_for_topic(self, topic: str) -> set[int]:
        return self._partitions


def strategy(topics: tuple[str, ...]) -> Any:
    delivery: Any = SimpleNamespace(documents=SimpleNamespace(home_topic=""))
    clock, health = FakeClock(datetime(2026, 3, 1, tzinfo=UTC)), SimpleNamespace(beat=lambda: None)
    consumer = Consumer(ServiceSettings(), delivery, topics, clock, health)  # type: ignore[arg-type]
    consumer.subscribe(KafkaRouter())
    (only,) = consumer._subscriber._connection_args["partition_assignment_strategy"]
    return only


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("replicas", [1, 2, 3, 5, 12])
def test_a_replica_has_the_same_partitions_of_every_topic(service: str, replicas: int) -> None:
    """They change the same documents, and a timer waits for what its own replica reads."""
    topics = CONSUMES[service]
    members = {f"m{n}": ConsumerProtocolMemberMetadata(0, list(topics), b"") for n in range(replicas)}
    shares = strategy(topics).assign(Cluster(12), members)
    owners: dict[int, set[str]] = defaultdict(set)
    for member, share in shares.items():
        for _, partitions in share.assignment:
            for partition in partitions:
                owners[partition].add(member)
    assert {p: len(who) for p, who in owners.items()} == dict.fromkeys(range(12), 1)
    assert len({who for one in owners.values() for who in one}) == replicas
