"""Receipts that name no message but an instant: they are about the last message sent on the ticket until then."""

from __future__ import annotations

from datetime import datetime

from contracts.ticket import Channel
from contracts.tickets import MessageDelivered
from services.ingest.core.messages import Sent
from tests.ingest.channels.cases import CASES
from tests.ingest.channels.cases import messenger as m
from tests.ingest.sender_rig import ALL, FakeTransport, reply_queued, sender, served
from tests.ingest.worker_rig import Worker
from tests.kit.raw import Raw

CASE = CASES["messenger"]


def _worker() -> Worker:
    worker = Worker(accounts=CASE.accounts)
    worker.secrets = CASE.secrets
    return worker


def _hook(worker: Worker, body: bytes) -> Raw:
    return worker.raw(body, CASE.account.name, Channel.MESSENGER.value)


def _read(at: datetime) -> bytes:
    return m.webhook(m.event(read={"watermark": int(at.timestamp() * 1000)}))


def _told(worker: Worker) -> list[tuple[str, str]]:
    texts = {
        event.data.message.id: event.data.message.text for event in worker.events() if "message.sent" in event.type
    }
    found = [event.data for event in worker.events() if isinstance(event.data, MessageDelivered)]
    return [(texts[each.message_id], each.state) for each in found]


async def test_a_watermark_is_about_the_last_message_until_then() -> None:
    worker, wire = _worker(), FakeTransport(outcomes=[Sent("m_1"), Sent("m_2")])
    await worker.take(_hook(worker, CASE.message))
    times = []
    for text in ("first", "second"):
        await reply_queued(worker, text)
        await served(sender(worker, wire, *ALL))
        times.append(worker.clock.now())
        worker.clock.advance(60)
    await worker.take(_hook(worker, _read(times[0])))
    assert _told(worker) == [("first", "read")]
    receipt = _hook(worker, _read(worker.clock.now()))
    await worker.take(receipt)
    await worker.take(receipt)
    assert _told(worker) == [("first", "read"), ("second", "read")]


async def test_a_watermark_before_everything_that_was_sent_is_about_nothing() -> None:
    worker, wire = _worker(), FakeTransport(outcomes=[Sent("m_1")])
    before = worker.clock.now()
    await worker.take(_hook(worker, CASE.message))
    worker.clock.advance(60)
    await reply_queued(worker)
    await served(sender(worker, wire, *ALL))
    await worker.take(_hook(worker, _read(before)))
    assert _told(worker) == []


async def test_a_watermark_of_somebody_who_never_wrote_is_about_nothing() -> None:
    worker = _worker()
    assert await worker.take(_hook(worker, _read(worker.clock.now()))) == set()
    assert (worker.events(), worker.dead()) == ([], [])
