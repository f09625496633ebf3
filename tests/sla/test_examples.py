"""Every committed example of what sla subscribes to is understood by today's core."""

from __future__ import annotations

import pytest

from contracts import corpus, topics
from contracts.corpus import Example
from contracts.envelope import Event
from contracts.ticket import Status
from contracts.tickets import TicketEvent, TicketOpened
from services.sla.core import tickets
from tests.sla.desk import BookVersions, book

EXAMPLES = corpus.examples(*topics.BY_NAME[topics.TICKETS].types)


def opened(event: Event) -> Event:
    """The beginning of the story that the example goes on with."""
    ticket = event.data.ticket.model_copy(update={"status": Status.NEW, "merged_into": None, "handled_by_bot": False})
    data = TicketOpened(ticket=ticket)
    return Event.of(data, source=event.source, subject=event.subject, sequence=1, time=ticket.created_at)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"{example.type}/{example.name}")
def test_an_example_is_decided_for_a_new_ticket_and_for_a_known_one(example: Example) -> None:
    event, shelf = Event.parse(example.value), BookVersions(book())
    if not isinstance(event.data, TicketEvent):  # a refusal: nothing happened to the ticket
        assert tickets.decide(None, event, shelf, event.time).state is None
        return
    known = tickets.decide(None, opened(event), shelf, event.time).state
    assert known is not None
    assert known.live
    for before in (None, known):
        decision = tickets.decide(before, event, shelf, event.time)
        after = decision.state or before
        assert after is not None
        assert after.status == event.data.ticket.status
        assert after.facts == event.data.ticket.facts()


def test_there_is_an_example_of_every_type_on_the_topic() -> None:
    assert {example.type for example in EXAMPLES} == set(topics.BY_NAME[topics.TICKETS].types)
