"""Counts of what becomes of records, told once it is stored.

Rule: what is decided anew, after a lost guard or a bug in a hook, counts once: when it was written. A record that comes
again in the same process, because its events are not confirmed or another part of it waits, is counted already.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection

from kit.base import metrics
from kit.protocol.handling import Incoming
from kit.protocol.record import Place, place

Part = tuple[Place, int]
"""A record, and which of the things that are to be decided out of it."""


class Tally:
    """The counts of the batch in hand that wait for a write, and the parts of records that are counted."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[Callable[[], object]]] = {}
        self._seen = Counter[Place]()
        self._part: Part = ("", 0, 0), 0
        self._counted = set[Part]()

    def begin(self) -> None:
        """Begin a pass: what an earlier one decided and did not write is void."""
        self._waiting.clear()
        self._seen.clear()

    def turn_to(self, item: Incoming) -> None:
        """Take what is counted next as what becomes of this item."""
        where = place(item.record)
        self._part = where, self._seen[where]
        self._seen[where] += 1

    def count(self, item: Incoming, outcome: str, doc_id: str | None = None) -> None:
        """Count an item once its document is written; without one, at once."""
        part = self._part
        group = metrics.type_group(item.event.type) if item.event is not None else "other"

        def tell() -> None:
            if part not in self._counted:
                self._counted.add(part)
                metrics.EVENTS.labels(group, outcome).inc()

        if doc_id is None:
            tell()
        else:
            self.once_written(doc_id, tell)

    def once_written(self, doc_id: str, tell: Callable[[], object]) -> None:
        """Call `tell` once what this pass decides about a document is stored."""
        self._waiting.setdefault(doc_id, []).append(tell)

    def written(self, lost: Collection[str]) -> None:
        """Tell of every document but those that were lost to another writer."""
        for doc_id, waiting in self._waiting.items():
            if doc_id not in lost:
                for tell in waiting:
                    tell()
        self._waiting.clear()

    def end(self, undone: Collection[Place]) -> None:
        """End a batch; what is not undone will not come again to this process."""
        self._counted = {part for part in self._counted if part[0] in undone}
