"""The gauge of tickets at risk: warned, or due soon; on both servers, since an index for few documents serves it."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY

from contracts.ticket import Market
from kit.mongo import MongoStore
from services.sla import store
from services.sla.settings import SlaSettings
from services.sla.ticker import build_ticker, count
from tests.kit.both_stores import BOTH, one_of
from tests.sla.desk import Writer, at, book
from tests.sla.rig import Rig

WARNS = "policies: [{name: default, targets: {first_reply: 60m}, warn: {at_risk: 50%}}]"


@pytest.fixture(params=BOTH)
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    async with one_of(request, "sla") as made:
        if isinstance(made, MongoStore):
            await store.prepare(made)
        rig = Rig(book(WARNS), cast("Any", made))
        rig.documents.owned = lambda: [0]
        await rig.archive.refresh()
        yield rig


async def at_risk(rig: Rig, minute: float) -> Mapping[tuple[str, str], float]:
    rig.clock.set(at(minute))
    await build_ticker(rig.documents, rig.positions, rig.archive, SlaSettings(), rig.clock).tick()
    await count(rig.documents, rig.clock)
    (family,) = (each for each in REGISTRY.collect() if each.name == "deskbus_sla_at_risk_tickets")
    return {(s.labels["marketplace"], s.labels["brand"]): s.value for s in family.samples if s.value}


async def test_a_ticket_is_at_risk_from_its_warning_to_its_breach(rig: Rig) -> None:
    await rig.take(Writer("t-1").opened(0))
    await rig.take(Writer("t-2", brand=None, market=Market()).opened(10))
    assert await at_risk(rig, 20) == {}
    assert await at_risk(rig, 26) == {("shopee", "nimbus"): 1}, "its warning is due within five minutes"
    assert await at_risk(rig, 31) == {("shopee", "nimbus"): 1}
    assert await at_risk(rig, 45) == {("shopee", "nimbus"): 1, ("none", "none"): 1}
    assert await at_risk(rig, 61) == {("none", "none"): 1}, "what is breached is at risk no more"
    assert await at_risk(rig, 71) == {}


async def test_an_answer_ends_the_risk_and_other_replicas_count_their_own(rig: Rig) -> None:
    write = Writer()
    await rig.take(write.opened(0))
    assert await at_risk(rig, 31) == {("shopee", "nimbus"): 1}
    rig.documents.owned = lambda: [1]
    assert await at_risk(rig, 31) == {}
    rig.documents.owned = lambda: [0]
    await rig.take(write.replied(32))
    assert await at_risk(rig, 33) == {}


async def test_a_breach_is_counted_from_zero_where_one_is_expected(rig: Rig) -> None:
    """Else `increase` would overlook the first breach of each brand, and so would the alerts that use it."""
    breaches = "deskbus_sla_breaches_total"
    brand = type(rig.documents.store).__name__  # of this test alone: counters are the process's
    where = {"metric": "first_reply", "marketplace": "lazada", "brand": brand}
    assert REGISTRY.get_sample_value(breaches, where) is None
    await rig.take(Writer("t-1", brand=brand, market=Market(marketplace="lazada")).opened(0))
    await at_risk(rig, 56)
    assert REGISTRY.get_sample_value(breaches, where) == 0
    await at_risk(rig, 61)
    assert REGISTRY.get_sample_value(breaches, where) == 1
