"""All metrics of ingest. Channels, brands and marketplaces may be labels; accounts and ids may not."""

from collections.abc import Iterable

from contracts.ticket import AuthorKind, Channel, Ticket
from contracts.tickets import MessageSent, TicketOpened
from kit.base.series import Counter, Gauge, Histogram
from kit.protocol.document import Document
from services.ingest.accounts import Accounts
from services.ingest.channels import CHANNELS, KEYS, OAUTH, POLLERS
from services.ingest.core.state import TicketState

REFUSALS = (
    "missing",
    "signature",
    "stale",
    "body",
    "unknown_channel",
    "unknown_account",
    "foreign",
    "too_large",
    "secret",
    "key",
    "away",
)

_NAMES = (*CHANNELS, "other")
_ON_TICKETS = (*dict.fromkeys(channel.CHANNEL for channel in CHANNELS.values()), "other")
"""Channels of doors, and those of tickets. "other" is the last: a series for it is kept free until it exists."""
NONE = "none"
"""The marketplace of the company's own shop, and the brand of a ticket without one."""

# --- Business: counted once it is written. ---
ARRIVALS = Counter(
    "deskbus_ingest_arrivals_total",
    "Customers' messages taken into a ticket, by channel, marketplace (none: the company's own shop) and brand.",
    ("channel", "marketplace", "brand"),
    most=200,
)
OPENED = Counter("deskbus_ingest_tickets_opened_total", "Tickets opened.", ("channel",), most=len(_ON_TICKETS))
FIRST_REPLY_SECONDS = Histogram(
    "deskbus_ingest_first_reply_seconds",
    "Time from accepting the first message of a ticket to a person's first reply, nights and holidays included.",
    ("channel", "marketplace"),
    buckets=(60, 300, 900, 1800, 3600, 7200, 14_400, 28_800, 86_400, 172_800, 604_800),
    most=30,
)

# --- Doors. ---
ACCEPTED = Counter(
    "deskbus_ingest_accepted_total",
    "Messages accepted and acknowledged to the channel.",
    ("channel",),
    most=len(_NAMES),
)
REFUSED = Counter(
    "deskbus_ingest_refused_total",
    "Messages refused, by reason.",
    ("channel", "reason"),
    most=len(_NAMES) * len(REFUSALS) + 1,
)
ACCEPT_SECONDS = Histogram(
    "deskbus_ingest_accept_seconds",
    "Time from verifying a message to Kafka's acknowledgement.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2),
)
CLAIMS = Counter("deskbus_ingest_claims_total", "Large bodies stored in MongoDB, with a claim check in Kafka.")
COMMANDS = Counter("deskbus_ingest_commands_total", "Commands accepted over HTTP, by name.", ("name",), most=30)
SMTP_SESSIONS = Gauge("deskbus_ingest_smtp_sessions", "Open SMTP sessions.")

# --- Worker. A record is counted again if its batch is read again. ---
PARSED = Counter(
    "deskbus_ingest_parsed_total",
    "Messages and delivery statuses that parsers found; counted again if a batch is read again.",
    ("channel", "kind"),
    most=2 * len(_ON_TICKETS) + 1,
)
UNREADABLE = Counter(
    "deskbus_ingest_unreadable_total",
    "Bodies that their channel's parser refused, counted each time they are read.",
    ("channel",),
    most=len(_NAMES),
)
DUPLICATES = Counter(
    "deskbus_ingest_duplicates_total",
    "Messages received before, counted each time.",
    ("channel",),
    most=len(_ON_TICKETS),
)
SENT = Counter(
    "deskbus_ingest_sent_total",
    "Attempts to send a reply, by outcome.",
    ("channel", "outcome"),
    most=3 * len(_ON_TICKETS) + 1,
)

# --- What providers give us to work with. ---
KEY_OUTCOMES, TOKEN_OUTCOMES = ("fetched", "absent", "failed"), ("refreshed", "failed")
PROVIDER_KEYS = Counter(
    "deskbus_ingest_provider_keys_total",
    "Fetches of providers' public keys, by outcome.",
    ("channel", "outcome"),
    most=len(KEYS) * len(KEY_OUTCOMES) + 1,
)
TOKENS = Counter(
    "deskbus_ingest_access_tokens_total",
    "Refreshes of OAuth access tokens, by outcome.",
    ("channel", "outcome"),
    most=len(OAUTH) * len(TOKEN_OUTCOMES) + 1,
)

POLL_OUTCOMES = ("done", "failed", "lost")
POLLS = Counter(
    "deskbus_ingest_polls_total",
    "Polls of providers without webhooks, by outcome; lost: another replica took over.",
    ("channel", "outcome"),
    most=len(POLLERS) * len(POLL_OUTCOMES) + 1,
)
POLL_AGE = Gauge(
    "deskbus_ingest_poll_age_seconds",
    "Time since the last successful poll, of the account that has waited longest.",
    ("channel",),
    most=len(POLLERS) + 1,
)

for _channel in POLLERS:
    POLL_AGE.labels(_channel)
    for _outcome in POLL_OUTCOMES:
        POLLS.labels(_channel, _outcome)
for _channel in KEYS:
    for _outcome in KEY_OUTCOMES:
        PROVIDER_KEYS.labels(_channel, _outcome)
for _channel in OAUTH:
    for _outcome in TOKEN_OUTCOMES:
        TOKENS.labels(_channel, _outcome)
for _channel in _NAMES:
    ACCEPTED.labels(_channel)
    UNREADABLE.labels(_channel)
    for _reason in REFUSALS:
        REFUSED.labels(_channel, _reason)
for _channel in _ON_TICKETS:
    ARRIVALS.labels(_channel, NONE, NONE)
    OPENED.labels(_channel)
    DUPLICATES.labels(_channel)
    for _kind in ("message", "status"):
        PARSED.labels(_channel, _kind)
    for _outcome in ("sent", "refused", "failed"):
        SENT.labels(_channel, _outcome)


def expect_arrivals(accounts: Accounts) -> None:
    """Create the counter of what each account may bring, as `increase` overlooks what a counter starts with."""
    for account in accounts.accounts:
        own = account.channel if account.carries == Channel.MARKETPLACE else NONE  # its parser says so
        ARRIVALS.labels(account.carries, account.market.marketplace or own, account.brand or NONE)
        for alias in account.aliases:
            market = alias.market or account.market
            ARRIVALS.labels(account.carries, market.marketplace or own, alias.brand or account.brand or NONE)


def count_arrival(ticket: Ticket) -> None:
    """Count a message that a ticket has taken."""
    ARRIVALS.labels(ticket.channel, ticket.market.marketplace or NONE, ticket.brand or NONE).inc()


def count(docs: Iterable[Document[TicketState]]) -> None:
    """Count the events of written tickets; called after each write."""
    for event in (event for doc in docs for event in doc.announced):
        if isinstance(event, TicketOpened):
            OPENED.labels(event.ticket.channel).inc()
        elif isinstance(event, MessageSent) and event.message.author.kind == AuthorKind.AGENT:
            _count_first_reply(event)


def _count_first_reply(event: MessageSent) -> None:
    """Observe a reply if it is the ticket's first; after a bounce the next one is the first again."""
    ticket, given = event.ticket, event.message.sent_at
    if ticket.first_reply_at == given:
        seconds = max(0.0, (given - ticket.created_at).total_seconds())
        FIRST_REPLY_SECONDS.labels(ticket.channel, ticket.market.marketplace or NONE).observe(seconds)
