"""Slack: `chat.postMessage` with a token, which keeps an escalation in one thread; or an incoming webhook (no threads).

Slack has no idempotency key for messages, so a retry after a lost response appears as a second message.
"""

import json
from typing import Any, Literal, Self

from pydantic import model_validator

from kit.http_client import Answer, HttpClient
from kit.policy.address import Url
from kit.policy.secrets import SecretRef, Secrets, Unresolved
from services.notify.core import text
from services.notify.core.policy import Receiver, Template
from services.notify.core.settle import Outcome, PermanentFailure, Sent, TemporaryFailure
from services.notify.sinks.base import Notification
from services.notify.sinks.outbound import post, refusal, retry_after

MAX_TEXT = 3_000
_PERMANENT = frozenset(
    {
        "channel_not_found", "not_in_channel", "is_archived", "msg_too_long", "no_text", "restricted_action",
        "invalid_arguments", "invalid_blocks", "channel_type_not_supported",
    }
)  # fmt: skip
"""Errors that a retry cannot fix. Errors of the token are not among them: the token can be replaced."""


class SlackReceiver(Receiver):
    """A Slack channel. With `access`, messages of one escalation form a thread; incoming webhooks cannot do that."""

    sink: Literal["slack"]
    """`slack`."""
    access: SecretRef | None = None
    """Bot token for Slack's API; the bot must be allowed to post to the channel."""
    channel: str | None = None
    """Id of the channel."""
    webhook: SecretRef | None = None
    """URL of an incoming webhook, as a reference to a secret."""
    base_url: Url = "https://slack.com/api"
    """Base URL of Slack's API."""
    text: Template = text.LINE
    """Template with facts by name, such as `$summary`, `$ticket`, `$agent`, `$queue`, `$priority`."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.webhook is None) == (self.access is None) or (self.access is None) != (self.channel is None):
            raise ValueError("requires either access and channel, or webhook")
        return self


class SlackSink:
    """Posts to Slack channels."""

    def __init__(self, http_client: HttpClient, secrets: Secrets) -> None:
        self._http, self._secrets = http_client, secrets

    async def deliver(self, notification: Notification) -> Outcome:
        """Make one attempt."""
        receiver = notification.receiver
        assert isinstance(receiver, SlackReceiver)
        message: dict[str, Any] = {"text": render(notification, receiver)}
        headers = {"content-type": "application/json; charset=utf-8"}
        try:
            if receiver.webhook is not None:
                url = self._secrets.secret(receiver.webhook)
            else:
                url = self._secrets.expand(receiver.base_url).rstrip("/") + "/chat.postMessage"
                headers["authorization"] = f"Bearer {self._secrets.secret(receiver.access or '')}"
                message |= {"channel": receiver.channel, "unfurl_links": False}
                if notification.thread is not None:
                    message |= {
                        "thread_ts": notification.thread,
                        "reply_broadcast": notification.planned.kind == "resolved",
                    }
        except Unresolved as fault:
            return TemporaryFailure(str(fault))
        answer = await post(self._http, url, headers, json.dumps(message, ensure_ascii=False).encode())
        if isinstance(answer, TemporaryFailure | PermanentFailure):
            return answer
        if receiver.webhook is not None:
            return Sent(answer.status) if answer.status == 200 else refusal(answer, notification.now)
        return _api_outcome(answer, notification)


def render(notification: Notification, receiver: SlackReceiver) -> str:
    """Return the text. Facts are escaped, so that what a customer wrote cannot mention a channel."""
    escaped = {name: escape(value) for name, value in notification.facts().items()}
    return text.render(receiver.text, escaped)[:MAX_TEXT]


def escape(value: str) -> str:
    """Escape Slack's three control characters."""
    return value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _api_outcome(answer: Answer, notification: Notification) -> Outcome:
    """Return the outcome of a Web API call, which answers 200 to nearly everything: `ok` decides."""
    if answer.status != 200:
        return refusal(answer, notification.now)
    try:
        result = json.loads(answer.body)
        ok, error = result["ok"] is True, str(result.get("error", "no reason given"))[:200]
    except (ValueError, KeyError, TypeError, AttributeError):
        return TemporaryFailure("an answer that is not Slack's", answer.status)
    if ok:
        timestamp = result.get("ts")  # identifies the message; a thread has that of its first message
        return Sent(answer.status, notification.thread or (timestamp if isinstance(timestamp, str) else None))
    if error in _PERMANENT:
        return PermanentFailure(f"slack: {error}", answer.status)
    return TemporaryFailure(f"slack: {error}", answer.status, retry_after(answer.headers, notification.now))
