"""Ingest's documents, made again from what Kafka has, are those that ingest stored; whatever people wrote and did."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cli.ingest_history import IngestHistory
from cli.reading import TopicRecord
from cli.rebuild import Report
from cli.rebuild_ingest import IngestRebuild, Known, Source
from contracts.commands import AddNote, HandOff, Merge, Reply, SetFacts, SetPriority, SetStatus, SetTags
from contracts.envelope import Event
from contracts.ticket import Author, AuthorKind, Priority, Status
from contracts.tickets import MessageFailed, TicketEvent
from contracts.topics import COMMAND, CONTACTS, INBOUND, TICKETS
from services.ingest.channels.compose import message_id_of
from services.ingest.core.messages import SendFailure, Sent
from services.ingest.core.state import MESSAGES, TAKEN
from services.ingest.core.ticket import fire
from services.ingest.handlers import Parsing
from services.ingest.store import THREADS, TICKET_KIND
from tests.fake_clock import FakeClock
from tests.ingest.sender_rig import ALL, FakeTransport, sender, served
from tests.ingest.worker_rig import AGENT, START, Broker, Worker
from tests.kit.fake_store import FakeStore
from tests.kit.raw import Raw

BOT = Author(kind=AuthorKind.BOT, id="b1")
STORIES = int(os.environ.get("DESKBUS_STORIES", "40"))
HELP = next(each for each in Worker().accounts.accounts if each.name == "help-korale")
PEOPLE = ("jan", "ewa", "kim")
OUTCOMES: dict[str, Sent | SendFailure] = {
    "sent": Sent("provider"),
    "refused": SendFailure("no", permanent=True),
    "unsure": SendFailure("timed out", permanent=False, unsure=True),
    "later": SendFailure("busy", permanent=False),
}


class Past:
    """A worker and a sender, and everything that Kafka has of them."""

    def __init__(self, worker: Worker | None = None) -> None:
        self.worker, self.wire = worker or Worker(), FakeTransport()
        self.sender = sender(self.worker, self.wire, *ALL)
        self.heard: list[TopicRecord] = []
        self.mails: list[str] = []
        self.last: list[Raw] = []
        self._numbers = 0

    def gone_on(self, store: FakeStore) -> Past:
        """Return a worker that goes on from here with another store."""
        clock = FakeClock(self.worker.clock.now())
        past = Past(Worker(store, clock, Broker(list(self.worker.broker.sent))))
        past.worker._offsets = count(100_000)
        past.mails, past.last, past._numbers = list(self.mails), list(self.last), self._numbers
        return past

    @property
    def after(self) -> float:
        return (self.worker.clock.now() - START).total_seconds()

    def number(self) -> str:
        self._numbers += 1
        return str(self._numbers)

    async def take(self, *rows: Raw) -> None:
        """Handle records as one batch, and whatever ingest asks of itself because of them."""
        for row in rows:
            topic = COMMAND if row.topic == "commands" else INBOUND
            at = int(self.worker.clock.now().timestamp() * 1000)
            self.heard.append(TopicRecord(topic, row.partition, row.offset, row.key, row.value, list(row.headers), at))
        self.last = list(rows)
        assert await self.worker.take(*rows) == set()
        self.worker.clock.advance(1)

    async def chat(self, person: int, conversation: int, order: int, *, automated: bool = False) -> None:
        more: dict[str, Any] = {"order_ref": f"o{order}"} if order else {}
        number = self.number()
        await self.take(
            self.worker.says(
                f"hello {number}",
                number,
                PEOPLE[person],
                self.after,
                conversation=f"g{conversation}",
                automated=automated,
                **more,
            )
        )

    def ids(self) -> list[str]:
        """Message-IDs that a customer may answer: theirs, and ours."""
        sent = [e.data.message.channel_message_id for e in self.worker.events() if e.type.endswith("message.sent.v1")]
        return [*self.mails, *(each for each in sent if each and each.startswith("<"))]

    async def mail(self, person: int, answers: int, said: str | None, alias: bool) -> None:
        """Write a mail that answers the last ones, so many; -1: the very first."""
        number = f"<{self.number()}@x>"
        known, headers = self.ids(), dict[str, str]()
        if answers and known:
            named = known[:1] if answers < 0 else known[-answers:]
            headers = {"In_Reply_To": named[-1], "References": " ".join(named)}
        self.mails.append(number)
        to = "help@azure.example" if alias else "help@korale.example"
        await self.take(
            self.worker.mails(
                f"text {number}",
                number,
                f"{PEOPLE[person]}@example.org",
                self.after,
                to,
                "help-korale",
                said,
                subject=f"Parcel {len(known) % 2}",
                **headers,
            )
        )

    def ticket(self, which: int) -> str:
        tickets = sorted({event.subject for event in self.worker.events()})
        return tickets[which % len(tickets)] if tickets else "nobody"

    async def ask(self, which: int, data: Any) -> None:
        await self.take(self.worker.asks(data, self.ticket(which), self.number()))

    async def again(self) -> None:
        await self.take(*self.last)

    async def serve(self, outcome: str) -> None:
        """Make the attempts that are due, then hand over what was forwarded."""
        self.worker.clock.advance(600)
        self.wire.outcomes = [OUTCOMES[outcome]] * 50
        before = len(self.worker.broker.sent)
        await served(self.sender)
        self.worker.clock.advance(1)
        for sent in self.worker.broker.sent[before:]:
            if sent.topic == COMMAND:
                await self.take(Raw("commands", 0, 10_000 + len(self.heard), sent.value or b"", sent.key))

    async def report(self, state: str) -> None:
        sent = [e.data for e in self.worker.events() if e.type.endswith("message.sent.v1")]
        own = [data.message for data in sent if data.ticket.channel == "webhook"]
        if own:
            body = {"type": "status", "message_id": own[-1].channel_message_id, "state": state}
            await self.take(self.worker.raw(json.dumps(body).encode(), after=self.after))

    async def wait(self, hours: float) -> None:
        self.worker.clock.advance(hours * 3600)
        now = self.worker.clock.now()
        for row in await self.worker.store.due(TICKET_KIND.collection, ALL, now, 100):
            await self.worker.tickets.change(row["_id"], lambda state: None if state is None else fire(state, now))

    async def step(self, name: str, *values: Any) -> None:
        await getattr(self, name)(*values)


async def restored(
    past: Past, *, without: tuple[str, ...] = (), into: FakeStore | None = None, handled: int = 1_000_000
) -> tuple[Any, Report]:
    """Rebuild into another store. With a store in `into`, compare it.

    `without`: topics that Kafka no longer has. `handled`: the group's position in the topics that it read.
    """
    worker, store = past.worker, into or FakeStore()
    report = Report(compared=into is not None)
    with IngestHistory() as history:
        source = Source(
            history, Parsing(lambda: worker.accounts, worker.secrets), None if into is not None else store, report
        )
        for topic, put in ((TICKETS, history.say), (CONTACTS, history.contact)):
            for record in worker.broker.sent:
                if record.topic == topic:
                    put(Event.parse(record.value or b""), record.value or b"")
        for heard in past.heard:
            if heard.topic not in without:
                await source.hear(heard, (heard.topic, heard.partition, heard.offset))
        history.index()
        positions = {(topic, 0): handled for topic in (INBOUND, COMMAND)}
        whole: Any = store
        work = IngestRebuild(history, Known(history, worker.accounts), whole, report, positions, {INBOUND, COMMAND})
        await work.run(4, "")
    return store, report


def stored(store: Any, collection: str) -> dict[str, dict[str, Any]]:
    return {name: _told(row) for name, row in store.rows.get(collection, {}).items()}


def _told(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row without what belongs to its writes, and what nothing in Kafka tells."""
    row = {name: value for name, value in row.items() if name not in {"version", "outbox", "trace"}}
    state = dict(row.get("state") or {})
    state.pop("send_at", None)
    if "taken" in state:
        state["taken"], state["commands"] = sorted(set(state["taken"])), sorted(state["commands"])
        unknown = {"attempts", "begun", "doubtful", "next_at", "asked_at", "lost"}
        state["pending"] = [{k: v for k, v in each.items() if k not in unknown} for each in state["pending"]]
    return row | {"state": state}


