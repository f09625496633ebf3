"""The sender's rules: what was promised leaves once, from whoever owns it, and what becomes of it is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from contracts.commands import Merge, Reply
from contracts.envelope import Command
from contracts.ticket import Attachment, Status
from kit.errors import Passing
from services.ingest.channels.channel import Channel
from services.ingest.core.messages import HttpCall, MailOut, Refused, Rendered, SendOutcome, Sent, Upload
from services.ingest.core.policy import TicketPolicy
from services.ingest.handlers import policy_of
from services.ingest.outgoing import WayOut
from services.ingest.sender import CONCURRENT, ReplySender
from services.ingest.store import EARLY, TICKETS
from tests.ingest.channels import samples as s
from tests.ingest.worker_rig import AGENT, START, Worker
from tests.kit.fake_store import FakeStore
from tests.kit.raw import Raw


@dataclass
class FakeWire:
    """Takes what is sent; `outcomes` are the next answers, `before` runs while a message is on its way."""

    sent: list[Rendered] = field(default_factory=list)
    outcomes: list[SendOutcome] = field(default_factory=list)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    before: asyncio.Event | None = None
    faults: list[Exception] = field(default_factory=list)

    async def carry(self, rendered: Rendered, channel: Channel) -> SendOutcome:
        self.sent.append(rendered)
        self.begun.set()
        if self.before is not None:
            await self.before.wait()
        if self.faults:
            raise self.faults.pop(0)
        return self.outcomes.pop(0) if self.outcomes else Sent(f"provider-{len(self.sent)}")


class Owning:
    def __init__(self, *partitions: int) -> None:
        self.partitions = list(partitions)

    def owned(self, topic: str) -> list[int]:
        return self.partitions


ALL = (0, 1, 2, 3)


def sender(worker: Worker, wire: FakeWire, *partitions: int) -> ReplySender:
    def policy(channel: str, account: str) -> TicketPolicy:
        return policy_of(worker.accounts.named(channel, account))

    way = WayOut(
        worker.store, worker.threads, worker.broker, wire, lambda: worker.accounts, worker.outside,
        commands="deskbus.commands.v1",
    )  # fmt: skip
    return ReplySender(worker.tickets, worker.store, Owning(*partitions), way, policy, worker.clock, farewell=0.2)


async def served(sender: ReplySender) -> None:
    """Let the sender do what is due now, to the end."""
    await sender.serve()
    while sender._busy:
        await asyncio.gather(*sender._busy.values())


async def promised(worker: Worker, text: str = "On its way", **fields: object) -> str:
    if not worker.events():
        await worker.take(worker.says("Where?", "m1"))
    ticket = worker.ticket().id
    command = Reply(by=AGENT, text=text, **fields)
    await worker.take(worker.asks(command, ticket, text))
    return ticket


async def test_a_reply_leaves_once_and_is_told() -> None:
    worker, wire = Worker(), FakeWire()
    await promised(worker)
    for _ in range(3):
        await served(sender(worker, wire, *ALL))
    (call,) = wire.sent
    assert isinstance(call, HttpCall)
    assert json.loads(call.body)["text"] == "On its way"
    assert worker.types() == ["ticket.opened", "message.sent", "ticket.status_changed"]
    assert worker.events()[1].data.message.channel_message_id == "provider-1"


async def test_only_the_owner_of_the_partition_sends() -> None:
    worker, wire = Worker(), FakeWire()
    ticket = await promised(worker)
    home = worker.tickets.home_partition(ticket)
    assert home is not None
    await served(sender(worker, wire, *(p for p in ALL if p != home)))
    assert wire.sent == []
    await served(sender(worker, wire, home))
    assert len(wire.sent) == 1


async def test_two_that_believe_to_own_it_send_once() -> None:
    worker, wire = Worker(), FakeWire()
    await promised(worker)
    await asyncio.gather(served(sender(worker, wire, *ALL)), served(sender(worker, wire, *ALL)))
    assert len(wire.sent) == 1
    assert worker.types().count("message.sent") == 1


async def test_what_a_dead_process_had_begun_is_sent_again_with_the_same_id_after_its_lease() -> None:
    worker, wire = Worker(), FakeWire(before=asyncio.Event())
    await promised(worker)
    dying = sender(worker, wire, *ALL)
    await dying.serve()
    await wire.begun.wait()
    for task in dying._busy.values():
        task.cancel()
    alive = sender(worker, FakeWire(), *ALL)
    await served(alive)
    assert "message.sent" not in worker.types()
    worker.clock.advance(61)
    await served(alive)
    assert worker.types()[1:] == ["message.sent", "ticket.status_changed"]
    assert worker.events()[1].data.attempts == 2


async def test_replies_of_one_ticket_leave_in_their_order() -> None:
    worker, wire = Worker(), FakeWire(outcomes=[Refused("away", permanent=False)])
    await promised(worker, "first")
    await promised(worker, "second")
    for _ in range(4):
        await served(sender(worker, wire, *ALL))
        worker.clock.advance(5)
    texts = [json.loads(call.body)["text"] for call in wire.sent if isinstance(call, HttpCall)]
    assert texts == ["first", "first", "second"]


@pytest.mark.parametrize("text", ["", " \n"])
async def test_what_cannot_be_rendered_fails_for_good(text: str) -> None:
    worker, wire = Worker(), FakeWire()
    await worker.take(worker.says("Where?", "m1"))
    ticket = worker.ticket().id
    await worker.take(worker.asks(Reply.model_construct(by=AGENT, text=text or " ", attachments=()), ticket))
    await served(sender(worker, wire, *ALL))
    assert wire.sent == []
    assert worker.types()[-1] == "message.failed"
    assert worker.events()[-1].data.permanent


async def test_a_report_that_comes_before_the_answer_is_not_lost() -> None:
    worker, wire = Worker(), FakeWire()
    await promised(worker)
    report = worker.raw(json.dumps({"type": "status", "message_id": "provider-1", "state": "delivered"}).encode())
    await worker.take(report)
    assert worker.types() == ["ticket.opened"]
    await served(sender(worker, wire, *ALL))
    assert worker.types() == ["ticket.opened", "message.sent", "ticket.status_changed", "message.delivered"]
    await worker.take(report)
    assert worker.types().count("message.delivered") == 1


class ClaimingStore(FakeStore):
    """Somebody claims the message just after it was looked for, and had looked for reports before."""

    def __init__(self) -> None:
        super().__init__()
        self.claim: Callable[[], Awaitable[None]] | None = None

    async def insert(self, collection: str, documents: Sequence[Mapping[str, Any]]) -> set[str]:
        if collection == EARLY and self.claim is not None:
            await self.claim()
        return await super().insert(collection, documents)


async def test_a_report_whose_message_is_claimed_while_it_is_kept_is_taken_at_once() -> None:
    store = ClaimingStore()
    worker, wire = Worker(store), FakeWire()
    ticket = await promised(worker)
    await served(sender(worker, wire, *ALL))
    message = worker.events()[1].data.message.id
    store.claim = lambda: worker.threads.claim_sent("webhook", "allegro-pl", "late-id", ticket, message)
    await worker.take(worker.raw(json.dumps({"type": "status", "message_id": "late-id", "state": "read"}).encode()))
    assert worker.types()[-1] == "message.delivered"


async def test_a_report_about_a_message_of_another_system_is_nobodys() -> None:
    worker = Worker()
    report = worker.raw(json.dumps({"type": "status", "message_id": "foreign", "state": "read"}).encode())
    assert await worker.take(report) == set()
    assert (worker.events(), worker.dead()) == ([], [])


async def test_a_customer_who_answers_our_mail_comes_back_to_its_ticket() -> None:
    worker, wire = Worker(), FakeWire()
    await worker.take(worker.mails("Where?", "<1@x>", References="<0@x>"))
    ticket = worker.ticket().id
    await worker.take(worker.asks(Reply(by=AGENT, text="Here"), ticket))
    wire.outcomes = [Refused("greylisted", permanent=False)]
    await served(sender(worker, wire, *ALL))
    (mail,) = wire.sent
    assert isinstance(mail, MailOut)
    assert b"In-Reply-To: <1@x>" in mail.data
    assert b"<0@x>" in mail.data
    await worker.take(worker.mails("Thanks", "<2@x>", In_Reply_To=mail.message_id))
    assert worker.types()[-1] == "message.received"
    assert worker.events()[-1].subject == ticket


async def test_files_that_are_kept_here_go_along() -> None:
    worker, wire = Worker(), FakeWire()
    await worker.store.put_blob("file1", b"%PDF-1.7")
    await worker.take(worker.mails("Where?", "<1@x>"))
    files = (Attachment(name="label.pdf", media_type="application/pdf", ref="file1"),)
    await worker.take(worker.asks(Reply(by=AGENT, text="Here", attachments=files), worker.ticket().id))
    await served(sender(worker, wire, *ALL))
    (mail,) = wire.sent
    assert isinstance(mail, MailOut)
    assert b"label.pdf" in mail.data


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


async def test_after_a_merge_the_open_question_reaches_the_older_ticket_once() -> None:
    worker, wire = Worker(), FakeWire()
    await worker.take(worker.says("one", "m1", "jan"), worker.says("two", "m2", "ola"))
    old, young = worker.opened()
    await worker.take(worker.asks(Merge(by=AGENT, into=old.id), young.id))
    await served(sender(worker, wire, *ALL))
    (forward,) = [r for r in worker.broker.sent if r.topic == "deskbus.commands.v1"]
    assert Command.parse(forward.value or b"").subject == old.id
    row = Raw("commands", 0, 999, forward.value or b"", forward.key)
    await worker.take(row)
    await worker.take(row)
    last = worker.events()[-1]
    assert (last.type, last.subject, last.data.message.text) == ("deskbus.message.received.v1", old.id, "two")
    assert last.data.ticket.message_count == 2
    assert wire.sent == []


async def test_while_the_store_is_away_nothing_leaves_and_nothing_is_forgotten() -> None:
    worker, wire = Worker(), FakeWire()
    await promised(worker)
    worker.store.away = True
    with pytest.raises(Passing):
        await served(sender(worker, wire, *ALL))
    worker.store.away = False
    await served(sender(worker, wire, *ALL))
    assert len(wire.sent) == 1


async def test_an_answer_that_is_lost_before_it_was_stored_leads_to_another_try_after_the_lease() -> None:
    worker, wire = Worker(), FakeWire(before=asyncio.Event())
    await promised(worker)
    hands = sender(worker, wire, *ALL)
    await hands.serve()
    await wire.begun.wait()
    worker.store.away = True
    assert wire.before is not None
    wire.before.set()
    while hands._busy:
        await asyncio.gather(*hands._busy.values())
    worker.store.away = False
    worker.clock.advance(timedelta(seconds=61).total_seconds())
    await served(hands)
    assert len(wire.sent) == 2
    assert worker.types().count("message.sent") == 1


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
    assert wire.before is not None
    asyncio.get_running_loop().call_soon(wire.before.set)
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


async def test_our_reply_keeps_a_quiet_chat_on_its_ticket() -> None:
    worker, wire = Worker(), FakeWire()
    ticket = await promised(worker)
    worker.clock.advance(11 * 3600)
    await served(sender(worker, wire, *ALL))
    await worker.take(worker.says("Thanks", "m2", after=22 * 3600))  # quiet is 12 hours, from whoever wrote last
    assert [event.subject for event in worker.events() if event.type == "deskbus.message.received.v1"] == [ticket]
    assert len(worker.opened()) == 1
