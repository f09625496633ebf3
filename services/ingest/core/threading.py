"""Which ticket a message belongs to: what to look up, in which order, and when a thread goes on with a new ticket.

Pure; the claims themselves are written and read by `services.ingest.threads`.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from contracts.ticket import Authentication, Status, Ticket
from kit.base.ids import stable_id
from services.ingest.core.messages import InboundMessage
from services.ingest.core.policy import TicketPolicy
from services.ingest.core.state import TicketState

ANCESTORS = 50
"""Ancestors that are looked up and claimed, at most; a chain this long has its newest ones among them."""


def takes(ticket: Ticket, at: datetime, policy: TicketPolicy, *, automated: bool = False) -> bool:
    """Whether the ticket may take a message that came at this instant.

    A machine's message is recorded wherever it belongs, also on a closed ticket: it wakes nobody and begins nothing.
    """
    if ticket.merged_into is not None:
        return False
    if automated:
        return True
    if ticket.status == Status.CLOSED:
        return False
    return ticket.solved_at is None or at <= ticket.solved_at + policy.reopen_window


def goes_on(
    state: TicketState | None,
    inbound: InboundMessage,
    at: datetime,
    policy: TicketPolicy,
    active_at: datetime | None = None,
) -> bool:
    """Whether a thread's message belongs to its current ticket, rather than to a new one.

    `active_at` is when somebody wrote last in a chat-like conversation; mail has no quiet time, its headers say enough.
    A ticket without state was claimed by a process that died before it could open it: the message opens it.
    """
    if (
        state is not None
        and state.ticket is not None
        and not takes(state.ticket, at, policy, automated=inbound.automated)
    ):
        return False
    return active_at is None or at - active_at <= policy.quiet


def same_house(ticket: Ticket, inbound: InboundMessage) -> bool:
    """Whether the message came to the account and the brand that the ticket belongs to.

    A mail names a brand only by an alias of the account; the account's main address takes the answers for all of them.
    """
    if (ticket.channel, ticket.account) != (inbound.channel, inbound.account):
        return False
    return inbound.mail is None or None in {ticket.brand, inbound.brand} or ticket.brand == inbound.brand


def may_join(people: Collection[str], proven: Collection[str], contact: str, inbound: InboundMessage) -> bool:
    """Whether a mail may go on with a ticket whose messages it names (In-Reply-To, References).

    Ids may have been read by others, and a From is easily forged. So whoever is proven may join; and those who take
    part already, unless the mail is unproven although the same sender was proven on this ticket before. A machine's
    mail is recorded where it belongs, and changes nothing there.
    """
    if inbound.mail is None or inbound.automated or is_proven(inbound):
        return True
    return contact in people and (inbound.mail.authentication is None or contact not in proven)


def may_name(people: Collection[str], contact: str, inbound: InboundMessage) -> bool:
    """Whether a token in the subject counts: it is no secret, so only for a proven sender who takes part already."""
    return is_proven(inbound) and contact in people


def is_proven(inbound: InboundMessage) -> bool:
    """Whether somebody vouches for the sender of a mail."""
    return inbound.mail is not None and inbound.mail.authentication is Authentication.PASS


def message_anchor(channel: str, account: str, channel_message_id: str) -> str:
    """Return the claim's id for a message, received, sent or only referred to."""
    return stable_id("thread", channel, account, channel_message_id)


def conversation_anchor(inbound: InboundMessage, brand: str | None = None) -> str:
    """Return the claim's id for a chat-like conversation.

    `brand` is the account's own. A person who writes to another one has a conversation with that one, apart.
    """
    other = () if inbound.brand in {None, brand} else (str(inbound.brand),)
    talk = inbound.conversation or inbound.sender.key
    return stable_id("conversation", inbound.channel, inbound.account, talk, *other)


def successor_anchor(ticket_id: str) -> str:
    """Return the claim's id for what comes after a ticket of mail."""
    return stable_id("successor", ticket_id)


def aside_anchor(ticket_id: str, brand: str | None, contact: str) -> str:
    """Return the claim's id for what somebody writes to a brand, in a thread of a ticket that they may not join."""
    return stable_id("aside", ticket_id, brand or "", contact)


def mail_anchors(inbound: InboundMessage) -> tuple[str, ...]:
    """Return the claims of a mail, to be looked up in this order: its own id (it may be known as somebody's ancestor),
    then its ancestors, likeliest first.
    """
    assert inbound.mail is not None
    ids = (inbound.mail.message_id, *inbound.mail.ancestors[:ANCESTORS], *inbound.mail.ancestors[-1:])
    return tuple(message_anchor(inbound.channel, inbound.account, each) for each in dict.fromkeys(ids))


def placed_anchor(message: str) -> str:
    """Return the claim's id for the ticket that a mail goes to, where the claim of its Message-ID does not say it."""
    return stable_id("placed", message)


def root_anchor(inbound: InboundMessage) -> str:
    """Return the claim that decides when nothing of a mail is known: its oldest ancestor's, else its own."""
    assert inbound.mail is not None
    oldest = inbound.mail.ancestors[-1] if inbound.mail.ancestors else inbound.mail.message_id
    return message_anchor(inbound.channel, inbound.account, oldest)
