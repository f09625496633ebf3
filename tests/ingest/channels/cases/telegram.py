"""Telegram: updates of the Bot API."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from services.ingest.channels.channel import Request
from tests.ingest.channels.cases import Case

TOKEN = "wT7f-telegram_secret"
QUERY = {"account": "telegram-pl"}


def sign(body: bytes, now: datetime) -> Request:
    headers = {"content-type": "application/json", "x-telegram-bot-api-secret-token": TOKEN}
    return Request(body, headers, QUERY, "account=telegram-pl")


def message(number: int = 4211, **content: Any) -> dict[str, Any]:
    person = {"id": 5018273645, "is_bot": False, "first_name": "Anna", "last_name": "Nowak", "language_code": "pl"}
    chat = {"id": 5018273645, "first_name": "Anna", "last_name": "Nowak", "type": "private"}
    return {"message_id": number, "from": person, "chat": chat, "date": 1795253400, **content}


def update(kind: str = "message", number: int = 871265432, **content: Any) -> bytes:
    return json.dumps({"update_id": number, kind: message(**content)}, ensure_ascii=False).encode()


def photo(number: int, **more: Any) -> bytes:
    sizes = [
        {
            "file_id": f"AgACAgQAAx{number}{n}",
            "file_unique_id": f"AQAD{n}",
            "width": w,
            "height": w,
            "file_size": w * 100,
        }
        for n, w in enumerate((90, 320, 1280))
    ]
    return update(number=number, photo=sizes, **more)


CHANNEL_POST = {
    "update_id": 871265440,
    "channel_post": {
        "message_id": 9, "sender_chat": {"id": -1001234567890, "title": "News", "type": "channel"},
        "chat": {"id": -1001234567890, "title": "News", "type": "channel"}, "date": 1795253400, "text": "Sale!",
    },
}  # fmt: skip
MEMBER = {"update_id": 871265441, "my_chat_member": {"chat": {"id": 1, "type": "private"}, "date": 1795253400}}

STICKER = {
    "file_id": "CAACAgI", "file_unique_id": "AgADb", "type": "regular", "emoji": "👍", "set_name": "Thumbs",
    "width": 512, "height": 512, "is_animated": False, "is_video": False, "file_size": 18044,
}  # fmt: skip

CASE = Case(
    name="telegram",
    environ={
        "DESKBUS_SECRET_TELEGRAM_PL": TOKEN,
        "DESKBUS_TOKEN_TELEGRAM_PL": "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw",
    },
    sign=sign,
    signs_body=False,
    message=update(text="Gdzie jest moja paczka?"),
    message_id="5018273645:4211",
    text="Gdzie jest moja paczka?",
    another=json.dumps({"update_id": 871265433, "message": message(4212, text="Zamówienie 1182")}).encode(),
    silent=(
        json.dumps(CHANNEL_POST).encode(),
        json.dumps(MEMBER).encode(),
        update(text="/start", entities=[{"offset": 0, "length": 6, "type": "bot_command"}]),
        update(
            "edited_message", location={"latitude": 52.2, "longitude": 21.0, "live_period": 900}, edit_date=1795253460
        ),
    ),
    several={
        photo(871265434, caption="Uszkodzone", media_group_id="13579"): ("5018273645:4211",),
        update(location={"latitude": 52.2297, "longitude": 21.0122}): ("5018273645:4211",),
        update(sticker=STICKER): ("5018273645:4211",),
        update("edited_message", text="Gdzie paczka 1182?", edit_date=1795253460): ("5018273645:4211:1795253460",),
    },
    reply_id=(
        200,
        b'{"ok":true,"result":{"message_id":4213,"chat":{"id":5018273645,"type":"private"},"date":1795253500,"text":"x"}}',
        "5018273645:4213",
    ),
)
