"""All metrics of ingest. Labels are bounded: channels may be labels; accounts and ids may not."""

from prometheus_client import Counter, Gauge, Histogram

from services.ingest.channels import CHANNELS

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

# --- Doors. ---
ACCEPTED = Counter("deskbus_ingest_accepted_total", "Messages accepted and acknowledged to the channel.", ("channel",))
REFUSED = Counter("deskbus_ingest_refused_total", "Messages refused, by reason.", ("channel", "reason"))
ACCEPT_SECONDS = Histogram(
    "deskbus_ingest_accept_seconds",
    "Time from verifying a message to Kafka's acknowledgement.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2),
)
CLAIMS = Counter("deskbus_ingest_claims_total", "Large bodies stored in MongoDB, with a claim check in Kafka.")
COMMANDS = Counter("deskbus_ingest_commands_total", "Commands accepted over HTTP, by name.", ("name",))
SMTP_SESSIONS = Gauge("deskbus_ingest_smtp_sessions", "Open SMTP sessions.")

# --- Worker. A record is counted again if its batch is read again. ---
PARSED = Counter(
    "deskbus_ingest_parsed_total",
    "Messages and delivery statuses that parsers found; counted again if a batch is read again.",
    ("channel", "kind"),
)
UNREADABLE = Counter(
    "deskbus_ingest_unreadable_total",
    "Bodies that their channel's parser refused, counted each time they are read.",
    ("channel",),
)
DUPLICATES = Counter("deskbus_ingest_duplicates_total", "Messages received before, counted each time.", ("channel",))
SENT = Counter("deskbus_ingest_sent_total", "Attempts to send a reply, by outcome.", ("channel", "outcome"))

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
