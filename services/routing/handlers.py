"""The way from the tickets and commands topics to the core, the assigner and back. No rules here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from pydantic_core import from_json

from contracts.assignments import TransferReason
from contracts.commands import Transfer
from contracts.envelope import Command
from contracts.tickets import TicketEvent, TicketOpened
from contracts.topics import BY_NAME, TICKETS
from kit.base.errors import TransientError
from kit.base.series import exemplar
from kit.protocol.document import Cause, Decision, Document
from kit.protocol.handling import Handling, Incoming, event_item
from kit.protocol.record import Record
from kit.protocol.timers import Positions
from services.routing import metrics
from services.routing.assignment.assigner import Assigner
from services.routing.core import tickets, transfers
from services.routing.core.state import TicketState

UNDERWAY = timedelta(seconds=2)
"""How long a ticket may be on its way to us after somebody who has heard of it asks for its transfer."""


class RoutingHandling(Handling[TicketState]):
    """Takes events of tickets, and commands to transfer one."""

    begins = BY_NAME[TICKETS].sources[0]

    positions: Positions | None = None
    """Tells how far tickets have been handled; without, a transfer waits for its ticket like any record."""

    def __init__(self, assigner: Assigner) -> None:
        self._assigner = assigner
        self._unknown: set[str] = set()
        """Commands of which it is sure that there is no such ticket."""
        self._accepted: dict[str, datetime] = {}
        """When the first messages were accepted of the tickets that this batch opens."""

    def expand(self, record: Record) -> Sequence[Incoming]:
        """Read an event, or a command: those that are not for routing change nothing here."""
        return self.read(record)

    @staticmethod
    def read(record: Record) -> Sequence[Incoming]:
        """Read a record without knowing anything."""
        if record.topic.endswith(TICKETS) or not _is_command(record.value or b""):
            return [event_item(record)]
        try:
            command = Command.parse(record.value or b"")
        except ValueError:
            return []  # ingest, which reads all commands, refuses it
        if not isinstance(command.data, Transfer):
            return []
        cause = Cause(command.id, command.correlationid or command.id, command.traceparent)
        return [Incoming(record, doc_id=command.subject, value=command, cause=cause)]

    async def locate(self, items: list[Incoming]) -> Mapping[str, Document[TicketState]]:
        """Read agents whom a transfer names and nobody here knows: they may be new. Find out which tickets are not."""
        opened = [item.event.data.ticket for item in items if item.event and isinstance(item.event.data, TicketOpened)]
        self._accepted = {ticket.id: ticket.created_at for ticket in opened}
        commands = [item.value for item in items if isinstance(item.value, Command)]
        unknown = {c.data.agent_id for c in commands if not self._assigner.roster.is_there(c.data.agent_id or "")} - {
            None
        }
        if unknown:
            await self._assigner.roster.reload(sorted(unknown))
        if not commands:
            return {}
        docs = await self._assigner.documents.load(command.subject for command in commands)
        new = {i for i, doc in docs.items() if doc.fault is None and doc.state is None}
        await self._find_out([item for item in items if isinstance(item.value, Command) and item.doc_id in new])
        return docs

    async def _find_out(self, items: Sequence[Incoming]) -> None:
        """Note of which commands it is sure that there is no ticket: all that was said until then has been handled."""
        self._unknown = set()
        if self.positions is None or not items:
            return
        try:  # a ticket's commands have the number of its partition
            partitions = {item.record.partition for item in items}
            until = await self.positions.handled_until([self._assigner.documents.home_topic], partitions)
        except TransientError:
            return
        for item in items:
            handled = until.get(item.record.partition)
            if handled is not None and handled > item.value.time + UNDERWAY:
                self._unknown.add(item.value.id)

    def decide(self, state: TicketState | None, item: Incoming, now: datetime) -> Decision[TicketState]:
        """Let the core decide. An event counts from its own time, whenever it is read."""
        policy, roster = self._assigner.policy, self._assigner.roster
        if isinstance(item.value, Command):
            command: Transfer = item.value.data
            if state is None and item.value.id in self._unknown:
                state = transfers.unknown_ticket(item.value.subject)
            if state is None:
                raise TransientError("the ticket to transfer is not known yet")
            known = state.aside != TransferReason.UNKNOWN_TICKET
            if known and not item.value.reaches(state.facts.brand, state.facts.account):
                return Decision()  # ingest refuses it, aloud
            at, people = max(now, item.value.time), roster.pool.agents
            return transfers.transfer(state, command, item.value.id, at, policy, people, item.cause, item.value.source)
        assert item.event is not None
        if not isinstance(item.event.data, TicketEvent):
            return Decision()
        return tickets.decide(state, item.event.data, item.event.time, policy, roster.available, item.cause)

    async def before_write(self, docs: Sequence[Document[TicketState]]) -> None:
        """Claim agents for those who wait."""
        if not self._assigner.roster.loaded:
            await self._assigner.roster.load_all()
        await self._assigner.assign(docs)

    async def after_write(self, won: Sequence[Document[TicketState]], lost: Sequence[Document[TicketState]]) -> None:
        """Give up claims that are not needed (any more)."""
        self._measure(won)
        await self._assigner.settle(won, lost)

    def _measure(self, won: Sequence[Document[TicketState]]) -> None:
        now = self._assigner.clock.now()
        for doc in won:
            accepted = self._accepted.pop(doc.id, None)
            if accepted is not None and doc.state is not None and doc.state.phase == "assigned":
                trace = exemplar(doc.state.cause.traceparent) if doc.state.cause is not None else None
                metrics.ACCEPTED_TO_ASSIGNED.observe(max(0.0, (now - accepted).total_seconds()), trace)


def _is_command(value: bytes) -> bool:
    """Tell commands from events by their type: on the retry topic both come back."""
    try:
        document = from_json(value)
    except ValueError:
        return False
    kind = document.get("type") if isinstance(document, dict) else None
    return isinstance(kind, str) and kind.startswith("deskbus.command.") and kind != "deskbus.command.rejected.v1"
