"""Positions on their way to the group's coordinator: what is handled is committed some times a second, not per batch.

A commit costs as much as the rest of a small batch. What a crash in between leaves uncommitted comes again, and its
documents have seen it; where partitions are given away, and at the end, everything is committed first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from kit.base.clock import Clock
from kit.kafka.reading import in_time

log = structlog.get_logger(__name__)


class Commits:
    """What is handled and not committed yet."""

    def __init__(
        self,
        client: Callable[[], AIOKafkaConsumer],
        assigned: Callable[[], Collection[TopicPartition]],
        clock: Clock,
        seconds: float,
    ) -> None:
        """Commit every so many `seconds` while there is something to commit; 0: after every batch."""
        self._client, self._assigned, self._clock, self._seconds = client, assigned, clock, seconds
        self._pending: dict[TopicPartition, tuple[int, str]] = {}
        self._last = clock.monotonic()

    def note(self, positions: Mapping[TopicPartition, tuple[int, str]]) -> None:
        """Take positions up to which all is handled, with what is to be stored beside them."""
        self._pending |= positions

    async def flush_due(self) -> None:
        """Commit what is noted, if it is time."""
        if self._pending and self._clock.monotonic() - self._last >= self._seconds:
            await self.flush()

    async def flush(self) -> None:
        """Commit what is noted. A commit that fails is not repeated: the next one goes further."""
        mine = self._assigned()
        positions = {tp: position for tp, position in self._pending.items() if tp in mine}
        self._pending.clear()
        self._last = self._clock.monotonic()
        if not positions:
            return
        try:
            async with in_time():
                await self._client().commit(positions)
        except KafkaError as error:
            log.info("offsets not committed", error=repr(error))  # redelivery is skipped by what documents saw

    def clear(self) -> None:
        """Forget what is noted: partitions have moved, and their new owners know better."""
        self._pending.clear()
