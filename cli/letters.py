"""Dead letters: finding them, and sending them back to the service that gave them up.

Rule: a letter is replayed byte for byte, with one header that names the letter, so that none is replayed twice by
mistake.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from cli.reading import TopicRecord, read
from contracts import topics
from contracts.dlq import REPLAY_OF, DeadLetter
from kit.kafka.connection import Kafka
from kit.kafka.producer import Producer
from kit.protocol.ports import Outgoing

_Origin = tuple[str, int, int, bytes | None, bytes | None]
"""Topic, partition and offset of the original record, with its key and value, as a recreated topic reuses offsets."""

MAX_GROUPS = 20
"""Maximum number of groups that are counted separately."""
_VARIABLE = re.compile(r"""'[^']*'|"[^"]*"|<[^>]*>|\S*\d\S*""")
"""What differs between errors of one cause: quoted names, addresses, ids, numbers."""


@dataclass(frozen=True)
class Choice:
    """A filter for letters; every condition that is set must hold."""

    reason: str | None = None
    receipt: str | None = None
    places: frozenset[str] = frozenset()

    def holds(self, record: TopicRecord, letter: DeadLetter) -> bool:
        """Return whether this letter passes the filter."""
        return (
            (self.reason is None or self.reason.lower() in letter.error.lower())
            and (self.receipt is None or receipt(letter) == self.receipt)
            and (not self.places or place(record) in self.places)
        )


@dataclass(frozen=True)
class Found:
    """A letter, its place, and whether it was replayed before."""

    place: str
    letter: DeadLetter
    replayed: bool
    copies: tuple[str, ...] = ()
    """Places of further letters of the same record, which was delivered again before its offset was committed."""


@dataclass(frozen=True)
class Findings:
    """Result of reading a dead letter topic: the letters found, and records that are not dead letters."""

    letters: list[Found] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)
    """Records that are not dead letters, as `partition/offset: reason`."""


def place(record: TopicRecord) -> str:
    """Return a record's place as `partition/offset`."""
    return f"{record.partition}/{record.offset}"


def receipt(letter: DeadLetter) -> str | None:
    """Return the receipt of an inbound message; None for other letters."""
    raw = dict(letter.original_headers).get("ce_id")
    return raw.decode("utf-8", "replace") if raw else None


def area(letter: DeadLetter) -> str:
    """Return where a letter came from: its topic, and the channel of an inbound message or the source of an event."""
    channel = dict(letter.original_headers).get("deskbus_channel", b"").decode("utf-8", "replace")
    return f"{letter.topic} {channel or letter.source or ''}".rstrip()[:100]


def reason(letter: DeadLetter) -> str:
    """Return the first line of the error without names, ids and numbers, cut to 100 characters."""
    lines = letter.error.strip().splitlines() or [letter.error_type]
    return _VARIABLE.sub("…", lines[0][:300])[:100]


def groups(letters: Iterable[DeadLetter]) -> Iterator[tuple[int, str, str]]:
    """Yield (count, area, reason), most frequent first. Beyond `MAX_GROUPS`, one entry sums up the rest."""
    counted = sorted(Counter((area(each), reason(each)) for each in letters).items(), key=lambda one: (-one[1], one[0]))
    for (source, cause), count in counted[:MAX_GROUPS]:
        yield count, source, cause
    if rest := counted[MAX_GROUPS:]:
        yield sum(count for _, count in rest), "elsewhere", f"{len(rest)} other reasons"


async def replayed(kafka: Kafka, service: str, *, prefix: str = "") -> AsyncIterator[tuple[str, TopicRecord]]:
    """Yield the records of a service's retry topic, each with the place of its letter."""
    async for record in read(kafka, [topics.retry(service)], prefix=prefix):
        for name, raw in record.headers:
            if name == REPLAY_OF:
                yield (raw or b"").decode("utf-8", "replace"), record


async def find(kafka: Kafka, service: str, choice: Choice, *, prefix: str = "") -> Findings:
    """Read a service's dead letters. Several letters of one original record count as one: the first."""
    sent = {letter async for letter, _ in replayed(kafka, service, prefix=prefix)}
    found, by_origin = Findings(), dict[_Origin, tuple[DeadLetter, list[TopicRecord]]]()
    async for record in read(kafka, [topics.dlq(service)], prefix=prefix):
        try:
            letter = DeadLetter.from_kafka(record.key, record.value, record.headers)
        except ValueError as fault:
            found.strays.append(f"{place(record)}: {fault}")
            continue
        origin = letter.topic, letter.partition, letter.offset, letter.key, letter.value
        by_origin.setdefault(origin, (letter, []))[1].append(record)
    for letter, records in by_origin.values():
        if any(choice.holds(record, letter) for record in records):
            first, *copies = [place(record) for record in records]
            found.letters.append(Found(first, letter, not sent.isdisjoint([first, *copies]), tuple(copies)))
    return found


async def replay(kafka: Kafka, service: str, letters: Sequence[Found], *, prefix: str = "") -> list[Found]:
    """Send letters to the service's retry topic; return those that Kafka did not confirm.

    One request per letter, so that a refused one does not hold up the others. Raises TransientError if no broker
    answers.
    """
    producer = Producer(kafka, client_id="deskbus-replay", max_request_bytes=topics.MAX_DLQ_BYTES)
    await producer.start()
    try:
        topic = topics.topic_name(topics.retry(service), prefix)
        return [found for found in letters if await producer.send_runs([[_outgoing(topic, found)]]) != [1]]
    finally:
        await producer.stop()


def _outgoing(topic: str, found: Found) -> Outgoing:
    headers = [(name, raw) for name, raw in found.letter.original_headers if name != REPLAY_OF]
    return Outgoing(topic, found.letter.key, found.letter.value, [*headers, (REPLAY_OF, found.place.encode())])
