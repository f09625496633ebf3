"""What the protocol needs from a store and a producer. It knows neither MongoDB nor Kafka."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

Headers = Sequence[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record to send."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class Guarded:
    """The write of one document, refused unless the document still has `version` (0: does not exist)."""

    id: str
    version: int
    set: Mapping[str, Any]
    push_outbox: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class WriteOutcome:
    """The ids whose guard was lost. `unknown`: there was no answer, so nothing may be taken as written."""

    lost: frozenset[str] = field(default_factory=frozenset)
    unknown: bool = False


class Store(Protocol):
    """The database; `kit.mongo` is the real one."""

    async def fetch(self, collection: str, ids: Sequence[str]) -> list[dict[str, Any]]: ...
    async def write(self, collection: str, writes: Sequence[Guarded]) -> WriteOutcome: ...
    async def clear(self, collection: str, confirmed: Mapping[str, Sequence[str]]) -> None: ...
    async def stale(
        self, collection: str, older_than: datetime, limit: int, *, partitions: Sequence[int] | None = None
    ) -> list[dict[str, Any]]: ...
    async def due(
        self, collection: str, partitions: Sequence[int], until: datetime, limit: int
    ) -> list[dict[str, Any]]: ...
    async def find(
        self, collection: str, query: Mapping[str, Any], *, sort: Any = None, limit: int = 100, projection: Any = None
    ) -> list[dict[str, Any]]: ...
    async def tally(
        self, collection: str, query: Mapping[str, Any], by: Sequence[str], least: str
    ) -> list[dict[str, Any]]: ...
    async def insert(self, collection: str, documents: Sequence[dict[str, Any]]) -> set[str]: ...


class Publisher(Protocol):
    """The producer; `kit.kafka.producer` is the real one."""

    async def send_runs(self, runs: Sequence[Sequence[Outgoing]]) -> list[int]: ...
    async def partitions(self, topic: str) -> int: ...
