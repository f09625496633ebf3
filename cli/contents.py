"""The ids of the messages in an inbound record, by channel.

Each channel finds them independently of its parser, so that the audit can find what the parser misses.
"""

from __future__ import annotations

from contracts.inbound import InboundRecord
from services.ingest.channels import CHANNELS


def message_ids(record: InboundRecord) -> list[str] | None:
    """Return the channel's ids of all messages; empty for a status report, None if the record cannot be parsed."""
    channel = CHANNELS.get(record.channel)
    try:
        return None if channel is None else channel.message_ids(record.body)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):  # the last: JSON nested too deeply
        return None


def ticket_channel(record: InboundRecord) -> str:
    """Return the channel of the tickets that a record's messages belong to."""
    channel = CHANNELS.get(record.channel)
    return record.channel if channel is None else channel.CHANNEL
