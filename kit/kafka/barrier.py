"""How far the topics of a partition are handled, for what must not overtake them: timers, and the last try of a record.

Rule: an end is asked for once and then waited for. A busy partition is never at its current end, and its timers must
fire all the same.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime

from aiokafka import TopicPartition

from kit.base.clock import Clock
from kit.protocol.record import Place

Partitions = Collection[TopicPartition]
Marks = dict[TopicPartition, tuple[datetime, int]]
"""When the end of each partition was asked for, and that end."""


class Barrier:
    """Compares what is handled with where partitions ended when they were asked about."""

    def __init__(
        self,
        clock: Clock,
        owned: Callable[[], Partitions],
        handled: Callable[[TopicPartition], Awaitable[int]],
        ends: Callable[[Partitions], Awaitable[dict[TopicPartition, int]]],
    ) -> None:
        self._clock, self._owned, self._handled, self._ends = clock, owned, handled, ends
        self._marks: Marks = {}
        """Ends that are not reached yet."""

    async def handled_until(self, topics: Iterable[str], partitions: Iterable[int]) -> dict[int, datetime]:
        """Return for each partition the latest known instant up to which these topics have been handled.

        A partition is left out unless this process owns it in all of these topics. Raises TransientError while the
        broker is away or partitions are being reassigned.
        """
        names, assigned = set(topics), self._owned()
        # In a rebalance one topic of a partition may arrive before another: nothing is known of that partition then.
        whole = [p for p in set(partitions) if all(TopicPartition(name, p) in assigned for name in names)]
        here = [TopicPartition(name, p) for name in names for p in whole]
        until: dict[int, datetime] = {}
        for _ in range(2):  # the ends asked for earlier, then the current ones
            now = self._clock.now()
            marks = await self._marked(here, now)
            for partition in {tp.partition for tp in here} - await self._behind(marks):
                mine = [tp for tp in here if tp.partition == partition]
                until[partition] = min(marks[tp][0] for tp in mine)
                for tp in mine:
                    self._marks.pop(tp, None)
            here = [tp for tp in here if until.get(tp.partition, now) < now]
            if not here:
                break
        return until

    async def _marked(self, here: Sequence[TopicPartition], now: datetime) -> Marks:
        """Return the marks of these partitions; asks for the ends that are not known."""
        marks = {tp: self._marks[tp] for tp in here if tp in self._marks}  # another timer may remove them meanwhile
        ends = await self._ends([tp for tp in here if tp not in marks])
        marks |= {tp: (now, end) for tp, end in ends.items()}
        self._marks |= marks
        return marks

    async def _behind(self, marks: Marks) -> set[int]:
        return {tp.partition for tp, (_, end) in marks.items() if await self._handled(tp) < end}


class Elsewhere:
    """Tells whether the other topics of a record's partition are still behind, while the record waits.

    It may wait for something there: a command may be read before the event that opened its ticket. Ends count as they
    were known at the record's first try, so endless traffic does not postpone the last one.
    """

    def __init__(
        self,
        owned: Callable[[], Partitions],
        handled: Callable[[TopicPartition], int | None],
        known_end: Callable[[TopicPartition], int | None],
    ) -> None:
        """`handled` and `known_end` return None where nothing has been fetched yet."""
        self._owned, self._handled, self._known_end = owned, handled, known_end
        self._ends: dict[Place, dict[TopicPartition, int | None]] = {}
        self._early: set[Place] = set()
        """Records whose other topics were behind when this was last asked."""

    def is_behind(self, where: Place) -> bool:
        """Whether that is so. Partitions that wait like this themselves do not count: two might wait for each other."""
        topic, partition, _ = where
        early = {TopicPartition(*each[:2]) for each in self._early - {where}}
        others = [
            tp for tp in self._owned() if tp.partition == partition and tp.topic != topic and tuple(tp) not in early
        ]
        ends = self._ends.setdefault(where, {})
        for tp in others:
            if ends.get(tp) is None:
                ends[tp] = self._known_end(tp)
        behind = any(_is_before(self._handled(tp), ends[tp]) for tp in others)
        (self._early.add if behind else self._early.discard)(where)
        return behind

    def forget(self, places: AbstractSet[Place]) -> None:
        """Forget records that are handled."""
        for where in self._ends.keys() & places:
            del self._ends[where]
            self._early.discard(where)

    def clear(self) -> None:
        """Forget everything: partitions have moved."""
        self._ends.clear()
        self._early.clear()


def _is_before(handled: int | None, end: int | None) -> bool:
    return handled is None or end is None or handled < end
