"""Bytes that are too large for a Kafka record, or for a document, in chunks: mails of the doors, and files.

A blob has a head and chunks; `SIZE` bytes of body are a chunk, so that none comes near MongoDB's limit of 16 MB.
"""

from __future__ import annotations

import asyncio
import hashlib
from datetime import datetime
from typing import Protocol

from kit.base.errors import TransientError
from kit.protocol.ports import Store

BLOBS = "blobs"
SIZE = 512 * 1024


class BlobStore(Store, Protocol):
    """What ingest asks of its database besides documents."""

    async def unset(self, collection: str, ids: list[str], field: str) -> None: ...


async def put(store: Store, blob: str, body: bytes, *, expires: datetime | None = None) -> None:
    """Keep a body under an id, for good or until `expires`; one that is there stays as it is.

    The head is written last, so a body is there whole or not at all.
    """
    mark = {} if expires is None else {"expires": expires}
    chunks = [body[start : start + SIZE] for start in range(0, len(body), SIZE)]
    names = _chunks(blob, len(chunks))
    await asyncio.gather(
        *(store.insert(BLOBS, [{"_id": n, "data": chunk, **mark}]) for n, chunk in zip(names, chunks, strict=True))
    )
    head = {"_id": blob, "chunks": len(chunks), "sha256": hashlib.sha256(body).hexdigest(), **mark}
    await store.insert(BLOBS, [head])


async def keep(store: BlobStore, blob: str) -> None:
    """Keep a body for good that was to expire; callers see to it that it has not begun to."""
    heads = await store.fetch(BLOBS, [blob])
    await store.unset(BLOBS, [blob, *(n for head in heads for n in _chunks(blob, head["chunks"]))], "expires")


async def get(store: Store, blob: str) -> bytes | None:
    """The body kept under an id; None if there is none. Raises TransientError for one that is incomplete."""
    heads = await store.fetch(BLOBS, [blob])
    if not heads:
        return None
    names = _chunks(blob, heads[0]["chunks"])
    parts = {row["_id"]: row["data"] for row in await store.fetch(BLOBS, names)}
    body = b"".join(parts.get(name, b"") for name in names)
    if hashlib.sha256(body).hexdigest() != heads[0]["sha256"]:
        raise TransientError(f"the body {blob} is incomplete")
    return body


def _chunks(blob: str, count: int) -> list[str]:
    return [f"{blob}:{number}" for number in range(count)]
