"""When a service stops consuming rather than empty its topics into the dead letter topic. Pure: it only counts."""

from __future__ import annotations

from collections import deque
from itertools import islice


class Breaker:
    """Trips when more than a share of the recent records would become dead letters.

    The share is taken of the last `window` records, or of the batch in hand where that is larger: a few bad records in
    a large batch are no reason to stop. What the batch has not come to yet counts as good.
    """

    def __init__(self, share: float, window: int) -> None:
        self._share, self._window = share, window
        self._before: deque[bool] = deque(maxlen=window)
        """Of the last records before the batch in hand, whether they died."""
        self._among, self._carried, self._died = window, 0, 0

    def begin(self, records: int) -> None:
        """Begin a batch of so many records."""
        self._among, self._died = max(self._window, records), 0
        self._carried = sum(islice(reversed(self._before), self._among - records))

    def refuses(self, dying: int) -> str | None:
        """Say why so many more of the batch must not die; None: they may."""
        if not dying:
            return None
        dead = self._carried + self._died + dying
        if dead <= self._share * self._among:
            return None
        return f"{dead} of the last {self._among} records could not be handled"

    def died(self, records: int) -> None:
        """Count records of the batch that are dead letters now."""
        self._died += records

    def end(self, good: int) -> None:
        """End the batch, with so many records that came to a good end."""
        self._before.extend([True] * min(self._died, self._window))
        self._before.extend([False] * min(good, self._window))
        self._died = 0
