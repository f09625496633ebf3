"""Everything that is asked of aiokafka and FastStream past their public interface, and why. No other file does so.

Rule: one function for each thing, which says what the public way lacks. `tests/kit/test_private.py` holds each against
the real library, so that an upgrade that renames something fails there and not in a service.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Any, cast

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from faststream.kafka import KafkaBroker


def build_consumers_of(broker: KafkaBroker, kind: Callable[..., AIOKafkaConsumer]) -> None:
    """Let a connected broker make its clients of this class.

    FastStream has no setting for the class. `builder` is what its own test broker replaces; connecting sets it.
    """
    config = broker.config.broker_config
    config.builder = partial(kind, **cast("partial[Any]", config.builder).keywords)


def coordination_has_ended(client: AIOKafkaConsumer) -> bool:
    """Say whether the task that keeps a client in its group has ended.

    aiokafka raises its error from every poll, where it looks like one that passes.
    """
    task = client._coordinator._coordination_task  # noqa: SLF001
    return task is not None and bool(task.done())


async def committed_with_metadata(
    client: AIOKafkaConsumer, partitions: Collection[TopicPartition]
) -> dict[TopicPartition, tuple[int, str]]:
    """Return the committed offsets, where there are any, and what was stored beside them; raises KafkaError.

    `AIOKafkaConsumer.committed` drops the metadata. The admin client returns it, but over connections of its own, and
    takes an error of the whole group (its coordinator is loading) for "nothing is committed".
    """
    coordinator = client._coordinator  # noqa: SLF001
    found: dict[TopicPartition, tuple[int, str]] = await coordinator.fetch_committed_offsets(list(partitions))
    return found


def position(client: AIOKafkaConsumer, tp: TopicPartition) -> int | None:
    """Return the offset of the next record of a partition without waiting; None while it is not known.

    `AIOKafkaConsumer.position` waits until it is known; this is asked in the middle of deciding.
    """
    subscribed = client._subscription.subscription  # noqa: SLF001
    assignment = subscribed.assignment if subscribed is not None else None
    if assignment is None or tp not in assignment.tps:
        return None
    state = assignment.state_value(tp)
    return state.position if state.has_valid_position else None


def unreadable(client: AIOKafkaConsumer) -> tuple[TopicPartition, int] | None:
    """Return where the client's reading of what it has fetched has just ended with an error; None if nowhere.

    A poll that cannot decode a record's headers raises the bare UnicodeDecodeError, without the record's place.
    """
    for tp, fetched in client._fetcher._records.items():  # noqa: SLF001
        unpacked = getattr(fetched, "_partition_records", None)  # a fetch that failed as a whole has none
        reading = getattr(unpacked, "_records_iterator", None)
        if unpacked is not None and reading is not None and reading.gi_frame is None:
            return tp, unpacked.next_fetch_offset
    return None


def sender_has_ended(producer: AIOKafkaProducer) -> bool:
    """Say whether the task that sends a producer's batches has ended.

    aiokafka has no public look at it, and no send tells it from a broker that is away.
    """
    task = producer._sender.sender_task  # noqa: SLF001
    return task is not None and bool(task.done())
