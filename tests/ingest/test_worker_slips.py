"""Slips of callers are answered by command.rejected: never dead letters, never tried again, and they stop nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from contracts.commands import (
    AddNote,
    CommandPayload,
    HandOff,
    Merge,
    Reply,
    SetFacts,
    SetPriority,
    SetStatus,
    SetTags,
    Split,
)
from contracts.envelope import Command
from contracts.ticket import Author, AuthorKind, Priority, Status
from services.ingest.core.commands import COMMAND_BYTES
from tests.ingest.worker_rig import AGENT, START, Worker
from tests.kit.raw import Raw

LONG = "x" * 950_000
SLIPS: dict[str, CommandPayload] = {
    "a note that no event could carry": AddNote(by=AGENT, text=LONG),
    "a note just above the bound": AddNote(by=AGENT, text="x" * COMMAND_BYTES),
    "a reply that no event could carry": Reply(by=AGENT, text=LONG),
    "tags that no ticket could carry": SetTags(by=AGENT, add=(LONG,)),
    "facts that no ticket could carry": SetFacts(by=AGENT, order_ref=LONG),
    "a reason that no event could carry": SetStatus(by=AGENT, status=Status.PENDING, reason=LONG),
    "a reason for a priority": SetPriority(by=AGENT, priority=Priority.URGENT, reason=LONG),
    "an author that no event could carry": AddNote(by=Author(kind=AuthorKind.AGENT, id="a", name=LONG), text="x"),
    "to people, who have it": HandOff(by=AGENT),
    "what nobody carries out": Split(by=AGENT, message_ids=("m",)),
    "into nothing": Merge(by=AGENT, into="0"),
    "by the customer": AddNote(by=Author(kind=AuthorKind.CONTACT, id="c"), text="x"),
}


async def opened() -> tuple[Worker, str]:
    worker = Worker()
    await worker.take(worker.says("hi", "1"))
    return worker, worker.ticket().id


def answer(worker: Worker) -> dict[str, Any]:
    """What the last event says, which is a refusal; nothing is a dead letter."""
    assert worker.dead() == []
    event = worker.events()[-1]
    assert event.type == "deskbus.command.rejected.v1"
    told: dict[str, Any] = event.data.model_dump()
    assert told["detail"]
    return told


@pytest.mark.parametrize("slip", SLIPS)
async def test_a_slip_is_answered_and_its_ticket_goes_on(slip: str) -> None:
    worker, ticket = await opened()
    assert await worker.take(worker.asks(SLIPS[slip], ticket, number="bad")) == set()
    assert answer(worker)["command_id"] == "bad"
    assert await worker.take(worker.asks(AddNote(by=AGENT, text="x"), ticket, number="good")) == set()
    assert worker.types()[-1] == "note.added"


@pytest.mark.parametrize("slip", SLIPS)
async def test_a_slip_about_no_ticket_is_answered(slip: str) -> None:
    worker = Worker()
    assert await worker.take(worker.asks(SLIPS[slip], "no-such-ticket")) == set()
    assert answer(worker)["reason"] == "unknown_ticket"


WRONG: dict[str, dict[str, Any]] = {
    "a status that there is not": {
        "type": "deskbus.command.set_status.v1",
        "data": {"by": {"kind": "agent", "id": "a"}, "status": "nonsense"},
    },
    "no data": {"data": None},
    "data of another kind": {"data": ["x"]},
    "nobody who asks": {"data": {"text": "x"}},
    "a transfer to nowhere": {
        "type": "deskbus.command.transfer.v1",
        "data": {"by": {"kind": "agent", "id": "a"}},
    },
    "a type that there is not": {"type": "deskbus.command.dance.v1"},
}


def written(ticket: str, **change: Any) -> Raw:
    """A command as somebody writes it to Kafka past the door."""
    command = Command.of(AddNote(by=AGENT, text="x"), id="bad", source="/crm", subject=ticket, time=START)
    return Raw("commands", 0, 0, json.dumps({**json.loads(command.encode()), **change}).encode())


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_command_whose_data_is_wrong_is_answered_with_what_is_wrong(wrong: str) -> None:
    worker, ticket = await opened()
    assert await worker.take(written(ticket, **WRONG[wrong])) == set()
    told = answer(worker)
    assert (told["command_id"], told["ticket_id"]) == ("bad", ticket)
    assert told["reason"] == ("unknown_command" if "dance" in told["command_type"] else "invalid")


async def test_a_command_that_is_wrong_and_comes_twice_is_answered_once() -> None:
    worker, ticket = await opened()
    await worker.take(written(ticket, data=None))
    before = len(worker.events())
    await worker.take(written(ticket, data=None))
    assert len(worker.events()) == before


@pytest.mark.parametrize(
    "change", [{"subject": None}, {"time": "x"}, {"id": ""}, {"id": "x" * 20_000}, {"specversion": "2.0"}]
)
async def test_what_cannot_be_answered_is_kept_and_never_stops_the_service(change: dict[str, Any]) -> None:
    worker, ticket = await opened()
    record = written(ticket, **change)
    rows = [Raw("commands", 0, offset, record.value) for offset in range(300)]
    assert await worker.take(*rows) == set()
    assert (worker.delivery.stopped, len(worker.dead())) == (None, 300)
