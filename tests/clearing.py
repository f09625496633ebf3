"""Documents for tests to which it does not matter when confirmed entries leave the store."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from kit.protocol.document import Document
from kit.protocol.outbox import Documents

S = TypeVar("S")


class ClearedAtOnce(Documents[S]):
    """Confirmed entries leave the store with each publishing; in services they leave some times a second."""

    async def publish(self, docs: Iterable[Document[S]], beat: Callable[[], object] = lambda: None) -> set[str]:
        """Publish and clear."""
        said = await super().publish(docs, beat)
        await self.clear()
        return said
