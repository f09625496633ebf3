"""When consuming stops: by the share of records that die, of the last hundred or of the batch where that is larger."""

from __future__ import annotations

import pytest
from prometheus_client import REGISTRY

from kit.base import metrics
from kit.protocol.breaker import Breaker
from kit.protocol.record import place
from tests.kit.raw import Raw
from tests.kit.test_delivery import BUG, Rig, counted, record


def batch(good: int, dead: int, start: int = 0) -> list[Raw]:
    """Good records, each about another document, and dead ones behind them."""
    names = [f"T{n}" for n in range(good)] + [f"T{n}:poison" for n in range(good, good + dead)]
    return [record(start + n, name) for n, name in enumerate(names)]


@pytest.mark.parametrize(
    ("good", "dead", "stops"),
    [(1949, 51, False), (1000, 1000, False), (999, 1001, True), (49, 51, True), (0, 50, False), (0, 51, True)],
)
@pytest.mark.parametrize("rest", [(), (BUG,)], ids=["whole", "one by one"])
async def test_consuming_stops_by_the_share_of_a_large_batch_and_not_by_the_number_of_its_dead(
    good: int, dead: int, *, stops: bool, rest: tuple[Raw, ...]
) -> None:
    rig = Rig()
    unhandled = await rig.handle(*batch(good, dead - len(rest)), *rest)
    assert (rig.delivery.stopped is not None) == stops
    if not stops:
        assert (unhandled, rig.letters()) == (set(), dead)


async def test_a_stop_says_how_many_of_how_many_and_nothing_of_the_pass_is_a_dead_letter() -> None:
    metrics.STOPPED.set(0)
    rig, before = Rig(), counted("dead_letters")
    records = batch(99, 101)
    assert await rig.handle(*records) == {place(each) for each in records}
    assert rig.delivery.stopped == "101 of the last 200 records could not be handled"
    assert (rig.letters(), counted("dead_letters")) == (0, before)
    assert REGISTRY.get_sample_value("deskbus_consumer_stopped") == 1, "an alert asks for it"


async def test_dead_letters_are_counted() -> None:
    before = counted("dead_letters")
    await Rig().handle(*batch(10, 3))
    assert counted("dead_letters") == before + 3


@pytest.mark.parametrize("good", [0, 60])
async def test_batches_before_count_up_to_the_window_and_good_ones_make_room_again(good: int) -> None:
    rig = Rig()
    await rig.handle(*batch(0, 30))
    await rig.handle(*batch(0, 20, start=100))
    await rig.handle(*batch(good, 0, start=200))
    assert rig.delivery.stopped is None
    await rig.handle(*batch(0, 1, start=300))
    if good:
        assert rig.delivery.stopped is None
        await rig.handle(*batch(0, 50, start=400))
    assert rig.delivery.stopped == "51 of the last 100 records could not be handled"


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_the_share_is_what_the_setting_says(share: float) -> None:
    breaker = Breaker(share, 100)
    breaker.begin(200)
    most = int(200 * share)
    assert breaker.refuses(most) is None
    assert breaker.refuses(most + 1) is not None


def test_what_dies_later_in_a_batch_is_added_to_what_died_before_in_it() -> None:
    breaker = Breaker(0.5, 10)
    breaker.begin(10)
    breaker.died(3)
    assert breaker.refuses(2) is None
    assert breaker.refuses(3) == "6 of the last 10 records could not be handled"


def test_a_batch_without_dead_never_stops_anything() -> None:
    breaker = Breaker(0.5, 10)
    breaker.begin(10)
    breaker.died(9)
    breaker.end(0)
    breaker.begin(1)
    assert breaker.refuses(0) is None


async def test_tries_are_not_counted_while_what_a_record_waits_for_is_on_its_way() -> None:
    rig, waits = Rig(attempts=3), record(1, "T:waits")
    rig.delivery.is_early = lambda where: where == place(waits)
    for _ in range(10):
        assert await rig.handle(waits) == {place(waits)}
    rig.delivery.is_early = lambda _: False
    for _ in range(2):
        assert await rig.handle(waits) == {place(waits)}
    assert await rig.handle(waits) == set()
    assert rig.letters() == 1


async def test_a_batch_shows_that_it_comes_further() -> None:
    rig, beats = Rig(), list[int]()
    rig.delivery.beat = lambda: beats.append(1)
    await rig.handle(record(1, "T"))
    assert len(beats) >= 4, "after looking up, loading, dead letters, and writing"
