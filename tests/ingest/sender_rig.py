"""The sender over a worker in memory, with a fake transport and a fake owner of partitions."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from contracts.commands import Reply
from services.ingest.channels.channel import Channel
from services.ingest.core.messages import Rendered, SendOutcome, Sent
from services.ingest.core.policy import TicketPolicy
from services.ingest.handlers import policy_of
from services.ingest.reply_delivery import ReplyDelivery
from services.ingest.sender import ReplySender
from tests.ingest.worker_rig import AGENT, Worker


@dataclass
class FakeTransport:
    """Records what is sent. `outcomes`: the next results; `before`: awaited while a message is being sent."""

    sent: list[Rendered] = field(default_factory=list)
    outcomes: list[SendOutcome] = field(default_factory=list)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    before: asyncio.Event | None = None
    faults: list[Exception] = field(default_factory=list)

    async def send(self, rendered: Rendered, channel: Channel) -> SendOutcome:
        self.sent.append(rendered)
        self.begun.set()
        if self.before is not None:
            await self.before.wait()
        if self.faults:
            raise self.faults.pop(0)
        return self.outcomes.pop(0) if self.outcomes else Sent(f"provider-{len(self.sent)}")


class FakeOwner:
    def __init__(self, *partitions: int) -> None:
        self.partitions = list(partitions)

    def owned(self, topic: str) -> list[int]:
        return self.partitions


ALL = (0, 1, 2, 3)


def sender(worker: Worker, wire: FakeTransport, *partitions: int) -> ReplySender:
    def policy(channel: str, account: str) -> TicketPolicy:
        return policy_of(worker.accounts.named(channel, account))

    delivery = ReplyDelivery(
        worker.files, worker.threads, worker.broker, wire, lambda: worker.accounts, worker.secrets,
        worker.clock, commands="deskbus.commands.v1",
    )  # fmt: skip
    return ReplySender(
        worker.tickets, worker.store, FakeOwner(*partitions), delivery, policy, worker.clock, drain_seconds=0.2
    )


async def served(sender: ReplySender) -> None:
    """Let the sender make the attempts that are due, and wait for them."""
    await sender.serve()
    while sender._busy:
        await asyncio.gather(*sender._busy.values())


async def reply_queued(worker: Worker, text: str = "On its way", **fields: object) -> str:
    if not worker.events():
        await worker.take(worker.says("Where?", "m1"))
    ticket = worker.ticket().id
    command = Reply(by=AGENT, text=text, **fields)
    await worker.take(worker.asks(command, ticket, text))
    return ticket
