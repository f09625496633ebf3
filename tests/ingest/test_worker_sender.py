"""The sender's rules: a queued reply leaves once, sent by the owner of its partition, and its outcome is published."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY

from contracts.commands import Merge, Reply
from contracts.envelope import Command
from kit.base.errors import TransientError
from services.ingest.core.messages import HttpCall, MailOut, SendFailure
from services.ingest.store import EARLY
from tests.ingest.channels import samples as s
from tests.ingest.sender_rig import ALL, FakeTransport, reply_queued, sender, served
from tests.ingest.worker_rig import AGENT, Worker
from tests.kit.fake_store import FakeStore
from tests.kit.raw import Raw


async def test_a_reply_leaves_once_and_is_told() -> None:
    worker, wire = Worker(), FakeTransport()
    await reply_queued(worker)
    for _ in range(3):
        await served(sender(worker, wire, *ALL))
    (call,) = wire.sent
    assert isinstance(call, HttpCall)
    assert json.loads(call.body)["text"] == "On its way"
    assert worker.types() == ["ticket.opened", "message.sent", "ticket.status_changed"]
    assert worker.events()[1].data.message.channel_message_id == "provider-1"


async def test_the_first_reply_is_measured_from_the_first_message_and_no_other_is() -> None:
    def measured(part: str) -> float:
        labels = {"channel": "webhook", "marketplace": "allegro"}
        return REGISTRY.get_sample_value(f"deskbus_ingest_first_reply_seconds_{part}", labels) or 0

    worker, wire, before = Worker(), FakeTransport(), [measured("count"), measured("sum")]
    await reply_queued(worker)
    worker.clock.advance(600)
    await served(sender(worker, wire, *ALL))
    waited = (worker.clock.now() - worker.opened()[0].created_at).total_seconds()
    assert waited >= 600
    assert [measured("count"), measured("sum")] == [before[0] + 1, before[1] + waited]
    worker.clock.advance(60)
    await reply_queued(worker, "More")
    await served(sender(worker, wire, *ALL))
    assert worker.types().count("message.sent") == 2
    assert measured("count") == before[0] + 1


async def test_only_the_owner_of_the_partition_sends() -> None:
    worker, wire = Worker(), FakeTransport()
    ticket = await reply_queued(worker)
    home = worker.tickets.home_partition(ticket)
    assert home is not None
    await served(sender(worker, wire, *(p for p in ALL if p != home)))
    assert wire.sent == []
    await served(sender(worker, wire, home))
    assert len(wire.sent) == 1


async def test_two_that_believe_to_own_it_send_once() -> None:
    worker, wire = Worker(), FakeTransport()
    await reply_queued(worker)
    await asyncio.gather(served(sender(worker, wire, *ALL)), served(sender(worker, wire, *ALL)))
    assert len(wire.sent) == 1
    assert worker.types().count("message.sent") == 1


async def test_what_a_dead_process_had_begun_is_sent_again_with_the_same_id_after_its_lease() -> None:
    worker, wire = Worker(), FakeTransport(before=asyncio.Event())
    await reply_queued(worker)
    dying = sender(worker, wire, *ALL)
    await dying.serve()
    await wire.begun.wait()
    for task in dying._busy.values():
        task.cancel()
    alive = sender(worker, FakeTransport(), *ALL)
    await served(alive)
    assert "message.sent" not in worker.types()
    worker.clock.advance(61)
    await served(alive)
    assert worker.types()[1:] == ["message.sent", "ticket.status_changed"]
    assert worker.events()[1].data.attempts == 2


async def test_replies_of_one_ticket_leave_in_their_order() -> None:
    worker, wire = Worker(), FakeTransport(outcomes=[SendFailure("away", permanent=False)])
    await reply_queued(worker, "first")
    await reply_queued(worker, "second")
    for _ in range(4):
        await served(sender(worker, wire, *ALL))
        worker.clock.advance(5)
    texts = [json.loads(call.body)["text"] for call in wire.sent if isinstance(call, HttpCall)]
    assert texts == ["first", "first", "second"]


async def test_each_try_is_signed_with_its_own_time_and_is_the_same_reply() -> None:
    """A receiver refuses a signature that is five minutes old: a try after an outage must not bear the old time."""
    worker, wire = Worker(), FakeTransport(outcomes=[SendFailure("away", permanent=False)])
    await reply_queued(worker)
    tries = []
    for _ in range(2):
        tries.append(worker.clock.now())
        await served(sender(worker, wire, *ALL))
        worker.clock.advance(600)
    first, second = (call for call in wire.sent if isinstance(call, HttpCall))
    assert [int(call.headers["webhook-timestamp"]) for call in (first, second)] == [int(at.timestamp()) for at in tries]
    assert (first.body, first.headers["webhook-id"]) == (second.body, second.headers["webhook-id"])


@pytest.mark.parametrize("text", ["", " \n"])
async def test_what_cannot_be_rendered_fails_for_good(text: str) -> None:
    worker, wire = Worker(), FakeTransport()
    await worker.take(worker.says("Where?", "m1"))
    ticket = worker.ticket().id
    await worker.take(worker.asks(Reply.model_construct(by=AGENT, text=text or " ", attachments=()), ticket))
    await served(sender(worker, wire, *ALL))
    assert wire.sent == []
    assert worker.types()[-1] == "message.failed"
    assert worker.events()[-1].data.permanent


async def test_a_report_that_comes_before_the_answer_is_not_lost() -> None:
    worker, wire = Worker(), FakeTransport()
    await reply_queued(worker)
    report = worker.raw(json.dumps({"type": "status", "message_id": "provider-1", "state": "delivered"}).encode())
    await worker.take(report)
    assert worker.types() == ["ticket.opened"]
    await served(sender(worker, wire, *ALL))
    assert worker.types() == ["ticket.opened", "message.sent", "ticket.status_changed", "message.delivered"]
    await worker.take(report)
    assert worker.types().count("message.delivered") == 1


async def test_a_report_finds_its_message_by_our_id_where_the_providers_never_reached_us() -> None:
    worker, wire = Worker(), FakeTransport()
    await worker.take(worker.raw(s.whatsapp(s.wa_text("Where?")), "wa-th", "whatsapp"))
    await reply_queued(worker)
    await served(sender(worker, wire, *ALL))
    ours = worker.events()[1].data.message.id
    status = {"id": "wamid.OTHER", "status": "delivered", "biz_opaque_callback_data": ours}
    await worker.take(worker.raw(s.whatsapp(statuses=[status]), "wa-th", "whatsapp"))
    assert (worker.types()[-1], worker.events()[-1].data.message_id) == ("message.delivered", ours)


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
    worker, wire = Worker(store), FakeTransport()
    ticket = await reply_queued(worker)
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
    worker, wire = Worker(), FakeTransport()
    await worker.take(worker.mails("Where?", "<1@x>", References="<0@x>"))
    ticket = worker.ticket().id
    await worker.take(worker.asks(Reply(by=AGENT, text="Here"), ticket))
    wire.outcomes = [SendFailure("greylisted", permanent=False)]
    await served(sender(worker, wire, *ALL))
    (mail,) = wire.sent
    assert isinstance(mail, MailOut)
    assert b"In-Reply-To: <1@x>" in mail.data
    assert b"<0@x>" in mail.data
    await worker.take(worker.mails("Thanks", "<2@x>", In_Reply_To=mail.message_id))
    assert worker.types()[-1] == "message.received"
    assert worker.events()[-1].subject == ticket


async def test_after_a_merge_the_open_question_reaches_the_older_ticket_once() -> None:
    worker, wire = Worker(), FakeTransport()
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
    worker, wire = Worker(), FakeTransport()
    await reply_queued(worker)
    worker.store.away = True
    with pytest.raises(TransientError):
        await served(sender(worker, wire, *ALL))
    worker.store.away = False
    await served(sender(worker, wire, *ALL))
    assert len(wire.sent) == 1


async def test_an_answer_that_is_lost_before_it_was_stored_leads_to_another_try_after_the_lease() -> None:
    worker, wire = Worker(), FakeTransport(before=asyncio.Event())
    await reply_queued(worker)
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


async def test_our_reply_keeps_a_quiet_chat_on_its_ticket() -> None:
    worker, wire = Worker(), FakeTransport()
    ticket = await reply_queued(worker)
    worker.clock.advance(11 * 3600)
    await served(sender(worker, wire, *ALL))
    await worker.take(worker.says("Thanks", "m2", after=22 * 3600))  # quiet is 12 hours, from whoever wrote last
    assert [event.subject for event in worker.events() if event.type == "deskbus.message.received.v1"] == [ticket]
    assert len(worker.opened()) == 1
