"""What is read from breaches: lateness of those that come one by one, and the rate of those at one instant."""

from datetime import UTC, datetime, timedelta

from tests.bench.timers import outcome

AT = datetime(2026, 11, 1, 12, tzinfo=UTC)


def breach(due: datetime, late_ms: int) -> tuple[datetime, int]:
    return due, int(due.timestamp() * 1000) + late_ms


def test_those_at_one_instant_make_the_rate_and_all_others_the_lateness() -> None:
    alone = [breach(AT - timedelta(seconds=n), 10 * n) for n in range(1, 101)]
    at_once = [breach(AT, late) for late in (500, 2_000, 1_000)]
    found = outcome([*alone, *at_once], AT)
    assert (found["late_p50_ms"], found["late_p99_ms"]) == (510, 1_000)
    assert (found["burst"], found["burst_p99_ms"], found["breaches"]) == (3, 2_000, 103)
    assert found["per_second"] == 1.5  # until the last of them was said


def test_without_a_burst_there_is_no_rate() -> None:
    assert outcome([breach(AT - timedelta(seconds=5), 80)], AT)["per_second"] == 0
