"""A cell at work: customers' messages come by chance, pass ingest, and reach routing, the clocks and notify.

One window of time, event by event; a whole day, in steps of some seconds. What comes out are waits, lag and shares.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from tests.scale.figures import SERVICES
from tests.scale.pipeline import Clockwork, Lost, Record, Seen, Service, percentile, poisson
from tests.scale.work import Flow, Stage

FOLLOWERS = ("routing", "sla", "notify")


@dataclass(frozen=True)
class Window:
    """What was seen of each service; the times are from accepted to assigned."""

    seen: Mapping[str, Seen]
    p50: float
    p99: float
    seconds: float

    def lag(self, service: str) -> int:
        """Most records that waited."""
        return max((count for _, count in self.seen[service].backlog), default=0)

    def drained(self, service: str, after: float, below: int) -> float | None:
        """Seconds from that instant until no more than that many waited, and stayed so; None: not within the window."""
        late = [at for at, count in self.seen[service].backlog if at >= after and count > below]
        if not late:
            return 0.0
        return None if late[-1] >= self.seconds - 2 else late[-1] - after


def window(
    made: Sequence[Stage], of: Flow, rate: Callable[[float], float], most: float, seconds: float, *,
    seed: int = 1, losses: Sequence[Lost] = (), session: float = 10.0, rebalance: float = 2.0,
) -> Window:  # fmt: skip
    """Run a window: `rate` are tickets a second at an instant, never above `most`."""
    clock, random = Clockwork(), Random(seed)
    stages = {stage.name: stage for stage in made}
    services: dict[str, Service] = {}
    later = of.total["ingest"] - 1

    def make(name: str, emit: Callable[[Sequence[Record]], None]) -> None:
        services[name] = Service(stages[name], clock, random, emit, session=session, rebalance=rebalance)

    def some(expected: float) -> int:
        return int(expected) + (random.random() < expected % 1)

    def passed(batch: Sequence[Record]) -> None:
        opened = [accepted for _, accepted in batch if accepted >= 0]
        rest = [-1.0] * some((len(batch) - len(opened)) * of.later["routing"] / max(later, 1e-9))
        for name in FOLLOWERS:
            services[name].take(opened + rest if name != "notify" else [-1.0] * (len(opened) + len(rest)))

    def told(share: float, opening: float) -> Callable[[Sequence[Record]], None]:
        def tell(batch: Sequence[Record]) -> None:
            opened = sum(accepted >= 0 for _, accepted in batch)
            services["notify"].take([-1.0] * some(opened * opening + (len(batch) - opened) * share))

        return tell

    # Notify hears of every ticket event itself; what routing and sla say is the rest of its records, in equal shares.
    spoken = of.total["notify"] - of.total["routing"]
    share = max(0.0, spoken / 2 - 2) / max(of.later["routing"], 1e-9)
    make("ingest", passed)
    make("routing", told(share, 2))
    make("sla", told(share, 2))
    make("notify", lambda _: None)
    for lost in losses:
        services[lost.stage].lose(lost)
    poisson(clock, random, rate, most, seconds, lambda: services["ingest"].take([clock.now]))
    if later > 0:
        poisson(
            clock, random, lambda t: rate(t) * later, most * later, seconds, lambda: services["ingest"].take([-1.0])
        )
    for second in range(int(seconds)):
        for service in services.values():
            clock.at(second, service.look)
    clock.run()
    total = services["routing"].seen.total
    return Window(
        {n: services[n].seen for n in SERVICES}, percentile(total, 0.5), percentile(total, 0.99), seconds
    )  # fmt: skip


@dataclass(frozen=True)
class Hour:
    """One hour of a day: tickets a second, share of its limit that the busiest part used, worst lag in seconds."""

    hour: int
    tickets: float
    used: Mapping[str, float]
    lag: float


def day(
    made: Sequence[Stage], of: Flow, rate: Callable[[float], float], *, step: float = 10.0, seed: int = 1,
    losses: Sequence[Lost] = (),
) -> list[Hour]:  # fmt: skip
    """Step through 24 hours: what comes, what each stage can do, what stays behind.

    A lost replica takes its share of the stage's capacity with it, a lost shard all of it.
    """
    random, waiting = Random(seed), dict.fromkeys(SERVICES, 0.0)
    hours: list[Hour] = []
    for hour in range(24):
        came, used, lag = 0.0, dict.fromkeys(SERVICES, 0.0), 0.0
        for n in range(int(3600 / step)):
            now = hour * 3600 + n * step
            mean = rate(now) * step
            tickets = max(0.0, random.gauss(mean, mean**0.5))
            came += tickets
            for stage in made:
                capacity = stage.capacity * _left(stage, losses, now) * step
                arrived = tickets * of.total[stage.name]
                waiting[stage.name] = max(0.0, waiting[stage.name] + arrived - capacity)
                used[stage.name] += arrived / (stage.capacity * 3600)
                lag = max(lag, waiting[stage.name] / stage.capacity)
        hours.append(Hour(hour, came / 3600, used, lag))
    return hours


def _left(stage: Stage, losses: Sequence[Lost], now: float) -> float:
    left = 1.0
    for lost in losses:
        if lost.stage == stage.name and lost.begin <= now < lost.end:
            left *= 0.0 if lost.what == "shard" else 1 - 1 / stage.replicas
    return left
