"""The clocks of a ticket, computed again from its events and from what sla said, are the clocks that were stored."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from contracts.dlq import REPLAY_OF
from contracts.envelope import Event
from contracts.sla import ClockStarted
from contracts.topics import TICKETS, retry
from kit.protocol import document
from kit.protocol.deadletter import DeadLetters
from kit.protocol.delivery import Delivery
from kit.protocol.handling import Incoming, event_item
from kit.protocol.restoring import Heard, Restored, fold
from services.sla import store
from services.sla.core.policy import Book
from services.sla.core.restore import RestoreClocks, Shelf
from services.sla.core.state import TicketClocks
from services.sla.settings import SlaSettings
from services.sla.ticker import build_policy_job, build_ticker
from tests.fake_clock import FakeClock
from tests.kit.fake_store import copied
from tests.kit.raw import Raw
from tests.sla.desk import Writer, at, book
from tests.sla.rig import Positions, Rig
from tests.sla.test_properties import POLICIES, stories, written


class Sick:
    """Fails on some events until it is mended."""

    def __init__(self, rig: Rig, sick: Iterable[int]) -> None:
        decide, self.sick = rig.handling.decide, set(sick)

        def failing(state: Any, item: Incoming, now: datetime) -> Any:
            if item.head is not None and item.head.sequence in self.sick:
                raise ValueError("a bug")
            return decide(state, item, now)

        rig.handling.decide = failing  # type: ignore[method-assign]


class Behind(Positions):
    """Owns the only partition, in which everything before the first instant in `waiting` is handled."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.clock, self.waiting = clock, list[datetime]()

    async def handled_until(self, topics: Iterable[str], partitions: Iterable[int]) -> dict[int, datetime]:
        return dict.fromkeys(partitions, min([*self.waiting, self.clock.now()]))


class Past:
    """A history of one ticket as it happens: records, handled some time later, and timers in between."""

    def __init__(self, policies: Book, sick: Iterable[int] = ()) -> None:
        self.rig = Rig(policies)
        self.rig.positions = self.positions = Behind(self.rig.clock)
        letters = DeadLetters("dlq", "sla", self.rig.sent, stop_share=1.0)
        self.rig.delivery = Delivery(self.rig.documents, self.rig.handling, letters)
        self.sick = Sick(self.rig, sick)
        self.ticker = build_ticker(
            self.rig.documents, self.positions, self.rig.archive, SlaSettings(grace_ms=50), self.rig.clock
        )
        self.heard: list[Heard] = []

    async def tick(self) -> None:
        while await self.ticker.tick():
            pass

    async def take(self, event: Event, lag: float, *, replayed: bool = False) -> None:
        """Write an event at its time (a replay: now), and handle it some minutes later."""
        written = self.rig.clock.now() if replayed else event.time
        if replayed:
            self.positions.waiting.insert(0, written)
        self.rig.clock.set(max(self.rig.clock.now(), written + timedelta(minutes=lag)))
        await self.tick()
        headers = [(REPLAY_OF, b"0/0")] if replayed else []
        topic = retry("sla") if replayed else TICKETS
        record = Raw(topic, 0, len(self.heard), event.encode(), headers=headers)
        assert await self.rig.delivery.handle([record]) == set()
        dead = event.sequence in self.sick.sick
        self.heard.append(Heard(event_item(record), written, dead=dead))
        del self.positions.waiting[:1]

    def stored(self) -> dict[str, Any]:
        (row,) = self.rig.store._collection(store.COLLECTION).values()
        assert row.get("outbox", []) == []
        return {name: value for name, value in row.items() if name not in {"outbox", "version"}}

    def restored(self, *books: Book) -> tuple[dict[str, Any], Restored[TicketClocks]]:
        said = [event for event in self.rig.sent.events if event.source == store.SOURCE]  # letters are there too
        shelf = Shelf.of(*(books or (self.rig.disk,)))
        for event in said:
            shelf.note(event)
        restored = fold(RestoreClocks(shelf), "t-1", self.heard, said)
        fields = document.fields(store.KIND, restored.document, 0)
        return copied({"_id": restored.document.id, **fields}), restored


lags = st.lists(st.floats(0, 40), min_size=15, max_size=15)


@given(stories, st.booleans(), lags, st.sets(st.integers(2, 12), max_size=2), st.booleans())
@example([("urgent", 46)], False, [0.0] * 15, set(), False)  # a breach, and an event of the next minute
@settings(max_examples=120)
def test_the_clocks_are_the_same_again(
    story: list[tuple[str, int]], bot: bool, waits: list[float], sick: set[int], replayed: bool
) -> None:
    async def happened() -> Past:
        past = Past(POLICIES, sick)
        events = written(story, bot=bot)
        past.positions.waiting = [event.time for event in events]
        for event, lag in zip(events, waits, strict=False):
            await past.take(event, lag)
            await past.tick()
        if replayed:
            past.sick.sick = set()
            for event in events:
                if event.sequence in sick:
                    await past.take(event, 1, replayed=True)
        past.rig.clock.set(past.rig.clock.now() + timedelta(minutes=120))
        await past.tick()
        return past

    past = asyncio.run(happened())
    row, restored = past.restored()
    assert restored.differences == []
    assert row == past.stored()
    assert not restored.cut


async def test_an_event_that_was_not_handled_yet_is_left_to_the_service() -> None:
    past, write = Past(POLICIES), Writer()
    await past.take(write.opened(0), 0)
    before = past.stored()
    reply = write.replied(5)
    past.heard.append(Heard(event_item(Raw(TICKETS, 0, 1, reply.encode())), reply.time, handled=False))
    row, _ = past.restored()
    assert row == before
    assert not row["seen"]["/deskbus/ingest"]["missing"]


