"""A subject's first event: its document is not looked for, and one that is there all the same is found out in time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from contracts.envelope import Event
from tests.kit.raw import Raw
from tests.kit.simulation.records import Poke, poke
from tests.kit.test_delivery import Pokes, Rig, event

OWNER, OTHER = "/deskbus/ingest", "/deskbus/routing"


FIRST_OF_U = Raw("in", 1, 0, poke(1, subject="U"))


class Beginning(Pokes):
    """As `Pokes`, of subjects that begin with ingest's first event."""

    begins = OWNER


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    monkeypatch.setattr(Event, "known_types", {**Event.known_types, Poke.type: Poke})
    rig = Rig()
    rig.delivery.handling = Beginning(rig.documents)
    asked: list[list[str]] = []
    fetch = rig.store.fetch

    async def counted(collection: str, ids: Sequence[str]) -> list[dict[str, Any]]:
        asked.append(list(ids))
        return await fetch(collection, ids)

    rig.store.fetch = counted  # type: ignore[method-assign]
    rig.asked = asked  # type: ignore[attr-defined]
    return rig


def asked(rig: Rig) -> list[str]:
    """The documents that the store was asked for since the last call."""
    ids = [each for ids in rig.asked for each in ids]  # type: ignore[attr-defined]
    rig.asked.clear()  # type: ignore[attr-defined]
    return ids


async def test_a_first_event_asks_the_store_for_nothing(rig: Rig) -> None:
    assert await rig.handle(event(1), event(2), event(1, "U")) == set()
    assert asked(rig) == []
    assert [await rig.offsets(name) for name in "TU"] == [[1, 2], [1]]


async def test_a_later_event_is_looked_for(rig: Rig) -> None:
    await rig.handle(event(1))
    await rig.handle(event(2))
    assert asked(rig) == ["T"]
    assert await rig.offsets("T") == [1, 2]


async def test_a_first_event_that_comes_again_is_found_out_and_changes_nothing(rig: Rig) -> None:
    await rig.handle(event(1), event(2))
    assert await rig.handle(event(1), event(2), event(3), FIRST_OF_U) == set()
    assert asked(rig) == ["T"], "only where the write was refused"
    assert [await rig.offsets(name) for name in "TU"] == [[1, 2, 3], [1]]


async def test_a_document_that_another_source_began_is_found_out(rig: Rig) -> None:
    assert await rig.handle(Raw("in", 1, 0, poke(1, source=OTHER))) == set()
    assert asked(rig) == ["T"], "who begins nothing is looked for"
    assert await rig.handle(event(1)) == set()
    assert await rig.offsets("T") == [1, 1]


async def test_nothing_is_guessed_where_a_batch_is_handled_one_by_one(rig: Rig) -> None:
    handling = rig.delivery.handling
    locate, fails = handling.locate, [RuntimeError("a bug")]

    async def once(items: Any) -> Any:
        if fails:
            raise fails.pop()
        return await locate(items)

    handling.locate = once  # type: ignore[method-assign]
    assert await rig.handle(event(1), event(1, "U")) == set()
    assert [await rig.offsets(name) for name in "TU"] == [[1], [1]]
