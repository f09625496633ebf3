"""A ticket's timeline: each step is decided at its minute, and the emitted events are recorded."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from contracts.commands import CommandPayload, Reply
from contracts.contacts import Identity
from contracts.envelope import Command
from contracts.payload import Payload
from contracts.ticket import Author, AuthorKind, Status, Ticket
from kit.protocol.document import Decision, Insert
from services.ingest.core import sending
from services.ingest.core.arrivals import Arrival, StatusReport
from services.ingest.core.commands import CommandContext
from services.ingest.core.messages import (
    Delivery,
    DeliveryStatus,
    InboundMessage,
    Sender,
    SendFailure,
    SendOutcome,
    Sent,
)
from services.ingest.core.policy import AccountDefaults, TicketPolicy
from services.ingest.core.state import TicketState
from services.ingest.core.ticket import decide, fire

START = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
AGENT = Author(kind=AuthorKind.AGENT, id="anna", name="Anna")
BOT = Author(kind=AuthorKind.BOT, id="helper")
POLICY = TicketPolicy()


def minute(number: float) -> datetime:
    return START + timedelta(minutes=number)


class Story:
    """A ticket's state, and all events and inserts so far."""

    def __init__(self, *, bot: bool = False, policy: TicketPolicy = POLICY) -> None:
        self.state: TicketState | None = None
        self.events: list[Payload] = []
        self.inserts: list[Insert] = []
        self.policy = policy
        self.defaults = AccountDefaults(brand="nimbus", bot=bot, tags=("vip-desk",))
        self._numbers = count(1)

    @property
    def ticket(self) -> Ticket:
        assert self.state is not None
        assert self.state.ticket is not None
        return self.state.ticket

    def words(self) -> list[str]:
        return [event.type.removeprefix("deskbus.").removesuffix(".v1") for event in self.events]

    def clear(self) -> None:
        self.events.clear()

    def _take(self, decision: Decision[TicketState] | None) -> None:
        if decision is None:
            return
        self.events += decision.events
        self.inserts += decision.inserts
        self.state = self.state if decision.state is None else decision.state

    def arrival(self, at: float, number: str | None = None, **fields: Any) -> Arrival:
        inbound = InboundMessage(
            channel="whatsapp", account="wa-th", message_id=number or f"m{next(self._numbers)}",
            sender=Sender((Identity(channel="whatsapp", id="u1"),), "Somchai", "66811111111"),
            sent_at=minute(at), text="Where is it?", conversation="u1",
        )  # fmt: skip
        return Arrival(replace(inbound, **fields), minute(at), self.defaults, "T1", "C1", thread="u1")

    def writes(self, at: float, number: str | None = None, **fields: Any) -> Arrival:
        arrival = self.arrival(at, number, **fields)
        self._take(decide(self.state, arrival, self.policy, minute(at)))
        return arrival

    def asks(
        self,
        at: float,
        data: CommandPayload,
        number: str | None = None,
        *,
        given: float | None = None,
        **looked_up: Any,
    ) -> None:
        """Handle a command at minute `at`; `given` is when it was sent, by default the same."""
        time = minute(at if given is None else given)
        command = Command.of(data, id=number or f"c{next(self._numbers)}", source="/crm", subject="T1", time=time)
        self._take(decide(self.state, CommandContext(command, **looked_up), self.policy, minute(at)))

    def replies(
        self, at: float, sent_at: float | None = None, by: Author = AGENT, status: Status | None = None
    ) -> None:
        """Handle a reply that is sent at the first attempt."""
        self.asks(at, Reply(by=by, text="On its way", status=status))
        self.tries(at if sent_at is None else sent_at)

    def tries(self, at: float, outcome: SendOutcome | None = None, *, begun: float | None = None) -> None:
        assert self.state is not None
        started = sending.begin(self.state, self.policy, minute(at if begun is None else begun))
        assert started is not None
        self._take(started)
        tried = self.state.pending[0]
        self._take(sending.settle(self.state, tried, outcome or Sent("wamid.1"), self.policy, minute(at)))

    def begins(self, at: float) -> bool:
        assert self.state is not None
        decision = sending.begin(self.state, self.policy, minute(at))
        self._take(decision)
        return decision is not None

    def reported(self, at: float, state: Delivery, message_id: str | None, **fields: Any) -> None:
        status = DeliveryStatus("whatsapp", "wa-th", "wamid.1", state, minute(at), **fields)
        self._take(decide(self.state, StatusReport(status, minute(at), message_id), self.policy, minute(at)))

    def time_comes(self, at: float) -> None:
        assert self.state is not None
        self._take(fire(self.state, minute(at)))


__all__ = ["AGENT", "BOT", "SendFailure", "Story", "minute"]