def claims(store: Any) -> dict[str, tuple[Any, ...]]:
    names = ("ticket", "message", "places")
    return {
        row["_id"]: tuple(row.get(name) for name in names) if "ticket" in row else (row["contact"],)
        for row in store.rows.get(THREADS, {}).values()
    }


def untold(past: Past) -> set[str]:
    """Return the messages of which nothing tells whether they were tried."""
    failed = {e.data.message.id for e in past.worker.events() if e.type.endswith("message.failed.v1")}
    tickets = past.worker.store.rows.get("tickets", {}).values()
    return failed | {each["message"]["id"] for row in tickets for each in row["state"]["pending"]}


text = st.sampled_from(["a", "b"])
who = st.integers(0, 2)
which = st.integers(0, 5)
commands = st.one_of(
    st.builds(Reply, by=st.sampled_from([AGENT, AGENT, BOT]), text=text, status=st.sampled_from([None, Status.SOLVED])),
    st.builds(AddNote, by=st.just(AGENT), text=text),
    st.builds(SetStatus, by=st.just(AGENT), status=st.sampled_from(Status)),
    st.builds(SetPriority, by=st.just(AGENT), priority=st.sampled_from(Priority)),
    st.builds(SetTags, by=st.just(AGENT), add=st.tuples(text)),
    st.builds(SetFacts, by=st.just(AGENT), order_ref=text),
    st.builds(HandOff, by=st.just(BOT)),
)
steps = st.one_of(
    st.tuples(st.just("chat"), who, st.integers(0, 1), st.integers(0, 1)),
    st.tuples(st.just("mail"), who, st.integers(-1, 3), st.sampled_from(["pass", None]), st.booleans()),
    st.tuples(st.just("ask"), which, commands),
    st.tuples(st.just("merge"), which, which),
    st.tuples(st.just("serve"), st.sampled_from(list(OUTCOMES))),
    st.tuples(st.just("report"), st.sampled_from(["delivered", "read", "failed"])),
    st.tuples(st.just("again")),
    st.tuples(st.just("wait"), st.sampled_from([0.1, 13, 24 * 15])),
)


