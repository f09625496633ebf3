"""Time: the only file that asks the machine what time it is. Everything else is given a Clock."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


def to_ms(instant: datetime) -> datetime:
    """The same instant as BSON can keep it: UTC, whole milliseconds."""
    if instant.tzinfo is None:
        raise ValueError("an instant must have a time zone")
    instant = instant.astimezone(UTC)
    return instant.replace(microsecond=instant.microsecond // 1000 * 1000)


class Clock(Protocol):
    """What time it is, how much of it has passed, and how to wait."""

    def now(self) -> datetime:
        """The instant: aware, UTC, whole milliseconds."""
        ...

    def monotonic(self) -> float:
        """Seconds since some beginning; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait that long."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The instant: aware, UTC, whole milliseconds."""
        return to_ms(datetime.now(UTC))

    def monotonic(self) -> float:
        """Seconds since some beginning; never goes back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait that long."""
        await asyncio.sleep(seconds)
