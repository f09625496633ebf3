"""KakaoTalk: skill requests, and replies by the Event API."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from contracts.contacts import Identity
from services.ingest.channels import kakaotalk
from services.ingest.channels.channel import Forged, Request
from services.ingest.core.messages import (
    Faulty,
    File,
    HttpCall,
    InboundMessage,
    Part,
    Sender,
    SendFailure,
    Sent,
    Unsendable,
)
from tests.ingest.channels import samples as s
from tests.ingest.channels.cases import CASES
from tests.ingest.channels.cases.kakaotalk import BOT, CALLBACK, MEDIA, SECURE, TOKEN, USER, asked

CASE = CASES["kakaotalk"]
FILE = File("a.pdf", "application/pdf", url="https://cdn.example/a.pdf")


def parse(body: bytes, receipt: str = "r1") -> list[Any]:
    record = CASE.record(body).model_copy(update={"receipt": receipt})
    return list(kakaotalk.parse(record, CASE.account, CASE.accounts, CASE.secrets))


def one(body: bytes, receipt: str = "r1") -> InboundMessage:
    (found,) = parse(body, receipt)
    assert isinstance(found, InboundMessage)
    return found


def render(text: str = "내일 도착합니다", account: Any = CASE.account, **more: Any) -> HttpCall:
    return kakaotalk.render(s.reply(text, **{"to": USER, **more}), account, CASE.secrets)


def test_an_utterance_is_read_field_by_field() -> None:
    who = (Identity(channel="kakaotalk", account="kakao-kr", id=USER, verified=True),)
    assert one(CASE.message) == InboundMessage(
        channel="kakaotalk",
        account="kakao-kr",
        message_id=CALLBACK + "1",
        sender=Sender(who, address=USER),
        conversation=USER,
        sent_at=s.NOW,
        text="주문 1182 언제 와요?",
    )


def test_without_a_callback_equal_texts_are_two_messages() -> None:
    first, second = one(asked("네", None), "r1"), one(asked("네", None), "r2")
    assert (first.message_id, second.message_id) == ("receipt:r1", "receipt:r2")
    assert kakaotalk.message_ids(asked("네", None)) is None


def test_callbacks_that_differ_at_the_end_are_of_two_messages() -> None:
    long = CALLBACK + "x" * 1000
    assert [one(asked("네", long + end)).message_id for end in "12"] == [long + "1", long + "2"]


def test_a_picture_is_a_file_and_its_address_no_text() -> None:
    found = one(asked("https://talk.kakaocdn.net/dna/a.jpg", params=MEDIA))
    assert (found.text, found.parts) == ("", (Part("image", "image/jpeg", ref="https://talk.kakaocdn.net/dna/a.jpg"),))


def test_secure_pictures_are_files() -> None:
    refs = [part.ref for part in one(asked("", action=SECURE)).parts]
    assert refs == ["https://s.kakao.com/1", "https://s.kakao.com/2"]


@pytest.mark.parametrize(
    "params", [{"media": {"type": "image"}}, {"media": {"url": "file:///etc/passwd"}}, {"media": 7}, None]
)
def test_media_without_an_address_are_none(params: Any) -> None:
    assert one(asked("hi", params=params)).parts == ()


@pytest.mark.parametrize("action", [{"a": '"secureUrls"'}, {"a": '{"secureUrls":7}'}, {"a": 7}, [1]])
def test_plugins_that_say_nothing_are_survived(action: Any) -> None:
    assert one(asked("hi", action=action)).parts == ()


def test_a_request_without_a_user_is_faulty() -> None:
    assert parse(asked("hi", user={})) == [Faulty("a skill request without a user")]


def test_the_account_is_the_bot_also_in_its_development_channel() -> None:
    assert kakaotalk.account_id(Request(CASE.message)) == BOT
    assert kakaotalk.account_id(Request(CASE.message.replace(BOT.encode(), BOT.encode() + b"!"))) == BOT
    assert kakaotalk.account_id(Request(b"{}")) is None


@pytest.mark.parametrize(
    ("token", "reason"),
    [(None, "missing"), ("", "missing"), ("a", "signature"), (TOKEN + "a", "signature"), ("ä", "signature")],
)
def test_only_the_token_of_the_skill_is_accepted(token: str | None, reason: str) -> None:
    headers = {} if token is None else {"x-skill-token": token}
    with pytest.raises(Forged, match=f"^{reason}$"):
        kakaotalk.verify(Request(b"{}", headers), CASE.account, CASE.secrets, s.NOW)


def test_the_answer_is_that_of_a_skill_without_bubbles() -> None:
    answer = json.loads(kakaotalk.SUCCESS.body)
    assert answer == {"version": "2.0", "data": {"receipt": "%s"}}


def test_a_reply_is_an_event_of_the_bot() -> None:
    """As kakao-chatbot 0.4.3 makes it."""
    call = render("Hi", files=(FILE,))
    assert (call.method, call.url) == ("POST", f"https://bot-api.kakao.com/v2/bots/{BOT}/talk")
    assert call.headers == {"content-type": "application/json", "authorization": "KakaoAK kakao-rest-key"}
    assert json.loads(call.body) == {
        "event": {"name": "agent_reply", "data": {"text": "Hi\nhttps://cdn.example/a.pdf"}},
        "user": [{"type": "botUserKey", "id": USER}],
    }


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"to": ""}, "recipient"),
        ({"text": " "}, "recipient"),
        ({"text": "x" * 1001}, "at most 1000"),
        ({"files": (replace(FILE, url=None),)}, "https URL only"),
        ({"account": CASE.account.model_copy(update={"username": None})}, "no username, the bot's event"),
        ({"account": CASE.account.model_copy(update={"base_url": None})}, "no base_url"),
    ],
)
def test_what_kakao_does_not_take_is_not_sent(more: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unsendable, match=reason):
        render(**more)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b'{"taskId":"t","status":"SUCCESS"}', Sent("t")),
        (200, b'{"taskId":"t","status":"FAIL","message":"no user"}', SendFailure("KakaoTalk: FAIL no user", True)),
        (200, b'{"status":"ERROR"}', SendFailure("KakaoTalk: ERROR", False, unsure=True)),
        (200, b"<html>", SendFailure("KakaoTalk: an answer without status", False, unsure=True)),
        (401, b"no", SendFailure("HTTP 401: no", False)),
    ],
)
def test_an_answer_is_a_success_only_if_it_says_so(status: int, body: bytes, expected: Any) -> None:
    assert kakaotalk.outcome(status, {}, body) == expected
