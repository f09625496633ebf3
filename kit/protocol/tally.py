"""Counts of what becomes of records, reported once it is stored.

Rule: what is decided again, after a lost guard or a bug in a hook, counts once: when it is written. A record that comes
again to the same process, because its events are not confirmed or another part of it waits, has been counted already.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from kit.base import metrics
from kit.protocol.handling import Incoming
from kit.protocol.record import Place, place


class Tally:
    """The counts of the current pass that wait for its write, and the parts of records that are counted."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[Callable[[], object]]] = {}
        self._counted = set[tuple[Place, int]]()

    def begin(self) -> None:
        """Begin a pass: what an earlier one decided and did not write is void."""
        self._waiting.clear()

    def count(self, item: Incoming, outcome: str, doc_id: str | None = None) -> None:
        """Count the outcome of an item once its document is written; without one, at once."""
        part = place(item.record), item.part
        group = metrics.type_group(item.event.type) if item.event is not None else "other"

        def report() -> None:
            if part not in self._counted:
                self._counted.add(part)
                metrics.EVENTS.labels(group, outcome).inc()

        if doc_id is None:
            report()
        else:
            self.once_written(doc_id, report)

    def once_written(self, doc_id: str, report: Callable[[], object]) -> None:
        """Call `report` once what this pass decides about a document is stored."""
        self._waiting.setdefault(doc_id, []).append(report)

    def written(self, lost: Collection[str]) -> None:
        """Report the counts of every document except those that were lost to another writer."""
        for doc_id, reports in self._waiting.items():
            if doc_id not in lost:
                for report in reports:
                    report()
        self._waiting.clear()

    def end(self, undone: Collection[Place]) -> None:
        """End a batch; a record that is not undone will not come again to this process."""
        self._counted = {part for part in self._counted if part[0] in undone}
