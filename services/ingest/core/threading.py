"""Which ticket a message belongs to: which claims to look up, in which order, and when a thread gets a new ticket.

Pure; `services.ingest.threads` reads and writes the claims.
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
"""Maximum number of ancestors that are looked up and claimed: the likeliest ones, and the oldest."""


def accepts(ticket: Ticket, at: datetime, policy: TicketPolicy, *, automated: bool = False) -> bool:
    """Whether the ticket may take a message that arrived at `at`.

    Automated messages are recorded even on a closed ticket, since they neither reopen it nor open a new one.
    """
    if ticket.merged_into is not None:
        return False
    if automated:
        return True
    if ticket.status == Status.CLOSED:
        return False
    return ticket.solved_at is None or at <= ticket.solved_at + policy.reopen_window


def continues_ticket(
    state: TicketState | None,
    inbound: InboundMessage,
    at: datetime,
    policy: TicketPolicy,
    active_at: datetime | None = None,
) -> bool:
    """Whether a message belongs to the current ticket of its thread rather than to a new one.

    `active_at` is when either side last wrote in a chat. It is None for mail, whose headers identify the thread, so
    that inactivity does not matter. A ticket without state was claimed, but never opened: this message opens it.
    """
    if (
        state is not None
        and state.ticket is not None
        and not accepts(state.ticket, at, policy, automated=inbound.automated)
    ):
        return False
    return active_at is None or at - active_at <= policy.quiet


def same_account_and_brand(ticket: Ticket, inbound: InboundMessage) -> bool:
    """Whether the message was sent to the ticket's account and brand.

    A mail has a brand only if it was sent to an alias; answers sent to the account's main address match every brand.
    """
    if (ticket.channel, ticket.account) != (inbound.channel, inbound.account):
        return False
    return inbound.mail is None or None in {ticket.brand, inbound.brand} or ticket.brand == inbound.brand


def may_join(people: Collection[str], proven: Collection[str], contact: str, inbound: InboundMessage) -> bool:
    """Whether a mail may join a ticket whose messages it refers to (In-Reply-To, References).

    Message-IDs are not secret, and From is easily forged. Authenticated senders may join. So may `people`, who take
    part already, unless the mail fails authentication and an earlier mail of the same sender (`proven`) passed it.
    Automated mail may always join: it is recorded and changes nothing else.
    """
    if inbound.mail is None or inbound.automated or is_proven(inbound):
        return True
    return contact in people and (inbound.mail.authentication is None or contact not in proven)


def may_name_ticket(people: Collection[str], contact: str, inbound: InboundMessage) -> bool:
    """Whether a ticket token in the subject counts: it is not secret, so the sender must be proven and take part."""
    return is_proven(inbound) and contact in people


def is_proven(inbound: InboundMessage) -> bool:
    """Whether the sender of a mail is authenticated (DKIM, or our mail server's Authentication-Results)."""
    return inbound.mail is not None and inbound.mail.authentication is Authentication.PASS


def message_anchor(channel: str, account: str, channel_message_id: str) -> str:
    """Return the anchor of a message, whether it was received, sent, or only referred to."""
    return stable_id("thread", channel, account, channel_message_id)


def conversation_anchor(inbound: InboundMessage, brand: str | None = None) -> str:
    """Return the anchor of a chat conversation.

    `brand` is the account's. A contact who also writes to another brand has a separate conversation with that one.
    """
    other = () if inbound.brand in {None, brand} else (str(inbound.brand),)
    return chat_anchor(inbound.channel, inbound.account, inbound.conversation or inbound.sender.key, *other)


def chat_anchor(channel: str, account: str, conversation: str, *other: str) -> str:
    """Return the anchor of a chat conversation by its key; `other` is the brand if it is not the account's."""
    return stable_id("conversation", channel, account, conversation, *other)


def successor_anchor(ticket_id: str) -> str:
    """Return the anchor of the ticket that continues a mail thread after a closed ticket."""
    return stable_id("successor", ticket_id)


def separate_anchor(ticket_id: str, brand: str | None, contact: str) -> str:
    """Return the anchor of a contact's own ticket with a brand, for mail that refers to a ticket it may not join."""
    return stable_id("aside", ticket_id, brand or "", contact)


def mail_anchors(inbound: InboundMessage) -> tuple[str, ...]:
    """Return the anchors of a mail in the order to look them up: its own id, then its ancestors, likeliest first.

    Its own id may be claimed already, as an ancestor of a mail that arrived earlier.
    """
    assert inbound.mail is not None
    ids = (inbound.mail.message_id, *inbound.mail.ancestors[:ANCESTORS], *inbound.mail.ancestors[-1:])
    return tuple(message_anchor(inbound.channel, inbound.account, each) for each in dict.fromkeys(ids))


def placement_anchor(message: str) -> str:
    """Return the anchor that records a mail's ticket if the claim of its Message-ID belongs to another mail."""
    return stable_id("placed", message)


def root_anchor(inbound: InboundMessage) -> str:
    """Return the anchor to claim if none of a mail's is claimed: its oldest ancestor's, else its own."""
    assert inbound.mail is not None
    oldest = inbound.mail.ancestors[-1] if inbound.mail.ancestors else inbound.mail.message_id
    return message_anchor(inbound.channel, inbound.account, oldest)
