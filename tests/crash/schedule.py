"""Which faults are injected into a running system, and when: a pure function of the seed. faults.py injects them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import cycle
from random import Random

SERVICES = ("ingest", "routing", "sla", "notify")
SLOTS = (1, 2)


@dataclass(frozen=True)
class Size:
    """The size of a campaign. Durations are in seconds."""

    messages: int
    rate: float
    """Messages per second."""
    session: float
    """Kafka session timeout of the services."""
    zombie: float
    """Minimum time that a process is stopped by SIGSTOP; longer than the session timeout."""
    pause: float
    """Maximum pause between two faults of one track."""
    held: float = 0.35
    """Fraction of all tickets for which the agents have capacity; below 1, so that tickets have to wait."""
    verify: float = 10
    """Interval at which routing checks valid claims again."""
    calm: float = 300.0
    """Timeout of the wait until all work is done."""
    brokers: int = 1
    away: int = 1
    """How many of several brokers die at once. If they are most of them, nothing else fails."""

    @property
    def kafka(self) -> tuple[str, ...]:
        """The names of the brokers."""
        return ("kafka",) if self.brokers == 1 else tuple(f"kafka-{node}" for node in range(1, self.brokers + 1))

    @property
    def works(self) -> bool:
        """Whether writes go on while brokers are away."""
        return self.brokers == 1 or self.away <= self.brokers // 2

    @property
    def seconds(self) -> float:
        """How long sending takes if all doors are available."""
        return self.messages / self.rate


SMALL = Size(messages=400, rate=18, session=3, zombie=5, pause=2.5, calm=240)
SESSION_OF_BROKERS = 9.0
"""Seconds after which the controller gives a dead broker's partitions to others (Kafka's default)."""
FULL = Size(messages=20_000, rate=60, session=10, zombie=40, pause=12, held=0.65, verify=45, calm=900)
# Brokers take turns, each away for up to 22 s: fewer messages a second give each of them several.
ONE_OF_THREE = replace(FULL, messages=6_000, rate=20, brokers=3)
TWO_OF_THREE = replace(ONE_OF_THREE, away=2)


@dataclass(frozen=True)
class Fault:
    """A fault that begins at `at` and is undone after `seconds`. Faults of one track do not overlap."""

    track: str
    at: float
    kind: str
    target: str
    seconds: float
    amount: float = 0.0
    """Delay in seconds, or rate in bytes per second."""

    def __str__(self) -> str:
        amount = f" ({self.amount:g})" if self.amount else ""
        return f"{self.at:7.1f} s  {self.kind} {self.target} for {self.seconds:.1f} s{amount}"


Maker = Callable[[Random, Size], tuple[str, str, float, float]]


def _replica(services: tuple[str, ...]) -> Maker:
    def make(random: Random, size: Size) -> tuple[str, str, float, float]:
        target = f"{random.choice(services)}-{random.choice(SLOTS)}"
        kind = random.choice(("kill", "kill", "kill", "term", "term", "stop", "stop", "remove"))
        seconds = {
            "kill": random.uniform(0, 2),
            "term": 0.0,
            "stop": size.zombie * random.uniform(1, 1.3),
            "remove": size.zombie * random.uniform(1, 2),
        }[kind]
        return kind, target, seconds, 0.0

    return make


def _server(random: Random, size: Size) -> tuple[str, str, float, float]:
    one = (("server", "kafka"),) if size.brokers == 1 else ()
    kind, target = random.choice((*one, ("server", "mongo"), ("server", "mongo"), ("disk", "mongo")))
    return kind, target, random.uniform(0.5, 1.5 * size.session), 0.0


def _network(random: Random, size: Size) -> tuple[str, str, float, float]:
    kind = random.choice(("cut", "cut", "stall", "delay", "throttle"))
    amount = {"delay": random.uniform(0.02, 0.3), "throttle": random.uniform(20_000, 200_000)}.get(kind, 0.0)
    return kind, random.choice((*size.kafka, "mongo")), random.uniform(0.5, 1.5 * size.session), round(amount, 3)


def _brokers(size: Size) -> Maker:
    """Kill brokers in turn, for less or more than the time after which their partitions get other leaders."""
    turn = cycle(size.kafka)

    def make(random: Random, size: Size) -> tuple[str, str, float, float]:
        target = " ".join(next(turn) for _ in range(size.away))
        least, most = (0.3, 2.5) if size.works else (1.0, 3.0)
        return "server", target, SESSION_OF_BROKERS * random.uniform(least, most), 0.0

    return make


def tracks(size: Size) -> dict[str, Maker]:
    """Return the tracks of a campaign."""
    brokers = {"brokers": _brokers(size)} if size.brokers > 1 else {}
    return {**(TRACKS if size.works else {}), **brokers}


TRACKS: dict[str, Maker] = {
    "inner": _replica(("ingest", "routing")),
    "outer": _replica(("sla", "notify")),
    "servers": _server,
    "network": _network,
}


def schedule(seed: int, size: Size) -> list[Fault]:
    """Return the faults of a campaign, ordered by time."""
    faults = [fault for track, make in tracks(size).items() for fault in _track(track, make, seed, size)]
    return sorted(faults, key=lambda fault: fault.at)


def _track(track: str, make: Maker, seed: int, size: Size) -> Iterator[Fault]:
    random = Random(f"{seed} {track}")
    quiet = (
        3.0 if track in ("servers", "network", "brokers") else 1.0
    )  # a failed service is easier to survive than a failed server
    at = random.uniform(1, 1 + size.pause)
    while at < size.seconds:
        kind, target, seconds, amount = make(random, size)
        if at + seconds > size.seconds:
            return  # a fault after the last message would show little and prolong the campaign
        yield Fault(track, round(at, 1), kind, target, round(seconds, 1), amount)
        at += seconds + quiet * random.uniform(0.3, 1) * size.pause
