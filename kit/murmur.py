"""Murmur2, by which every Kafka client finds a key's partition. aiokafka has it too, at twice the price."""

from __future__ import annotations

import struct

_M = 0x5BD1E995
_ALL = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """The hash, as an unsigned number of 32 bits."""
    length = len(data)
    whole = length & ~3
    h = 0x9747B28C ^ length
    for word in struct.unpack_from(f"<{whole >> 2}I", data):
        k = word * _M & _ALL
        h = h * _M & _ALL ^ (k ^ k >> 24) * _M & _ALL
    if whole != length:
        h = (h ^ int.from_bytes(data[whole:], "little")) * _M & _ALL
    h = (h ^ h >> 13) * _M & _ALL
    return h ^ h >> 15
