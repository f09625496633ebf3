"""A record of Kafka as the protocol sees it, and its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from contracts.envelope import Head


class Record(Protocol):
    """A Kafka record, as the client library gives it."""

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
    """A record that cannot be read or must not be, and where its event stands if that is known.

    The content of what the client library cannot read stays in its topic; its place is known.
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
    """Return where a record stands."""
    return record.topic, record.partition, record.offset


def weight(record: Record) -> int:
    """Return how many bytes a record takes while it is handled, where nobody knows better."""
    return len(record.value or b"")
