"""Customers who write at a steady rate, and agents who answer, solve, come and go, all through the doors.

Every message contains a mark, which the verdict looks for. What is sent depends only on the seed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx

from cli.sending import Doors, RefusedError
from cli.traffic import Piece, Traffic
from tests.system.rig import System

MIN_AGENTS = 12
"""Minimum number of agents."""
COMMANDS_PER_TURN, OPEN_COMMANDS = 80, 240
"""Maximum number of commands that agents send per turn, and that may be sent without visible effect so far."""
LOAD_PER_AGENT = 30.0
"""Capacity per agent; more work means more agents."""
DUPLICATED = 0.05
"""Fraction of messages that the provider delivers twice."""
RETURNING = 0.1
"""Fraction of messages by customers who wrote before."""
QUICK_SHARE = 0.03
"""Fraction of messages with an SLA target of two seconds."""
UNAVAILABLE = (httpx.HTTPError, RefusedError, OSError)


def mark(seed: int, number: int) -> str:
    """Return a mark that is unique to a message of a campaign."""
    return f"[c{seed}m{number}]"


@dataclass
class Customers:
    """Send `count` messages, each until a door accepts it."""

    traffic: Traffic
    seed: int
    count: int
    rate: float
    sent: int = 0
    quick: int = 0

    def pieces(self) -> Iterator[Piece]:
        """Yield all messages, of all channels. They are created lazily, since signatures expire."""
        random = Random(f"{self.seed} customers")
        known: list[tuple[int, str]] = []
        for number in range(self.count):
            yield self._piece(random, number, known)

    def _piece(self, random: Random, number: int, known: list[tuple[int, str]]) -> Piece:
        text, traffic = f"hello {mark(self.seed, number)} please help", self.traffic
        if random.random() < QUICK_SHARE:
            self.quick += 1
            return traffic.webhook("allegro-pl", text=text, tags=["quick"])
        kind, sender = random.randrange(7), traffic.person()
        if known and random.random() < RETURNING:
            kind, sender = random.choice(known)
        elif kind in (0, 1, 3, 4):
            sender = traffic.number() if kind == 0 else sender
            known.append((kind, sender))
        match kind:
            case 0:
                return traffic.whatsapp(text, sender=sender)
            case 1:
                return traffic.line(text, sender=sender)
            case 2:
                return traffic.sms(text)
            case 3:
                return traffic.webhook("coupang-kr", text=text, sender=sender)
            case 4:
                return traffic.webhook("allegro-pl", text=text, sender=sender)
            case 5:
                return traffic.mail(text)
            case _:
                return traffic.mail(text, account="help-korale", language="ko", html_only=True)

    async def write(self, doors: Doors) -> None:
        """Send at the rate; a message that is retried does not delay the others."""
        loop, random = asyncio.get_running_loop(), Random(f"{self.seed} twice")
        begin = loop.time()

        async def send(piece: Piece, times: int) -> None:
            for _ in range(times):
                await doors.send(piece)
            self.sent += 1

        async with asyncio.TaskGroup() as group:
            for number, piece in enumerate(self.pieces()):
                group.create_task(send(piece, 1 + (random.random() < DUPLICATED)))
                await asyncio.sleep(max(0.0, begin + (number + 1) / self.rate - loop.time()))


@dataclass
class Staff:
    """Agents, who answer or solve some of their tickets in turns, and are absent now and then."""

    system: System
    doors: Doors
    seed: int
    turn_seconds: float = 1.0
    share: float = 0.16
    people: int = 0
    commands: int = 0
    at_rest: bool = False
    """Set to make the agents pause."""
    idle: bool = False
    """Whether the agents pause; their previous turn has ended."""
    _asked: set[str] = field(default_factory=set)

    async def hire(self, room: float) -> None:
        """Create agents with that much capacity in total."""
        self.people = max(MIN_AGENTS, round(room / LOAD_PER_AGENT))
        await self.system.agents(self.people, max(10.0, round(room / self.people)))

    async def work(self) -> None:
        """Take turns until cancelled."""
        random = Random(f"{self.seed} staff")
        while True:
            self.idle = self.at_rest
            if not self.idle:
                with contextlib.suppress(*UNAVAILABLE):
                    await self._turn(random)
            await asyncio.sleep(self.turn_seconds)

    async def _turn(self, random: Random) -> None:
        views = await self._routing("GET", "/v1/agents?limit=1000")
        have = {ticket: view["agent"] for view in views for ticket in view["tickets"]}
        self._asked &= have.keys()
        most = max(0, min(COMMANDS_PER_TURN, OPEN_COMMANDS - len(self._asked)))
        chosen = [t for t in sorted(have.keys() - self._asked) if random.random() < self.share][:most]
        async with asyncio.TaskGroup() as group:
            for ticket in chosen:
                group.create_task(self._answer(ticket, have[ticket], reply=random.random() < 0.5))
        self._asked |= set(chosen)

    async def _answer(self, ticket: str, agent: dict[str, str], *, reply: bool) -> None:
        by = {"kind": "agent", "id": agent["id"], "name": agent["name"]}
        name, data = "set_status", {"by": by, "status": "solved"}
        if reply:
            name, data = "reply", {"by": by, "status": "solved", "text": "solved, thank you"}
        await self.doors.post_command(ticket, name, data)
        self.commands += 1

    async def come_and_go(self) -> None:
        """Change agents' presence until cancelled; afterwards, `all_in` brings all online."""
        random = Random(f"{self.seed} presence")
        while True:
            await asyncio.sleep(random.uniform(1, 5))
            agent = f"a{random.randrange(self.people)}"
            await self._presence(agent, random.choice(("offline", "away")))
            await asyncio.sleep(random.uniform(1, 5))
            await self._presence(agent, "online")

    async def all_in(self) -> None:
        """Set all agents online."""
        for number in range(self.people):
            await self._presence(f"a{number}", "online")

    async def _presence(self, agent: str, presence: str) -> None:
        while True:
            with contextlib.suppress(*UNAVAILABLE):
                await self._routing("PUT", f"/v1/agents/{agent}/presence", {"presence": presence})
                return
            await asyncio.sleep(0.3)

    async def _routing(self, method: str, path: str, body: dict[str, str] | None = None) -> Any:
        fault: Exception = OSError("no routing")
        for replica in self.system.fleet.of("routing"):
            try:
                answer = await self.system.http.request(method, replica.url + path, json=body, timeout=4)
                answer.raise_for_status()
            except httpx.HTTPError as error:
                fault = error
                continue
            return answer.json()
        raise fault
