"""What time makes happen: when a deadline may fire, what it waits for, and what a new policy file does."""

from datetime import timedelta
from typing import Any, cast

import pytest

from contracts.sla import ClockBreached
from kit.base.errors import TransientError
from kit.protocol.timers import Ticker
from services.sla import metrics, store
from services.sla.core.state import TicketClocks, UnknownVersion
from services.sla.settings import SlaSettings
from services.sla.ticker import build_policy_job, build_ticker
from tests.kit.fake_store import Contested
from tests.sla.desk import SIMPLE, Writer, at, book
from tests.sla.rig import Rig

FOR_GOLD = "policies: [{name: gold, match: {tier: gold}, targets: {first_reply: 30m}}]"
FIRST = "policies: [{name: default, targets: {first_reply: 30m}}]"


def ticker_of(rig: Rig) -> Ticker[TicketClocks]:
    return build_ticker(rig.documents, rig.positions, rig.archive, SlaSettings(grace_ms=50), rig.clock)


async def opened(text: str = FIRST) -> tuple[Rig, Writer]:
    rig, write = Rig(book(text)), Writer()
    await rig.archive.refresh()
    await rig.take(write.opened(0))
    return rig, write


async def test_a_deadline_fires_once_and_only_after_the_grace() -> None:
    rig, _ = await opened()
    ticker = ticker_of(rig)
    rig.clock.set(at(30))
    assert await ticker.tick() == 0
    rig.clock.advance(0.050)
    assert await ticker.tick() == 1
    assert await ticker.tick() == 0
    assert rig.sent.types == ["clock_started", "breached"]
    breach = rig.sent.events[-1].data
    assert isinstance(breach, ClockBreached)
    assert (breach.breached_at, breach.noticed_at) == (at(30), at(30) + timedelta(milliseconds=50))


async def test_a_deadline_waits_until_everything_that_was_there_has_been_handled() -> None:
    rig, write = await opened()
    ticker = ticker_of(rig)
    rig.positions.behind = True
    rig.clock.set(at(31))
    assert await ticker.tick() == 0
    await rig.take(write.replied(29.9))  # it was in the topic all along
    rig.positions.behind = False
    rig.clock.set(at(32))
    assert await ticker.tick() == 0
    assert rig.sent.types == ["clock_started", "met"]


async def test_only_the_owner_of_a_ticket_runs_its_clocks() -> None:
    rig, _ = await opened()
    rig.clock.set(at(31))
    rig.positions.mine = [1]
    assert await ticker_of(rig).tick() == 0
    rig.positions.mine = [0, 1]
    assert await ticker_of(rig).tick() == 1


async def test_events_of_clocks_are_numbered_without_a_gap() -> None:
    rig, write = await opened(SIMPLE)
    for event in (write.replied(1), write.received(2), write.status(3, "pending"), write.closed(9)):
        await rig.take(event)
    assert [event.sequence for event in rig.sent.events] == list(range(1, len(rig.sent.events) + 1))
    assert {event.source for event in rig.sent.events} == {"/deskbus/sla"}
    assert {event.subject for event in rig.sent.events} == {"t-1"}


async def test_a_ticket_is_held_to_the_policies_it_was_opened_under_by_every_process() -> None:
    rig, write = await opened()
    other = Rig(book(FIRST.replace("30m", "5m")), rig.store)  # a replica that starts with the new file
    await other.archive.refresh()
    with pytest.raises(UnknownVersion):
        other.archive.version(rig.disk.version)
    await other.take(write.noted(10))
    assert other.sent.events == []
    other.clock.set(at(31))
    assert await ticker_of(other).tick() == 1
    assert other.sent.types == ["breached"]


async def test_a_process_recalls_all_policies_when_it_starts() -> None:
    rig, _ = await opened()
    other = Rig(book(FIRST.replace("30m", "5m")), rig.store)
    await other.archive.load_latest()
    assert other.archive.version(rig.disk.version) == rig.disk


async def test_policies_that_are_lost_are_replaced_by_those_in_force() -> None:
    rig, _ = await opened()
    rig.store.rows[store.ARCHIVE].clear()
    other = Rig(book(FIRST.replace("30m", "5m")), rig.store)
    await other.archive.ensure_loaded([rig.disk.version])
    assert other.archive.version(rig.disk.version) is other.archive.current


async def test_timers_do_not_wait_for_a_ticket_whose_policies_are_being_looked_up() -> None:
    rig, _ = await opened()
    other = Rig(book(FIRST.replace("30m", "5m")), rig.store)
    await other.take(Writer("t-2").opened(0))
    other.clock.set(at(31))
    await ticker_of(other).tick()
    assert [event.subject for event in other.sent.events if event.type.endswith("breached.v1")] == ["t-2"]


async def test_a_new_file_is_in_force_only_once_it_is_archived() -> None:
    rig, _ = await opened()
    old, rig.disk = rig.disk, book(FIRST.replace("30m", "5m"))
    rig.store.away = True
    with pytest.raises(TransientError):
        await rig.archive.refresh()
    assert rig.archive.current == old
    rig.store.away = False
    assert await rig.archive.refresh() is True
    assert rig.archive.current == rig.disk


