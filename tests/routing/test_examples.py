"""Every committed example of what routing subscribes to is understood by today's core."""

import pytest

from contracts import corpus, topics
from contracts.commands import Transfer
from contracts.corpus import Example
from contracts.envelope import Command, Event
from contracts.tickets import TicketEvent
from services.routing.core import tickets
from services.routing.core.transfers import transfer
from tests.routing.scenario import POLICY, agent, fake_clock, opened, policy, ticket

EVENTS = corpus.examples(*topics.BY_NAME[topics.TICKETS].types)
TRANSFERS = corpus.examples(Transfer.type)


@pytest.mark.parametrize("example", EVENTS, ids=lambda example: f"{example.type}/{example.name}")
def test_example_is_decided_for_a_new_ticket_and_for_a_known_one(example: Example) -> None:
    event, rules = Event.parse(example.value), policy()
    if not isinstance(event.data, TicketEvent):  # a refusal: nothing happened to the ticket
        return
    known = tickets.decide(None, opened(ticket(event.subject, version=0)), fake_clock().now(), rules, lambda _: True)
    for before in (None, known.state):
        after = tickets.decide(before, event.data, event.time, rules, lambda _: True)
        assert after.state is not None
        assert after.state.status == event.data.ticket.status
        again = tickets.decide(after.state, event.data, event.time, rules, lambda _: True)
        assert again.state == after.state
        assert not again.events


@pytest.mark.parametrize("example", TRANSFERS, ids=lambda example: example.name)
def test_a_transfer_goes_to_the_queue_or_the_agent_that_it_names(example: Example) -> None:
    command = Command.parse(example.value)
    rules = policy(POLICY.replace(b"queues:\n", b"queues:\n  warranty-kr: {}\n"))
    waiting = tickets.decide(None, opened(ticket(command.subject)), fake_clock().now(), rules, lambda _: True).state
    assert waiting is not None
    people = {"minho": agent("minho")}
    after = transfer(waiting, command.data, command.id, command.time, rules, people, source=command.source).state
    assert after is not None
    if command.data.queue is not None:
        assert (after.queue, after.target) == (command.data.queue, None)
    else:
        assert after.target is not None
        assert after.target.agent == command.data.agent_id
    again = transfer(after, command.data, command.id, command.time, rules, people, source=command.source)
    assert (again.state, again.events) == (None, ())


def test_there_is_an_example_of_every_type_that_routing_handles() -> None:
    assert {example.type for example in EVENTS} == set(topics.BY_NAME[topics.TICKETS].types)
    assert TRANSFERS
