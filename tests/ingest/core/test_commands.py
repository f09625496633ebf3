"""Which commands are taken, once, and what is refused with which reason."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from contracts.commands import (
    AddNote,
    CommandPayload,
    Forward,
    HandOff,
    Merge,
    Reply,
    SetFacts,
    SetStatus,
    SetTags,
    Split,
    Transfer,
)
from contracts.payload import UnknownPayload
from contracts.ticket import (
    Author,
    Status,
)
from contracts.tickets import (
    CommandRejected,
    NoteAdded,
)
from kit.base.ids import stable_id
from kit.protocol.document import Decision
from services.ingest.core.asked import KEY_CHARACTERS
from services.ingest.core.commands import (
    AUTHOR_CHARACTERS,
    COMMAND_BYTES,
    CommandContext,
    decide,
)
from services.ingest.core.moves import SYSTEM
from services.ingest.core.state import COMMANDS_CAP, TicketState
from tests.ingest.core.asking import NOTE, REPLY, after, command, given, refusal, stored
from tests.ingest.core.timeline import AGENT, BOT, POLICY, Story, minute

# --- Which commands are taken. ---


def test_a_command_is_noted_under_its_source_its_id_and_what_it_asks() -> None:
    before = stored()
    state, _ = after(given(before, NOTE))
    asked = stable_id("asked", NOTE.type, NOTE.model_dump_json())[:16]
    assert state.commands == (f"/crm:c1#{asked}",)
    assert given(state, NOTE) == Decision()


def test_another_id_or_source_is_another_command() -> None:
    state, _ = after(given(stored(), NOTE))
    for again in (given(state, NOTE, number="c2"), given(state, NOTE, source="/shop")):
        assert [type(event) for event in again.events] == [NoteAdded]


@pytest.mark.parametrize("other", [AddNote(by=AGENT, text="other"), SetTags(by=AGENT, add=("a",))])
def test_an_id_that_was_used_for_something_else_is_refused_and_the_refusal_is_given_once(other: Any) -> None:
    state, ticket = after(given(stored(), NOTE))
    refused = given(state, other)
    assert refusal(refused) == ("invalid", "this id was used for another command")
    again, same = after(refused)
    assert same == ticket
    assert len(again.commands) == 2
    assert given(again, other) == Decision()


@pytest.mark.parametrize(("length", "hashed"), [(KEY_CHARACTERS, False), (KEY_CHARACTERS + 1, True)])
def test_a_key_that_is_too_long_is_kept_as_a_hash(length: int, hashed: bool) -> None:
    number = "x" * (length - len("/crm:"))
    state, _ = after(given(stored(), NOTE, number=number))
    (taken,) = state.commands
    key = stable_id("command", "/crm", number) if hashed else f"/crm:{number}"
    assert taken.rpartition("#")[0] == key


def test_only_the_latest_commands_are_remembered() -> None:
    known = tuple(f"/crm:k{n}#x" for n in range(COMMANDS_CAP))
    state, _ = after(given(stored(commands=known), NOTE))
    assert state.commands[:-1] == known[1:]


def test_a_key_with_the_sign_that_parts_it_is_told_apart_by_the_last_one() -> None:
    state, _ = after(given(stored(), NOTE, number="a#b"))
    assert [type(event) for event in given(state, AddNote(by=AGENT, text="y"), number="a").events] == [NoteAdded]
    assert refusal(given(state, AddNote(by=AGENT, text="y"), number="a#b"))[0] == "invalid"


# --- What is refused, and in which order. ---


def test_a_refusal_says_what_was_asked_by_whom_and_keeps_the_ticket() -> None:
    before = stored(ticket={"status": Status.CLOSED})
    refused = given(before, SetTags(by=AGENT, add=("x",)))
    assert refused.events == [
        CommandRejected(
            ticket=before.ticket,
            ticket_id="T1",
            command_id="c1",
            command_type="deskbus.command.set_tags.v1",
            reason="not_allowed",
            detail="the ticket is closed",
            actor=AGENT,
        )
    ]
    state, _ = after(refused)
    assert state == replace(before, commands=state.commands)
    assert len(state.commands) == 1


def test_a_ticket_that_does_not_exist_takes_no_command_and_remembers_that_it_refused() -> None:
    refused = given(TicketState(), NOTE)
    (rejected,) = refused.events
    assert isinstance(rejected, CommandRejected)
    assert (rejected.ticket, rejected.ticket_id, rejected.reason) == (None, "T1", "unknown_ticket")
    assert refused.state is not None
    assert given(refused.state, NOTE) == Decision()


@pytest.mark.parametrize(
    ("limits", "fine"),
    [
        ({"brands": "nimbus"}, True),
        ({"brands": "korale"}, False),
        ({"accounts": "wa-th"}, True),
        ({"accounts": "wa-pl"}, False),
    ],
)
def test_a_caller_reaches_only_tickets_of_its_brands_and_accounts(limits: dict[str, Any], fine: bool) -> None:
    decision = given(stored(), NOTE, **limits)
    assert isinstance(decision.events[0], NoteAdded if fine else CommandRejected)
    if not fine:
        assert refusal(decision)[0] == "forbidden"


def test_a_transfer_is_routings_to_carry_out_and_ours_to_refuse() -> None:
    transfer = Transfer(by=AGENT, queue="vip")
    assert given(stored(), transfer) == Decision()
    assert given(TicketState(), transfer) == Decision()
    assert refusal(given(stored(), transfer, brands="korale"))[0] == "forbidden"


def test_data_that_cannot_be_read_is_refused_with_what_is_wrong() -> None:
    asked = CommandContext(command(NOTE).model_copy(update={"data": UnknownPayload()}), fault="text: missing")
    refused = decide(stored(), asked, POLICY, minute(2))
    assert refusal(refused) == ("invalid", "text: missing")
    assert refused.events[0].actor is None  # type: ignore[attr-defined]
    assert refusal(decide(TicketState(), asked, POLICY, minute(2)))[0] == "unknown_ticket"


def sized(data: Any, size: int) -> Any:
    """The same with a text that makes it take so many bytes."""
    return data.model_copy(update={"text": "x" * (size - len(data.model_copy(update={"text": ""}).model_dump_json()))})


@pytest.mark.parametrize(("size", "fine"), [(COMMAND_BYTES, True), (COMMAND_BYTES + 1, False)])
def test_a_command_is_taken_up_to_its_bytes(size: int, fine: bool) -> None:
    decision = given(stored(), sized(NOTE, size))
    assert isinstance(decision.events[0], NoteAdded if fine else CommandRejected)
    if not fine:
        assert refusal(decision)[0] == "invalid"


def test_bytes_of_a_command_are_counted_and_not_characters() -> None:
    assert refusal(given(stored(), AddNote(by=AGENT, text="ก" * (COMMAND_BYTES // 3))))[0] == "invalid"


@pytest.mark.parametrize(("over", "kept"), [(0, True), (1, False)])
def test_a_refusal_names_its_author_unless_that_takes_too_much(over: int, kept: bool) -> None:
    short = Author(kind="agent", id="anna", name="")
    author = short.model_copy(update={"name": "x" * (AUTHOR_CHARACTERS - len(short.model_dump_json()) + over)})
    (rejected,) = given(stored(ticket={"status": Status.CLOSED}), Reply(by=author, text="x")).events
    assert rejected.actor == (author if kept else None)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("data", "ticket", "reason", "detail"),
    [
        (Split(by=AGENT, message_ids=("m1",)), {}, "unknown_command", "unknown command deskbus.command.split.v1"),
        (NOTE, {"merged_into": "T0", "status": Status.CLOSED}, "not_allowed", "merged into T0: send the command there"),
        (AddNote(by=Author(kind="contact"), text="x"), {}, "not_allowed", "a contact cannot send commands"),
        (REPLY, {"status": Status.CLOSED}, "not_allowed", "the ticket is closed"),
        (SetTags(by=AGENT), {"status": Status.CLOSED}, "not_allowed", "the ticket is closed"),
        (SetFacts(by=AGENT, brand="x"), {"status": Status.CLOSED}, "not_allowed", "the ticket is closed"),
        (HandOff(by=BOT), {"status": Status.CLOSED}, "not_allowed", "the ticket is closed"),
        (HandOff(by=BOT), {}, "not_allowed", "agents already have the conversation"),
        (SetStatus(by=AGENT, status=Status.CLOSED), {}, "not_allowed",
         "a ticket in status new cannot be moved by set_closed"),
        (Reply(by=AGENT, text="x", status=Status.CLOSED), {}, "not_allowed", "from new to closed"),
        (Forward(by=SYSTEM, message=Story().arrival(1, "m9").message(), from_ticket_id="T5"), {}, "not_allowed",
         "only ingest may forward commands"),
        (Merge(by=AGENT, into="T1"), {}, "invalid", "the older ticket must survive: merge T1 into T1"),
        (Merge(by=AGENT, into="T0"), {}, "invalid", "ticket T0 does not exist or is closed"),
    ],
)  # fmt: skip
def test_what_the_ticket_does_not_allow_is_refused_with_the_reason(
    data: CommandPayload, ticket: dict[str, Any], reason: str, detail: str
) -> None:
    before = stored(ticket=ticket)
    refused = given(before, data)
    assert refusal(refused) == (reason, detail)
    assert after(refused)[1] == before.ticket
    assert not refused.inserts
