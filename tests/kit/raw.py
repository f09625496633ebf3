"""A Kafka record as tests hand it to the delivery: what kit asks of the client library's own, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Raw:
    """A Kafka record."""

    topic: str
    partition: int
    offset: int
    value: bytes
    key: bytes | None = b"k"
    headers: Sequence[tuple[str, bytes]] = ()
    timestamp: int = 0
