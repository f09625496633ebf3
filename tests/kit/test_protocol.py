"""The delivery protocol under every fault that the simulation knows: nothing breaks, and each rule is needed."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator

import pytest
import structlog

from contracts.envelope import Event
from kit.protocol.document import MISSING_CAP
from tests.kit.simulation.pipe import Pipe
from tests.kit.simulation.processes import by_hand
from tests.kit.simulation.records import Poke, poke
from tests.kit.simulation.world import first_broken

STORMS = int(os.environ.get("DESKBUS_STORMS", "150"))
#: Storms in which a broken rule must show; the first one usually does within the first hundred.
HUNT = 4000

ONE = [[poke(1)]]
PAIR = [[poke(1), poke(2)]]
#: What others write where they should not: the client library cannot read it.
JUNK = poke(1, "unreadable", source="/strange", subject="X")
Scene = Callable[[Collection[str], int], Pipe]
SCENES: dict[str, tuple[str, Scene]] = {
    "one partition and the sweeper": ("stop-at-first-failure", lambda off, b: Pipe(off, b, PAIR)),
    "two sources, two replicas, one ticket": (
        "know-the-losers",
        lambda off, b: Pipe(off, b, [*PAIR, [poke(1, source="/deskbus/routing")]]),
    ),
    "a timer appends while a handler clears": (
        "clear-confirmed",
        lambda off, b: Pipe(off, b, PAIR, timers=True, late=[poke(3)]),
    ),
    "confirmed entries are cleared a while later": (
        "clear-confirmed",
        lambda off, b: Pipe(off, b, PAIR, timers=True, late=[poke(3)], later=True),
    ),
    "clearing unsets the flag": ("find-by-outbox", lambda off, b: Pipe(off, b, ONE, timers=True, late=[poke(2)])),
    "fault inside a batch": ("stop-subject", lambda off, b: Pipe(off, b, [[poke(1, "flaky"), poke(2)]])),
    "fault inside a batch that is handled one by one": (
        "stays-held",
        lambda off, b: Pipe(off, b, [[poke(1, "flaky"), poke(2)], [], [poke(1, "buggy", subject="U")]]),
    ),
    "commit of the position": (
        "commit-handled",
        lambda off, b: Pipe(off, b, [[poke(1, "flaky"), poke(1, subject="U")]]),
    ),
    "dead letter": ("holes", lambda off, b: Pipe(off, b, [[poke(1), poke(2, "poison"), poke(3)]])),
    "garbled letter": ("holes", lambda off, b: Pipe(off, b, [[poke(1, "garbled"), poke(2)]])),
    "a long ticket that is met late": (
        "first-sight",
        lambda off, b: Pipe(off, b, [[poke(MISSING_CAP + 2), poke(MISSING_CAP + 3)]]),
    ),
    "more is missing than a document remembers": (
        "floor",
        lambda off, b: Pipe(off, b, [[poke(1), poke(MISSING_CAP + 3), poke(MISSING_CAP + 4)]], gone=MISSING_CAP + 2),
    ),
    "one document, two subjects": (
        "seen-by-subject",
        lambda off, b: Pipe(off, b, [[poke(1), poke(2), poke(1, subject="T2")]]),
    ),
    "ignored type": ("count-ignored", lambda off, b: Pipe(off, b, [[poke(1), poke(2, "ignored"), poke(3)]])),
    "archived, and spoken of again": ("tombstone", lambda off, b: Pipe(off, b, ONE, archive=True)),
    "primary steps down": ("majority", lambda off, b: Pipe(off, b, ONE, replicated=True)),
    "a record that cannot be read": (
        "go-back",
        lambda off, b: Pipe(off, b, [PAIR[0], [], [poke(1, subject="U"), JUNK, poke(2, subject="U")]]),
    ),
    "a record that ends its process": (
        "count-starts",
        lambda off, b: Pipe(off, b, [[poke(1), poke(2, "killer"), poke(3)], [poke(1, subject="U")]]),
    ),
    "a first record that ends its process": (
        "holes",
        lambda off, b: Pipe(off, b, [[poke(1, "killer"), poke(2)], [poke(1, subject="U")]]),
    ),
    "an answer just in time": ("barrier", lambda off, b: Pipe(off, b, ONE, timers=True, late=[poke(2, "answer")])),
    "time is up with the answer in hand": (
        "in-hand",
        lambda off, b: Pipe(off, b, ONE, timers=True, late=[poke(2, "answer")], later=True),
    ),
    "time is up with the answer dropped": (
        "in-hand",
        lambda off, b: Pipe(off, b, [*ONE, [], []], timers=True, late=[poke(2, "answer")], strange=[JUNK]),
    ),
}


@pytest.fixture(autouse=True)
def _quiet_and_known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    by_hand(monkeypatch)
    monkeypatch.setattr(Event, "known_types", {**Event.known_types, Poke.type: Poke})
    with structlog.testing.capture_logs():
        yield


@pytest.mark.parametrize("scene", SCENES)
def test_with_every_rule_nothing_breaks(scene: str) -> None:
    _, make = SCENES[scene]
    assert first_broken(lambda: make((), 5), STORMS) is None


@pytest.mark.parametrize("scene", SCENES)
def test_without_its_rule_the_scene_breaks(scene: str) -> None:
    rule, make = SCENES[scene]
    assert first_broken(lambda: make((rule,), 3), HUNT) is not None
