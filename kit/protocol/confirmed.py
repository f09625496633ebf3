"""The events that the broker has confirmed: which are not to be sent again, and which are still in stored outboxes.

Rule: an entry leaves a stored outbox only after it was confirmed here. Until it has left, a crash makes the next owner
publish it again, under the same id.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import islice

#: Number of confirmed entries that a process remembers: a document loaded before they were cleared still has them.
REMEMBERED = 10_000
#: Most entries in one statement that clears them: the store takes these fastest. Halved when a statement fails.
CLEARED = 400


class Confirmed:
    """Confirmed entries of the documents of one kind."""

    def __init__(self) -> None:
        self._recent = OrderedDict[str, None]()
        self._stored: dict[str, str] = {}
        """Entries that their document still stores, with the id of that document."""
        self._most = CLEARED

    def __contains__(self, entry: object) -> bool:
        """Whether this process remembers that the entry was confirmed."""
        return entry in self._recent or entry in self._stored

    def __len__(self) -> int:
        """Return the number of entries to be cleared."""
        return len(self._stored)

    def add(self, doc_id: str, entries: Iterable[str]) -> None:
        """Note entries of a document that the broker has confirmed."""
        for entry in entries:
            self._recent[entry] = None
            self._stored[entry] = doc_id
        while len(self._recent) > REMEMBERED:
            self._recent.popitem(last=False)

    async def clear(self, pull: Callable[[Mapping[str, Sequence[str]]], Awaitable[object]]) -> None:
        """Remove all entries from the store; `pull` removes some, by document, in one statement.

        Where `pull` raises, its entries and the rest are left to the next call, and statements become smaller.
        """
        while self._stored:
            taken = dict(islice(self._stored.items(), self._most))
            by_document: dict[str, list[str]] = {}
            for entry, doc_id in taken.items():
                by_document.setdefault(doc_id, []).append(entry)
                del self._stored[entry]
            try:
                await pull(by_document)
            except BaseException:
                self._stored |= taken
                self._most = max(1, self._most // 2)  # it may have been too much for the store
                raise
            self._most = min(CLEARED, self._most * 2)
