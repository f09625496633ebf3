"""What time makes happen: due documents of the partitions that this process owns are fired, in order of their instant.

Rule: a document fires only when everything that was in its partition after its instant has been handled, so that what
came in time counts. Firing is a guarded change like any other; a second firer loses the guard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Generic, Protocol, TypeVar

import structlog

from contracts.topics import topic_name
from kit import metrics
from kit.clock import Clock
from kit.document import Decision
from kit.errors import Passing
from kit.outbox import Documents

S = TypeVar("S")
log = structlog.get_logger(__name__)


class Positions(Protocol):
    """What a ticker asks of the consumer."""

    def owned(self, topic: str) -> list[int]: ...
    async def reached_end(self, topics: Iterable[str], partitions: Iterable[int]) -> set[int]: ...


class Ticker(Generic[S]):
    """Fires the due documents of one kind.

    `fire(state, now)` decides; None or a decision whose state is due later ends it. `follow` are the topics (without
    prefix) that must have been handled up to now; `grace` is the time a fact may take from happening to its topic.
    """

    def __init__(
        self,
        documents: Documents[S],
        positions: Positions,
        fire: Callable[[S, datetime], Decision[S] | None],
        clock: Clock,
        *,
        prefix: str = "",
        follow: Sequence[str] = (),
        grace: timedelta = timedelta(milliseconds=50),
        period: float = 0.05,
        limit: int = 500,
    ) -> None:
        self._documents, self._positions, self._fire, self._clock = documents, positions, fire, clock
        self._home = documents.home_topic
        self._follow = [topic_name(topic, prefix) for topic in follow] or [self._home]
        self._grace, self._period, self._limit = grace, period, limit

    async def run(self) -> None:
        """Tick until cancelled; while store or broker are away, try again."""
        while True:
            fired = 0
            try:
                fired = await self.tick()
            except Passing as fault:
                log.warning("timers wait", fault=str(fault))
                await self._clock.sleep(1)
            except Exception:
                log.exception("a tick failed")
                await self._clock.sleep(1)
            if fired < self._limit:
                await self._clock.sleep(self._period)

    async def tick(self) -> int:
        """Fire what is due now; returns how many documents were changed."""
        owned = self._positions.owned(self._home)
        if not owned:
            return 0
        until = self._clock.now() - self._grace
        raws = await self._documents.store.due(self._documents.kind.collection, owned, until, self._limit)
        if not raws:
            return 0
        reached = await self._positions.reached_end(self._follow, {raw["partition"] for raw in raws})
        ready = {raw["_id"]: raw["due"] for raw in raws if raw["partition"] in reached}
        if not ready:
            return 0
        fired: set[str] = set()

        def decide(doc_id: str, state: S | None) -> Decision[S] | None:
            decision = self._decide(state, until)
            if decision is not None:
                fired.add(doc_id)
            return decision

        fired &= (await self._documents.change_many(list(ready), decide)).keys()
        stored = self._clock.now()
        for doc_id in fired:
            metrics.TIMER_LATENESS.observe((stored - ready[doc_id]).total_seconds())
        return len(fired)

    def _decide(self, state: Any, until: datetime) -> Decision[S] | None:
        if state is None:
            return None
        due = self._documents.kind.due(state)
        # Another event may have moved the instant since we looked; only what the look covered may fire.
        return self._fire(state, until) if due is not None and due <= until else None
