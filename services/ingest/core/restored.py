"""Values of a restore: what raw messages tell beyond their events, and what follows for threads and contacts. No IO."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, Self

from contracts.contacts import Identity
from contracts.ticket import Authentication, Channel, Message, Ticket
from kit.protocol.document import Insert
from services.ingest.core.arrivals import Arrival
from services.ingest.core.contacts import about
from services.ingest.core.messages import InboundMessage, Mail, Sender
from services.ingest.core.policy import AccountDefaults
from services.ingest.core.state import REFERENCES_CAP, TicketState
from services.ingest.core.threading import message_anchor


@dataclass(frozen=True, slots=True)
class Detail:
    """What of a customer's message is in its raw record only."""

    #: Claims of its thread: the conversation's, or those of the mail's own id and its ancestors.
    anchors: tuple[str, ...]
    #: What a ticket is about that it opens; see `contacts.about`.
    topic: str = ""
    brand: str | None = None
    #: The mail was sent to the signed address of a ticket.
    signed: bool = False
    references: tuple[str, ...] = ()
    conversation: str | None = None
    whole: str | None = None

    @classmethod
    def of(cls, arrival: Arrival) -> Self:
        """Return what a parsed message tells."""
        inbound, mail = arrival.inbound, arrival.inbound.mail
        return cls(
            anchors=arrival.anchors,
            topic=about(inbound, arrival.defaults.brand),
            brand=inbound.brand,
            signed=mail is not None and mail.ticket_by_address is not None,
            references=mail.references[-REFERENCES_CAP:] if mail else (),
            conversation=inbound.conversation,
            whole=arrival.whole(),
        )

    def dump(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)

    @classmethod
    def load(cls, raw: dict[str, Any]) -> Self:
        """Return it from what `dump` made."""
        return cls(**{**raw, "anchors": tuple(raw["anchors"]), "references": tuple(raw["references"])})


@dataclass(frozen=True, slots=True)
class Claimed:
    """An anchor that belonged to a ticket from then on. `message` is ours, if the anchor is that of one we sent.

    `tried`: it is known that the message was sent; if it was never tried, nobody claimed its anchor.
    """

    at: datetime
    anchor: str
    ticket: str
    message: str | None = None
    tried: bool = True


@dataclass(frozen=True, slots=True)
class Arrived:
    """A customer's message that a ticket took. `opens`: the ticket was opened by it, `linked` to another or not."""

    at: datetime
    ticket: str
    message: str
    contact: str
    detail: Detail
    opens: bool
    linked: bool
    mail: bool


@dataclass
class Restored:
    """A ticket again, and what follows from its history for other documents."""

    state: TicketState | None = None
    emitted: int = 0
    inserts: list[Insert] = field(default_factory=list)
    arrived: list[Arrived] = field(default_factory=list)
    claims: list[Claimed] = field(default_factory=list)
    #: Replies without an outcome.
    lost: int = 0
    #: Messages whose raw record, and replies whose command, is gone: what these alone tell was guessed.
    guessed: int = 0
    #: Whether the history begins before what Kafka still has.
    cut: bool = False


def is_mail(ticket: Ticket) -> bool:
    """Whether the conversation is by mail."""
    return ticket.channel == Channel.EMAIL


def _named(message: Message) -> str:
    return message.channel_message_id or message.id


def _mail(message: Message, references: tuple[str, ...]) -> Mail:
    """Return a mail of which only its id and ancestors are known."""
    return Mail(
        message_id=_named(message), generated_id=False, in_reply_to=(), references=references, sender="",
        reply_to=None, return_path=None, recipients=(),
    )  # fmt: skip


def _inbound(ticket: Ticket, message: Message) -> InboundMessage:
    """Return what ticket and message tell of any message that arrived."""
    return InboundMessage(
        channel=ticket.channel,
        account=ticket.account,
        message_id=_named(message),
        sender=Sender((Identity(channel=ticket.channel, id=message.author.id or "-"),)),
        sent_at=message.sent_at,
    )


def arrival_of(ticket: Ticket, message: Message, detail: Detail) -> Arrival:
    """Return a customer's message on a ticket as it arrived, without what a stored ticket never asks of it again."""
    known = message.authentication in set(Authentication)
    checked = Authentication(message.authentication) if known and message.authentication else None
    inbound = replace(
        _inbound(ticket, message),
        conversation=detail.conversation,
        brand=detail.brand,
        mail=replace(_mail(message, detail.references), authentication=checked) if is_mail(ticket) else None,
        automated_because="automated" if message.automated else None,
    )
    arrival = Arrival(inbound, message.received_at or message.sent_at)
    arrival.id, arrival.contact_id = message.id, message.author.id or ""
    return arrival


def detail_of(ticket: Ticket, message: Message, defaults: AccountDefaults) -> Detail:
    """Guess from its event what the raw record of a message told: of a mail's ancestors, the nearest and the oldest."""
    oldest = () if not ticket.thread or ticket.thread == _named(message) else (ticket.thread,)
    nearest = (message.in_reply_to,) if message.in_reply_to else ()
    by_mail = is_mail(ticket)
    inbound = replace(
        _inbound(ticket, message),
        subject=ticket.subject if by_mail else None,
        conversation=None if by_mail else ticket.thread,
        mail=replace(_mail(message, oldest), in_reply_to=nearest) if by_mail else None,
        brand=None if ticket.brand == defaults.brand else ticket.brand,
        order_ref=ticket.order_ref,
        tags=tuple(sorted(set(ticket.tags) - set(defaults.tags))),
    )
    return Detail.of(Arrival(inbound, message.received_at or message.sent_at, defaults))


def sent_anchors(ticket: Ticket, message: Message, mail_id: str | None) -> list[str]:
    """Return the anchors of a message that we sent: of our id, by mail its Message-ID, and of the channel's id."""
    ids = dict.fromkeys((mail_id or message.id, message.channel_message_id))
    return [message_anchor(ticket.channel, ticket.account, each) for each in ids if each]
