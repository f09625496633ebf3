"""Which faults are injected into a running system, and when: a pure function of the seed. faults.py injects them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

SERVICES = ("ingest", "routing", "sla", "notify")
SLOTS = (1, 2)
LINES = ("kafka", "mongo")


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

    @property
    def seconds(self) -> float:
        """How long sending takes if all doors are available."""
        return self.messages / self.rate


SMALL = Size(messages=400, rate=18, session=3, zombie=5, pause=2.5, calm=240)
FULL = Size(messages=20_000, rate=60, session=10, zombie=40, pause=12, held=0.65, verify=45, calm=900)


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
    kind, target = random.choice((("server", "kafka"), ("server", "mongo"), ("server", "mongo"), ("disk", "mongo")))
    return kind, target, random.uniform(0.5, 1.5 * size.session), 0.0


def _network(random: Random, size: Size) -> tuple[str, str, float, float]:
    kind = random.choice(("cut", "cut", "stall", "delay", "throttle"))
    amount = {"delay": random.uniform(0.02, 0.3), "throttle": random.uniform(20_000, 200_000)}.get(kind, 0.0)
    return kind, random.choice(LINES), random.uniform(0.5, 1.5 * size.session), round(amount, 3)


TRACKS: dict[str, Maker] = {
    "inner": _replica(("ingest", "routing")),
    "outer": _replica(("sla", "notify")),
    "servers": _server,
    "network": _network,
}


def schedule(seed: int, size: Size) -> list[Fault]:
    """Return the faults of a campaign, ordered by time."""
    faults = [fault for track, make in TRACKS.items() for fault in _track(track, make, seed, size)]
    return sorted(faults, key=lambda fault: fault.at)


def _track(track: str, make: Maker, seed: int, size: Size) -> Iterator[Fault]:
    random = Random(f"{seed} {track}")
    quiet = (
        3.0 if track in ("servers", "network") else 1.0
    )  # a failed service is easier to survive than a failed server
    at = random.uniform(1, 1 + size.pause)
    while at < size.seconds:
        kind, target, seconds, amount = make(random, size)
        if at + seconds > size.seconds:
            return  # a fault after the last message would show little and prolong the campaign
        yield Fault(track, round(at, 1), kind, target, round(seconds, 1), amount)
        at += seconds + quiet * random.uniform(0.3, 1) * size.pause
