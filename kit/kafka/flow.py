"""Which partitions are read: none while a batch is in hand, and none that rests after a failure.

The client library fetches ahead. What it has fetched when a batch begins is the one record that came first, and nothing
else is fetched from that broker until it is taken, so the other records would wait for two batches. A partition that is
paused is not fetched from; resumed before the next poll, it gives everything that has come by then.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from aiokafka import AIOKafkaConsumer, TopicPartition

from kit.base import metrics


class Flow:
    """The only place that pauses and resumes partitions of a client."""

    def __init__(
        self, client: Callable[[], AIOKafkaConsumer], assigned: Callable[[], Collection[TopicPartition]]
    ) -> None:
        self._client, self._assigned = client, assigned
        self._resting = set[TopicPartition]()
        self._in_hand = False
        self._stopped = False

    def hold(self) -> None:
        """Fetch nothing until `release`: a batch is in hand."""
        self._in_hand = True
        self._client().pause(*self._assigned())

    def release(self) -> None:
        """Fetch again, but from no partition that rests."""
        self._in_hand = False
        self._resume(self._assigned())

    def rest(self, partitions: Iterable[TopicPartition]) -> None:
        """Fetch nothing from these partitions until they wake."""
        self._resting.update(partitions)
        self._client().pause(*self._resting & set(self._assigned()))
        self._measure()

    def wake(self, partition: TopicPartition) -> None:
        """Let a partition be read again."""
        self._resting.discard(partition)
        if not self._in_hand:
            self._resume({partition} & set(self._assigned()))
        self._measure()

    def stop(self) -> None:
        """Fetch nothing any more."""
        self._stopped = True
        self._client().pause(*self._assigned())
        self._measure()

    def assigned(self) -> None:
        """Begin anew with partitions that have just been assigned: the client has paused none of them."""
        self._resting.clear()
        if self._in_hand or self._stopped:
            self._client().pause(*self._assigned())
        self._measure()

    @property
    def resting(self) -> set[TopicPartition]:
        """The partitions that are not read until they wake; all, once consuming has stopped."""
        here = set(self._assigned())
        return here if self._stopped else here & self._resting

    def _resume(self, partitions: Iterable[TopicPartition]) -> None:
        if not self._stopped:
            self._client().resume(*set(partitions) - self._resting)

    def _measure(self) -> None:
        metrics.PAUSED.set(len(self.resting))
