"""The live view: tickets with agent, reason and clock, and below them notable events. Made from the topics alone."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from cli.describe import Described, describe, short, why
from cli.reading import TopicRecord
from cli.screen import clean
from contracts import agents, assignments, notifications, sla, tickets, topics
from contracts.envelope import Event
from contracts.ticket import Ticket

TICKET_ROWS = 16
NOTABLE_ROWS = 9
_COLOURS = {
    "breached": "bold red",
    "at_risk": "yellow",
    "opened": "red",
    "step_reached": "red",
    "acknowledged": "bold green",
    "resolved": "green",
    "unassigned": "yellow",
    "sent": "cyan",
}
_FIXED, _SHARES = {"ticket": 8, "clock": 18}, {"from": 5, "says": 7, "with": 4, "why": 7}
"""Columns of the terminal that a column takes, and how the others share the rest."""
_NOTABLE = (
    sla.ClockBreached,
    sla.ClockAtRisk,
    notifications.EscalationEvent,
    notifications.NotificationEvent,
    agents.AgentPresenceChanged,
    assignments.TicketUnroutable,
    tickets.MessageFailed,
    tickets.CommandRejected,
)


@dataclass
class Row:
    """One ticket."""

    ticket: Ticket
    text: str
    agent: str = ""
    why: str = ""
    due_at: datetime | None = None
    clock: Text = field(default_factory=Text)
    answered: bool = False
    breached: bool = False


class Board:
    """The state of the view."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.notable: deque[Described] = deque(maxlen=NOTABLE_ROWS)
        counted = ("messages", "tickets", "assigned", "answered", "met", "breached", "notified")
        self.counts = dict.fromkeys(counted, 0)
        self._seen: set[str] = set()

    def feed(self, record: TopicRecord) -> Event | None:
        """Apply a record; return its event, unless it was seen before."""
        if record.topic == topics.INBOUND:
            self.counts["messages"] += 1
        topic = topics.BY_NAME.get(record.topic)
        if topic is None or not topic.payloads or record.topic == topics.COMMAND:
            return None
        event = Event.parse(record.value or b"")
        if event.id in self._seen:
            return None
        self._seen.add(event.id)
        self._apply(event)
        if isinstance(event.data, _NOTABLE) or _requeued(event):
            self.notable.append(describe(record))
        return event

    def _apply(self, event: Event) -> None:
        data = event.data
        if isinstance(data, tickets.TicketOpened):
            self.counts["tickets"] += 1
            self.rows[event.subject] = Row(data.ticket, data.message.text if data.message else "")
        row = self.rows.get(event.subject)
        if row is None:
            self.counts["notified"] += isinstance(data, notifications.NotificationSent)
            return
        match data:
            case tickets.MessageReceived(message=message):
                row.text, row.answered = message.text, False
            case tickets.MessageSent(message=message):
                self.counts["answered"] += 1
                row.text, row.answered = message.text, True
            case assignments.TicketAssigned(agent=agent):
                self.counts["assigned"] += 1
                row.agent, row.why = clean(agent.name or agent.id), clean(why(data))
            case assignments.TicketQueued(queue=queue, reason=reason):
                row.agent, row.why = clean(f"… {queue}"), clean(reason)
            case sla.ClockEvent():
                self._clock(row, data)

    def _clock(self, row: Row, data: sla.ClockEvent) -> None:
        row.due_at = None
        match data:
            case sla.ClockMet(remaining_seconds=left):
                self.counts["met"] += 1
                row.clock = Text(f"met, {left:.0f} s left", "green")
            case sla.ClockBreached(metric=metric):
                self.counts["breached"] += 1
                row.breached = True
                row.clock = Text(clean(f"BREACHED {metric}"), "bold red")
            case sla.ClockCancelled(reason=reason):
                row.clock = Text(clean(reason).replace("_", " "), "red" if data.breached_by_seconds else "dim")
            case sla.ClockPaused():
                row.clock = Text("paused", "dim")
            case _:
                row.due_at = data.due_at

    def render(self, now: datetime, title: str, height: int = 40) -> RenderableType:
        """Return the view for a terminal of this height, in lines."""
        rows = max(3, min(TICKET_ROWS, height - NOTABLE_ROWS - 7))
        table = Table(expand=True, box=None, pad_edge=False)
        for name in ("ticket", "from", "says", "with", "why", "clock"):
            table.add_column(name, no_wrap=True, overflow="ellipsis", width=_FIXED.get(name), ratio=_SHARES.get(name))
        for identifier, row in self._shown(rows):
            ticket = row.ticket
            market = ticket.market.marketplace or ticket.market.country or ""
            source = clean(f"{ticket.channel} {ticket.brand or ''} {market} {ticket.language or ''}")
            says = Text(
                ("↩ " if row.answered else "") + clean(" ".join(row.text.split())), "green" if row.answered else ""
            )
            table.add_row(clean(short(identifier)), source, says, row.agent, Text(row.why, "dim"), self._time(row, now))
        lines = (Text(str(each), self._colour(each), no_wrap=True, overflow="ellipsis") for each in self.notable)
        counts = "   ".join(f"{name} {count}" for name, count in self.counts.items())
        notable = Panel(Group(*lines), title="notable")
        return Group(Text(f"{title}   {counts}", "bold"), Panel(table, title="tickets"), notable)

    def _shown(self, limit: int) -> list[tuple[str, Row]]:
        """Return the latest tickets, and up to two earlier ones with a breach."""
        rows = list(self.rows.items())
        pinned = [each for each in rows[:-limit] if each[1].breached][-2:]
        return [*pinned, *rows[-limit + len(pinned) :]]

    def _time(self, row: Row, now: datetime) -> Text:
        if row.due_at is None:
            return row.clock
        left = (row.due_at - now).total_seconds()
        return Text(f"{left:.0f} s", "bold yellow" if left < 3 else "yellow" if left < 10 else "")

    def _colour(self, described: Described) -> str:
        return _COLOURS.get(described.kind.split(".")[-1], "")


def _requeued(event: Event) -> bool:
    return isinstance(event.data, assignments.TicketUnassigned) and event.data.reason == "agent_offline"
