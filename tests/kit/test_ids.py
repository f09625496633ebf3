"""Ids: UUIDv7 in order, and ids that everybody derives alike."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from kit.base import ids


def test_ids_sort_in_the_order_they_were_made() -> None:
    made = [ids.uuid7() for _ in range(5000)]
    assert made == sorted(set(made))


def test_ids_stay_in_order_within_a_millisecond_and_when_the_clock_goes_back() -> None:
    later = UUID(ids.uuid7()).int >> 80
    made = [ids.uuid7(later + 5), ids.uuid7(later + 5), ids.uuid7(later), ids.uuid7(later + 6)]
    assert made == sorted(set(made))


def test_id_is_a_version_7_of_its_millisecond() -> None:
    far = (UUID(ids.uuid7()).int >> 80) + 60_000
    made = UUID(ids.uuid7(far))
    assert (made.version, made.variant, made.int >> 80) == (7, "specified in RFC 4122", far)


@given(st.lists(st.text(), max_size=4), st.lists(st.text(), max_size=4))
def test_stable_ids_are_equal_only_for_equal_parts(left: list[str], right: list[str]) -> None:
    assert (ids.stable_id(*left) == ids.stable_id(*right)) == (left == right)


def test_stable_id_never_changes() -> None:
    # Stored documents are found by it: an upgrade must not move it.
    assert ids.stable_id("whatsapp", "66812345678") == "s6wrjipm5ll3kjiqf73pcd55ul"
    assert ids.stable_id("a", "bc") != ids.stable_id("ab", "c")


def test_long_parts_make_ids_by_the_same_rule_and_are_not_kept() -> None:
    kept = ids._remembered.cache_info().currsize
    assert ids.stable_id("a", "x" * 1000) == ids._digested(("a", "x" * 1000))
    assert ids._remembered.cache_info().currsize == kept
