"""Every committed example of what routing subscribes to is understood by today's core."""

from pathlib import Path

import pytest

from contracts.envelope import Event
from contracts.tickets import TicketEvent
from services.routing.core import tickets
from tests.routing.scenario import fake_clock, opened, policy, ticket

EXAMPLES = Path(__file__).resolve().parents[2] / "contracts" / "examples"


def examples() -> list[Path]:
    found = []
    for path in sorted(EXAMPLES.rglob("*.json")):
        try:
            event = Event.parse(path.read_bytes())
        except ValueError:
            continue
        if isinstance(event.data, TicketEvent):
            found.append(path)
    return found


@pytest.mark.parametrize("path", examples(), ids=lambda path: path.stem)
def test_example_is_decided_for_a_new_ticket_and_for_a_known_one(path: Path) -> None:
    event, rules = Event.parse(path.read_bytes()), policy()
    assert isinstance(event.data, TicketEvent)
    known = tickets.decide(None, opened(ticket(event.subject, version=0)), fake_clock().now(), rules, lambda _: True)
    for before in (None, known.state):
        after = tickets.decide(before, event.data, event.time, rules, lambda _: True)
        assert after.state is not None
        assert after.state.status == event.data.ticket.status
        again = tickets.decide(after.state, event.data, event.time, rules, lambda _: True)
        assert again.state == after.state
        assert not again.events


def test_there_are_examples_of_all_events_of_tickets() -> None:
    kinds = {Event.parse(path.read_bytes()).type for path in examples()}
    assert len(kinds) >= 15
