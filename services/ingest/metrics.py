"""Every metric of ingest, in one place. Channels are labels, accounts and ids never."""

from prometheus_client import Counter, Gauge, Histogram

CHANNELS = ("email", "line", "sms", "webhook", "whatsapp")
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
    "away",
)

# --- The doors. ---
ACCEPTED = Counter("deskbus_ingest_accepted_total", "Messages acknowledged to the channel.", ("channel",))
REFUSED = Counter("deskbus_ingest_refused_total", "Messages not taken, by reason.", ("channel", "reason"))
ACCEPT_SECONDS = Histogram(
    "deskbus_ingest_accept_seconds",
    "From a verified message to Kafka's acknowledgement.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2),
)
CLAIMS = Counter("deskbus_ingest_claims_total", "Bodies that left a claim check.")
COMMANDS = Counter("deskbus_ingest_commands_total", "Commands taken at the door, by name.", ("name",))
SMTP_SESSIONS = Gauge("deskbus_ingest_smtp_sessions", "SMTP sessions open now.")

# --- The worker. Records are read again when a batch is; replies are tried again. ---
PARSED = Counter(
    "deskbus_ingest_parsed_total",
    "What parsers found: messages and delivery facts.",
    ("channel", "kind"),
)
UNREADABLE = Counter(
    "deskbus_ingest_unreadable_total",
    "Bodies that their channel's parser refused, each time they are read.",
    ("channel",),
)
DUPLICATES = Counter(
    "deskbus_ingest_duplicates_total", "Messages that were there already, each time they come.", ("channel",)
)
SENT = Counter("deskbus_ingest_sent_total", "Tries at sending a reply, by outcome.", ("channel", "outcome"))

for _channel in (*CHANNELS, "other"):
    ACCEPTED.labels(_channel)
    UNREADABLE.labels(_channel)
    DUPLICATES.labels(_channel)
    for _reason in REFUSALS:
        REFUSED.labels(_channel, _reason)
    for _kind in ("message", "status"):
        PARSED.labels(_channel, _kind)
    for _outcome in ("sent", "refused", "failed"):
        SENT.labels(_channel, _outcome)
