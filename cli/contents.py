"""What an inbound record holds, as far as the audit must know: the channel's ids of its messages. No more of a channel.

The services' parsers decide what a message is; this is a second, independent look, so that theirs can be audited.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from email.parser import BytesHeaderParser
from typing import Any
from urllib.parse import parse_qsl

from contracts.inbound import InboundRecord

_NO_MESSAGES = {"reaction", "system", "ephemeral", "request_welcome"}


def message_ids(record: InboundRecord) -> list[str] | None:
    """Return the ids of all messages in it; empty when it only reports on something, None when nobody can tell."""
    try:
        match record.channel:
            case "whatsapp":
                return list(_whatsapp(json.loads(record.body)))
            case "line":
                return list(_line(json.loads(record.body)))
            case "webhook":
                document = json.loads(record.body)
                return [] if document.get("type") == "status" else [str(document["id"])]
            case "sms":
                form = dict(parse_qsl(record.body.decode()))
                return [form["MessageSid"]] if "Body" in form else []
            case "email":
                identifier = BytesHeaderParser().parsebytes(record.body[:65536]).get("message-id")
                return [identifier.strip()] if identifier else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return None


def _whatsapp(document: dict[str, Any]) -> Iterator[str]:
    for entry in document["entry"]:
        for change in entry["changes"]:
            for message in change["value"].get("messages", ()):
                if message.get("type") not in _NO_MESSAGES:
                    yield str(message["id"])


def _line(document: dict[str, Any]) -> Iterator[str]:
    for event in document["events"]:
        if event.get("type") in {"message", "postback"}:
            yield str(event.get("message", {}).get("id") or event["webhookEventId"])
