"""Dead letters: records as they came, and why they could not be handled. Operators replay them through the CLI."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from contracts import dlq
from contracts.envelope import Event, Head
from kit.base.errors import TransientError
from kit.protocol.ports import Outgoing, Publisher
from kit.protocol.record import Record


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
    """Writes to a service's dead letter topic."""

    def __init__(self, topic: str, service: str, sender: Publisher) -> None:
        self.topic, self._service, self._sender = topic, service, sender

    async def write(self, letters: Iterable[FailedRecord]) -> None:
        """Write letters and wait until they are confirmed; raises TransientError where one is not."""
        runs = [[self._outgoing(letter)] for letter in letters]
        if sum(await self._sender.send_runs(runs)) < len(runs):
            raise TransientError(f"Kafka did not confirm a dead letter on {self.topic}")

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
