"""Threading under every fault that the simulation knows: nothing breaks, and each rule is needed."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Collection, Iterator
from typing import Any

import pytest
import structlog

from services.ingest import claims
from services.ingest.channels import address_token
from tests.ingest.simulation.post import Letter, Post, without
from tests.ingest.worker_rig import Worker
from tests.kit.simulation.processes import by_hand
from tests.kit.simulation.world import first_broken

STORMS = int(os.environ.get("DESKBUS_STORMS", "40"))
#: Storms in which a broken rule must show.
HUNT = 4000
HOUR = 3600.0

Scene = Callable[[Collection[str], int], Post]
#: One replica reads the first partition, one the second, and a zombie still reads the first.
READS = ([0], [1], [0])


def mail(number: str, person: str, *answers: str, said: str | None = "pass", signed: bool = False) -> Letter:
    """`answers`: the ids of the thread so far, oldest first, as References have them. `said`: of the sender.

    `signed`: to the address of the ticket that there is, by which everybody joins.
    """
    more: dict[str, Any] = {"account": "help-korale", "said": said}
    if answers:
        more |= {"In_Reply_To": f"<{answers[-1]}@x>", "References": " ".join(f"<{each}@x>" for each in answers)}
    sender = f"{person}@example.org"
    return lambda pen: pen.mails("hello", f"<{number}@x>", sender, to=its_address(pen) if signed else "", **more)


def its_address(pen: Worker) -> str:
    (ticket,) = pen.store.rows["tickets"]
    own = pen.accounts.named("email", "help-korale")
    assert own is not None
    return address_token.mint(own.addresses[0], ticket, pen.secrets.secret(own.signing))


def chat(number: str, person: str, hours: float = 0) -> Letter:
    return lambda pen: pen.says("hello", number, person, conversation="g1", after=hours * HOUR)


def post(*inputs: list[Letter], **more: object) -> Scene:
    return lambda off, b: Post(off, b, inputs, reads=READS, **more)  # type: ignore[arg-type]


SCENES: dict[str, tuple[str, str, Scene]] = {
    # name: (rule, what breaks without it, scene)
    "two contacts, one thread": (
        "thread-claim",
        "too many tickets",
        post([mail("m1", "jan")], [mail("m2", "ewa", "m1")]),
    ),
    "two people in one chat": ("thread-claim", "too many tickets", post([chat("m1", "jan")], [chat("m2", "ewa")])),
    "two replicas after the quiet time": (
        "thread-claim",
        "too many tickets",
        post(
            [chat("m2", "jan", 13)],
            [chat("m3", "ewa", 13.1)],
            before=[chat("m1", "jan")],
            tickets=2,
            messages=3,
        ),
    ),
    "the door sends twice": (
        "message-id",
        "counted twice",
        post([chat("m1", "jan")], [chat("m2", "ewa")], again=chat("m1", "jan")),
    ),
    "a message comes again after the thread went on": (
        "message-stays",
        "a message twice",
        post([chat("m1", "jan"), chat("m2", "jan", 13)], [], tickets=2, contacts=1),
    ),
    "a mail comes twice while its sender joins": (
        "placed-claim",
        "a message twice",
        post(
            [mail("m1", "jan", said=None)],
            [mail("m3", "jan", said=None, signed=True), mail("m1", "jan", said=None)],
            before=[mail("m2", "ewa", "m1")],
            messages=3,
            asides=1,
        ),
    ),
}
#: Many things at once. No rule of its own is at stake.
CROWDED: dict[str, Scene] = {
    "a long thread of mail": post(
        [mail("m1", "jan"), mail("m3", "jan", "m1", "m2")],
        [mail("m2", "ewa", "m1"), mail("m4", "ewa", "m1", "m2", "m3")],
        messages=4,
    ),
    "a mail comes with an answer that names it, and alone, while its sender joins": post(
        [mail("m3", "ewa", "m1", "m2"), mail("m2", "jan", "m1", said=None)],
        [mail("m2", "jan", "m1", said=None), mail("m4", "jan", said=None, signed=True)],
        before=[mail("m1", "ewa")], messages=4, asides=1,
    ),
    "an unproven sender beside the one who opens": post(
        [mail("m1", "jan", said=None)], [mail("m2", "ewa", "m1", said=None), mail("m3", "ewa", "m2", said=None)],
        tickets=2, messages=3,
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _quiet_and_by_hand(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    by_hand(monkeypatch)
    numbers = itertools.count(1)
    monkeypatch.setattr(claims, "uuid7", lambda: f"t{next(numbers)}")
    with structlog.testing.capture_logs():
        yield


@pytest.mark.parametrize("scene", [*SCENES, *CROWDED])
def test_with_every_rule_nothing_breaks(scene: str) -> None:
    make = CROWDED[scene] if scene in CROWDED else SCENES[scene][2]
    assert first_broken(lambda: make((), 5), STORMS) is None


@pytest.mark.parametrize("scene", SCENES)
def test_without_its_rule_the_scene_breaks(scene: str) -> None:
    rule, why, make = SCENES[scene]
    with without(rule):
        assert first_broken(lambda: make((rule,), 3), HUNT, why) is not None
