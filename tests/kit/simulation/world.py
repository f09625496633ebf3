"""Deterministic simulation of concurrency: actors are coroutines, and between their steps any other actor may run.

Real code runs here without an event loop. Each await of a server (a write, a send) is a step; the world chooses which
actor continues and whether a fault occurs. Equal seeds make equal choices.
"""

from __future__ import annotations

import random
import types
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass
from typing import Any

#: Number of interleavings that this process has run.
RUN = [0]

Step = tuple[str, tuple[str, ...], Callable[[], bool] | None]


@types.coroutine
def step(label: str, *faults: str, when: Callable[[], bool] | None = None) -> Generator[Step, str, str]:
    """Wait for the world to run this step, once `when` is true. Return "ok" or the fault that occurred."""
    return (yield label, ("ok", *faults), when)


class Killed(BaseException):
    """Crashes the process of the actor that raises it."""


@dataclass
class Act:
    """An act of the world: a crash, a rebalance, a late append. `cost` is deducted from the budget of faults."""

    cost: int
    when: Callable[[], bool]
    do: Callable[[], object]


class World:
    """Actors, acts of the world, and a budget of faults."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.actors: dict[str, tuple[Coroutine[Step, str, None], Step]] = {}
        self.acts: dict[str, Act] = {}
        self.begin: dict[str, Callable[[], None]] = {}

    def start(self, name: str, make: Callable[[], Coroutine[Any, Any, None]], *, crashes: bool = True) -> None:
        """Start an actor. `crashes`: it may crash by itself, and restarts."""

        def begin() -> None:
            if name in self.actors:
                self.actors[name][0].close()
                self.died(name)
            actor = make()
            self.actors[name] = actor, actor.send(None)

        begin()
        self.begin[name] = begin
        if crashes:
            self.acts[f"CRASH {name}"] = Act(1, lambda: not self.idle(name), begin)

    def died(self, name: str) -> None:
        """Discard the memory of a crashed actor, which is about to restart."""

    def act(self, label: str, cost: int, when: Callable[[], bool], do: Callable[[], object]) -> None:
        self.acts[label] = Act(cost, when, do)

    def idle(self, *names: str) -> bool:
        """Whether these actors wait for something."""
        waits = (self.actors[n][1][2] for n in names if n in self.actors)
        return all(when is not None and not when() for when in waits)

    def choices(self) -> list[tuple[int, str, str | None]]:
        out: list[tuple[int, str, str | None]] = []
        for name, (_, (_, options, _)) in self.actors.items():
            if not self.idle(name):
                out += [(int(o != "ok"), name, o) for o in options if o == "ok" or self.budget]
        return out + [(a.cost, label, None) for label, a in self.acts.items() if a.cost <= self.budget and a.when()]

    def take(self, choice: tuple[int, str, str | None]) -> str:
        cost, name, option = choice
        self.budget -= cost
        if option is None:
            self.acts[name].do()
            return name
        actor, (label, _, _) = self.actors[name]
        try:
            self.actors[name] = actor, actor.send(option)
        except StopIteration:
            del self.actors[name]
        except Killed:
            self.begin[name]()
        return f"{name}: {label}" + ("" if option == "ok" else f" [{option}]")

    def check(self) -> None:
        """Raise AssertionError if an invariant is violated. Called after every step."""

    def final(self) -> None:
        """Raise AssertionError if something is missing at the end, when no actor can run."""

    def close(self) -> None:
        for actor, _ in self.actors.values():
            actor.close()


def storm(make: Callable[[], World], seed: int, steps: int = 150) -> tuple[str, list[str]] | None:
    """Run one random interleaving, with faults at first. Return what failed, with the trace, or None.

    Sometimes an actor sleeps for some steps of the others, like a process that is paused or swapped out.
    """
    RUN[0] += 1
    world, trace, chance = make(), list[str](), random.Random(seed)
    asleep, until = "", 0
    try:
        for n in range(5000):
            choices = world.choices()
            free = [c for c in choices if not c[0]]
            faults = [c for c in choices if c[0]]
            if not free:
                world.final()
                return None
            if n >= until and chance.random() < 0.1:
                asleep, until = chance.choice(free)[1], n + chance.randrange(40)
            awake = free if n >= until else [c for c in free if c[1] != asleep] or free
            strikes = faults and n < steps and chance.random() < 0.15
            trace.append(world.take(chance.choice(faults if strikes else awake)))
            world.check()
        raise AssertionError("does not settle")
    except AssertionError as broken:
        return str(broken), trace
    finally:
        world.close()


def first_broken(make: Callable[[], World], storms: int, because: str = "") -> tuple[int, str, list[str]] | None:
    """Run seeds until one fails with `because` in its message. Return seed, message and trace; None if none fails."""
    for seed in range(storms):
        broken = storm(make, seed)
        if broken is not None and because in broken[0]:
            return seed, *broken
    return None
