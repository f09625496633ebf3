"""Webhooks, signed as Standard Webhooks says: `webhook-id`, `webhook-timestamp`, `webhook-signature` over the raw body.

`webhook-id` is the notification's id, the same on every try, so a receiver drops what it has taken already. The
alarm's dedup key is in the body: as `webhook-id` it would make receivers drop "resolved" after "firing".
"""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Sequence
from datetime import datetime

from kit.outward import Outward
from kit.policy.secrets import Secrets, Unresolved
from services.notify.channels.base import Letter
from services.notify.channels.outbound import post, refusal, retry_after
from services.notify.core.policy import WebhookReceiver
from services.notify.core.settle import Later, Outcome, Refused, Sent

TAKEN = range(200, 300)


class WebhookSink:
    """Posts to systems."""

    def __init__(self, way_out: Outward, secrets: Secrets) -> None:
        self._way_out, self._secrets = way_out, secrets

    async def deliver(self, letter: Letter) -> Outcome:
        """Sign and send it once."""
        receiver = letter.receiver
        assert isinstance(receiver, WebhookReceiver)
        body = render(letter)
        try:
            url = self._secrets.expand(receiver.url)
            keys = [key(self._secrets.secret(ref)) for ref in receiver.signing]
        except Unresolved as fault:
            return Later(str(fault))
        except ValueError as fault:
            return Refused(str(fault))
        headers = {"content-type": "application/json", **sign(letter.planned.id, letter.now, body, keys)}
        answer = await post(self._way_out, url, headers, body)
        if isinstance(answer, Later | Refused):
            return answer
        if answer.status in TAKEN:
            return Sent(answer.status)
        if answer.status == 429:
            return Later("status 429: too many", 429, retry_after(answer.headers, letter.now))
        return refusal(answer, letter.now)


def render(letter: Letter) -> bytes:
    """The body: the same bytes on every try."""
    planned, alert = letter.planned, letter.planned.alert
    document = {
        "type": f"deskbus.escalation.{planned.kind}",
        "timestamp": planned.planned_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "data": {
            "dedup_key": letter.dedup_key,
            "notification_id": planned.id,
            "escalation_id": letter.escalation_id,
            "ticket_id": letter.ticket_id,
            "kind": planned.kind,
            "step": planned.step,
            "agent": planned.agent,
            "alert": alert.model_dump(mode="json", exclude_none=True),
        },
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def key(secret: str) -> bytes:
    """The key in a secret: base64, with or without its prefix. Raises ValueError."""
    try:
        raw = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error as error:
        raise ValueError("a webhook's secret must be base64, optionally prefixed with whsec_") from error
    if len(raw) < 16:
        raise ValueError("a webhook's secret must have at least 16 bytes")
    return raw


def sign(webhook_id: str, at: datetime, body: bytes, keys: Sequence[bytes]) -> dict[str, str]:
    """The three headers; one signature a key, for receivers that still have the old one."""
    stamp = str(int(at.timestamp()))
    signed = f"{webhook_id}.{stamp}.".encode() + body
    signatures = (base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode() for secret in keys)
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": stamp,
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
