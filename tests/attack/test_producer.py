"""A producer whose start is given up does not stay open behind the caller's back."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from kit.base.errors import TransientError
from kit.kafka.producer import Producer
from kit.protocol.ports import Outgoing


class Client:
    """A producer of the client library that never gets through."""

    made: list[Client]

    def __init__(self, **_: Any) -> None:
        self.stopped = asyncio.Event()
        self.made.append(self)
        self.client, self._sender = self, SimpleNamespace(sender_task=None)

    async def start(self) -> None:
        await asyncio.Event().wait()

    async def flush(self) -> None:
        """Nothing was sent."""

    async def close(self) -> None:
        """Close the connections: the client library's producer has a client of its own, which is this one here."""
        self.stopped.set()


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> list[Client]:
    Client.made = []
    monkeypatch.setattr("kit.kafka.producer.AIOKafkaProducer", Client)
    return Client.made


async def test_a_send_that_runs_out_of_time_closes_the_producer_that_was_starting(made: list[Client]) -> None:
    with pytest.raises(TransientError):
        await Producer("nowhere:1", client_id="t").send(Outgoing("t", b"k", b"v"), seconds=0.05)
    async with asyncio.timeout(2):
        await made[0].stopped.wait()


async def test_a_caller_who_is_cancelled_closes_the_producer_that_was_starting(made: list[Client]) -> None:
    starting = asyncio.create_task(Producer("nowhere:1", client_id="t").start())
    while not made:  # noqa: ASYNC110 - until it has begun
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    async with asyncio.timeout(2):
        await made[0].stopped.wait()
