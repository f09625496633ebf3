"""A clock for tests."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from kit.base.clock import to_ms


class FakeClock:
    """A clock that stands still until a test moves it."""

    def __init__(self, start: datetime) -> None:
        """Stand still at `start`."""
        self._now = to_ms(start)
        self._elapsed = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        """The instant the test has set."""
        return self._now

    def monotonic(self) -> float:
        """Seconds the test has let pass."""
        return self._elapsed

    @property
    def sleepers(self) -> int:
        """How many wait now; a test waits for this before it moves the clock."""
        return sum(not future.done() for _, future in self._sleepers)

    async def sleep(self, seconds: float) -> None:
        """Return once the clock was moved that far."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._elapsed + seconds, future))
        await future

    def advance(self, seconds: float) -> None:
        """Let time pass and wake whoever slept less than that."""
        self._now = to_ms(self._now + timedelta(seconds=seconds))
        self._elapsed += max(seconds, 0.0)
        # A nanosecond of slack: sums of floats must not leave a sleeper one bit short of its instant.
        awake = [entry for entry in self._sleepers if entry[0] <= self._elapsed + 1e-9]
        self._sleepers = [entry for entry in self._sleepers if entry[0] > self._elapsed + 1e-9]
        for _, future in awake:
            if not future.done():
                future.set_result(None)

    def set(self, instant: datetime) -> None:
        """Move to an instant; back moves the wall clock only."""
        self.advance((to_ms(instant) - self._now).total_seconds())
