"""Liveness and readiness. Liveness never asks whether a broker or a database can be reached."""

import asyncio
from collections.abc import Awaitable, Callable

from kit.base.clock import Clock

Probe = Callable[[], str | None]
Check = Callable[[], Awaitable[object]]


class Health:
    """What this process knows about itself.

    A restart heals what liveness finds: a poll loop that hangs, a task that ended. What a restart cannot heal (a server
    is away) is for readiness alone.
    """

    def __init__(self, clock: Clock, *, heartbeat_limit: float = 30.0, check_seconds: float = 2.0) -> None:
        self._clock = clock
        self._limit = heartbeat_limit
        self._check_seconds = check_seconds
        self._beaten: float | None = None
        self._probes: dict[str, Probe] = {}
        self._checks: dict[str, Check] = {}
        self.started = False
        #: None: the service consumes nothing. Otherwise whether the group has assigned partitions, possibly none.
        self.assigned: bool | None = None

    def beat(self) -> None:
        """The poll loop has gone round, or a batch has come a step further.

        Before the first beat nothing is expected: the broker may be away.
        """
        self._beaten = self._clock.monotonic()

    def probe(self, name: str, fault: Probe) -> None:
        """Register something that must live: it returns what is wrong, or None."""
        self._probes[name] = fault

    def check(self, name: str, ask: Check) -> None:
        """Register something that must answer before work is given to this process: it raises if it does not."""
        self._checks[name] = ask

    def heartbeat_age(self) -> float:
        """Seconds since the poll loop last went round."""
        return 0.0 if self._beaten is None else self._clock.monotonic() - self._beaten

    def liveness(self) -> list[str]:
        """What only a restart heals."""
        age = self.heartbeat_age()
        faults = [f"poll loop: no heartbeat for {age:.0f} s"] if age > self._limit else []
        for name, probe in self._probes.items():
            fault = probe()
            if fault is not None:
                faults.append(f"{name}: {fault}")
        return faults

    async def readiness(self) -> list[str]:
        """Why no work should come here now."""
        faults = [] if self.started else ["startup: not finished"]
        if self.assigned is False:
            faults.append("consumer: no assignment yet")
        checks = dict(self._checks)  # others may be registered while these answer
        answers = await asyncio.gather(*(self._ask(ask) for ask in checks.values()))
        return faults + [f"{name}: {why}" for name, why in zip(checks, answers, strict=True) if why is not None]

    async def _ask(self, ask: Check) -> str | None:
        try:
            async with asyncio.timeout(self._check_seconds):
                await ask()
        except TimeoutError:
            return "no answer"
        except Exception as error:
            return str(error) or type(error).__name__
        return None
