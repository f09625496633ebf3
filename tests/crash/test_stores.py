"""Each check of the stores finds the fault that it is meant to find."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts.agents import Agent
from services.routing.core.agents import AgentState, Claim
from services.routing.store.kinds import agent_kind
from tests.crash import stores

INGEST = "/deskbus/ingest"
NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
Rows = dict[tuple[str, str], list[dict[str, Any]]]


def seen(upto: int, *missing: int) -> dict[str, Any]:
    return {INGEST: {"upto": upto, "missing": list(missing)}}


def agent_with_claim(agent_id: str, ticket: str) -> dict[str, Any]:
    """An agent as routing stores it, so that a renamed field is noticed here."""
    agent = AgentState(Agent(id=agent_id, name="Ana", capacity=2), {ticket: Claim(1, 1.0, NOW)})
    return dict(agent_kind(timedelta(hours=6)).dump(agent))


def good() -> Rows:
    """One ticket that an agent has."""
    return {
        ("ingest", "tickets"): [{"_id": "t", "emitted": 1, "outbox": [], "state": {"pending": []}}],
        ("ingest", "contacts"): [],
        ("routing", "tickets"): [
            {"_id": "t", "emitted": 2, "outbox": [], "seen": seen(1), "state": {"phase": "assigned", "agent": "a"}}
        ],
        ("routing", "agents"): [{"_id": "a", "emitted": 1, "outbox": [], "state": agent_with_claim("a", "t")}],
        ("sla", "clocks"): [{"_id": "t", "emitted": 1, "outbox": [], "seen": seen(1)}],
        ("notify", "escalations"): [],
    }


TOLD = {(INGEST, "t"): 1, ("/deskbus/routing", "t"): 2, ("/deskbus/sla", "t"): 1, ("/deskbus/routing/agents", "a"): 1}


def test_a_quiet_system_has_no_fault() -> None:
    assert stores.faults(good(), TOLD) == {}
    assert stores.unsettled(good()) == {}


@pytest.mark.parametrize(
    ("where", "change", "fault"),
    [
        (("ingest", "tickets"), {"outbox": [{"id": "x"}]}, "events left in outboxes"),
        (("ingest", "tickets"), {"emitted": 2}, "decided is not what was told"),
        (("sla", "clocks"), {"seen": seen(1, 1)}, "missing numbers"),
        (("sla", "clocks"), {"seen": seen(0)}, "events not taken"),
        (("sla", "clocks"), {"seen": {}}, "events not taken"),
        (("routing", "tickets"), {"state": {"phase": "aside", "agent": None}}, "claims that are not their ticket's"),
        (("routing", "agents"), {"state": {"claims": []}}, "claims that are not their ticket's"),
        (("routing", "tickets"), {"_id": "u"}, "told by nobody who is stored"),
    ],
)
def test_each_fault_is_seen(where: tuple[str, str], change: dict[str, Any], fault: str) -> None:
    broken = copy.deepcopy(good())
    broken[where][0].update(change)
    assert fault in stores.faults(broken, TOLD)


@pytest.mark.parametrize(
    ("where", "change"),
    [
        (("ingest", "tickets"), {"state": {"pending": [{}]}}),
        (("routing", "tickets"), {"state": {"phase": "waiting"}}),
        (("routing", "tickets"), {"outbox": [{}]}),
    ],
)
def test_what_is_in_hand_is_not_quiet(where: tuple[str, str], change: dict[str, Any]) -> None:
    busy = copy.deepcopy(good())
    busy[where][0].update(change)
    assert stores.unsettled(busy)
