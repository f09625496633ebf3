"""What an inbound record holds, as far as the audit must know: the channel's ids of its messages. No more of a channel.

The services' parsers decide what a message is; each channel has a second, independent look, by which they are audited.
"""

from __future__ import annotations

from contracts.inbound import InboundRecord
from services.ingest.channels import CHANNELS


def message_ids(record: InboundRecord) -> list[str] | None:
    """Return the ids of all messages in it; empty when it only reports on something, None when nobody can tell."""
    channel = CHANNELS.get(record.channel)
    try:
        return None if channel is None else channel.message_ids(record.body)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
