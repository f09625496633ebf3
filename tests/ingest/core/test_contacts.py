"""What a contact learns from messages, and which one of their tickets a ticket is."""

from __future__ import annotations

from dataclasses import replace

from contracts.contacts import Identity
from contracts.ticket import CustomerFacts
from services.ingest.core.contacts import TICKETS_CAP, ContactState, contact_id, decide
from services.ingest.core.messages import InboundMessage
from tests.ingest.core.timeline import Story, minute


def message(**sender: object) -> InboundMessage:
    inbound = Story().arrival(0).inbound
    return replace(inbound, sender=replace(inbound.sender, **sender))  # type: ignore[arg-type]


def learn(state: ContactState | None, *messages: tuple[InboundMessage, str]) -> tuple[ContactState, list[str]]:
    decision = decide(state, "C1", messages, minute(0))
    after = decision.state or state
    assert after is not None
    return after, [field for event in decision.events for field in event.changed]  # type: ignore[attr-defined]


def test_a_new_contact_is_announced_whole_and_the_same_message_again_says_nothing() -> None:
    state, changed = learn(None, (message(), "T1"))
    assert changed == ["name", "language", "identities", "customer"]
    assert learn(state, (message(), "T1")) == (state, [])


def test_only_what_is_new_is_announced_and_what_is_not_said_stays() -> None:
    state, _ = learn(None, (message(), "T1"))
    state, changed = learn(state, (message(name=None, language="th"), "T1"))
    assert changed == ["language"]
    assert state.contact.name == "Somchai"
    known = replace(message(), customer=CustomerFacts(tier="gold"))
    state, changed = learn(state, (known, "T1"))
    assert changed == ["customer"]


def test_another_identity_of_the_same_person_is_added() -> None:
    state, _ = learn(None, (message(), "T1"))
    both = (Identity(channel="whatsapp", id="u1"), Identity(channel="whatsapp", id="bs-1"))
    state, changed = learn(state, (message(identities=both), "T1"))
    assert (changed, [identity.id for identity in state.contact.identities]) == (["identities"], ["u1", "bs-1"])


def test_tickets_are_counted_once_and_an_event_is_no_need() -> None:
    state, _ = learn(None, (message(), "T1"), (message(), "T1"))
    state, changed = learn(state, (message(), "T2"))
    assert changed == []
    assert [state.nth("T1"), state.nth("T2")] == [1, 2]


def test_the_count_goes_on_when_the_first_tickets_are_forgotten() -> None:
    tickets = [(message(), f"T{n}") for n in range(TICKETS_CAP + 5)]
    state, _ = learn(None, *tickets)
    assert len(state.tickets) == TICKETS_CAP
    assert state.nth(f"T{TICKETS_CAP + 4}") == TICKETS_CAP + 5


def test_an_id_follows_from_the_identity_and_its_account() -> None:
    one, other = Identity(channel="line", account="a", id="x"), Identity(channel="line", account="b", id="x")
    assert contact_id(one) == contact_id(one) != contact_id(other)
