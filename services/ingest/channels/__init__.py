"""The table of channels. A channel is one file: verify, parse, render and what it needs, pure. See channel.py.

What channels have in common is in channel.py, reading.py and originals.py.
"""

from services.ingest.channels import email, generic, line, meta, twilio
from services.ingest.channels.channel import Channel, Webhook

__all__ = ["CHANNELS", "WEBHOOKS", "Channel", "Webhook"]

_WEBHOOKS: tuple[Webhook, ...] = (generic, meta, line, twilio)
_OTHERS: tuple[Channel, ...] = (email,)

WEBHOOKS: dict[str, Webhook] = {channel.CHANNEL: channel for channel in _WEBHOOKS}
"""Channels that come in over HTTP, by the name that URLs, accounts and tickets use."""

CHANNELS: dict[str, Channel] = {**WEBHOOKS, **{channel.CHANNEL: channel for channel in _OTHERS}}
"""All channels. The policy file, the door, its document, the metrics and the audit follow from it."""
