"""Webhooks signed by Standard Webhooks: `webhook-id`, `webhook-timestamp`, `webhook-signature` over the raw body.

`webhook-id` is the notification's id, the same on every attempt, so receivers can drop duplicates. The alarm's dedup
key is in the body: as `webhook-id` it would make receivers drop "resolved" after "firing".
"""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Literal

from pydantic import Field

from kit.http_client import HttpClient
from kit.policy.address import Url
from kit.policy.duration import PositiveDuration
from kit.policy.secrets import SecretRefs, Secrets, Unresolved
from services.notify.core.policy import Receiver
from services.notify.core.settle import Outcome, PermanentFailure, Sent, TemporaryFailure
from services.notify.sinks.base import Notification
from services.notify.sinks.outbound import post, refusal, retry_after

SUCCESS = range(200, 300)


class WebhookReceiver(Receiver):
    """A system that receives signed webhooks (Standard Webhooks)."""

    sink: Literal["webhook"]
    """`webhook`."""
    url: Url
    """URL to call; `${NAME:-default}` is expanded."""
    signing: Annotated[SecretRefs, Field(min_length=1)]
    """Signing secret; list several while rotating it, and each adds a signature."""
    retry_for: PositiveDuration = timedelta(days=3)
    """How long to retry a notification before it counts as failed."""


class WebhookSink:
    """Posts signed webhooks."""

    def __init__(self, http_client: HttpClient, secrets: Secrets) -> None:
        self._http, self._secrets = http_client, secrets

    async def deliver(self, notification: Notification) -> Outcome:
        """Make one attempt."""
        receiver = notification.receiver
        assert isinstance(receiver, WebhookReceiver)
        body = render(notification)
        try:
            url = self._secrets.expand(receiver.url)
            keys = [key(self._secrets.secret(ref)) for ref in receiver.signing]
        except Unresolved as fault:
            return TemporaryFailure(str(fault))
        except ValueError as fault:
            return PermanentFailure(str(fault))
        headers = {"content-type": "application/json", **sign(notification.planned.id, notification.now, body, keys)}
        answer = await post(self._http, url, headers, body)
        if isinstance(answer, TemporaryFailure | PermanentFailure):
            return answer
        if answer.status in SUCCESS:
            return Sent(answer.status)
        if answer.status == 429:
            return TemporaryFailure("status 429: too many", 429, retry_after(answer.headers, notification.now))
        return refusal(answer, notification.now)


def render(notification: Notification) -> bytes:
    """Return the body: the same bytes on every attempt."""
    planned, alert = notification.planned, notification.planned.alert
    document = {
        "type": f"deskbus.escalation.{planned.kind}",
        "timestamp": planned.planned_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "data": {
            "dedup_key": notification.dedup_key,
            "notification_id": planned.id,
            "escalation_id": notification.escalation_id,
            "ticket_id": notification.ticket_id,
            "kind": planned.kind,
            "step": planned.step,
            "agent": planned.agent,
            "alert": alert.model_dump(mode="json", exclude_none=True),
        },
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def key(secret: str) -> bytes:
    """Return the key of a secret: base64, with or without the prefix `whsec_`. Raises ValueError."""
    try:
        raw = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error as error:
        raise ValueError("a webhook's secret must be base64, optionally prefixed with whsec_") from error
    if len(raw) < 16:
        raise ValueError("a webhook's secret must have at least 16 bytes")
    return raw


def sign(webhook_id: str, at: datetime, body: bytes, keys: Sequence[bytes]) -> dict[str, str]:
    """Return the three headers, with a signature per key, as a secret has several while it is rotated."""
    timestamp = str(int(at.timestamp()))
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    signatures = (base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode() for secret in keys)
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
