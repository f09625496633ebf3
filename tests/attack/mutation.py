"""Seeded mutations of bytes: what a fuzzer without feedback does. No target is here."""

from __future__ import annotations

import random

TOKENS = (
    b"\0", b"\xff\xfe", b"\xed\xa0\x80", b"\\ud800", b"\\u0000", b"\r\n", b"\n\n", b'"', b"{", b"[" * 300, b"]",
    b"null",
    b"true", b"-1", b"0", b"1e400", b"NaN", b"9" * 400, b"18446744073709551616", b"9999-12-31T23:59:59.999999-14:00",
    b"0001-01-01T00:00:00+14:00", b"=?utf-8?B?////?=", b"=?", b"boundary=", b"charset=utf-7", b"; ", b"<", b"<!--",
    b"<![",
    b"&#x110000;", b"> ", b"$", b"${x}", b"%s", b"%ed%a0%80", b"*a", b"&a ", b"<<: ", b"- ", b": ", b"!!python/name:os",
    "\u2028".encode(), "İ".encode(), "ﷺ".encode() * 20, b"2026-02-30", b"24:00", b"Asia/Nowhere", b"../../etc/passwd",
)  # fmt: skip
"""Pieces that parsers stumble over."""


def mutated(seed: bytes, others: list[bytes], dice: random.Random) -> bytes:
    """The seed with one to six small changes."""
    data = bytearray(seed)
    for _ in range(dice.randint(1, 6)):
        at = dice.randint(0, len(data))
        end = min(len(data), at + dice.choice((1, 2, 4, 8, 32, 200)))
        match dice.randrange(7):
            case 0:
                data[at:end] = b""
            case 1:
                data[at:at] = dice.choice(TOKENS)
            case 2:
                data[at:end] = dice.choice(TOKENS)
            case 3:
                data[at:end] = dice.randbytes(end - at)
            case 4:
                data[at:at] = data[at:end] * dice.choice((2, 3, 50))
            case 5:
                other = dice.choice(others)
                start = dice.randint(0, len(other))
                data[at:end] = other[start : start + dice.choice((4, 16, 64))]
            case _:
                if at < len(data):
                    data[at] ^= 1 << dice.randrange(8)
    return bytes(data[: 64 * 1024])
