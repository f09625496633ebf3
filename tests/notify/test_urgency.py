"""Which events must not wait for others: all that can raise an alert, by their bytes as they travel."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from contracts import corpus
from contracts.corpus import Example
from contracts.envelope import Event
from services.notify.core.alerts import Raised, read
from services.notify.handlers import is_urgent

EVENTS = [e for e in corpus.examples() if e.type.split(".")[1] in {"ticket", "sla", "message", "note"}]


@pytest.mark.parametrize("example", EVENTS, ids=lambda example: f"{example.type}/{example.name}")
def test_an_event_is_urgent_exactly_when_it_raises_an_alert(example: Example) -> None:
    event = Event.parse(example.value)
    raises = any(isinstance(signal, Raised) for signal in read(event, None))
    assert is_urgent(cast("Any", SimpleNamespace(value=event.encode()))) == raises


def test_examples_of_both_are_there() -> None:
    assert {"deskbus.sla.breached.v1", "deskbus.ticket.unroutable.v1", "deskbus.ticket.opened.v1"} <= {
        example.type for example in EVENTS
    }
