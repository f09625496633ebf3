"""A limit of time for what is done for every request and record: `asyncio.timeout` at half its price.

Nothing else belongs here. What is done rarely says `asyncio.timeout`.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any


class within:  # noqa: N801 - it reads as a statement: `with within(2):`
    """Cancel what the block waits for once the seconds are over, and raise TimeoutError in its place.

    No coroutine is made to enter and leave it, which is most of what the other one costs; nor can it be rescheduled.
    """

    __slots__ = ("_before", "_expired", "_handle", "_seconds", "_task")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._expired = False

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        task: asyncio.Task[Any] | None = asyncio.current_task(loop)
        if task is None:
            raise RuntimeError("only a task can be bound in time")
        self._task, self._before = task, task.cancelling()
        self._handle = loop.call_later(self._seconds, self._expire)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._handle.cancel()
        # Somebody else's cancellation at the same moment goes first: uncancel() tells them apart.
        if self._expired and self._task.uncancel() <= self._before and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def _expire(self) -> None:
        self._expired = True
        self._task.cancel()
