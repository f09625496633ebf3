"""Slack: events of the Events API."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import datetime
from typing import Any

from services.ingest.channels.channel import Request
from tests.ingest.channels.cases import Case

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"


def signed(body: bytes, timestamp: str, secret: str = SECRET) -> dict[str, str]:
    digest = hmac.new(secret.encode(), b"v0:" + timestamp.encode() + b":" + body, hashlib.sha256).hexdigest()
    return {"x-slack-request-timestamp": timestamp, "x-slack-signature": f"v0={digest}"}


def sign(body: bytes, now: datetime) -> Request:
    return Request(body, {"content-type": "application/json", **signed(body, str(int(now.timestamp())))})


def callback(event: dict[str, Any], **outer: Any) -> bytes:
    document = {
        "token": "XXYYZZ",
        "team_id": "T061EG9R6",
        "context_team_id": "T061EG9R6",
        "api_app_id": "A0PNCHHK2",
        "event": event,
        "type": "event_callback",
        "event_id": "Ev0PV52K21",
        "event_time": 1795253400,
        "authorizations": [
            {"team_id": "T061EG9R6", "user_id": "U0LAN0Z89", "is_bot": True, "is_enterprise_install": False}
        ],
        "is_ext_shared_channel": False,
        **outer,
    }
    return json.dumps(document, ensure_ascii=False).encode()


def message(text: str = "Order 1182 has not arrived", ts: str = "1795253400.123456", **more: Any) -> dict[str, Any]:
    said = {"type": "message", "channel": "C2147483705", "user": "U2147483697", "text": text, "ts": ts, "event_ts": ts}
    return {**said, "team": "T061EG9R6", "channel_type": "channel", **more}


def shared(event: dict[str, Any], user_team: str = "T0CUSTOMER") -> bytes:
    """An event of a channel that is shared with another company, as its workspace tells of it."""
    by = {**event, "user_team": user_team, "source_team": user_team, "team": user_team}
    return callback(by, team_id="T0CUSTOMER", is_ext_shared_channel=True)


FILE: dict[str, Any] = {
    "id": "F0S43PZDF", "name": "damage.jpg", "title": "damage.jpg", "mimetype": "image/jpeg", "filetype": "jpg",
    "size": 30253, "mode": "hosted", "url_private": "https://files.slack.com/files-pri/T061EG9R6-F0S43PZDF/damage.jpg",
    "url_private_download": "https://files.slack.com/files-pri/T061EG9R6-F0S43PZDF/download/damage.jpg",
}  # fmt: skip

CASE = Case(
    name="slack",
    environ={"DESKBUS_SECRET_SLACK": SECRET, "DESKBUS_TOKEN_SLACK": "xoxb-17653672481-19874698323"},
    sign=sign,
    message=callback(message()),
    message_id="C2147483705:1795253400.123456",
    text="Order 1182 has not arrived",
    another=callback(
        message("It was due on Monday", "1795253460.000200", thread_ts="1795253400.123456"), event_id="Ev0PV52K22"
    ),
    silent=(
        callback(message("Hi", bot_id="B19LU7CSY")),
        callback(message("", subtype="message_changed", hidden=True, message={"text": "edited"})),
        callback(message("joined", subtype="channel_join")),
        callback({"type": "reaction_added", "user": "U1", "item": {"type": "message"}, "event_ts": "1795253400.1"}),
        shared(message("I look into it"), user_team="T061EG9R6"),
        json.dumps({"type": "app_rate_limited", "team_id": "T061EG9R6", "minute_rate_limited": 1518467820}).encode(),
    ),
    several={
        callback(message("Broken", subtype="file_share", files=[FILE])): ("C2147483705:1795253400.123456",),
        callback({**message("<@U0LAN0Z89> help"), "type": "app_mention"}): ("C2147483705:1795253400.123456",),
        shared(message("Hello")): ("C2147483705:1795253400.123456",),
    },
    timed=True,
    reply_id=(
        200,
        b'{"ok":true,"channel":"C2147483705","ts":"1795253500.000300","message":{"text":"x"}}',
        "C2147483705:1795253500.000300",
    ),
)
