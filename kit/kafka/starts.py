"""Finds records that end their process: how many processes have started on one is stored with the committed position.

Rule: a count is stored before the first record of a partition is handled, and is gone once any record was. So it grows
only where process after process ends on the same record, and that record becomes a dead letter (ADR 14).
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from contracts.envelope import Event
from kit.kafka.private import committed_with_metadata
from kit.kafka.reading import firsts, in_time, lane
from kit.protocol.record import Record, Unread

log = structlog.get_logger(__name__)

#: Processes that a record may end before it is given up.
MOST_STARTS = 3
#: Processes that may then end while they read the head of its event; after that it is not read at all.
MOST_LOOKS = 3
#: Seconds after which a process that still handles a record was not ended by it.
OUTLIVED_SECONDS = 5.0
_COUNT = re.compile(r"starts=(\d{1,3})")

Marks = dict[TopicPartition, tuple[int, str]]


class Starts:
    """Watches the first batch of each partition after an assignment; later batches cost nothing."""

    def __init__(self, client: Callable[[], AIOKafkaConsumer]) -> None:
        self._client = client
        self._outlived: set[TopicPartition] = set()
        """Partitions of which this process has handled records."""
        self._counts: dict[TopicPartition, int] = {}
        self._noted: Marks = {}
        """What to commit to take back the counts of the records in hand."""
        self._given_up: dict[TopicPartition, tuple[int, int]] = {}
        """Offset and count of records that become dead letters. They stay so until their letters are written."""

    def clear(self) -> None:
        """Start over: partitions were assigned."""
        self._outlived.clear()
        self._given_up.clear()

    async def divide(self, records: Sequence[Record]) -> list[list[Record]]:
        """Divide a batch into parts: records that have ended a process before go alone, and first."""
        watched = self._watched(records)
        if not watched:
            return [list(records)]
        self._counts = await self._read({tp: record.offset for tp, record in watched.items()})
        for tp, record in watched.items():
            offset, starts = self._given_up.get(tp, (-1, 0))
            if offset == record.offset:  # whatever could be read
                self._counts[tp] = starts
        self._given_up |= {tp: (watched[tp].offset, n) for tp, n in self._counts.items() if n >= MOST_STARTS}
        alone: list[list[Record]] = []
        rest: list[Record] = []
        for record in records:
            tp = lane(record)
            starts = self._counts.get(tp, 0) if watched.get(tp) is record else 0
            if starts:
                log.warning("a process died while handling this record", place=tuple(tp), offset=record.offset)
                alone.append([record])
            else:
                rest.append(record)
        return [*alone, rest] if rest else alone

    @contextlib.asynccontextmanager
    async def watched(self, records: Sequence[Record]) -> AsyncIterator[Sequence[Record]]:
        """Store that a process starts on these records, before they are handled; yields the records to handle.

        One that has ended too many processes is replaced by an Unread, which becomes a dead letter.
        """
        watched = self._watched(records)
        mine = self._client().assignment() & watched.keys() if watched else ()
        marks: Marks = {tp: (watched[tp].offset, f"starts={self._counts.get(tp, 0) + 1}") for tp in mine}
        stop: Callable[[], object] | None = None
        if marks and await self._commit(marks):
            self._noted = self.positions({tp: offset for tp, (offset, _) in marks.items()})
            stop = self._forget_later()
        try:
            yield [await self._checked(record, marks) for record in records]
        finally:
            if stop is not None:
                stop()
            handled = {lane(record) for record in records}
            self._outlived |= handled
            # A count belongs to one record: if partitions move now, the next record is a first one too.
            self._counts = {tp: count for tp, count in self._counts.items() if tp not in handled}
        self._noted = {}

    async def _checked(self, record: Record, marks: Marks) -> Record:
        """Return the record, or an Unread in place of one that has ended too many processes."""
        tp = lane(record)
        offset, starts = self._given_up.get(tp, (-1, 0))
        if offset != record.offset:
            return record
        fault = f"{MOST_STARTS} processes died while handling this record"
        log.error("giving up on a record", topic=tp.topic, partition=tp.partition, offset=record.offset, fault=fault)
        # Without its head its number would be no hole, and a subject's first event could not be replayed.
        head = None
        if starts < MOST_STARTS + MOST_LOOKS:
            with contextlib.suppress(ValueError):
                head = Event.envelope_only(record.value or b"")
            self._given_up[tp] = offset, MOST_STARTS  # reading it has ended nothing
            if tp in marks:
                await self._commit(self.positions({tp: offset}))
        return Unread(tp.topic, tp.partition, offset, fault, record.key, record.value, tuple(record.headers), head)

    def positions(self, offsets: Mapping[TopicPartition, int]) -> Marks:
        """Return what to commit for these offsets. A record that is given up keeps its count until it is passed."""
        kept = {tp: f"starts={starts}" for tp, (offset, starts) in self._given_up.items() if offsets.get(tp) == offset}
        return {tp: (offset, kept.get(tp, "")) for tp, offset in offsets.items()}

    @property
    def noted(self) -> bool:
        """Whether a count is stored for the records in hand, which has to go as soon as they are handled."""
        return bool(self._noted)

    async def forget(self) -> None:
        """Take back the counts of the records in hand: the process lives on, or leaves by itself."""
        if self._noted:
            await self._commit(self._noted)

    def _watched(self, records: Sequence[Record]) -> dict[TopicPartition, Record]:
        """Return the first records of partitions of which nothing was handled yet, and records that are given up."""

        def is_watched(record: Record) -> bool:
            tp = lane(record)
            return tp not in self._outlived or self._given_up.get(tp, (-1, 0))[0] == record.offset

        return firsts(filter(is_watched, records))

    async def _read(self, places: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Return how many processes have started on the records at these offsets."""
        try:
            async with in_time():
                committed = await committed_with_metadata(self._client(), places.keys())
        except KafkaError as error:
            log.info("could not read the start counts", error=repr(error))
            return {}
        counts = {}
        for tp, (offset, metadata) in committed.items():
            if offset == places.get(tp) and (count := _COUNT.search(metadata or "")):
                counts[tp] = int(count[1])
        return counts

    async def _commit(self, marks: Marks) -> bool:
        try:
            async with in_time():
                await self._client().commit(marks)
        except KafkaError as error:
            log.info("could not store a start count", error=repr(error))
            return False
        return True

    def _forget_later(self) -> Callable[[], object]:
        """Take the counts back once the process has lived on for a while; returns what cancels that.

        While a store is away a batch stays in hand for long: a process killed then was not killed by its records.
        """

        async def forget() -> None:
            await asyncio.sleep(OUTLIVED_SECONDS)
            await self.forget()

        return asyncio.create_task(forget()).cancel
