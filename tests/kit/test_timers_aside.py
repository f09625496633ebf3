"""A document whose timer fails is set aside and stops no other, and how long something has been due is told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from kit.base.errors import TransientError
from kit.protocol.document import OUTBOX_CAP
from kit.protocol.timers import AHEAD, ASIDE_MOST
from tests.kit.test_outbox import START
from tests.kit.test_reading import until
from tests.kit.timer_rig import Rig


async def fails_in_fire(rig: Rig) -> None:
    rig.broken.add("T")


async def does_not_load(rig: Rig) -> None:
    rig.store.rows["docs"]["T"]["state"]["newer"] = True


async def has_a_damaged_row(rig: Rig) -> None:
    del rig.store.rows["docs"]["T"]["version"]


async def is_full(rig: Rig) -> None:
    entries = [{"id": str(n), "sequence": n, "at": START, "event": b""} for n in range(OUTBOX_CAP)]
    rig.store.rows["docs"]["T"]["outbox"] = entries


async def is_refused_by_the_store(rig: Rig) -> None:
    rig.store.refused = frozenset({"T"})


@pytest.mark.parametrize("trouble", [fails_in_fire, does_not_load, has_a_damaged_row, is_full, is_refused_by_the_store])
async def test_a_document_that_fails_stops_no_other(trouble: Callable[[Rig], Awaitable[None]]) -> None:
    rig = Rig()
    for name in ("T", "U", "V"):
        await rig.arm(name, 0.1)
    await trouble(rig)
    await rig.at(0.3)
    assert {row["_id"]: row["version"] for row in await rig.store.find("docs", {"state.due": None})} == {"U": 2, "V": 2}


async def test_a_document_that_fails_is_tried_again_after_growing_waits_and_fires_when_it_can() -> None:
    rig = Rig()
    rig.broken.add("T")
    await rig.arm("T", 0)
    tried: list[float] = []
    for tenths in range(1, 200):
        before = len(rig.tries)
        await rig.at(tenths / 10)
        tried += [tenths / 10] * (len(rig.tries) - before)
    assert tried == [0.1, 1.1, 3.1, 7.1, 15.1]
    rig.broken.clear()
    assert await rig.at(31) == []
    assert await rig.at(31.1) == ["T"]


async def test_waits_of_a_document_that_fails_do_not_grow_without_bound() -> None:
    rig = Rig()
    rig.broken.add("T")
    await rig.arm("T", 0)
    for hours in range(1, 40):
        await rig.at(hours * 3600)
    tries = len(rig.tries)
    await rig.at(39 * 3600 + ASIDE_MOST)
    assert len(rig.tries) == tries + 1


async def test_a_document_that_failed_is_tried_at_once_when_this_process_has_changed_it() -> None:
    rig = Rig()
    rig.broken.add("T")
    await rig.arm("T", 0)
    for seconds in range(1, 10):
        await rig.at(seconds)
    rig.broken.clear()
    await rig.arm("T", 10)
    assert await rig.at(10.1) == ["T"]


async def test_a_document_that_failed_is_tried_at_once_when_it_was_changed_before_the_next_look() -> None:
    rig = Rig()
    rig.broken.add("T")
    await rig.arm("T", 0)
    for seconds in range(1, 10):
        await rig.at(seconds)
    rig.place.mine = []
    await rig.at(9.5)
    rig.broken.clear()
    await rig.arm("T", 10)
    rig.place.mine = [0, 1, 2, 3]
    assert await rig.at(10.1) == ["T"]


async def test_a_clock_that_was_set_back_makes_nobody_rest_for_longer_than_a_period() -> None:
    rig = Rig()
    await rig.at(7200)
    await rig.at(0)
    assert rig.ticker._rest() == pytest.approx(0.5)


async def test_a_document_that_failed_is_as_any_other_once_it_was_not_due_for_a_while() -> None:
    rig = Rig()
    rig.broken.add("T")
    await rig.arm("T", 0)
    for seconds in range(1, 100):
        await rig.at(seconds)
    rig.broken.clear()
    await rig.arm("T", None, rig.other)
    await rig.at(100)
    await rig.arm("T", 101, rig.other)
    assert await rig.at(102) == ["T"]


async def test_more_documents_that_fail_than_a_look_can_hold_stop_no_other() -> None:
    rig = Rig(limit=3)
    for n in range(3 * AHEAD + 5):
        rig.broken.add(f"T{n}")
        await rig.arm(f"T{n}", 1)
    await rig.arm("U", 2)
    for tick in range(100):
        await rig.at(3 + tick * 0.01)
    assert rig.fired == ["U"]


async def test_a_failing_ticker_rests_until_it_is_time_to_try_again() -> None:
    rig = Rig(period=60)
    for name in "TU":
        rig.broken.add(name)
        await rig.arm(name, 0)
    await rig.at(1)
    assert rig.ticker._rest() == pytest.approx(1)


class Failing(Exception):
    """A fault that nobody has foreseen."""


@pytest.mark.parametrize("fault", [TransientError("away"), Failing()])
async def test_a_running_ticker_outlives_what_fails_and_tries_again_a_second_later(
    fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(period=60)
    tried: list[float] = []

    async def due(*_: object) -> list[dict[str, Any]]:
        tried.append(rig.clock.monotonic())
        raise fault

    await rig.arm("T", 0)
    with monkeypatch.context() as patched:
        patched.setattr(rig.store, "due", due)
        running = asyncio.create_task(rig.ticker.run())
        await until(lambda: rig.clock.sleepers == 1)
        rig.clock.advance(0.9)
        await asyncio.sleep(0)
        assert tried == [0.0]
        rig.clock.advance(0.1)
        await until(lambda: len(tried) == 2 or running.done())
    rig.clock.advance(1)
    await until(lambda: rig.fired == ["T"] or running.done())
    running.cancel()
    assert rig.fired == ["T"]


async def test_a_failing_document_that_falls_due_later_is_waited_for_with_the_grace() -> None:
    rig = Rig(period=60)
    await rig.at(0)
    await rig.arm("T", 10)
    assert rig.ticker._rest() == pytest.approx(10.05)
    rig.ticker._set_aside("T", rig.clock.now(), ValueError())
    assert rig.ticker._rest() == pytest.approx(10.05)


async def test_how_long_something_is_due_is_told_until_it_fires() -> None:
    rig = Rig()
    rig.broken.add("T")
    await rig.arm("T", 0)
    await rig.arm("U", 90)
    await rig.arm("V", 501.3)
    for seconds in range(100):
        await rig.at(seconds)
    assert rig.overdue() == pytest.approx(99)
    rig.store.away = True
    with pytest.raises(TransientError):
        await rig.at(150)
    assert rig.overdue() == pytest.approx(150)
    rig.store.away = False
    rig.broken.clear()
    await rig.at(500)
    await rig.at(501)
    assert rig.overdue() == 0


async def test_how_long_something_is_due_is_for_its_owner_to_tell() -> None:
    rig = Rig()
    rig.place.behind = {0, 1, 2, 3}
    await rig.arm("T", 0)
    await rig.at(60)
    assert rig.overdue() == pytest.approx(60)
    rig.place.mine = []
    await rig.at(61)
    assert rig.overdue() == 0
