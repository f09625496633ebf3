"""Dead letters: records as they came, and why they could not be handled. Operators replay them through the CLI.

Rule: where too large a share of records would become dead letters, none is written and the service stops consuming.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime

import structlog

from contracts import dlq
from contracts.envelope import Event, Head
from kit.base import metrics
from kit.base.errors import TransientError
from kit.protocol.breaker import Breaker
from kit.protocol.ports import Outgoing, Publisher
from kit.protocol.record import Place, Record

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FailedRecord:
    """A record that cannot be handled, and where its event stands if that could be read."""

    record: Record
    reason: str
    attempts: int
    at: datetime
    head: Event | Head | None = None
    unforeseen: bool = False
    """Whether it shows a bug here: no code has refused it."""
    exempt: bool = False
    """Whether it does not count towards stopping: its author is unauthenticated, or an operator sent it back."""


class DeadLetters:
    """Writes to a service's dead letter topic, as long as few enough records end there."""

    def __init__(
        self, topic: str, service: str, sender: Publisher, *, stop_share: float = 0.5, stop_window: int = 100
    ) -> None:
        """See `Breaker` for `stop_share` and `stop_window`."""
        self.topic, self._service, self._sender = topic, service, sender
        self.stopped: str | None = None
        """Why the service has stopped consuming."""
        self._breaker = Breaker(stop_share, stop_window)
        self._written = set[Place]()
        """Records that have a letter in the topic, while another part of them still waits."""

    def begin(self, records: int) -> None:
        """Begin a batch of that many records."""
        self._breaker.begin(records)

    def end(self, done: AbstractSet[Place], dead: AbstractSet[Place]) -> None:
        """End a batch: `done` will not come again, except as replays; of these, `dead` were not handled."""
        self._written -= done
        self._breaker.end(len(done - dead))

    async def write(self, dead: Mapping[Place, FailedRecord]) -> None:
        """Write those letters that the topic does not have yet.

        Raises TransientError where one is not confirmed, or where there are too many: then the service has stopped.
        """
        letters = {where: letter for where, letter in dead.items() if where not in self._written}
        if not letters:
            return
        counting = sum(not letter.exempt for letter in letters.values())
        if reason := self._breaker.refuses(counting):
            self.stopped = reason
            metrics.STOPPED.set(1)
            log.critical("consumer stopped: too many dead letters", reason=reason)
            raise TransientError(reason)
        runs = [[self._outgoing(letter)] for letter in letters.values()]
        if sum(await self._sender.send_runs(runs)) < len(runs):
            raise TransientError(f"Kafka did not confirm a dead letter on {self.topic}")
        self._breaker.died(counting)
        self._written |= letters.keys()
        metrics.DEAD_LETTERS.inc(len(letters))
        metrics.UNFORESEEN.inc(sum(letter.unforeseen for letter in letters.values()))
        for where, letter in letters.items():
            metrics.EVENTS.labels("other", "dead").inc()
            log.warning("dead letter", reason=letter.reason, place=where)

    def _outgoing(self, letter: FailedRecord) -> Outgoing:
        record, head = letter.record, letter.head
        view = dlq.DeadLetter(
            service=self._service,
            handler=record.topic,
            error_type=letter.reason.partition(":")[0][:100],
            error=letter.reason,
            attempts=letter.attempts,
            at=letter.at,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            source=head.source if head else None,
            subject=head.subject if head else None,
            sequence=head.sequence if head else None,
            # Kafka allows a header without a value; a letter must never fail for how its record looks.
            original_headers=tuple((name, raw or b"") for name, raw in record.headers),
        )
        return Outgoing(self.topic, record.key, record.value, view.to_headers())
