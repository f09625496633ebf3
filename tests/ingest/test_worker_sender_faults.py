"""What fails, is lost or hangs while a reply is sent: it ends, and nothing else waits for it; and files that leave."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from services.ingest.core.policy import TicketPolicy
from services.ingest.sender import CONCURRENT, CONCURRENT_RETRIES
from services.ingest.store import TICKETS
from tests.ingest.sender_rig import ALL, FakeTransport, reply_queued, sender, served
from tests.ingest.worker_rig import START, Worker


async def test_a_fault_that_nobody_foresaw_is_settled_and_the_next_message_gets_its_turn() -> None:
    tries = TicketPolicy().send_attempts
    worker, wire = Worker(), FakeTransport(faults=[ValueError("Sender must be provided")] * tries)
    await reply_queued(worker, "poisoned")
    await reply_queued(worker, "good")
    for _ in range(tries + 1):
        await served(sender(worker, wire, *ALL))
        worker.clock.advance(301)
    assert worker.types()[1:3] == ["message.failed", "message.sent"]
    failed = worker.events()[1].data
    assert (failed.message.text, failed.attempts) == ("poisoned", tries)
    assert "ValueError: Sender must be provided" in failed.error


async def test_a_message_whose_every_try_is_lost_fails_in_the_end_and_says_that_it_may_have_arrived() -> None:
    worker, wire = Worker(), FakeTransport(before=asyncio.Event())
    await reply_queued(worker, "deadly")
    tries = TicketPolicy().send_attempts
    for _ in range(tries):
        dying = sender(worker, wire, *ALL)
        wire.begun.clear()
        await dying.serve()
        await wire.begun.wait()
        for task in dying._busy.values():
            task.cancel()
        worker.clock.advance(61)
    await served(sender(worker, FakeTransport(), *ALL))
    assert worker.types()[1:] == ["message.failed"]
    assert "may have arrived" in worker.events()[-1].data.error
    assert len(wire.sent) == tries


async def test_tickets_that_cannot_be_served_do_not_keep_others_from_their_turn() -> None:
    worker, wire = Worker(), FakeTransport()
    ticket = await reply_queued(worker)
    rows = worker.store._collection(TICKETS)
    for n in range(CONCURRENT + 1):  # more than one look takes, and due for longer
        rows[f"bad{n}"] = {
            "_id": f"bad{n}",
            "version": 1,
            "partition": 0,
            "state": {"send_at": START - timedelta(hours=1)},
        }
    hands = sender(worker, wire, *ALL)
    worker.clock.advance(1)
    await served(hands)
    assert wire.sent == []
    await served(hands)
    assert [worker.events()[-1].subject, len(wire.sent)] == [ticket, 1]


async def test_while_a_provider_is_away_what_has_not_been_tried_gets_its_turn() -> None:
    worker, wire = Worker(), FakeTransport(before=asyncio.Event())
    ticket = await reply_queued(worker)
    rows = worker.store._collection(TICKETS)
    state = {"send_at": START - timedelta(hours=1), "pending": [{"attempts": 1}]}
    for n in range(2 * CONCURRENT):  # more than two looks take, and due for longer
        rows[f"again{n}"] = {"_id": f"again{n}", "version": 1, "partition": 0, "state": state}
    hands = sender(worker, wire, *ALL)
    await hands.serve()
    begun = set(hands._busy)
    assert ticket in begun
    assert len(begun) == CONCURRENT_RETRIES + 1
    await hands.serve()
    assert len(hands._busy) == CONCURRENT_RETRIES + 1
    assert wire.before is not None
    wire.before.set()
    while hands._busy:
        await asyncio.gather(*hands._busy.values())
    worker.clock.advance(1)
    await hands.serve()
    assert len(hands._busy) == CONCURRENT_RETRIES
    assert not begun & hands._busy.keys()
    await hands.finish()


async def test_who_is_asked_to_stop_waits_for_what_is_on_its_way() -> None:
    worker, wire = Worker(), FakeTransport(before=asyncio.Event())
    await reply_queued(worker)
    running = asyncio.create_task(sender(worker, wire, *ALL).run())
    await wire.begun.wait()
    running.cancel()
    done, _ = await asyncio.wait([running], timeout=0.05)
    assert not done
    assert wire.before is not None
    wire.before.set()
    await asyncio.gather(running, return_exceptions=True)
    assert worker.types()[1] == "message.sent"


async def test_who_is_asked_to_stop_waits_only_so_long() -> None:
    worker, wire = Worker(), FakeTransport(before=asyncio.Event())
    await reply_queued(worker)
    running = asyncio.create_task(sender(worker, wire, *ALL).run())
    await wire.begun.wait()
    running.cancel()
    async with asyncio.timeout(3):
        await asyncio.gather(running, return_exceptions=True)
    assert "message.sent" not in worker.types()
