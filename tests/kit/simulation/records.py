"""Events and Kafka records of the simulated pipe."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import ClassVar

from contracts.envelope import Event
from contracts.payload import Payload
from tests.kit.raw import Raw
from tests.kit.simulation.servers import IN

START = datetime(2026, 3, 1, tzinfo=UTC)


class Poke(Payload):
    """An input event."""

    type: ClassVar[str] = "deskbus.test.poke.v1"
    kind: str


class Ignored(Payload):
    """An event of a type that the simulated service does not know."""

    type: ClassVar[str] = "deskbus.test.unheard.v1"


class Done(Payload):
    """The event that the simulated service emits."""

    type: ClassVar[str] = "deskbus.test.done.v1"
    what: str
    who: str


class Input(Raw):
    """A record of the simulated input."""

    @property
    def unreadable(self) -> bool:
        """Whether the client library fails to decode it."""
        return b'"kind":"unreadable"' in self.value


def poke(sequence: int, kind: str = "plain", *, source: str = "/deskbus/ingest", subject: str = "T") -> bytes:
    """Return an encoded input event."""
    payload: Payload = Ignored() if kind == "ignored" else Poke(kind=kind)
    event = Event.of(payload, source=source, subject=subject, sequence=sequence, time=START).encode()
    return event.replace(b'"kind":"garbled"', b'"kind":7') if kind == "garbled" else event


def enumerate_records(p: int, values: Iterable[bytes], start: int = 0) -> Iterator[Input]:
    return (Input(IN, p, n, value) for n, value in enumerate(values, start))
