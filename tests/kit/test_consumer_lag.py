"""How old the oldest record is that is not handled, from looks at handled positions and ends."""

from kit.consumer import Ages


def test_nothing_behind_has_no_age() -> None:
    assert Ages().of(handled=7, end=7, now=100) == 0


def test_what_is_behind_ages_until_it_is_handled_although_more_comes() -> None:
    ages = Ages()
    ages.of(handled=0, end=0, now=0)
    assert ages.of(handled=0, end=5, now=10) == 0
    assert ages.of(handled=0, end=9, now=40) == 30
    assert ages.of(handled=5, end=9, now=45) == 5, "the rest was first seen five seconds ago"
    assert ages.of(handled=9, end=9, now=50) == 0


def test_an_idle_partition_is_not_old_when_one_record_comes() -> None:
    ages = Ages()
    ages.of(handled=5, end=5, now=0)
    assert ages.of(handled=5, end=6, now=3600) == 0
