"""What fails, is lost or hangs while a reply is sent: it ends, and nothing else waits for it; and files that leave."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from contracts.commands import Reply
from contracts.ticket import Attachment, Status
from services.ingest.core.messages import HttpCall, Upload
from services.ingest.core.policy import TicketPolicy
from services.ingest.sender import CONCURRENT
from services.ingest.store import TICKETS
from tests.ingest.channels import samples as s
from tests.ingest.sender_rig import ALL, FakeWire, promised, sender, served
from tests.ingest.worker_rig import AGENT, START, Worker


async def test_a_fault_that_nobody_foresaw_is_settled_and_the_next_message_gets_its_turn() -> None:
    tries = TicketPolicy().send_attempts
    worker, wire = Worker(), FakeWire(faults=[ValueError("Sender must be provided")] * tries)
    await promised(worker, "poisoned")
    await promised(worker, "good")
    for _ in range(tries + 1):
        await served(sender(worker, wire, *ALL))
        worker.clock.advance(301)
    assert worker.types()[1:3] == ["message.failed", "message.sent"]
    failed = worker.events()[1].data
    assert (failed.message.text, failed.attempts) == ("poisoned", tries)
    assert "ValueError: Sender must be provided" in failed.error


async def test_a_message_whose_every_try_is_lost_fails_in_the_end_and_says_that_it_may_have_arrived() -> None:
    worker, wire = Worker(), FakeWire(before=asyncio.Event())
    await promised(worker, "deadly")
    tries = TicketPolicy().send_attempts
    for _ in range(tries):
        dying = sender(worker, wire, *ALL)
        wire.begun.clear()
        await dying.serve()
        await wire.begun.wait()
        for task in dying._busy.values():
            task.cancel()
        worker.clock.advance(61)
    await served(sender(worker, FakeWire(), *ALL))
    assert worker.types()[1:] == ["message.failed"]
    assert "may have arrived" in worker.events()[-1].data.error
    assert len(wire.sent) == tries


async def test_tickets_that_cannot_be_served_do_not_keep_others_from_their_turn() -> None:
    worker, wire = Worker(), FakeWire()
    ticket = await promised(worker)
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


async def test_who_is_asked_to_stop_waits_for_what_is_on_its_way() -> None:
    worker, wire = Worker(), FakeWire(before=asyncio.Event())
    await promised(worker)
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
    worker, wire = Worker(), FakeWire(before=asyncio.Event())
    await promised(worker)
    running = asyncio.create_task(sender(worker, wire, *ALL).run())
    await wire.begun.wait()
    running.cancel()
    async with asyncio.timeout(3):
        await asyncio.gather(running, return_exceptions=True)
    assert "message.sent" not in worker.types()


@pytest.mark.parametrize("ref", ["gone", None])
async def test_a_mail_whose_file_is_not_there_fails_and_says_so(ref: str | None) -> None:
    worker, wire = Worker(), FakeWire()
    await worker.take(worker.mails("Where?", "<1@x>"))
    files = (Attachment(name="label.pdf", media_type="application/pdf", ref=ref),)
    await worker.take(worker.asks(Reply(by=AGENT, text="Here", attachments=files), worker.ticket().id))
    await served(sender(worker, wire, *ALL))
    assert wire.sent == []
    assert worker.types()[-1] == "message.failed"
    failed = worker.events()[-1].data
    assert (failed.permanent, "label.pdf" in failed.error) == (True, True)


async def test_on_whatsapp_the_text_and_each_file_leave_by_themselves_and_only_what_left_is_told() -> None:
    worker, wire = Worker(), FakeWire()
    await worker.take(worker.raw(s.whatsapp(s.wa_text("Where?")), "wa-th", "whatsapp"))
    ticket = worker.ticket().id
    await worker.store.put_blob("file1", b"%PDF-1.7")
    kept = Attachment(name="label.pdf", media_type="application/pdf", ref="file1")
    gone = Attachment(name="gone.pdf", media_type="application/pdf", ref="file2")
    linked = Attachment(name="box.jpg", media_type="image/jpeg", ref="https://cdn.example/box.jpg")
    reply = Reply(by=AGENT, text="Here", attachments=(kept, gone, linked), status=Status.SOLVED)
    await worker.take(worker.asks(reply, ticket))
    for _ in range(4):
        await served(sender(worker, wire, *ALL))
    told = [
        (event.type.split(".")[2], event.data.message.text, [file.name for file in event.data.message.attachments])
        for event in worker.events()
        if event.type.startswith("deskbus.message.")
    ]
    assert told == [
        ("sent", "Here", []),
        ("sent", "", ["label.pdf"]),
        ("failed", "", ["gone.pdf"]),
        ("sent", "", ["box.jpg"]),
    ]
    assert [type(each) for each in wire.sent] == [HttpCall, Upload, HttpCall]
    assert worker.ticket().status == Status.SOLVED
    assert len({event.data.message.id for event in worker.events() if event.type.startswith("deskbus.message.")}) == 4


async def test_files_that_are_too_large_together_fail_before_anything_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.ingest.outgoing.MOST_FILES", 10)
    worker, wire = Worker(), FakeWire()
    await worker.store.put_blob("file1", b"123456")
    await worker.take(worker.mails("Where?", "<1@x>"))
    files = (Attachment(name="a", media_type="text/plain", ref="file1"),) * 2
    await worker.take(worker.asks(Reply(by=AGENT, text="Here", attachments=files), worker.ticket().id))
    await served(sender(worker, wire, *ALL))
    assert (wire.sent, worker.types()[-1]) == ([], "message.failed")