async def test_an_event_beyond_the_committed_position_counts_if_it_was_answered() -> None:
    past, write = Past(POLICIES), Writer()
    await past.take(write.opened(0), 0)
    await past.take(write.replied(5), 0)
    past.heard = [replace(each, handled=False) for each in past.heard]
    row, _ = past.restored()
    assert row == past.stored()


OTHERS = book("on_change: rebase\npolicies: [{name: default, targets: {first_reply: 20m, resolution: 4h}}]")


async def test_a_ticket_is_bound_again_to_the_policies_that_were_in_force_then() -> None:
    first = book("policies: [{name: default, targets: {first_reply: 30m, resolution: 2h}}]")
    past, write = Past(first), Writer()
    await past.rig.archive.refresh()
    await past.take(write.opened(0), 0)
    past.rig.clock.set(at(10))
    past.rig.disk = OTHERS
    await build_policy_job(past.rig.documents, past.rig.archive, past.rig.clock)()
    past.rig.clock.set(at(25))
    await past.tick()
    await past.take(write.replied(26), 0)
    row, restored = past.restored(OTHERS, first)
    assert restored.differences == []
    assert row == past.stored()
    shelf = Shelf.of(OTHERS)
    for event in past.rig.sent.events:
        shelf.note(event)
    assert (shelf.unknown, set(shelf.used)) == ({first.version}, {OTHERS.version})
    _, blind = past.restored(OTHERS)
    assert blind.differences, "without the earlier file, what was promised first is not known"


def test_a_history_that_begins_before_what_is_kept_is_told() -> None:
    write = Writer()
    write.opened(0)
    reply = write.replied(5)
    heard = Heard(event_item(Raw(TICKETS, 0, 0, reply.encode())), reply.time)
    assert fold(RestoreClocks(Shelf.of(POLICIES)), "t-1", [heard], []).cut


async def test_numbers_go_on_where_they_were_although_the_first_events_are_gone() -> None:
    past, write = Past(POLICIES), Writer()
    for event in (write.opened(0), write.replied(5), write.status(6, "pending")):
        await past.take(event, 0)
    said = past.rig.sent.events
    last = said[-1].sequence
    assert last > 2
    del said[:2]
    _, restored = past.restored()
    assert (restored.document.emitted, restored.cut) == (last, True)


async def test_an_answered_record_that_counts_as_taken_is_told() -> None:
    past, write = Past(POLICIES, {2}), Writer()
    for event in (write.opened(0), reply := write.replied(5), write.status(6, "pending")):
        await past.take(event, 0)
    past.sick.sick = set()
    await past.take(reply, 1, replayed=True)
    assert past.restored()[1].differences == []
    past.heard = past.heard[2:]  # older than the retention
    _, restored = past.restored()
    assert restored.cut
    assert any("now already taken, then" in each for each in restored.differences), restored.differences


async def test_records_of_a_partition_keep_their_order_whatever_the_clocks_of_their_producers_say() -> None:
    past, write = Past(POLICIES), Writer()
    for event in (write.opened(0), write.noted(1), write.replied(5), write.noted(6)):
        await past.take(event, 0)
    past.heard[0] = replace(past.heard[0], at=at(7))
    past.heard[3] = replace(past.heard[3], at=at(4))
    row, restored = past.restored()
    assert restored.differences == []
    assert not restored.cut
    assert row == past.stored()


async def test_what_was_said_counts_in_the_order_of_its_numbers_however_it_was_read() -> None:
    past, write = Past(POLICIES), Writer()
    for event in (write.opened(0), write.replied(5), write.status(6, "pending")):
        await past.take(event, 0)
    past.rig.sent.events.reverse()
    row, restored = past.restored()
    assert restored.differences == []
    assert row == past.stored()


async def test_policies_that_came_back_are_in_force_again() -> None:
    first = book("policies: [{name: default, targets: {first_reply: 30m, resolution: 2h}}]")
    past = Past(first)
    await past.take(Writer().opened(0), 0)
    model = next(event for event in past.rig.sent.events if isinstance(event.data, ClockStarted))

    def started(minute: int, policies: Book, number: int) -> Event:
        policy = model.data.policy.model_copy(update={"version": policies.version})
        data = model.data.model_copy(update={"policy": policy, "clock_id": f"t-1:first_reply:{number}"})
        return model.model_copy(update={"data": data, "time": at(minute)})

    shelf, kept = Shelf.of(first, OTHERS), started(20, first, 4)  # the fourth clock of a ticket from before
    for event in (started(0, first, 1), started(10, OTHERS, 1), kept, started(30, first, 1)):
        shelf.note(event)

    def in_force(minute: int, *said: Event) -> Book:
        shelf.turn_to(at(minute), said)
        return shelf.current

    assert [in_force(minute) for minute in (5, 10, 15, 25, 30, 35)] == [first, *[OTHERS] * 3, first, first]
    assert in_force(20, kept) == first


async def test_a_clock_agrees_only_if_it_is_the_same_with_the_same_end_by_the_same_policy() -> None:
    past = Past(POLICIES)
    await past.take(Writer().opened(0), 0)
    data = next(event.data for event in past.rig.sent.events if isinstance(event.data, ClockStarted))
    agrees = RestoreClocks(Shelf.of(POLICIES)).agrees
    assert agrees(data, data)
    policy = data.policy.model_copy(update={"version": "another"})
    for change in ({"clock_id": "t-2:first_reply:1"}, {"due_at": at(99)}, {"policy": policy}):
        assert not agrees(data.model_copy(update=change), data), change
