"""A ticket that is asked for something, and what came of it. No tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from contracts.commands import (
    AddNote,
    CommandPayload,
    Reply,
)
from contracts.envelope import Command
from contracts.ticket import (
    Ticket,
)
from contracts.tickets import (
    CommandRejected,
)
from kit.protocol.document import Decision
from services.ingest.core.commands import (
    CommandContext,
    decide,
)
from services.ingest.core.policy import TicketPolicy
from services.ingest.core.state import TicketState
from tests.ingest.core.timeline import AGENT, POLICY, Story, minute


def stored(*, bot: bool = False, ticket: dict[str, Any] | None = None, **kept: Any) -> TicketState:
    """A ticket with one message of minute 0."""
    story = Story(bot=bot)
    story.writes(0, "m1")
    assert story.state is not None
    return replace(story.state, ticket=story.ticket.model_copy(update=ticket or {}), **kept)


def command(data: CommandPayload, number: str = "c1", source: str = "/crm", **more: Any) -> Command:
    return Command.of(data, id=number, source=source, subject="T1", time=minute(1), **more)


def given(
    state: TicketState, data: CommandPayload, *, policy: TicketPolicy = POLICY, looked: dict[str, Any] | None = None,
    **more: Any,
) -> Decision[TicketState]:  # fmt: skip
    """Take a command that was given at minute 1, at minute 2."""
    return decide(state, CommandContext(command(data, **more), **(looked or {})), policy, minute(2))


def after(decision: Decision[TicketState]) -> tuple[TicketState, Ticket]:
    assert decision.state is not None
    assert decision.state.ticket is not None
    return decision.state, decision.state.ticket


def refusal(decision: Decision[TicketState]) -> tuple[str, str | None]:
    (rejected,) = decision.events
    assert isinstance(rejected, CommandRejected)
    return rejected.reason, rejected.detail


def changed(before: TicketState, ticket: Ticket) -> dict[str, Any]:
    assert before.ticket is not None
    fields = Ticket.model_fields.keys()
    return {n: v for n in sorted(fields) if getattr(before.ticket, n) != (v := getattr(ticket, n))}


NOTE = AddNote(by=AGENT, text="called")
NEWS = {"version": 2, "updated_at": minute(2)}
REPLY = Reply(by=AGENT, text="x")
