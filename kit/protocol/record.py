"""A record of Kafka as the protocol sees it, and where it is."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from aiokafka.partitioner import murmur2

from contracts.envelope import Head


class Record(Protocol):
    """A Kafka record, as the client library returns it."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


@dataclass(frozen=True, slots=True)
class Unread:
    """A record that cannot be read or must not be, with the head of its event if that is known.

    Of a record that the client library cannot read, only the place is known; its content stays in its topic.
    """

    topic: str
    partition: int
    offset: int
    unreadable: str
    key: bytes | None = None
    value: bytes | None = None
    headers: Sequence[tuple[str, bytes]] = ()
    head: Head | None = None


Place = tuple[str, int, int]
"""Topic, partition and offset of a record."""
Lane = tuple[str, int]
"""Topic and partition."""


def place(record: Record) -> Place:
    """Return the place of a record."""
    return record.topic, record.partition, record.offset


def weight(record: Record) -> int:
    """Return how many bytes a record takes while it is handled: by default those of its value."""
    return len(record.value or b"")


def partition_of(key: bytes | None, count: int) -> int:
    """Return the partition that every Kafka client chooses for this key in a topic of `count` partitions."""
    return random.randrange(count) if key is None else _hash(key) % count


@lru_cache(maxsize=20_000)  # the hash is pure Python, and a ticket's key is hashed at every step on its way
def _hash(key: bytes) -> int:
    hashed: int = murmur2(key)
    return hashed & 0x7FFFFFFF