async def _merge(past: Past, one: int, other: int) -> None:
    """Merge the younger of two tickets into the older one."""
    first, second = sorted((past.ticket(one), past.ticket(other)))
    if first != second:
        await past.take(past.worker.asks(Merge(by=AGENT, into=first), second, past.number()))


async def happened(story: list[tuple[Any, ...]], past: Past | None = None) -> Past:
    past = past or Past()
    for name, *values in story:
        if name == "merge":
            await _merge(past, *values)
        else:
            await past.step(name, *values)
    return past


@given(st.lists(steps, min_size=3, max_size=14))
@settings(max_examples=STORIES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_documents_are_the_same_again(story: list[tuple[Any, ...]]) -> None:
    async def check() -> None:
        past = await happened(story)
        before, (after, report) = past.worker.store, await restored(past)
        assert report.differences == []
        for collection in ("tickets", "contacts", MESSAGES, TAKEN):
            assert stored(after, collection) == stored(before, collection)
        held, made = claims(before), claims(after)
        unsure = {name for name in made.keys() - held.keys() if made[name][1] in untold(past)}
        assert {name: held.get(name) for name in made.keys() - unsure} == {n: made[n] for n in made.keys() - unsure}
        assert held.keys() <= made.keys()
        _, compared = await restored(past, into=before)
        assert compared.differences == []
        assert [line for line in compared.remarks if "no outcome" not in line] == []

    asyncio.run(check())


def outlined(events: Sequence[Event]) -> list[tuple[Any, ...]]:
    """Return what was published, with tickets numbered as they appear, since new ones have random ids."""
    numbers: dict[str, int] = {}
    return [
        (
            event.type,
            event.sequence,
            numbers.setdefault(event.subject, len(numbers)),
            numbers.setdefault(event.data.ticket.linked_to or "", -len(numbers)),
            event.data.ticket.status,
            event.data.ticket.nth_contact,
            event.data.ticket.oldest_unanswered_at,
        )
        for event in events
        if isinstance(event.data, TicketEvent)
    ]


SOLVED = SetStatus(by=AGENT, status=Status.SOLVED)
CLOSED: list[tuple[Any, ...]] = [("mail", 0, 0, "pass", False), ("ask", 0, SOLVED), ("wait", 24 * 15)]
ANSWER, STRANGER = ("mail", 0, -1, "pass", False), ("mail", 1, -1, None, False)


@given(st.lists(steps, min_size=3, max_size=12), st.lists(steps, min_size=1, max_size=8))
@example([*CLOSED, ANSWER], [ANSWER])  # the thread goes on in the ticket after the closed one
@example([*CLOSED, STRANGER], [ANSWER, STRANGER])  # a stranger's own ticket is not that one
@example([("mail", 0, 0, "pass", False), STRANGER], [STRANGER, ANSWER])
@settings(max_examples=STORIES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_follows_is_the_same_as_without_the_loss(
    story: list[tuple[Any, ...]], further: list[tuple[Any, ...]]
) -> None:
    async def check() -> None:
        past = await happened(story)
        for _ in range(40):  # nothing waits to be sent, so that nothing is lost
            await past.serve("sent")
        store, _ = await restored(past)
        again, kept = past.gone_on(store), past.gone_on(past.worker.store)
        await happened(further, kept)
        await happened(further, again)
        assert outlined(again.worker.events()) == outlined(kept.worker.events())

    asyncio.run(check())


async def test_a_reply_without_an_outcome_fails_and_an_answer_to_it_finds_its_ticket() -> None:
    past = await happened([("mail", 0, 0, None, False), ("ask", 0, Reply(by=AGENT, text="Here"))])
    await past.serve("unsure")
    store, report = await restored(past)
    assert any("1 replies have no outcome" in line for line in report.lines())
    again = past.gone_on(store)
    await again.serve("sent")
    assert again.wire.sent == []
    failed = again.worker.events()[-1]
    assert isinstance(failed.data, MessageFailed)
    assert "does not tell whether this message was sent" in failed.data.error
    own = message_id_of(failed.data.message.id, HELP)
    await again.take(
        again.worker.mails("Thanks", "<z@x>", "jan@example.org", again.after, account="help-korale", In_Reply_To=own)
    )
    assert again.worker.types()[-1] == "message.received"


async def test_without_raw_messages_an_answer_finds_its_ticket_and_it_is_told() -> None:
    past = await happened(
        [
            ("mail", 0, 0, "pass", False),
            ("mail", 0, 1, "pass", False),
            ("chat", 1, 0, 1),
            ("ask", 1, Reply(by=AGENT, text="a")),
        ]
    )
    await past.serve("sent")
    store, report = await restored(past, without=(INBOUND,))
    assert any(line.startswith("3 messages without their raw record") for line in report.lines())
    _, compared = await restored(past, without=(INBOUND,), into=past.worker.store)
    assert compared.differences == []
    again = past.gone_on(store)
    for step in (("mail", 0, -1, "pass", False), ("mail", 0, 1, "pass", False), ("chat", 1, 0, 1)):
        await again.step(*step)
    assert len(again.worker.opened()) == 2


async def test_a_command_that_was_not_handled_is_left_to_ingest() -> None:
    past = await happened([("chat", 0, 0, 0), ("ask", 0, Reply(by=AGENT, text="a"))])
    place = past.heard[-1].offset
    store, report = await restored(past, handled=place)
    assert report.remarks == []
    (row,) = store.rows["tickets"].values()
    assert row["state"]["pending"] == []
    assert row["state"]["commands"] == []
    await past.serve("sent")
    store, _ = await restored(past, handled=place)
    (row,) = store.rows["tickets"].values()
    assert len(row["state"]["commands"]) == 1, "its outcome names it, so it was handled"


async def test_what_differs_is_listed() -> None:
    past = await happened([("chat", 0, 0, 0), ("mail", 1, 0, "pass", False)])
    store = past.worker.store
    for collection, field in ((THREADS, "ticket"), (MESSAGES, "kind")):
        row = next(row for row in store.rows[collection].values() if field in row)
        row[field] = "other"
    ticket = past.ticket(0)
    store.rows["tickets"][ticket]["state"]["participants"] = []
    store.rows["contacts"]["somebody"] = {"_id": "somebody", "version": 1}
    _, report = await restored(past, into=store)
    assert any(each.startswith(f"{ticket}: state.participants") for each in report.differences)
    assert {each.partition("/")[0] for each in report.differences} >= {MESSAGES}
    assert "1 stored contacts have no record left in Kafka, such as somebody" in report.remarks
