"""The words of a ticket: open and closed enums, priorities, money, facts."""

import json
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from contracts.commands import SetTags, Transfer
from contracts.corpus import examples
from contracts.envelope import Event
from contracts.payload import Payload
from contracts.registry import REGISTRY
from contracts.ticket import Author, Channel, Money, Priority, Status, Ticket, TicketFacts
from contracts.tickets import TicketOpened

(EXAMPLE,) = [one for one in examples(TicketOpened.type) if one.name == "thai-whatsapp"]
THAI: Ticket = Event.parse(EXAMPLE.value).data.ticket
BY = Author(kind="agent", id="kasia")


def changed(**fields: Any) -> Ticket:
    return Ticket.model_validate({**THAI.model_dump(), **fields})


def test_an_open_enum_takes_a_value_that_nobody_knows_yet() -> None:
    ticket = changed(channel="telepathy")
    assert ticket.channel == "telepathy"


def test_a_known_value_of_an_open_enum_equals_its_member_and_is_a_plain_string() -> None:
    ticket = changed(channel="whatsapp")
    assert ticket.channel == Channel.WHATSAPP
    assert {Channel.WHATSAPP: 1}[ticket.channel] == 1  # type: ignore[index]
    assert type(changed(channel=Channel.WHATSAPP).channel) is str


def test_the_facts_of_a_ticket_are_all_taken_from_it() -> None:
    whole = changed(priority="urgent", tags=("x",), customer={"tier": "gold"})
    facts, fields = whole.facts(), TicketFacts.model_fields
    left = [name for name, field in fields.items() if getattr(facts, name) == field.get_default()]
    assert left == [], "give the ticket above a value for it, and let Ticket.facts() take it"


@pytest.mark.parametrize(("field", "value"), [("status", "sleeping"), ("priority", "extreme")])
def test_a_closed_enum_refuses_a_value_that_it_does_not_have(field: str, value: str) -> None:
    with pytest.raises(ValidationError):
        changed(**{field: value})


def test_priorities_are_ordered() -> None:
    assert sorted(Priority, key=lambda priority: priority.rank) == ["low", "normal", "high", "urgent"]


@pytest.mark.parametrize("level", [0, 6])
def test_a_skill_level_is_from_one_to_five(level: int) -> None:
    with pytest.raises(ValidationError):
        changed(required_skills={"delivery": level})


def test_money_keeps_its_decimals() -> None:
    assert Money(amount="0.10", currency="PLN").value * 3 == Decimal("0.30")


@pytest.mark.parametrize("amount", ["1e5", "NaN", "", "1,5", "१"])
def test_money_refuses_what_is_no_plain_decimal(amount: str) -> None:
    with pytest.raises(ValidationError):
        Money(amount=amount, currency="PLN")


def test_the_facts_of_a_ticket_say_the_same_as_the_ticket() -> None:
    facts = THAI.facts()
    for name in ("channel", "account", "brand", "market", "priority", "language", "subject", "tags"):
        assert getattr(facts, name) == getattr(THAI, name)
    assert (facts.tier, facts.contact_name) == (THAI.customer.tier, THAI.contact.name)


def test_a_ticket_of_a_later_release_is_read_without_what_is_new() -> None:
    later = json.loads(EXAMPLE.value)
    later["data"]["ticket"] |= {"mood": "hopeful", "contact": {**later["data"]["ticket"]["contact"], "shoe_size": 42}}
    later["data"]["message"]["author"]["kind"] = "octopus"
    parsed = Event.parse(json.dumps(later).encode())
    assert parsed.data.ticket == THAI
    assert parsed.data.message.author.kind == "octopus"


def test_nothing_that_was_said_can_be_changed() -> None:
    with pytest.raises(ValidationError):
        THAI.status = Status.CLOSED  # type: ignore[misc]


def test_a_transfer_names_a_queue_or_an_agent() -> None:
    for target in ({}, {"queue": "q", "agent_id": "a"}):
        with pytest.raises(ValidationError, match="either"):
            Transfer(by=BY, **target)
    assert Transfer(by=BY, queue="q").queue == "q"


def test_tags_are_replaced_or_changed_but_not_both() -> None:
    with pytest.raises(ValidationError, match="excludes"):
        SetTags(by=BY, add=("a",), replace=())
    assert SetTags(by=BY, replace=()).replace == ()


@pytest.mark.parametrize("payload", REGISTRY.values(), ids=REGISTRY)
def test_an_absent_field_means_none_only_where_none_is_the_default(payload: type[Payload]) -> None:
    """Encoding leaves None out, so a field that may be None must have it as its default."""
    for name, field in payload.model_fields.items():
        may_be_none = type(None) in getattr(field.annotation, "__args__", ())
        assert not may_be_none or (field.default is None and not field.is_required()), name


@pytest.mark.parametrize("payload", REGISTRY.values(), ids=REGISTRY)
def test_every_type_and_field_says_what_it_means(payload: type[Payload]) -> None:
    assert payload.__doc__
    assert all(field.description for field in payload.model_fields.values())
