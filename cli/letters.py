"""Dead letters: listed, shown, and sent back to the service that gave them up. What is wrong with them is told by them.

Rule: a letter goes back byte for byte as it came, with one header that says which letter it was, so that none is
replayed twice by mistake.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from cli.reading import Line, read
from contracts import topics
from contracts.dlq import REPLAY_OF, DeadLetter
from kit.kafka.producer import Producer
from kit.protocol.ports import Outgoing

_Record = tuple[str, int, int, bytes | None, bytes | None]
"""Where a record stood, its key and its value: a topic that was made anew counts from 0 again."""

MOST_GROUPS = 20
"""Most kinds of reasons that are counted apart."""
_PARTICULAR = re.compile(r"""'[^']*'|"[^"]*"|<[^>]*>|\S*\d\S*""")
"""What differs between two letters of one reason: names in quotes, addresses, ids, numbers."""


@dataclass(frozen=True)
class Choice:
    """Which letters are meant; every condition that is given must hold."""

    reason: str | None = None
    receipt: str | None = None
    places: frozenset[str] = frozenset()

    def holds(self, line: Line, letter: DeadLetter) -> bool:
        """Say whether this letter is meant."""
        return (
            (self.reason is None or self.reason.lower() in letter.error.lower())
            and (self.receipt is None or receipt(letter) == self.receipt)
            and (not self.places or place(line) in self.places)
        )


@dataclass(frozen=True)
class Found:
    """A letter, where it lies, and whether it was sent back before."""

    place: str
    letter: DeadLetter
    replayed: bool
    copies: tuple[str, ...] = ()
    """Where further letters of the same record lie: it came again before its position was committed."""


@dataclass(frozen=True)
class Findings:
    """What a dead-letter topic holds: the letters that are meant, and what somebody else wrote there."""

    letters: list[Found] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)
    """Records that are no letters, as `partition/offset: reason`."""


def place(line: Line) -> str:
    """Where a letter lies, as `partition/offset`."""
    return f"{line.partition}/{line.offset}"


def receipt(letter: DeadLetter) -> str | None:
    """The receipt that the door gave, where the letter is of an inbound message."""
    raw = dict(letter.original_headers).get("ce_id")
    return raw.decode("utf-8", "replace") if raw else None


def area(letter: DeadLetter) -> str:
    """What a letter is about: its topic, and the channel of an inbound message or the source of an event."""
    channel = dict(letter.original_headers).get("deskbus_channel", b"").decode("utf-8", "replace")
    return f"{letter.topic} {channel or letter.source or ''}".rstrip()[:100]


def reason(letter: DeadLetter) -> str:
    """Why a letter died, without what is particular to it: the first line of its error, cut to 100 characters."""
    told = letter.error.strip().splitlines() or [letter.error_type]
    return _PARTICULAR.sub("…", told[0][:300])[:100]


def groups(letters: Iterable[DeadLetter]) -> Iterator[tuple[int, str, str]]:
    """Count letters by area and reason, most first, as (count, area, reason); rare ones are told of together."""
    counted = sorted(Counter((area(each), reason(each)) for each in letters).items(), key=lambda one: (-one[1], one[0]))
    for (where, why), count in counted[:MOST_GROUPS]:
        yield count, where, why
    if rest := counted[MOST_GROUPS:]:
        yield sum(count for _, count in rest), "elsewhere", f"{len(rest)} other reasons"


async def replayed(bootstrap: str, service: str, *, prefix: str = "") -> AsyncIterator[tuple[str, Line]]:
    """The records of a service's retry topic, each with the place of the letter that it was."""
    async for line in read(bootstrap, [topics.retry(service)], prefix=prefix):
        for name, raw in line.headers:
            if name == REPLAY_OF:
                yield (raw or b"").decode("utf-8", "replace"), line


async def find(bootstrap: str, service: str, choice: Choice, *, prefix: str = "") -> Findings:
    """Read a service's dead letters. Those of one record are one: the first, however often the record came again."""
    sent = {letter async for letter, _ in replayed(bootstrap, service, prefix=prefix)}
    found, records = Findings(), dict[_Record, tuple[DeadLetter, list[Line]]]()
    async for line in read(bootstrap, [topics.dlq(service)], prefix=prefix):
        try:
            letter = DeadLetter.from_kafka(line.key, line.value, line.headers)
        except ValueError as fault:
            found.strays.append(f"{place(line)}: {fault}")
            continue
        record = letter.topic, letter.partition, letter.offset, letter.key, letter.value
        records.setdefault(record, (letter, []))[1].append(line)
    for letter, lines in records.values():
        if any(choice.holds(line, letter) for line in lines):
            first, *copies = [place(line) for line in lines]
            found.letters.append(Found(first, letter, not sent.isdisjoint([first, *copies]), tuple(copies)))
    return found


async def replay(bootstrap: str, service: str, letters: Sequence[Found], *, prefix: str = "") -> list[Found]:
    """Send letters to the service's retry topic and wait until Kafka has them; returns those that it did not take.

    One after the other: a letter that is refused holds up none behind it. Raises TransientError when no broker answers.
    """
    producer = Producer(bootstrap, client_id="deskbus-replay", max_request_bytes=topics.MAX_DLQ_BYTES)
    await producer.start()
    try:
        topic = topics.topic_name(topics.retry(service), prefix)
        return [found for found in letters if await producer.send_runs([[_again(topic, found)]]) != [1]]
    finally:
        await producer.stop()


def _again(topic: str, found: Found) -> Outgoing:
    headers = [(name, raw) for name, raw in found.letter.original_headers if name != REPLAY_OF]
    return Outgoing(topic, found.letter.key, found.letter.value, [*headers, (REPLAY_OF, found.place.encode())])
