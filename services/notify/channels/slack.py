"""Slack: chat.postMessage with a token, where an escalation is a thread; or an incoming webhook, where not.

Slack takes no idempotency key for messages, so a try whose answer was lost shows as a second message in the thread.
"""

import json
from typing import Any

from kit.outward import Answer, Outward
from kit.policy.secrets import Secrets, Unresolved
from services.notify.channels.base import Letter
from services.notify.channels.outbound import post, refusal, retry_after
from services.notify.core import text
from services.notify.core.policy import SlackReceiver
from services.notify.core.settle import Later, Outcome, Refused, Sent

MOST_TEXT = 3_000
_FOREVER = frozenset(
    {
        "channel_not_found", "not_in_channel", "is_archived", "msg_too_long", "no_text", "restricted_action",
        "invalid_arguments", "invalid_blocks", "channel_type_not_supported",
    }
)  # fmt: skip
"""Errors that the same message will meet again. Faults of the token are not among them: tokens are mended."""


class SlackSink:
    """Posts to Slack channels."""

    def __init__(self, way_out: Outward, secrets: Secrets) -> None:
        self._way_out, self._secrets = way_out, secrets

    async def deliver(self, letter: Letter) -> Outcome:
        """Send it once."""
        receiver = letter.receiver
        assert isinstance(receiver, SlackReceiver)
        message: dict[str, Any] = {"text": render(letter, receiver)}
        headers = {"content-type": "application/json; charset=utf-8"}
        try:
            if receiver.webhook is not None:
                url = self._secrets.secret(receiver.webhook)
            else:
                url = self._secrets.expand(receiver.base_url).rstrip("/") + "/chat.postMessage"
                headers["authorization"] = f"Bearer {self._secrets.secret(receiver.access or '')}"
                message |= {"channel": receiver.channel, "unfurl_links": False}
                if letter.thread is not None:
                    message |= {"thread_ts": letter.thread, "reply_broadcast": letter.planned.kind == "resolved"}
        except Unresolved as fault:
            return Later(str(fault))
        answer = await post(self._way_out, url, headers, json.dumps(message, ensure_ascii=False).encode())
        if isinstance(answer, Later | Refused):
            return answer
        if receiver.webhook is not None:
            return Sent(answer.status) if answer.status == 200 else refusal(answer, letter.now)
        return _of_api(answer, letter)


def render(letter: Letter, receiver: SlackReceiver) -> str:
    """The text, in which only Slack's own signs have a meaning; what customers wrote must not mention a channel."""
    escaped = {name: escape(value) for name, value in letter.facts().items()}
    return text.render(receiver.text, escaped)[:MOST_TEXT]


def escape(value: str) -> str:
    """Slack's three control characters."""
    return value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _of_api(answer: Answer, letter: Letter) -> Outcome:
    """The Web API answers 200 to nearly everything; what counts is `ok`."""
    if answer.status != 200:
        return refusal(answer, letter.now)
    try:
        said = json.loads(answer.body)
        taken, error = said["ok"] is True, str(said.get("error", "no reason given"))[:200]
    except (ValueError, KeyError, TypeError, AttributeError):
        return Later("an answer that is not Slack's", answer.status)
    if taken:
        # The thread is the first message's; replies do not move it.
        stamp = said.get("ts")
        return Sent(answer.status, letter.thread or (stamp if isinstance(stamp, str) else None))
    if error in _FOREVER:
        return Refused(f"slack: {error}", answer.status)
    return Later(f"slack: {error}", answer.status, retry_after(answer.headers, letter.now))
