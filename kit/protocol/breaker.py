"""When a service stops consuming, rather than moving its topics to the dead letter topic. Pure: it only counts."""

from __future__ import annotations

from collections import deque
from itertools import islice


class Breaker:
    """Trips when more than a share of the recent records would become dead letters.

    Recent are the last `window` records, or the current batch where that is larger: a few bad records in a large batch
    are no reason to stop. Records of the batch that are still to be handled count as good.
    """

    def __init__(self, share: float, window: int) -> None:
        self._share, self._window = share, window
        self._before: deque[bool] = deque(maxlen=window)
        """For each of the last records before the current batch, whether it became a dead letter."""
        self._among, self._carried, self._died = window, 0, 0

    def begin(self, records: int) -> None:
        """Begin a batch of that many records."""
        self._among, self._died = max(self._window, records), 0
        self._carried = sum(islice(reversed(self._before), self._among - records))

    def refuses(self, dying: int) -> str | None:
        """Return why so many more records must not become dead letters; None if they may."""
        if not dying:
            return None
        dead = self._carried + self._died + dying
        if dead <= self._share * self._among:
            return None
        return f"{dead} of the last {self._among} records could not be handled"

    def died(self, records: int) -> None:
        """Count records of the batch that have become dead letters."""
        self._died += records

    def end(self, good: int) -> None:
        """End the batch, of which so many records were handled."""
        self._before.extend([True] * min(self._died, self._window))
        self._before.extend([False] * min(good, self._window))
        self._died = 0
