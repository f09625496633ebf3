"""The outcome of replayed letters: handled, dead-lettered again, or pending. Read-only.

Rule: a service is done with a record once its group has committed past it. If the record was dead-lettered again, the
new letter names its place in the retry topic.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from cli.letters import Choice, Found, find, replayed
from cli.topics import committed
from contracts import topics
from kit.base.clock import SystemClock
from kit.kafka.connection import Kafka

#: Seconds between two requests for the committed offsets.
_POLL_SECONDS = 0.25

Place = tuple[int, int]
"""Partition and offset in the retry topic."""


@dataclass(frozen=True)
class Outcome:
    """What became of the replayed letters, each named by its place `partition/offset`."""

    handled: tuple[str, ...]
    """Handled, now or before."""
    back: tuple[tuple[str, Found], ...]
    """Dead-lettered again, with the new letter."""
    pending: tuple[str, ...]
    """Not handled yet: the service is down, lags behind, or is retrying."""


async def outcome(kafka: Kafka, service: str, sent: Collection[str], *, seconds: float, prefix: str = "") -> Outcome:
    """Wait at most `seconds` for the service to handle the letters. Raises TransientError if no broker answers."""
    places = await _places(kafka, service, sent, prefix)
    ahead = await _wait(kafka, service, set(places.values()), prefix, seconds)
    topic = topics.topic_name(topics.retry(service), prefix)
    letters = (await find(kafka, service, Choice(), prefix=prefix)).letters
    back = {(each.letter.partition, each.letter.offset): each for each in letters if each.letter.topic == topic}
    return Outcome(
        tuple(name for name, at in places.items() if at not in ahead and at not in back),
        tuple((name, back[at]) for name, at in places.items() if at in back),
        tuple(name for name, at in places.items() if at in ahead and at not in back),
    )


async def _places(kafka: Kafka, service: str, sent: Collection[str], prefix: str) -> dict[str, Place]:
    """Return where the letters' records are in the retry topic; for one replayed twice, the later place."""
    places: dict[str, Place] = {}
    async for letter, record in replayed(kafka, service, prefix=prefix):
        if letter in sent:
            places[letter] = max(places.get(letter, (0, -1)), (record.partition, record.offset))
    return places


async def _wait(kafka: Kafka, service: str, places: set[Place], prefix: str, seconds: float) -> set[Place]:
    """Wait until the service's group has committed past these places; return those that it has not reached."""
    clock, topic = SystemClock(), topics.topic_name(topics.retry(service), prefix)
    end = clock.monotonic() + seconds
    while True:
        offsets = await committed(kafka, topics.group_name(service, prefix))
        done = {tp.partition: offset for tp, offset in offsets.items() if tp.topic == topic}
        ahead = {(partition, offset) for partition, offset in places if offset >= done.get(partition, 0)}
        if not ahead or not offsets or clock.monotonic() >= end:  # without offsets, the group has never run
            return ahead
        await clock.sleep(_POLL_SECONDS)
