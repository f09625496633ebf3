"""The way from the tickets and commands topics to the core, the desk and back. No rules here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from faststream.kafka import KafkaRouter
from pydantic_core import from_json

from contracts.commands import Transfer
from contracts.envelope import Command
from contracts.tickets import TicketEvent
from contracts.topics import COMMAND, TICKETS, retry
from kit.consumer import Consumer
from kit.document import Cause, Decision, Document
from kit.errors import Passing, Unparsable
from kit.handling import BaseHandling, Incoming, Record, event_item
from services.routing.core import tickets
from services.routing.core.tickets import TicketState
from services.routing.store.desk import Desk

CONSUMED = (TICKETS, COMMAND, retry("routing"))


class RoutingHandling(BaseHandling[TicketState]):
    """Takes events of tickets, and commands to transfer one."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def expand(self, record: Record) -> Sequence[Incoming]:
        """Read an event, or a command: those that are not for routing change nothing here."""
        if record.topic.endswith(TICKETS) or not _is_command(record.value or b""):
            return [event_item(record)]
        try:
            command = Command.parse(record.value or b"")
        except ValueError as error:
            if Transfer.type.encode() not in (record.value or b""):
                return []
            raise Unparsable(f"invalid command: {error}") from error
        if not isinstance(command.data, Transfer):
            return []
        cause = Cause(command.id, command.correlationid or command.id, command.traceparent)
        return [Incoming(record, doc_id=command.subject, value=command, cause=cause)]

    def decide(self, state: TicketState | None, item: Incoming, now: datetime) -> Decision[TicketState]:
        """Let the core decide. An event counts from its own time, whenever it is read."""
        decision = self._decide(state, item, now)
        if decision.state is not None:
            self._desk.note(state, decision.state)
        return decision

    def _decide(self, state: TicketState | None, item: Incoming, now: datetime) -> Decision[TicketState]:
        policy, roster = self._desk.policy, self._desk.roster
        if isinstance(item.value, Command):
            command: Transfer = item.value.data
            if state is None:
                raise Passing("the ticket of a transfer is not known yet")
            if not item.value.reaches(state.facts.brand, state.facts.account):
                return Decision()  # ingest refuses it, aloud
            if command.agent_id is not None and not _is_there(self._desk, command.agent_id):
                raise Passing(f"there is no agent {command.agent_id!r}, or not yet")
            return tickets.transfer(state, command, item.value.id, max(now, item.value.time), policy, item.cause)
        assert item.event is not None
        if not isinstance(item.event.data, TicketEvent):
            return Decision()
        return tickets.decide(state, item.event.data, item.event.time, policy, roster.available, item.cause)

    async def before_write(self, docs: Sequence[Document[TicketState]]) -> None:
        """Claim agents for those who wait."""
        if not self._desk.roster.loaded:
            await self._desk.roster.load_all()
        await self._desk.assign(docs)

    async def after_write(self, won: Sequence[Document[TicketState]], lost: Sequence[Document[TicketState]]) -> None:
        """Give up claims that are not needed (any more)."""
        await self._desk.settle(won, lost)


def _is_there(desk: Desk, agent_id: str) -> bool:
    doc = desk.roster.get(agent_id)
    return doc is not None and doc.state is not None and doc.state.removed_at is None


def _is_command(value: bytes) -> bool:
    """Tell commands from events by their type: on the retry topic both come back."""
    try:
        document = from_json(value)
    except ValueError:
        return False
    kind = document.get("type") if isinstance(document, dict) else None
    return isinstance(kind, str) and kind.startswith("deskbus.command.") and kind != "deskbus.command.rejected.v1"


def build_router(consumer: Consumer) -> KafkaRouter:
    """Declare the subscriber."""
    router = KafkaRouter()
    consumer.subscribe(router)
    return router
