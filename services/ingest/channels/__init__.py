"""Channels: one file each, verify + parse + render, pure. What they have in common is in channel.py and reading.py."""

from services.ingest.channels import email, generic, line, meta, twilio
from services.ingest.channels.channel import Channel, Webhook

__all__ = ["CHANNELS", "FILES_APART", "WEBHOOKS", "Channel", "Webhook"]

WEBHOOKS: dict[str, Webhook] = {"webhook": generic, "whatsapp": meta, "line": line, "sms": twilio}
"""Channels that come in over HTTP, by the name that URLs, accounts and tickets use."""

CHANNELS: dict[str, Channel] = {**WEBHOOKS, "email": email}
"""All channels."""

FILES_APART = frozenset({"whatsapp"})
"""Channels whose messages carry either a text or one file."""
