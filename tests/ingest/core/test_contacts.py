"""What a contact learns from messages, and which one of their tickets a ticket is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from contracts.contacts import Contact, ContactUpdated, Identity
from contracts.ticket import CustomerFacts
from kit.base.ids import stable_id
from kit.protocol.document import Decision
from services.ingest.core.contacts import TICKETS_CAP, ContactState, about, contact_id, decide, identity_claim
from services.ingest.core.messages import InboundMessage, identity_key
from services.ingest.store import dump_contact, load_contact
from tests.ingest.core.timeline import Story, minute


def message(**sender: object) -> InboundMessage:
    inbound = Story().arrival(0).inbound
    return replace(inbound, sender=replace(inbound.sender, **sender))  # type: ignore[arg-type]


def learn(state: ContactState | None, *messages: tuple[InboundMessage, str]) -> tuple[ContactState, list[str]]:
    decision = decide(state, "C1", [(said, ticket, about(said, "nimbus")) for said, ticket in messages], minute(0))
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


def talks(*opened: dict[str, object]) -> list[int]:
    """Which contact about the same each ticket is, the messages coming one after the other."""
    state, found = None, list[int]()
    for n, fields in enumerate(opened):
        said = replace(message(), **fields)  # type: ignore[arg-type]
        state, _ = learn(state, (said, f"T{n}"))
        found.append(state.nth(f"T{n}"))
    return found


def test_each_order_has_a_count_of_its_own() -> None:
    assert talks({"order_ref": "1"}, {"order_ref": "2"}, {"order_ref": "3"}) == [1, 1, 1]
    assert talks({"order_ref": "A1"}, {"order_ref": "2"}, {"order_ref": "a1 "}, {"order_ref": "A1"}) == [1, 1, 2, 3]


def test_the_same_number_of_an_order_at_another_brand_is_another_order() -> None:
    assert talks({"order_ref": "1", "brand": "korale"}, {"order_ref": "1"}) == [1, 1]
    said = replace(message(), order_ref="1")
    assert about(said, "korale") == about(replace(said, brand="korale"), "nimbus") != about(said, "nimbus")


def test_without_an_order_a_topic_has_a_count_of_its_own() -> None:
    assert talks({"tags": ("refund",)}, {"tags": ("delivery",)}, {"tags": ("Refund",)}) == [1, 1, 2]
    assert talks({"subject": "Where is it?"}, {"subject": "Thanks"}, {"subject": "where  is it?"}) == [1, 1, 2]
    assert talks({"tags": ("refund",), "subject": "a"}, {"tags": ("refund",), "subject": "b"}) == [1, 2]


@pytest.mark.parametrize(
    "answered",
    [
        "Re: Paczka",
        "RE: Odp: Paczka",
        "Fwd: Re[2]: Paczka",
        "답장: Paczka",
        "ตอบ: Paczka",
        "回复：Paczka",
        "[#T1] Re: PACZKA",
    ],
)
def test_an_answer_is_about_what_it_answers(answered: str) -> None:
    assert talks({"subject": "Paczka"}, {"subject": answered}) == [1, 2]


def test_what_is_about_nothing_known_is_no_second_of_anything() -> None:
    assert talks({}, {}, {"subject": " Re: "}) == [1, 1, 1]


def test_an_order_and_the_topic_of_another_ticket_are_not_the_same() -> None:
    assert talks({"subject": "1"}, {"order_ref": "1"}, {"order_ref": "1", "subject": "1"}) == [1, 1, 2]


def test_an_order_that_a_later_message_names_counts_from_then_on() -> None:
    state, _ = learn(None, (message(), "T1"))
    state, _ = learn(state, (replace(message(), order_ref="1"), "T1"))
    state, _ = learn(state, (replace(message(), subject="else"), "T1"), (replace(message(), order_ref="2"), "T1"))
    state, _ = learn(state, (replace(message(), order_ref="1"), "T2"))
    assert [state.nth("T1"), state.nth("T2")] == [1, 2]


def test_tickets_are_counted_once_and_an_event_is_no_need() -> None:
    said = replace(message(), order_ref="1")
    state, _ = learn(None, (said, "T1"), (said, "T1"))
    state, changed = learn(state, (said, "T2"))
    assert changed == []
    assert [state.nth("T1"), state.nth("T2")] == [1, 2]
    assert load_contact(dump_contact(state)) == state


def test_only_so_many_tickets_are_remembered() -> None:
    said = replace(message(), order_ref="1")
    state, _ = learn(None, *((said, f"T{n}") for n in range(TICKETS_CAP + 5)))
    assert len(state.tickets) == TICKETS_CAP
    assert state.nth(f"T{TICKETS_CAP + 4}") == TICKETS_CAP
    assert state.nth("T0") == 1


def test_a_later_subject_does_not_change_what_a_ticket_is_about() -> None:
    state, _ = learn(None, (replace(message(), subject="a"), "T1"))
    state, _ = learn(state, (replace(message(), subject="b"), "T1"))
    state, _ = learn(state, (replace(message(), subject="b"), "T2"))
    assert [state.nth("T1"), state.nth("T2")] == [1, 1]


def test_what_teaches_nothing_is_not_written() -> None:
    state, _ = learn(None, (message(), "T1"))
    assert decide(state, "C1", [(message(), "T1", "")], minute(1)).state is None


def test_a_new_name_is_learnt() -> None:
    state, _ = learn(None, (message(), "T1"))
    state, changed = learn(state, (message(name="Somchai J."), "T1"))
    assert (changed, state.contact.name) == (["name"], "Somchai J.")


def test_an_id_follows_from_the_identity_and_its_account() -> None:
    one, other = Identity(channel="line", account="a", id="x"), Identity(channel="line", account="b", id="x")
    assert contact_id(one) == contact_id(one) != contact_id(other)


NOW = minute(7)
SOMCHAI = Identity(channel="whatsapp", id="u1")


def test_a_new_contact_is_all_that_its_first_message_says() -> None:
    gold = CustomerFacts(tier="gold")
    said = replace(message(language="th"), customer=gold)
    decision = decide(None, "C1", [(said, "T1", "topic:x")], NOW)
    contact = Contact(
        id="C1", name="Somchai", language="th", identities=(SOMCHAI,), customer=gold, created_at=NOW, updated_at=NOW
    )
    assert decision.state == ContactState(contact, (("T1", "topic:x"),))
    changed = ("name", "language", "identities", "customer")
    assert decision.events == [ContactUpdated(contact=contact, changed=changed)]


def test_a_change_is_dated_and_the_beginning_stays() -> None:
    state, _ = learn(None, (message(), "T1"))
    gold = CustomerFacts(tier="gold")
    verified = Identity(channel="whatsapp", id="u1", verified=True)
    said = replace(
        message(name="S.", language="th", identities=(verified, Identity(channel="line", id="1"))), customer=gold
    )
    decision = decide(state, "C1", [(said, "T1", "")], NOW)
    contact = Contact(
        id="C1", name="S.", language="th", identities=(SOMCHAI, Identity(channel="line", id="1")), customer=gold,
        created_at=minute(0), updated_at=NOW,
    )  # fmt: skip
    changed = ("name", "language", "identities", "customer")
    assert decision.events == [ContactUpdated(contact=contact, changed=changed)]
    assert decision.state == ContactState(contact, (("T1", ""),))
    # What is not said stays as it is.
    assert decide(decision.state, "C1", [(message(name=None, language=None), "T1", "")], minute(8)) == Decision()


def test_a_further_ticket_alone_is_kept_without_an_event_and_without_a_new_date() -> None:
    state, _ = learn(None, (message(), "T1"))
    decision = decide(state, "C1", [(message(), "T2", "topic:y")], NOW)
    assert decision == Decision(ContactState(state.contact, (("T1", ""), ("T2", "topic:y"))))


@pytest.mark.parametrize(
    ("known", "later", "kept"),
    [
        ("", "order:1", "order:1"),
        ("topic:a", "order:1", "order:1"),
        ("order:1", "order:2", "order:1"),
        ("topic:a", "topic:b", "topic:a"),
        ("", "topic:b", ""),
        ("order:1", "", "order:1"),
    ],
)
def test_a_ticket_stays_about_what_it_was_unless_an_order_becomes_known(known: str, later: str, kept: str) -> None:
    first = decide(None, "C1", [(message(), "T1", known)], NOW).state
    after = decide(first, "C1", [(message(), "T1", later)], NOW).state or first
    assert after is not None
    assert after.tickets == (("T1", kept),)


def test_nothing_said_is_no_contact() -> None:
    assert decide(None, "C1", [], NOW) == Decision()


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"order_ref": " A1 ", "tags": ("x",), "subject": "s"}, "order:" + stable_id("order", "nimbus", "a1")),
        ({"tags": ("B ", "a"), "subject": "s"}, "topic:" + stable_id("tags", "nimbus", "a", "b")),
        ({"subject": "Re:  My   PARCEL"}, "topic:" + stable_id("subject", "nimbus", "my parcel")),
        ({"subject": "Report: x"}, "topic:" + stable_id("subject", "nimbus", "report: x")),
        ({"subject": "x", "brand": "korale"}, "topic:" + stable_id("subject", "korale", "x")),
        ({"subject": None}, ""),
        ({"subject": "AW: [#T1] "}, ""),
    ],
)
def test_a_ticket_is_about_its_order_else_its_tags_else_its_subject(fields: dict[str, Any], found: str) -> None:
    assert about(replace(message(), **fields), "nimbus") == found


def test_without_a_brand_numbers_of_orders_are_told_apart_by_themselves() -> None:
    assert about(replace(message(), order_ref="1"), None) == "order:" + stable_id("order", "", "1")


def test_claims_of_identities_have_names_of_their_own() -> None:
    key = identity_key(SOMCHAI)
    assert contact_id(SOMCHAI) == stable_id("contact", key)
    assert identity_claim(SOMCHAI) == stable_id("identity", key)


def test_the_number_of_a_ticket_counts_those_about_the_same_in_the_order_in_which_they_were_opened() -> None:
    contact = Contact(id="C1", created_at=NOW, updated_at=NOW)
    state = ContactState(contact, (("T1", "a"), ("T2", "b"), ("T3", "a"), ("T4", ""), ("T5", "")))
    assert [state.nth(f"T{n}") for n in range(1, 7)] == [1, 1, 2, 1, 1, 1]
