"""kit's code as the simulated pipe runs it, with rules switched off: each switch replaces only the code of its rule."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from contracts.envelope import Event
from kit.base.errors import Full
from kit.kafka.barrier import Barrier
from kit.kafka.commits import Commits
from kit.kafka.consumer import Consumer
from kit.kafka.reading import PollLoop
from kit.kafka.starts import Starts
from kit.protocol.batch import Batch
from kit.protocol.delivery import Delivery
from kit.protocol.document import Document, Seen
from kit.protocol.handling import Incoming
from kit.protocol.outbox import Saved
from kit.protocol.record import Record
from tests.clearing import ClearedAtOnce
from tests.kit.simulation.servers import IN, SimClient
from tests.kit.simulation.world import step

if TYPE_CHECKING:
    from tests.kit.simulation.pipe import Pipe


class SimStarts(Starts):
    """The real counting of starts, without what needs time."""

    def _forget_later(self) -> Any:
        return lambda: None


class SimCommits(Commits):
    """The real commits, due at any step."""

    async def flush_due(self) -> None:
        if self._pending and await step("time to commit", "not yet") == "ok":
            await self.flush()


class SimConsumer(Consumer):
    """The real consumer over a simulated client. Pauses end at once, since there is no time here."""

    def __init__(self, world: Pipe, me: str, delivery: Delivery[Any]) -> None:
        settings: Any = SimpleNamespace(
            retry_backoff_ms=1, retry_backoff_max_ms=1, kafka="", kafka_security="plaintext", service="sim",
            batch_records=500, batch_bytes=1000, session_timeout_ms=1, commit_ms=0,
        )  # fmt: skip
        super().__init__(settings, delivery, [IN], world.clock, SimpleNamespace(beat=lambda: None))  # type: ignore[arg-type]
        self._starts = SimStarts(self._client)
        self._commits = SimCommits(self._client, self._assignment, world.clock, 0)
        self.world, client = world, SimClient(world, me)
        self._subscriber = SimpleNamespace(consumer=client)
        self._barrier = Barrier(world.clock, self._assignment, self._handled, client.end_offsets)

    def _resume_later(self, tp: Any, failures: int) -> None: ...

    async def _handled(self, tp: Any) -> int:
        """Without *in-hand*: records count as handled once they are polled."""
        if not self.world.on("in-hand"):
            return await self._client().position(tp)  # type: ignore[no-any-return]
        return await super()._handled(tp)


class PublishesLosers(ClearedAtOnce[Any]):
    """Without *know-the-losers*: documents whose write conflicted are published as if it had succeeded."""

    async def save(self, docs: Sequence[Document[Any]]) -> Saved[Any]:
        saved = await super().save(docs)
        for doc in saved.lost:
            doc.outbox += doc.fresh
            doc.fresh = []
        return Saved(saved.won + saved.lost)


class NoGoBack(PollLoop):
    """Without *go-back*: records that a failed poll dropped are not polled again."""

    async def _go_back(self) -> None: ...


class HoldsNothing(set[Any]):
    """Without *stop-subject*: no subject is held back."""

    def add(self, _: object) -> None: ...


class Careless(Delivery[Any]):
    """Delivery without the rules that its world has switched off."""

    world: Pipe

    async def _once(self, records: Sequence[Record], batch: Batch) -> Any:
        if not self.world.on("stop-subject"):
            batch.held = HoldsNothing()
        if not self.world.on("stays-held"):
            batch.held.clear()
        return await super()._once(records, batch)

    def _decide(self, doc: Document[Any], item: Incoming, now: datetime, batch: Batch) -> None:
        if not self.world.on("floor") and item.head is not None and doc.overflows(item.head.source, item.head.sequence):
            raise Full("too many are missing")
        super()._decide(doc, item, now, batch)

    def _take(self, doc: Document[Any], event: Any, *, dead: bool = False) -> None:
        if isinstance(event, Event) and not event.known and not self.world.on("count-ignored"):
            return
        if not self.world.on("first-sight"):
            doc.seen.setdefault(event.source, Seen())
        upto = doc.seen.get(event.source, Seen(event.sequence - 1)).upto
        if event.sequence > upto + 1:
            self.world.gaps.append((event.source, event.subject, upto, event.sequence))
        super()._take(doc, event, dead=dead and self.world.on("holes"))
        if not self.world.on("holes"):
            doc.seen[event.source].missing.clear()

    async def handle(self, records: Sequence[Record]) -> set[Any]:
        unhandled = await super().handle(records)
        return unhandled if self.world.on("commit-handled") else set()


async def at_once(_: Iterable[str], partitions: Iterable[int]) -> dict[int, datetime]:
    """Without *barrier*: every partition counts as handled."""
    return dict.fromkeys(partitions, datetime.max.replace(tzinfo=UTC))
