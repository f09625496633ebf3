"""Background jobs: turn after turn until the service ends. One that fails is logged, and the next one comes."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable

import structlog

from kit.base.clock import Clock
from kit.base.errors import TransientError

log = structlog.get_logger(__name__)

Job = Callable[[], Awaitable[object]]
#: Seconds after a turn that failed, besides the usual rest.
AFTER_FAULT = 1.0


async def turns(clock: Clock, turn: Job, rest: Job, name: str) -> None:
    """Take turns until cancelled, with a rest after each. What fails is logged under `name`."""
    while True:
        try:
            await turn()
        except (TransientError, OSError) as fault:
            log.warning("job failed, retrying at its next turn", job=name, fault=str(fault))
            await clock.sleep(AFTER_FAULT)
        except Exception:
            log.exception("unexpected error in a job", job=name)
            await clock.sleep(AFTER_FAULT)
        await rest()


def every(clock: Clock, seconds: float, job: Job, name: str) -> Job:
    """Return a background job that rests about so many seconds before each turn: a fifth more or less, by chance."""

    async def rest() -> None:
        await clock.sleep(seconds * random.uniform(0.8, 1.2))

    async def repeat() -> None:
        await rest()
        await turns(clock, job, rest, name)

    return repeat


async def woken(event: asyncio.Event, seconds: float) -> None:
    """Rest until an event is set, at most so many seconds of real time; the event is taken."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    event.clear()
