"""What became of letters that were sent back: taken up, come back with a reason, or still waiting. It only reads.

Rule: a service has taken a record up once its group has committed past it. If it gave the record up again, the new
letter names the record's place in the retry topic.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from cli.letters import Choice, Found, find, replayed
from contracts import topics
from kit.base.clock import SystemClock
from kit.kafka.admin import committed

#: Seconds between two looks at how far the service has come.
_LOOK_SECONDS = 0.25

Place = tuple[int, int]
"""Partition and offset in the retry topic."""


@dataclass(frozen=True)
class Outcome:
    """What came of the letters that were sent, each by its place as `partition/offset`."""

    taken: tuple[str, ...]
    """Handled, or known to be handled before."""
    back: tuple[tuple[str, Found], ...]
    """Given up again, with the new letter."""
    waiting: tuple[str, ...]
    """Not taken up yet: the service is away, behind, or tries again."""


async def outcome(bootstrap: str, service: str, sent: Collection[str], *, seconds: float, prefix: str = "") -> Outcome:
    """Wait at most `seconds` for the service to handle what was sent. Raises TransientError when no broker answers."""
    places = await _places(bootstrap, service, sent, prefix)
    ahead = await _wait(bootstrap, service, set(places.values()), prefix, seconds)
    topic = topics.topic_name(topics.retry(service), prefix)
    letters = (await find(bootstrap, service, Choice(), prefix=prefix)).letters
    back = {(each.letter.partition, each.letter.offset): each for each in letters if each.letter.topic == topic}
    return Outcome(
        tuple(name for name, at in places.items() if at not in ahead and at not in back),
        tuple((name, back[at]) for name, at in places.items() if at in back),
        tuple(name for name, at in places.items() if at in ahead and at not in back),
    )


async def _places(bootstrap: str, service: str, sent: Collection[str], prefix: str) -> dict[str, Place]:
    """Where the records of these letters lie in the retry topic; of one that was sent twice, the later."""
    places: dict[str, Place] = {}
    async for letter, line in replayed(bootstrap, service, prefix=prefix):
        if letter in sent:
            places[letter] = max(places.get(letter, (0, -1)), (line.partition, line.offset))
    return places


async def _wait(bootstrap: str, service: str, places: set[Place], prefix: str, seconds: float) -> set[Place]:
    """Wait until the service's group has passed these places; returns those that it has not."""
    clock, topic = SystemClock(), topics.topic_name(topics.retry(service), prefix)
    end = clock.monotonic() + seconds
    while True:
        offsets = await committed(bootstrap, f"{prefix}deskbus.{service}")
        done = {tp.partition: offset for tp, offset in offsets.items() if tp.topic == topic}
        ahead = {(partition, offset) for partition, offset in places if offset >= done.get(partition, 0)}
        if not ahead or not offsets or clock.monotonic() >= end:  # a group without a position has never run
            return ahead
        await clock.sleep(_LOOK_SECONDS)
