"""Which events notify looks at, and which of them must not wait for others: told by their type and bytes."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from contracts import corpus, topics
from contracts.corpus import Example
from contracts.envelope import Event
from services.notify.core.alerts import EVENT_TYPES, Raised, read
from services.notify.core.state import escalation_id
from services.notify.handlers import is_urgent
from tests.notify.examples import TICKET, queued
from tests.notify.rig import Rig

TYPES = {kind for name in topics.CONSUMES["notify"] for kind in topics.BY_NAME[name].types}
EVENTS = corpus.examples(*TYPES)


@pytest.mark.parametrize("example", EVENTS, ids=lambda example: f"{example.type}/{example.name}")
def test_an_event_is_urgent_exactly_when_it_raises_an_alert(example: Example) -> None:
    event = Event.parse(example.value)
    raises = any(isinstance(signal, Raised) for signal in read(event, None))
    assert is_urgent(cast("Any", SimpleNamespace(value=event.encode()))) == raises


@pytest.mark.parametrize("example", EVENTS, ids=lambda example: f"{example.type}/{example.name}")
def test_an_event_that_says_something_to_notify_is_heeded(example: Example) -> None:
    assert example.type in EVENT_TYPES or read(Event.parse(example.value), None) == ()


def _opened(**changes: Any) -> bytes:
    event = json.loads(corpus.examples("deskbus.ticket.opened.v1")[0].value)
    return json.dumps({**event, "subject": TICKET, "sequence": 1, **changes}).encode()


def _record(value: bytes) -> Any:
    return SimpleNamespace(topic=topics.TICKETS, partition=0, offset=1, key=TICKET.encode(), value=value, headers=())


async def test_an_event_that_is_not_heeded_is_seen_and_its_content_is_not_looked_at() -> None:
    rig = Rig()
    assert await rig.delivery.handle([_record(_opened(data={"ticket": 17}))]) == set()
    doc = (await rig.documents.load([escalation_id(TICKET)]))[escalation_id(TICKET)]
    assert doc.has_seen("/deskbus/ingest", 1)
    assert rig.sender.sent == []


async def test_what_cannot_be_read_is_missing_from_the_escalation_of_its_ticket() -> None:
    rig = Rig()
    bad = json.loads(queued(0, sequence=1).encode()) | {"data": 17, "source": "/deskbus/routing"}
    assert await rig.delivery.handle([_record(json.dumps(bad).encode())]) == set()
    doc = (await rig.documents.load([escalation_id(TICKET)]))[escalation_id(TICKET)]
    assert doc.seen["/deskbus/routing"].missing == {1}
    assert (await rig.documents.load([TICKET]))[TICKET].version == 0
    assert len(rig.sender.sent) == 1


def test_there_is_an_example_of_every_type_that_notify_subscribes_to() -> None:
    assert {"deskbus.sla.breached.v1", "deskbus.ticket.unroutable.v1", "deskbus.ticket.opened.v1"} <= TYPES
    assert {example.type for example in EVENTS} == TYPES
