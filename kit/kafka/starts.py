"""Records that end their process: how many have begun with one and not lived on is kept with the committed position.

Rule: a count is stored before the first record of a partition is handled, and is gone once anything of it was. So it
grows only where process after process ends on the same record, and that record becomes a dead letter.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from contracts.envelope import Event, Head
from kit.kafka.private import committed_with_metadata
from kit.kafka.reading import in_time
from kit.protocol.record import Record, Unread

log = structlog.get_logger(__name__)

#: So many processes that a record has ended are enough.
MOST_STARTS = 3
#: So many more may end while they look where the event of a given-up record stands; then nothing of it is read.
MOST_LOOKS = 3
#: Seconds that a process lives on with a record in hand, until the record is not to blame for what ends it afterwards.
OUTLIVED_SECONDS = 5.0
_COUNT = re.compile(r"starts=(\d{1,3})")

Marks = dict[TopicPartition, tuple[int, str]]


class Starts:
    """Watches the first batch of each partition after it was assigned; later ones cost nothing."""

    def __init__(self, client: Callable[[], AIOKafkaConsumer]) -> None:
        self._client = client
        self._outlived: set[TopicPartition] = set()
        """Partitions of which this process has handled something."""
        self._counts: dict[TopicPartition, int] = {}
        self._noted: Marks = {}
        """What takes back the counts that were stored for the records in hand."""
        self._given_up: dict[TopicPartition, tuple[int, int]] = {}
        """Offset and count of records that become dead letters, also when their letters cannot be written at once."""

    def clear(self) -> None:
        """Begin anew: partitions have been assigned."""
        self._outlived.clear()
        self._given_up.clear()

    async def divide(self, records: Sequence[Record]) -> list[list[Record]]:
        """Return a batch in the parts in which it is to be handled.

        What has ended a process before goes alone, and first.
        """
        firsts = self._firsts(records)
        if not firsts:
            return [list(records)]
        self._counts = await self._read({tp: record.offset for tp, record in firsts.items()})
        for tp, record in firsts.items():
            offset, starts = self._given_up.get(tp, (-1, 0))
            if offset == record.offset:  # whatever could be read
                self._counts[tp] = starts
        self._given_up |= {tp: (firsts[tp].offset, n) for tp, n in self._counts.items() if n >= MOST_STARTS}
        alone: list[list[Record]] = []
        rest: list[Record] = []
        for record in records:
            tp = TopicPartition(record.topic, record.partition)
            starts = self._counts.get(tp, 0) if firsts.get(tp) is record else 0
            if starts:
                log.warning("a process died while handling this record", place=tuple(tp), offset=record.offset)
                alone.append([record])
            else:
                rest.append(record)
        return [*alone, rest] if rest else alone

    @asynccontextmanager
    async def watched(self, records: Sequence[Record]) -> AsyncIterator[Sequence[Record]]:
        """Store before these records are handled that a process has begun with them; gives what is to be handled.

        What has ended too many processes comes as an Unread, which becomes a dead letter.
        """
        firsts = self._firsts(records)
        mine = self._client().assignment() & firsts.keys() if firsts else ()
        marks: Marks = {tp: (firsts[tp].offset, f"starts={self._counts.get(tp, 0) + 1}") for tp in mine}
        stop: Callable[[], object] | None = None
        if marks and await self._commit(marks):
            self._noted = self.positions({tp: offset for tp, (offset, _) in marks.items()})
            stop = self._forget_later()
        try:
            yield [await self._checked(record, marks) for record in records]
        finally:
            if stop is not None:
                stop()
            handled = {TopicPartition(record.topic, record.partition) for record in records}
            self._outlived |= handled
            # The count is that one record's: partitions may move now, and then the next one is a first one too.
            self._counts = {tp: count for tp, count in self._counts.items() if tp not in handled}
        self._noted = {}

    async def _checked(self, record: Record, marks: Marks) -> Record:
        """Return the record, or what is left of one that has ended too many processes."""
        tp = TopicPartition(record.topic, record.partition)
        offset, starts = self._given_up.get(tp, (-1, 0))
        if offset != record.offset:
            return record
        told = f"{MOST_STARTS} processes died while handling this record"
        log.error("giving up on a record", topic=tp.topic, partition=tp.partition, offset=record.offset, fault=told)
        # Without the place of its event its number would be no hole: a subject's first event could not be replayed.
        head = None
        if starts < MOST_STARTS + MOST_LOOKS:
            head = _head(record)
            self._given_up[tp] = offset, MOST_STARTS  # it has ended nothing: what ends us now is something else
            if tp in marks:
                await self._commit(self.positions({tp: offset}))
        value, headers = record.value, tuple(record.headers)
        return Unread(record.topic, record.partition, record.offset, told, record.key, value, headers, head)

    def positions(self, offsets: Mapping[TopicPartition, int]) -> Marks:
        """Return what is to be committed for these offsets: a record that is given up stays so until it is passed."""
        kept = {tp: f"starts={starts}" for tp, (offset, starts) in self._given_up.items() if offsets.get(tp) == offset}
        return {tp: (offset, kept.get(tp, "")) for tp, offset in offsets.items()}

    @property
    def noted(self) -> bool:
        """Whether a count is stored for the records in hand: it has to go as soon as they are handled."""
        return bool(self._noted)

    async def forget(self) -> None:
        """Take back what was noted of the records in hand: the process lives, or leaves by itself."""
        if self._noted:
            await self._commit(self._noted)

    def _firsts(self, records: Sequence[Record]) -> dict[TopicPartition, Record]:
        """Return the first records of partitions of which this process has handled nothing yet."""
        firsts: dict[TopicPartition, Record] = {}
        for record in records:
            tp = TopicPartition(record.topic, record.partition)
            if tp not in self._outlived or self._given_up.get(tp, (-1, 0))[0] == record.offset:
                firsts.setdefault(tp, record)
        return firsts

    async def _read(self, places: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Return how many processes have begun with the records at these offsets."""
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
        """Take back what was noted after a while in which the process lives on; returns what stops that.

        A store that is away keeps a batch in hand for long, and who is killed meanwhile was not killed by its records.
        """

        async def forget() -> None:
            await asyncio.sleep(OUTLIVED_SECONDS)
            await self.forget()

        return asyncio.create_task(forget()).cancel


def _head(record: Record) -> Head | None:
    try:
        return Event.envelope_only(record.value or b"")
    except ValueError:
        return None
