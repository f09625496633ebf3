"""Which partition a key belongs to, as every Kafka client has it."""

from __future__ import annotations

import random
from functools import lru_cache

from aiokafka.partitioner import murmur2


def partition_of(key: bytes | None, count: int) -> int:
    """Return the partition that every Kafka client gives this key in a topic of `count` partitions."""
    if key is None:
        return random.randrange(count)
    return _hash(key) % count


@lru_cache(maxsize=20_000)  # the hash is pure Python, and a ticket's key is asked for at every step on its way
def _hash(key: bytes) -> int:
    hashed: int = murmur2(key)
    return hashed & 0x7FFFFFFF
