"""Tickets with more messages than they remember: each is taken once, however late it comes again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from contracts.commands import Forward, Reply
from contracts.ticket import Author, AuthorKind, Direction, Message
from services.ingest.core.commands import SOURCE
from services.ingest.core.moves import SYSTEM
from services.ingest.core.state import MESSAGES, TAKEN_CAP, Draft, TicketState, message_document, taken_id
from services.ingest.store import TICKETS
from tests.ingest.channels import samples as s
from tests.ingest.sender_rig import ALL, FakeTransport, reply_queued, sender, served
from tests.ingest.worker_rig import AGENT, START, Worker
from tests.kit.fake_store import FakeStore, Row
from tests.kit.raw import Raw

BEYOND = TAKEN_CAP + 100


def texts(worker: Worker) -> list[str]:
    return [event.data.message.text for event in worker.events()]


def says(worker: Worker, numbers: range) -> list[Raw]:
    return [worker.says(f"text {n}", f"m{n}") for n in numbers]


async def test_one_webhook_with_more_messages_than_a_ticket_remembers_ends() -> None:
    worker = Worker()
    many = [s.wa_text(f"text {n}", f"wamid.{n}") for n in range(2500)]
    row = worker.raw(s.whatsapp(*many), "wa-th", "whatsapp")
    tries = 1
    while await worker.take(row):
        tries += 1
        assert tries < 10
    assert texts(worker) == [f"text {n}" for n in range(2500)]
    assert (worker.ticket().message_count, len(worker.opened())) == (2500, 1)
    assert await worker.take(row) == set()
    assert len(worker.events()) == 2500


async def test_a_replay_of_what_a_ticket_no_longer_remembers_changes_nothing() -> None:
    worker = Worker()
    first, *rest = says(worker, range(BEYOND))
    await worker.take(first)
    while again := await worker.take(*rest):
        rest = [row for row in rest if row.offset in again]
    assert len(worker.store.rows[TICKETS][worker.ticket().id]["state"]["taken"]) == TAKEN_CAP
    assert await worker.take(first) == set()
    assert len(worker.events()) == len(set(texts(worker))) == BEYOND


async def test_the_document_of_a_message_alone_does_not_prove_that_its_ticket_took_it() -> None:
    """A replica that dies after it, or loses the ticket, leaves the document behind."""
    worker = Worker()
    await worker.take(*says(worker, range(1)))
    ticket, opened = worker.ticket().id, worker.events()[0].data.message
    late = worker.says("late", "late")
    other = Worker()
    await other.take(late)
    message = other.events()[0].data.message
    assert message.id != opened.id
    await worker.store.insert(MESSAGES, [message_document(ticket, message, kind="message")])
    for start in range(1, BEYOND, 500):
        await worker.take(*says(worker, range(start, start + 500)))
    assert await worker.take(late) == set()
    assert texts(worker)[-1] == "late"


async def test_only_what_the_stored_ticket_has_is_let_go_of() -> None:
    """What is new may be lost with the write of the ticket: then nothing may say that it was taken."""
    worker = Worker()
    await worker.take(*says(worker, range(1)))
    ids = [f"m{n}" for n in range(TAKEN_CAP)]
    draft = Draft(TicketState(ticket=worker.ticket(), taken=(*ids[:2],), stored=2), START)
    for each in ids[2:]:
        draft.mark_taken(each)
    assert draft.inserts == []
    for each in ("a", "b", "c"):
        draft.mark_taken(each)
    assert [insert.document["_id"] for insert in draft.inserts] == [taken_id(worker.ticket().id, n) for n in ids[:2]]
    assert draft.state.taken == (*ids[2:], "a", "b", "c")


async def long_ticket(worker: Worker, *first: Raw) -> None:
    """Take a few records, and then as many messages of the ticket as make it let go of them."""
    await worker.take(*first)
    for start in range(1, BEYOND, 500):
        await worker.take(*says(worker, range(start, start + 500)))


async def test_a_forward_that_is_replayed_when_the_ticket_no_longer_remembers_it_changes_nothing() -> None:
    worker = Worker()
    await worker.take(*says(worker, range(1)))
    ticket = worker.ticket().id
    question = Message(
        id="q", direction=Direction.IN, author=Author(kind=AuthorKind.CONTACT, id="c"), text="forwarded", sent_at=START
    )
    data = Forward(by=SYSTEM, message=question, from_ticket_id="other")
    forward = worker.asks(data, ticket, "forward:other:q", source=SOURCE)
    await long_ticket(worker, forward)
    state = worker.store.rows[TICKETS][ticket]["state"]
    state["commands"] = []  # so many others have come since
    assert "q" not in state["taken"]
    count = len(worker.events())
    later = worker.asks(data, ticket, "forward:other:q", source=SOURCE)
    assert await worker.take(later, forward) == set()
    assert len(worker.events()) == count
    assert texts(worker).count("forwarded") == 1


async def test_a_forward_of_a_message_that_a_long_ticket_never_took_is_taken() -> None:
    worker = Worker()
    await long_ticket(worker, *says(worker, range(1)))
    question = Message(
        id="new", direction=Direction.IN, author=Author(kind=AuthorKind.CONTACT, id="c"), text="new", sent_at=START
    )
    data = Forward(by=SYSTEM, message=question, from_ticket_id="other")
    assert await worker.take(worker.asks(data, worker.ticket().id, "forward:other:new", source=SOURCE)) == set()
    assert texts(worker)[-1] == "new"


async def test_a_reply_that_is_replayed_when_the_ticket_no_longer_remembers_it_leaves_no_second_time() -> None:
    worker, wire = Worker(), FakeTransport()
    await reply_queued(worker)
    ticket = worker.ticket().id
    await served(sender(worker, wire, *ALL))
    await long_ticket(worker)
    worker.store.rows[TICKETS][ticket]["state"]["commands"] = []
    count = len(worker.events())
    again = worker.asks(Reply(by=AGENT, text="On its way"), ticket, "On its way")
    assert await worker.take(again) == set()
    await served(sender(worker, wire, *ALL))
    assert (len(wire.sent), len(worker.events())) == (1, count)


async def test_a_reply_that_waits_still_is_not_promised_again() -> None:
    worker, wire = Worker(), FakeTransport()
    ticket = await reply_queued(worker)
    worker.store.rows[TICKETS][ticket]["state"]["commands"] = []
    assert await worker.take(worker.asks(Reply(by=AGENT, text="On its way"), ticket, "On its way")) == set()
    await served(sender(worker, wire, *ALL))
    worker.clock.advance(60)
    await served(sender(worker, wire, *ALL))
    assert len(wire.sent) == 1


class Paused(FakeStore):
    """The next reader of tickets falls asleep just before, until others have done something."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: Callable[[], Awaitable[object]] | None = None

    async def fetch(self, collection: str, ids: Sequence[str]) -> list[Row]:
        if collection == TICKETS and self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            await asyncio.sleep(0)
            await meanwhile()
        return await super().fetch(collection, ids)


async def test_a_replica_that_slept_while_a_ticket_took_its_message_and_forgot_it_takes_it_no_second_time() -> None:
    store = Paused()
    slow = Worker(store)
    fast = Worker(store, slow.clock, slow.broker)
    await slow.take(*says(slow, range(1)))
    row, rest = says(slow, range(1, 2)), says(slow, range(2, BEYOND + 2))

    async def meanwhile() -> None:
        await fast.take(*row)
        for start in range(0, len(rest), 500):
            assert await fast.take(*rest[start : start + 500]) == set()

    store.meanwhile = meanwhile
    assert await slow.take(*row) == set()
    assert len(slow.events()) == len(set(texts(slow))) == BEYOND + 2
