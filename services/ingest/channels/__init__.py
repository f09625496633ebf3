"""The table of channels. A channel is one pure module with verify, parse, render and so on, as channel.py describes.

What channels share is in channel.py, reading.py and originals.py.
"""

from collections.abc import Callable
from typing import Any

from services.ingest.channels import (
    allegro,
    amazon,
    ebay,
    email,
    generic,
    instagram,
    kakaotalk,
    lazada,
    line,
    messenger,
    meta,
    shopee,
    slack,
    telegram,
    twilio,
    x,
    zalo,
)
from services.ingest.channels.channel import Channel, KeySource, MailChannel, OAuthFlow, Poller, Webhook
from services.ingest.core.policy import ReplyWindow

__all__ = ["CHANNELS", "WEBHOOKS", "Channel", "Webhook"]

_WEBHOOKS: tuple[Webhook, ...] = (
    generic,
    meta,
    line,
    twilio,
    telegram,
    slack,
    zalo,
    messenger,
    instagram,
    ebay,
    x,
    kakaotalk,
    shopee,
    lazada,
)
_MAILS: tuple[MailChannel, ...] = (email, amazon)
_OTHERS: tuple[Channel, ...] = (allegro,)

WEBHOOKS: dict[str, Webhook] = {channel.NAME: channel for channel in _WEBHOOKS}
"""Channels with a webhook, by their name in URLs, accounts and inbound records."""

CHANNELS: dict[str, Channel] = {**WEBHOOKS, **{channel.NAME: channel for channel in (*_MAILS, *_OTHERS)}}
"""All channels. The policy file, the door, its OpenAPI document, the metrics and the audit are derived from it."""


def _own(attribute: str) -> dict[str, Any]:
    """Return what the channels that have this attribute define, by the channel's name."""
    return {name: getattr(channel, attribute) for name, channel in CHANNELS.items() if hasattr(channel, attribute)}


WINDOWS: dict[str, ReplyWindow] = _own("WINDOW")
"""Channels that take replies for a limited time after the customer's last message, with that time."""

KEYS: dict[str, KeySource] = _own("KEYS")
"""Channels that sign with keys of their own, fetched by id."""

OAUTH: dict[str, OAuthFlow] = _own("OAUTH")
"""Channels whose API takes short-lived tokens."""

POLLERS: dict[str, Poller] = _own("poll")
"""Channels whose provider pushes nothing."""

MAILS: dict[str, Callable[[bytes], str]] = {channel.NAME: channel.contact_key for channel in _MAILS}
"""Channels whose messages are mails, with what keeps the mails of one thread in order."""
