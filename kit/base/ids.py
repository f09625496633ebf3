"""Identifiers: the only file that makes random ones. Sequences and ids of events are made by the outbox."""

import base64
import functools
import hashlib
import secrets
import threading
import time

_TAIL_BITS = 74
_SHORT = 256
_lock = threading.Lock()
_last_ms = 0
_last_tail = 0


def uuid7(ms: int | None = None) -> str:
    """A UUIDv7 (RFC 9562) that sorts after every one this process made before, also within a millisecond."""
    global _last_ms, _last_tail  # noqa: PLW0603 - the order within a millisecond is a property of the process
    with _lock:
        now = time.time_ns() // 1_000_000 if ms is None else ms
        if now > _last_ms:
            _last_ms, _last_tail = now, secrets.randbits(_TAIL_BITS - 1)  # top bit clear: room to count up
        else:
            _last_tail += 1 + secrets.randbits(32)
            if _last_tail >> _TAIL_BITS:
                _last_ms, _last_tail = _last_ms + 1, secrets.randbits(_TAIL_BITS - 1)
        stamp, tail = _last_ms, _last_tail
    high, low = tail >> 62, tail & ((1 << 62) - 1)
    text = f"{stamp << 80 | 7 << 76 | high << 64 | 0b10 << 62 | low:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def stable_id(*parts: str) -> str:
    """The same id for the same parts, everywhere and always; 26 characters of a-z2-7 (130 bits)."""
    return _remembered(parts) if sum(map(len, parts)) <= _SHORT else _digested(parts)


def _digested(parts: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(4, "big"))
        digest.update(encoded)
    return base64.b32encode(digest.digest()[:20])[:26].decode().lower()  # 20 bytes: encoding the rest is half the work


#: One message asks for the same few again and again. What is long, such as a command's whole data, is not kept.
_remembered = functools.lru_cache(maxsize=4096)(_digested)
