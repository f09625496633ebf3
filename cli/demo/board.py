"""What the topics say, as a screen: tickets with agent, reason and clock, and below them what deserves a second look.

Fed with records of topics and nothing else; says nothing to anybody.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from cli.describe import Described, describe, short, why
from cli.reading import Line
from cli.screen import clean
from contracts import agents, assignments, notifications, sla, tickets, topics
from contracts.envelope import Event
from contracts.ticket import Ticket

ROWS = 16
NEWS = 9
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
#: Of these kinds only what happened in the course of an escalation, or to an agent, is news.
_NEWS = (
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
    """One ticket on the screen."""

    ticket: Ticket
    text: str
    agent: str = ""
    why: str = ""
    due_at: datetime | None = None
    clock: Text = field(default_factory=Text)
    answered: bool = False
    breached: bool = False


class Board:
    """The screen's memory."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.news: deque[Described] = deque(maxlen=NEWS)
        self.counts = dict.fromkeys(("messages", "tickets", "assigned", "answered", "met", "breached", "told"), 0)
        self._seen: set[str] = set()

    def feed(self, line: Line) -> Event | None:
        """Take a record; returns its event if it is one that was not seen before."""
        if line.topic == topics.INBOUND:
            self.counts["messages"] += 1
        if line.topic not in topics.BY_NAME or not topics.BY_NAME[line.topic].payloads or line.topic == topics.COMMAND:
            return None
        event = Event.parse(line.value or b"")
        if event.id in self._seen:
            return None
        self._seen.add(event.id)
        self._take(event)
        if isinstance(event.data, _NEWS) or _requeued(event):
            self.news.append(describe(line))
        return event

    def _take(self, event: Event) -> None:
        data = event.data
        if isinstance(data, tickets.TicketOpened):
            self.counts["tickets"] += 1
            self.rows[event.subject] = Row(data.ticket, data.message.text if data.message else "")
        row = self.rows.get(event.subject)
        if row is None:
            self.counts["told"] += isinstance(data, notifications.NotificationSent)
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

    # -- showing -----------------------------------------------------------------------------------------------------

    def render(self, now: datetime, title: str, height: int = 40) -> RenderableType:
        """The whole screen, in as many lines as there are."""
        rows = max(3, min(ROWS, height - NEWS - 7))
        table = Table(expand=True, box=None, pad_edge=False)
        for name, width in (("ticket", 8), ("from", 26), ("says", 34), ("with", 18), ("why", 40), ("clock", 18)):
            table.add_column(name, no_wrap=True, overflow="ellipsis", max_width=width)
        for identifier, row in self._shown(rows):
            ticket = row.ticket
            market = ticket.market.marketplace or ticket.market.country or ""
            source = clean(f"{ticket.channel} {ticket.brand or ''} {market} {ticket.language or ''}")
            says = Text(
                ("↩ " if row.answered else "") + clean(" ".join(row.text.split())), "green" if row.answered else ""
            )
            table.add_row(clean(short(identifier)), source, says, row.agent, Text(row.why, "dim"), self._time(row, now))
        news = Group(*(Text(str(each), self._colour(each), no_wrap=True, overflow="ellipsis") for each in self.news))
        counts = "   ".join(f"{name} {count}" for name, count in self.counts.items())
        return Group(Text(f"{title}   {counts}", "bold"), Panel(table, title="tickets"), Panel(news, title="notable"))

    def _shown(self, room: int) -> list[tuple[str, Row]]:
        """The latest tickets, and above them those whose clock ran out."""
        rows = list(self.rows.items())
        pinned = [each for each in rows[:-room] if each[1].breached][-2:]
        return [*pinned, *rows[-room + len(pinned) :]]

    def _time(self, row: Row, now: datetime) -> Text:
        if row.due_at is None:
            return row.clock
        left = (row.due_at - now).total_seconds()
        return Text(f"{left:.0f} s", "bold yellow" if left < 3 else "yellow" if left < 10 else "")

    def _colour(self, described: Described) -> str:
        return _COLOURS.get(described.kind.split(".")[-1], "")


def _requeued(event: Event) -> bool:
    return isinstance(event.data, assignments.TicketUnassigned) and event.data.reason == "agent_offline"
