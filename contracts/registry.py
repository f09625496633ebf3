"""All types of events and commands by name. Services skip and count types that are not listed here."""

from contracts import agents, assignments, commands, contacts, notifications, queues, sla, tickets
from contracts.payload import Payload

EVENTS: dict[str, tuple[type[Payload], ...]] = {
    "tickets": (
        tickets.TicketOpened,
        tickets.MessageReceived,
        tickets.MessageSent,
        tickets.MessageFailed,
        tickets.MessageDelivered,
        tickets.MessageBounced,
        tickets.NoteAdded,
        tickets.TicketStatusChanged,
        tickets.TicketPriorityChanged,
        tickets.TicketTagged,
        tickets.TicketFactsChanged,
        tickets.TicketReopened,
        tickets.TicketMerged,
        tickets.TicketSplit,
        tickets.TicketHandedOff,
        tickets.TicketClosed,
        tickets.CommandRejected,
    ),
    "contacts": (
        contacts.ContactUpdated,
        contacts.ContactMerged,
        contacts.ContactUnmerged,
        contacts.ContactErased,
    ),
    "assignments": (
        assignments.TicketQueued,
        assignments.TicketOffered,
        assignments.TicketOfferExpired,
        assignments.TicketOfferDeclined,
        assignments.TicketAssigned,
        assignments.TicketUnassigned,
        assignments.TicketUnroutable,
        assignments.TicketRoutable,
        assignments.TicketTransferAnswered,
    ),
    "agents": (agents.AgentUpdated, agents.AgentPresenceChanged, agents.AgentRemoved),
    "queues": (queues.QueueReported,),
    "sla": (
        sla.ClockStarted,
        sla.ClockPaused,
        sla.ClockResumed,
        sla.ClockDueSoon,
        sla.ClockAtRisk,
        sla.ClockBreached,
        sla.ClockMet,
        sla.ClockCancelled,
    ),
    "notifications": (
        notifications.EscalationOpened,
        notifications.EscalationStepReached,
        notifications.EscalationAcknowledged,
        notifications.EscalationExhausted,
        notifications.EscalationResolved,
        notifications.NotificationSent,
        notifications.NotificationFailed,
        notifications.NotificationWithdrawn,
    ),
}
"""Event types by topic, without the topic's prefix and version."""

COMMANDS: tuple[type[commands.CommandPayload], ...] = (
    commands.Reply,
    commands.AddNote,
    commands.SetStatus,
    commands.SetPriority,
    commands.SetTags,
    commands.HandOff,
    commands.Transfer,
    commands.Merge,
    commands.Split,
    commands.SetFacts,
    commands.Forward,
)

EVENT_TYPES: dict[str, type[Payload]] = {cls.type: cls for classes in EVENTS.values() for cls in classes}
COMMAND_TYPES: dict[str, type[commands.CommandPayload]] = {cls.type: cls for cls in COMMANDS}
REGISTRY: dict[str, type[Payload]] = {**EVENT_TYPES, **COMMAND_TYPES}
"""Every type -> its class."""

RESERVED: frozenset[str] = frozenset(
    payload.type
    for payload in (
        tickets.TicketSplit,
        contacts.ContactMerged,
        contacts.ContactUnmerged,
        contacts.ContactErased,
        assignments.TicketOffered,
        assignments.TicketOfferExpired,
        assignments.TicketOfferDeclined,
        queues.QueueReported,
        commands.Split,
    )
)
"""Types that are defined but not in use: no service writes these events or carries out these commands.

The catalogue and the AsyncAPI document mark them. tests/architecture compares it with the code, in both directions.
"""