@pytest.mark.parametrize(("on_change", "due"), [("keep", 30), ("rebase", 40)])
async def test_a_new_file_touches_running_clocks_only_if_it_says_so(on_change: str, due: float) -> None:
    rig, _ = await opened()
    rig.disk = book(FIRST.replace("30m", "40m")).model_copy(update={"on_change": on_change})
    rig.clock.set(at(10))
    await build_policy_job(rig.documents, rig.archive, rig.clock)()
    rows = await rig.store.find(store.COLLECTION, {})
    assert cast("Any", rows[0]["due"]) == at(due)


async def test_an_old_process_does_not_take_clocks_back_to_its_old_file() -> None:
    rig, write = await opened("on_change: rebase\n" + FIRST)
    old_job = build_policy_job(rig.documents, rig.archive, rig.clock)
    await old_job()
    other = Rig(book("on_change: rebase\n" + FIRST.replace("30m", "40m")), rig.store)
    await other.archive.load_latest()
    await build_policy_job(other.documents, other.archive, other.clock)()
    assert other.sent.types == ["cancelled", "clock_started"]
    await rig.archive.load_latest()
    await old_job()
    await rig.take(write.noted(5))
    assert rig.sent.types == ["clock_started"]


async def test_a_rebase_finds_every_open_ticket_also_those_without_a_live_clock() -> None:
    rig, write = await opened()
    await rig.take(write.replied(1))
    closed = Writer("t-2")
    for event in (closed.opened(0), closed.closed(1)):
        await rig.take(event)
    rig.disk = book("on_change: rebase\n" + FIRST.replace("first_reply", "next_reply"))
    job = build_policy_job(rig.documents, rig.archive, rig.clock)
    await job()
    bound = {row["_id"]: row["state"]["version"] == rig.disk.version for row in await rig.store.find("clocks", {})}
    assert bound == {"t-1": True, "t-2": False}
    await rig.take(write.received(10))
    assert rig.sent.types[-1] == "clock_started"


async def test_a_rebase_goes_over_more_tickets_than_a_page_and_then_rests() -> None:
    rig, _ = await opened()
    for number in range(450):
        await rig.take(Writer(f"s-{number}").opened(0))
    rig.disk = book("on_change: rebase\n" + FIRST.replace("30m", "40m"))
    job = build_policy_job(rig.documents, rig.archive, rig.clock)
    await job()
    assert {row["due"] for row in await rig.store.find(store.COLLECTION, {}, limit=999)} == {at(40)}
    await job()
    rig.store.away = True  # there is nothing left to ask it for
    await job()


async def test_a_ticket_whose_policies_are_not_known_here_is_rebased_once_they_are_looked_up() -> None:
    rig, _ = await opened()
    other = Rig(book("on_change: rebase\n" + FIRST.replace("30m", "40m")), rig.store)
    job = build_policy_job(other.documents, other.archive, other.clock)
    await job()
    assert other.sent.types == []
    await job()
    assert other.sent.types == ["cancelled", "clock_started"]


async def test_a_ticket_that_another_writes_meanwhile_is_rebased_in_the_next_turn() -> None:
    rig, write = await opened()
    rig.disk = book("on_change: rebase\n" + FIRST.replace("30m", "40m"))
    job = build_policy_job(rig.documents, rig.archive, rig.clock)
    edit, turns = rig.documents.edit, 0

    async def overtaken(*args: Any, **more: Any) -> Any:
        nonlocal turns
        turns += 1
        return await edit(*args, **more) if turns > 1 else {}

    rig.documents.edit = overtaken  # type: ignore[method-assign]
    await job()
    await job()
    assert rig.sent.types[-2:] == ["cancelled", "clock_started"]
    assert write.sequence == 1


async def test_the_latest_policies_are_recalled_and_older_ones_are_still_answered_for() -> None:
    rig, _ = await opened()
    first = rig.disk
    for minutes in range(31, 34):
        rig.clock.advance(60)
        rig.disk = book(FIRST.replace("30m", f"{minutes}m"))
        await rig.archive.refresh()
    other = Rig(rig.disk, rig.store)
    await other.archive.load_latest(2)
    second = book(FIRST.replace("30m", "32m"))
    assert other.archive.version(second.version) == second
    with pytest.raises(UnknownVersion):
        other.archive.version(first.version)
    await other.archive.ensure_loaded([first.version, "no such version"])
    assert other.archive.version(first.version) == first
    assert other.archive.version("no such version") == other.archive.current


async def test_a_breach_is_counted_once_however_often_it_is_decided() -> None:
    fake, write = Contested(), Writer()
    rig = Rig(book(FIRST), fake)
    await rig.archive.refresh()
    counters = [metrics.STARTED.labels("first_reply"), metrics.BREACHES.labels("first_reply", "shopee", "nimbus")]
    before = [counter._value.get() for counter in counters]
    fake.loses["t-1"] = 2
    await rig.take(write.opened(0))
    ticker = ticker_of(rig)
    rig.clock.set(at(31))
    fake.loses["t-1"] = 1
    assert [await ticker.tick(), await ticker.tick()] == [0, 1]
    assert [counter._value.get() for counter in counters] == [count + 1 for count in before]


@pytest.mark.parametrize(("text", "count"), [(FIRST, 0), (FOR_GOLD, 1)])
async def test_a_ticket_without_a_policy_is_counted_when_it_is_first_written(text: str, count: int) -> None:
    before = metrics.UNMATCHED._value.get()
    rig, write = await opened(text)
    await rig.take(write.received(1))
    assert metrics.UNMATCHED._value.get() == before + count
