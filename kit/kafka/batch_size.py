"""How large a batch may be: in records as many as are handled in time, in bytes as many as fit into memory. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import zip_longest
from typing import Any

from aiokafka import TopicPartition

Records = dict[TopicPartition, list[Any]]
Weigh = Callable[[Any], int]

#: Records of the first batch after a start: what killed the process before must not come back with hundreds of others.
FIRST = 1
#: A batch is made smaller than this only by a start.
LEAST = 8


class BatchSize:
    """Bounds of the next batch, learnt from those before.

    Without it a store that is slow, and answers no write of a full batch in time, gets the same batch again and again.
    """

    def __init__(self, most: int, seconds: float, most_bytes: int) -> None:
        """Allow `most` records that together weigh `most_bytes`, and so many as are handled in `seconds`."""
        self.records = min(FIRST, most)
        self.bytes = most_bytes
        self._most, self._seconds = most, seconds

    def note(self, records: int, seconds: float) -> None:
        """Learn from a batch: halve after one that took too long, double after a full one that was quick."""
        if seconds > self._seconds:
            self.records = max(min(LEAST, self.records), min(records, self.records) // 2)
        elif records >= self.records and seconds < self._seconds / 4:
            self.records = min(self._most, self.records * 2)


def weigh_all(polled: Records, weigh: Weigh) -> int:
    """Return how many bytes these records weigh together."""
    return sum(weigh(record) for records in polled.values() for record in records)


def fitting(polled: Records, most_bytes: int, weigh: Weigh) -> tuple[Records, dict[TopicPartition, int]]:
    """Return the records that a batch has room for, and for the partitions of the others the first offset left out.

    Partitions give in turn, so that one with large records does not keep the others out. There is always one record: a
    record that is too large alone is a batch of its own.
    """
    if weigh_all(polled, weigh) <= most_bytes:
        return polled, {}
    taken: Records = {}
    left: dict[TopicPartition, int] = {}
    weight = 0
    for tp, record in _in_turn(polled):
        if tp in left:
            continue
        weight += weigh(record)
        if taken and weight > most_bytes:
            left[tp] = record.offset
            weight -= weigh(record)
        else:
            taken.setdefault(tp, []).append(record)
    return taken, left


def _in_turn(polled: Records) -> Iterator[tuple[TopicPartition, Any]]:
    for row in zip_longest(*([(tp, record) for record in records] for tp, records in polled.items())):
        yield from filter(None, row)
