"""X: activities of the Account Activity API."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import datetime
from typing import Any

from services.ingest.channels.channel import Request
from tests.ingest.channels.cases import Case

SECRET = "x-consumer-secret-7Jx4"
US, USER = "2244994945", "3805104374"


def mac(body: bytes, secret: str = SECRET) -> str:
    return "sha256=" + base64.b64encode(hmac.digest(secret.encode(), body, hashlib.sha256)).decode()


def sign(body: bytes, now: datetime) -> Request:
    return Request(body, {"content-type": "application/json", "x-twitter-webhooks-signature": mac(body)})


def activity(**more: Any) -> bytes:
    return json.dumps({"for_user_id": US, **more}, ensure_ascii=False).encode()


def direct(number: str = "1062015437679050760", sender: str = USER, **data: Any) -> dict[str, Any]:
    said = {"text": "", "entities": {"hashtags": [], "symbols": [], "user_mentions": [], "urls": []}, **data}
    target = {"recipient_id": US if sender == USER else USER}
    created = {"target": target, "sender_id": sender, "source_app_id": "268278", "message_data": said}
    return {"type": "message_create", "id": number, "created_timestamp": "1795253400123", "message_create": created}


def directs(*events: dict[str, Any]) -> bytes:
    users = {USER: {"id": USER, "name": "Ann Lee", "screen_name": "annlee"}}
    return activity(direct_message_events=list(events), apps={}, users=users)


def post(text: str = "@nimbus where is order 1182?", **more: Any) -> dict[str, Any]:
    mention = {"screen_name": "nimbus", "name": "Nimbus", "id": int(US), "id_str": US, "indices": [0, 7]}
    return {
        "created_at": "Sat Nov 21 09:30:00 +0000 2026",
        "id": 1063052318450909184,
        "id_str": "1063052318450909184",
        "text": text,
        "truncated": False,
        "in_reply_to_status_id_str": None,
        "in_reply_to_user_id_str": None,
        "user": {"id": int(USER), "id_str": USER, "name": "Ann Lee", "screen_name": "annlee"},
        "entities": {"hashtags": [], "urls": [], "user_mentions": [mention], "symbols": []},
        "lang": "en",
        "timestamp_ms": "1795253400123",
        **more,
    }


def posts(*created: dict[str, Any], **more: Any) -> bytes:
    return activity(user_has_blocked=False, tweet_create_events=list(created), **more)


PHOTO = {
    "id_str": "77",
    "type": "photo",
    "url": "https://t.co/p",
    "media_url_https": "https://pbs.twimg.com/media/a.jpg",
}

#: A user withdraws what they granted to the app: the one activity that says not whose it is.
REVOKED = json.dumps(
    {
        "user_event": {
            "revoke": {
                "date_time": "2026-11-21T09:30:00+00:00",
                "target": {"app_id": "13090192"},
                "source": {"user_id": US},
            }
        }
    }
).encode()

CASE = Case(
    name="x",
    environ={"DESKBUS_SECRET_X": SECRET, "DESKBUS_CLIENT_X": "client secret", "DESKBUS_REFRESH_X": "first-refresh"},
    sign=sign,
    message=directs(direct(text="Where is my order?")),
    message_id="1062015437679050760",
    text="Where is my order?",
    another=directs(direct("1062015437679050761", text="It is late")),
    silent=(
        directs(direct(sender=US, text="On its way")),
        posts(post(user={"id_str": US, "name": "Nimbus", "screen_name": "nimbus"})),
        posts(post(retweeted_status={"id_str": "1"})),
        posts(post("nothing about us", entities={"user_mentions": []})),
        activity(follow_events=[{"type": "follow", "created_timestamp": "1795253400123"}]),
        activity(direct_message_indicate_typing_events=[{"created_timestamp": "1795253400123", "sender_id": USER}]),
        activity(tweet_delete_events=[{"status": {"id": "1", "user_id": USER}, "timestamp_ms": "1795253400123"}]),
        REVOKED,
    ),
    several={
        posts(post(), post(id_str="2", in_reply_to_status_id_str="1")): ("post:1063052318450909184", "post:2"),
        directs(direct(attachment={"type": "media", "media": PHOTO}), direct("2", text="b"), direct(sender=US)): (
            "1062015437679050760",
            "2",
        ),
    },
    reply_id=(
        201,
        b'{"data":{"dm_conversation_id":"2244994945-3805104374","dm_event_id":"1582103724607971332"}}',
        "1582103724607971332",
    ),
)
