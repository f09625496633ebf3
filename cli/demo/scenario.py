"""What happens in the demo: customers write, agents answer their tickets, one answers late, one goes offline.

Agents and the team lead react to events and act through the public APIs, as real ones would.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from random import Random
from typing import Any

import httpx

from cli.demo.agents import AGENTS, LATE, LEAD, LEAVES, Person
from cli.phrases import LANGUAGES
from cli.sending import Doors
from cli.traffic import Hook, Piece, Traffic
from contracts import assignments, notifications, tickets
from contracts.envelope import Event

MESSAGES = 60
PER_SECOND = 3.0
SOLVED = 0.7
"""Share of replies that solve the ticket."""
GOLD = {"tier": "gold", "orders": 41}


class Scenario:
    """The customers and agents of the demo, and their pending work."""

    def __init__(self, traffic: Traffic, doors: Doors, urls: dict[str, str], headers: dict[str, str]) -> None:
        self._traffic, self._doors, self._urls = traffic, doors, urls
        self._http = httpx.AsyncClient(headers=headers, timeout=10, trust_env=False)
        self._random = Random(7)
        self._people = {person.id: person for person in AGENTS}
        self._holder: dict[str, str] = {}
        self._language: dict[str, str] = {}
        self._gold: set[str] = set()

        self._tasks: set[asyncio.Task[None]] = set()
        self._ordered: list[Piece] = []
        """Messages that must keep their order."""
        self._commands: set[str] = set()
        """Ids of replies that were posted."""
        self._completed: set[str | None] = set()
        """Ids of replies that were sent, failed or rejected."""
        self.sent = 0
        self.duplicates = 0
        self.acknowledged = asyncio.Event()
        self.faults: list[str] = []

    @property
    def retries(self) -> int:
        """Requests that were sent again because the answer was an error or did not come."""
        return self._doors.retries

    async def close(self) -> None:
        """Cancel pending work."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._http.aclose()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            self.faults.append(repr(fault))

    @property
    def finished(self) -> bool:
        """Return whether the escalation is acknowledged, no agent is busy, and all replies are completed."""
        return self.acknowledged.is_set() and not self._tasks and self._commands <= self._completed

    # -- setup -------------------------------------------------------------------------------------------------------

    async def set_up(self) -> None:
        """Create the agents and bring them online."""
        for person in AGENTS:
            await self._put(f"/v1/agents/{person.id}", person.body())
        for person in AGENTS:
            await self._presence(person, "online")

    async def _presence(self, person: Person, presence: str) -> None:
        await self._put(f"/v1/agents/{person.id}/presence", {"presence": presence})

    async def _put(self, path: str, document: dict[str, Any]) -> None:
        answer = await self._http.put(self._urls["routing"] + path, json=document)
        answer.raise_for_status()

    # -- customers ---------------------------------------------------------------------------------------------------

    async def customers(self) -> None:
        """Send all messages at a steady rate, one of them twice; on the way, an agent goes offline."""
        begin = asyncio.get_running_loop().time()
        for number, piece in enumerate(self._pieces()):
            await asyncio.sleep(max(0.0, begin + number / PER_SECOND - asyncio.get_running_loop().time()))
            await self._doors.send(piece)
            self.sent += 1
            if number >= MESSAGES // 3 and isinstance(piece, Hook) and not self.duplicates:
                await self._doors.send(piece)  # as if the provider had not received the response
                self.duplicates += 1
            if number == MESSAGES * 2 // 3:
                await self._presence(self._people[LEAVES], "offline")

    def _pieces(self) -> list[Piece]:
        traffic = self._traffic
        pieces: list[Piece] = [
            traffic.webhook("coupang-kr", customer=GOLD, text="VIP인데 아직도 답이 없네요. 주문 취소할까요?"),
            traffic.mail(to="returns@nimbus.example", subject="Return of 4711", attachments={"label.pdf": b"%PDF"}),
            traffic.mail(language="pl", html_only=True, to="support+amazon@nimbus.example"),
        ]
        pieces += self._conversation()
        pieces += traffic.stream(MESSAGES - len(pieces))
        gold, rest = pieces[0], pieces[1:]
        self._random.shuffle(rest)
        rest.insert(3, gold)
        # Restore the order of the messages that belong together.
        ordered = {id(piece) for piece in self._ordered}
        places = [place for place, piece in enumerate(rest) if id(piece) in ordered]
        for place, piece in zip(places, self._ordered, strict=True):
            rest[place] = piece
        return rest

    def _conversation(self) -> list[Piece]:
        """Return conversations: text, image and location; text and image; a mail and a reply to it."""
        traffic, number = self._traffic, self._traffic.number()
        user = traffic.person()
        first = traffic.mail(account="help-korale", language="ko")
        follow = traffic.mail(account="help-korale", sender=first.sender, in_reply_to=first.message_id, language="ko")
        self._ordered = [
            traffic.whatsapp(sender=number),
            traffic.whatsapp_image("รูปสินค้า", sender=number),
            traffic.whatsapp_location(sender=number),
            traffic.line(sender=user),
            traffic.line_image(sender=user),
            first,
            follow,
        ]
        return list(self._ordered)

    # -- agents ------------------------------------------------------------------------------------------------------

    def handle(self, event: Event) -> None:
        """React to an event."""
        data = event.data
        match data:
            case tickets.TicketOpened(ticket=ticket):
                self._language[event.subject] = ticket.language or "en"
                if ticket.customer.tier == "gold":
                    self._gold.add(event.subject)
            case tickets.MessageSent() | tickets.MessageFailed() | tickets.CommandRejected():
                self._completed.add(data.command_id)
            case tickets.MessageReceived() if event.subject in self._holder:
                self._start(self._answer(event.subject, self._holder[event.subject]))
            case assignments.TicketAssigned(agent=agent):
                self._holder[event.subject] = agent.id
                if agent.id != LATE or event.subject not in self._gold:
                    self._start(self._answer(event.subject, agent.id))
            case assignments.TicketUnassigned():
                self._holder.pop(event.subject, None)
            case notifications.EscalationStepReached(step=1, ticket_id=ticket_id, escalation_id=escalation_id):
                self._start(self._acknowledge(escalation_id, ticket_id))

    async def _answer(self, ticket: str, agent: str) -> None:
        """Answer after a while, if the agent still has the ticket. The agent who is to leave never answers."""
        await asyncio.sleep(self._random.uniform(0.8, 3.5))
        if agent == LEAVES or self._holder.get(ticket) != agent:
            return
        await self._reply(ticket, agent, solve=self._random.random() < SOLVED)

    async def _reply(self, ticket: str, agent: str, *, solve: bool) -> None:
        person = self._people[agent]
        text = LANGUAGES.get(self._language.get(ticket, "en").split("-")[0], LANGUAGES["en"]).answer
        by = {"kind": "agent", "id": person.id, "name": person.name}
        data = {"by": by, "text": text, **({"status": "solved"} if solve else {})}
        self._commands.add((await self._doors.post_command(ticket, "reply", data))["id"])

    async def _acknowledge(self, escalation: str, ticket: str) -> None:
        """Acknowledge as the team lead, then let the ticket's agent answer."""
        await asyncio.sleep(1.0)
        url = f"{self._urls['notify']}/v1/escalations/{escalation}/ack"
        answer = await self._http.post(url, json={"by": LEAD})
        answer.raise_for_status()
        self.acknowledged.set()
        await asyncio.sleep(1.5)
        if holder := self._holder.get(ticket):
            await self._reply(ticket, holder, solve=False)
