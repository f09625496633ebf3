"""How far behind a consumer is: records and seconds for each topic, over the partitions that it owns.

Rule: the age of a record comes from its own timestamp. So it grows even where process after process dies on the same
record. A record without a timestamp waits since this process first saw it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from aiokafka import TopicPartition

from kit.base import metrics
from kit.base.clock import Clock
from kit.kafka.reading import firsts, instant

Offsets = Mapping[TopicPartition, int]


class Looking(Protocol):
    """`kit.kafka.reading.Ends`."""

    async def of(self, partitions: Any) -> dict[TopicPartition, int]: ...
    async def instants(self, places: Offsets) -> dict[TopicPartition, float]: ...


class Lag:
    """Sets the lag gauges from the first records of batches, and from a look at the records that wait."""

    def __init__(self, clock: Clock, ends: Looking) -> None:
        self._clock, self._ends = clock, ends
        self._first: dict[TopicPartition, tuple[int, float]] = {}
        """Offset and timestamp (seconds) of the oldest record known to wait."""
        self._ages: dict[TopicPartition, float] = {}
        self._ahead = 0.0
        """How far in the future the records of the batches since the last look were stamped."""
        self._progress: dict[TopicPartition, tuple[int, float]] = {}
        """How far each partition that is behind was handled, and since when (monotonic) it has been there."""

    def begin(self, records: Sequence[Any]) -> None:
        """Report the oldest records of a batch before it is handled, in case it kills the process."""
        now = self._clock.now().timestamp()
        for tp, record in firsts(records).items():
            if written := instant(record):
                self._first[tp] = record.offset, written
                self._ages[tp] = now - written
        self._ahead = max([self._ahead, *((instant(record) or now) - now for record in records)])
        self._report_ages()

    async def measure(self, handled: Offsets, resting: Collection[TopicPartition] = ()) -> None:
        """Set the gauges of these partitions and drop all others; raises TransientError while the broker is away.

        Partitions that rest after a failure, or because consuming has stopped, do not count as stalled.
        """
        ends = await self._ends.of(list(handled))
        behind = {tp: offset for tp, offset in handled.items() if offset < ends[tp]}
        # What a batch has begun with since the last time is known, and so is what stands still.
        unknown = {tp: offset for tp, offset in behind.items() if tp not in self._first}
        found = await self._ends.instants(unknown) if unknown else {}
        now = self._clock.now().timestamp()
        self._first |= {tp: (offset, found.get(tp, now)) for tp, offset in unknown.items()}
        waiting = Counter[tuple[str]]()
        for tp, offset in handled.items():
            waiting[tp.topic,] += max(0, ends[tp] - offset)
        metrics.LAG_RECORDS.replace(waiting)  # topics of which other replicas own all partitions are theirs to report
        self._ages = {tp: now - self._first[tp][1] if tp in behind else 0.0 for tp in handled}
        self._report_ages()
        metrics.CLOCK_AHEAD.set(self._ahead)
        self._ahead = 0.0
        self._first = {tp: first for tp, first in self._first.items() if tp in behind and first[0] >= behind[tp]}
        self._measure_stall({tp: offset for tp, offset in behind.items() if tp not in resting})

    def _measure_stall(self, behind: Offsets) -> None:
        """Report how long partitions have stood still for no reason: no other gauge distinguishes that from load."""
        now, before = self._clock.monotonic(), self._progress
        self._progress = {
            tp: before[tp] if tp in before and before[tp][0] == offset else (offset, now)
            for tp, offset in behind.items()
        }
        metrics.STALLED_SECONDS.set(max((now - since for _, since in self._progress.values()), default=0.0))

    def _report_ages(self) -> None:
        oldest: dict[tuple[str], float] = {}
        for tp, age in self._ages.items():
            oldest[tp.topic,] = max(oldest.get((tp.topic,), 0.0), age)
        metrics.LAG_SECONDS.replace(oldest, max)
