"""The table of channels. A channel is one pure module with verify, parse, render and so on, as channel.py describes.

What channels share is in channel.py, reading.py and originals.py.
"""

from services.ingest.channels import email, generic, line, meta, twilio
from services.ingest.channels.channel import Channel, Webhook

__all__ = ["CHANNELS", "WEBHOOKS", "Channel", "Webhook"]

_WEBHOOKS: tuple[Webhook, ...] = (generic, meta, line, twilio)
_OTHERS: tuple[Channel, ...] = (email,)

WEBHOOKS: dict[str, Webhook] = {channel.NAME: channel for channel in _WEBHOOKS}
"""Channels with a webhook, by their name in URLs, accounts and inbound records."""

CHANNELS: dict[str, Channel] = {**WEBHOOKS, **{channel.NAME: channel for channel in _OTHERS}}
"""All channels. The policy file, the door, its OpenAPI document, the metrics and the audit are derived from it."""
