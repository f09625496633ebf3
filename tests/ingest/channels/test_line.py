"""LINE: webhooks and requests compared whole, and the bounds of both."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts.contacts import Identity
from contracts.ticket import Location
from services.ingest.channels import line
from services.ingest.channels.channel import Forged, Request
from services.ingest.core.messages import (
    Faulty,
    File,
    HttpCall,
    InboundMessage,
    Part,
    ReplyToken,
    Sender,
    SendFailure,
    Sent,
    Unreadable,
    Unsendable,
)
from tests.ingest.channels import samples as s

USER = "U8189cf6745fc0d808977bdb0b9f22995"
MESSAGE = "444573844083572737"
AT = datetime(2026, 11, 21, 9, 30, 0, 123_000, UTC)
PICTURE = File("box.jpg", "image/jpeg", url="https://cdn.example/box.jpg")


def parse(*events: Any) -> list[Any]:
    return list(line.parse(s.record(s.LINE, s.line_events(*events)), s.LINE, s.ACCOUNTS, s.SECRETS))


def message(content: dict[str, Any], **more: Any) -> InboundMessage:
    (found,) = parse(s.line_message(content, **more))
    assert isinstance(found, InboundMessage)
    return found


def expected(**more: Any) -> InboundMessage:
    """The sample's message, with what more it says."""
    sender = Sender((Identity(channel="line", account="line-th", id=USER, verified=True),), address=USER)
    token = ReplyToken("38ef843bde154d9b91c21320ffd17a0f", s.NOW + timedelta(seconds=40))
    same = {"reply_token": token, "message_id": MESSAGE, "sender": sender, "conversation": USER, "sent_at": AT}
    return InboundMessage(**{"channel": "line", "account": "line-th", **same, **more})


# --- Messages. ---


def test_a_text_is_read_field_by_field() -> None:
    found = message({"type": "text", "text": "ขอคืนเงิน\r\n\x00ค่ะ", "quotedMessageId": "77"})
    assert found == expected(text="ขอคืนเงิน\nค่ะ", in_reply_to="77")


def test_a_message_in_a_group_is_of_its_user_and_answered_in_the_group() -> None:
    sender = Sender((Identity(channel="line", account="line-th", id="U1", verified=True),), address="C1")
    found = message({"type": "text", "text": "hi"}, source={"type": "group", "groupId": "C1", "userId": "U1"})
    assert found == expected(text="hi", sender=sender, conversation="C1")


@pytest.mark.parametrize(
    ("source", "conversation", "person"),
    [
        ({"groupId": "C1", "roomId": "R1", "userId": "U1"}, "C1", "U1"),
        ({"roomId": "R1", "userId": "U1"}, "R1", "U1"),
        ({"userId": "U1"}, "U1", "U1"),
        ({"groupId": "C1"}, "C1", "C1"),
        ({"roomId": "R1"}, "R1", "R1"),
    ],
)
def test_a_conversation_is_of_the_group_or_else_the_room_or_else_the_user(
    source: dict[str, str], conversation: str, person: str
) -> None:
    found = message({"type": "text", "text": "hi"}, source=source)
    assert (found.conversation, found.sender.address) == (conversation, conversation)
    assert found.sender.identities == (Identity(channel="line", account="line-th", id=person, verified=True),)
    asked = s.request(s.line_events(s.line_message({}, source=source)))
    assert line.contact_key(asked) == conversation


def test_a_picture_is_a_part_by_its_message_id() -> None:
    found = message({"type": "image", "contentProvider": {"type": "line"}})
    assert found == expected(parts=(Part("image", "image/jpeg", ref=MESSAGE),))


@pytest.mark.parametrize(
    ("kind", "media_type"),
    [("image", "image/jpeg"), ("video", "video/mp4"), ("audio", "audio/mp4"), ("file", "application/octet-stream")],
)
def test_media_have_a_type_and_no_text(kind: str, media_type: str) -> None:
    assert message({"type": kind}) == expected(parts=(Part(kind, media_type, ref=MESSAGE),))


def test_a_file_has_its_name_and_size() -> None:
    found = message({"type": "file", "fileName": "bill.pdf", "fileSize": 2138})
    assert found.parts == (Part("bill.pdf", "application/octet-stream", ref=MESSAGE, size=2138),)


def test_a_file_that_somebody_else_keeps_is_found_at_its_url() -> None:
    url = "https://example.com/" + "a" * 1980
    provider = {"type": "external", "originalContentUrl": url}
    assert message({"type": "image", "contentProvider": provider}).parts[0].ref == url
    provider["originalContentUrl"] = url + "b"
    assert message({"type": "image", "contentProvider": provider}).parts[0].ref == url


@pytest.mark.parametrize(
    ("said", "size"),
    [(0, 0), (1, 1), (2**53 - 1, 2**53 - 1), (2**53, None), (-1, None), ("9", None), (1.5, None), (None, None)],
)
def test_a_size_is_a_whole_number_that_a_store_takes(said: Any, size: int | None) -> None:
    assert message({"type": "file", "fileSize": said}).parts[0].size == size


def test_media_without_an_id_have_no_part() -> None:
    (found,) = parse(s.line_message({"type": "image", "id": None}))
    assert (found.message_id, found.parts) == ("01FZ74A0TDDPYRVKNK77XKC3ZR", ())


def test_a_place_is_read_field_by_field() -> None:
    place = {"title": "สยาม", "address": "กรุงเทพ", "latitude": 13.7563, "longitude": 100.5018}
    where = Location(latitude=13.7563, longitude=100.5018, name="สยาม", address="กรุงเทพ")
    assert message({"type": "location", **place}) == expected(text="สยาม\nกรุงเทพ", location=where)


@pytest.mark.parametrize(
    ("latitude", "longitude", "is_place"),
    [*s.PLACES, (0, 100, True)],
)
def test_a_place_is_on_earth(latitude: Any, longitude: Any, is_place: bool) -> None:
    found = message({"type": "location", "latitude": latitude, "longitude": longitude, "title": "x"})
    assert found.text == "x"
    assert found.location == (Location(latitude=latitude, longitude=longitude, name="x") if is_place else None)


def test_only_a_location_has_a_place() -> None:
    assert message({"type": "text", "text": "x", "latitude": 1.0, "longitude": 1.0}).location is None


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"type": "sticker", "keywords": ["a", "b", "c", "d", "e", "f"]}, "[sticker: a, b, c, d, e]"),
        ({"type": "sticker", "keywords": ["a", "", None, "b"]}, "[sticker: a, b]"),
        ({"type": "sticker", "keywords": []}, "[sticker]"),
        ({"type": "sticker", "keywords": "abc"}, "[sticker]"),
        ({"type": "sticker"}, "[sticker]"),
        ({"type": "sticker", "keywords": ["a"], "text": "Hello"}, "Hello"),
        ({"type": "flex"}, "[flex]"),
        ({"type": "k" * 41}, f"[{'k' * 40}]"),
        ({"type": None}, "[unknown]"),
        ({"type": "text"}, ""),
        ({"type": "text", "text": 7}, ""),
    ],
)
def test_other_messages_show_what_they_say(content: dict[str, Any], text: str) -> None:
    assert message(content) == expected(text=text)


@pytest.mark.parametrize(
    ("postback", "text"),
    [
        ({"data": "action=buy", "params": {"displayText": "Buy"}}, "Buy"),
        ({"data": "action=buy", "params": {"date": "2026-11-21"}}, "action=buy"),
        ({"data": "action=buy"}, "action=buy"),
        (None, ""),
    ],
)
def test_a_postback_is_a_message_by_the_id_of_its_event(postback: Any, text: str) -> None:
    (found,) = parse(s.line_message({}, type="postback", message=None, postback=postback))
    assert found == expected(message_id="01FZ74A0TDDPYRVKNK77XKC3ZR", text=text)


def test_a_postback_is_one_whatever_message_stands_beside_it() -> None:
    (found,) = parse(s.line_message({"type": "text", "text": "x"}, type="postback", postback={"data": "d"}))
    assert found.text == "d"


@pytest.mark.parametrize(
    ("said", "at"),
    [
        (1795253400123, AT),
        (1795253400123.0, AT),
        ("1795253400123", s.NOW),
        (None, s.NOW),
        (10**16, s.NOW),
        (-(10**16), s.NOW),
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_time_is_in_milliseconds_or_the_one_of_the_record(said: Any, at: datetime) -> None:
    assert message({"type": "text"}, timestamp=said).sent_at == at


@pytest.mark.parametrize(
    "lacking", [{"source": {}}, {"source": None}, {"message": {"type": "text"}, "webhookEventId": None}]
)
def test_an_event_without_an_id_or_a_source_is_faulty(lacking: dict[str, Any]) -> None:
    assert parse(s.line_message({}, **lacking)) == [Faulty("an event without id or source")]


@pytest.mark.parametrize("document", [{}, {"events": None}, {"events": {}}])
def test_a_body_without_events_is_unreadable(document: Any) -> None:
    with pytest.raises(Unreadable, match="no events"):
        line.parse(s.record(s.LINE, s.encode(document)), s.LINE, s.ACCOUNTS, s.SECRETS)


# --- The door. ---


def test_a_large_body_names_its_account_and_contact_too() -> None:
    body = s.line_events(s.line_message({"type": "text", "text": "x" * 70_000}))
    assert line.account_id(Request(body)) == s.LINE.external_id
    assert line.contact_key(Request(body)) == USER


def test_the_destination_is_read_as_json_where_that_is_cheap() -> None:
    """A light look at a large body takes letters, digits and a few signs only."""
    body = s.encode({"destination": "a b", "events": []})
    most = body + b" " * (64 * 1024 - len(body))
    assert line.account_id(Request(most)) == "a b"
    assert line.account_id(Request(most + b" ")) is None


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"events":7,"destination":{}}'])
def test_a_body_that_names_nobody_has_no_account_and_no_contact(body: bytes) -> None:
    assert (line.account_id(Request(body)), line.contact_key(Request(body))) == (None, None)


@pytest.mark.parametrize("signature", [None, "", "###", "ä", "QUJD!"])
def test_a_signature_that_is_no_base64_is_missing(signature: str | None) -> None:
    headers = {} if signature is None else {"x-line-signature": signature}
    with pytest.raises(Forged, match=r"^missing$"):
        line.verify(Request(b"{}", headers), s.LINE, s.SECRETS, s.NOW)


def test_a_signature_is_read_strictly() -> None:
    given = {"x-line-signature": s.sign_line(b"{}")["x-line-signature"] + "\n*"}
    with pytest.raises(Forged, match=r"^missing$"):
        line.verify(Request(b"{}", given), s.LINE, s.SECRETS, s.NOW)


def test_a_signature_of_another_body_is_refused_as_such() -> None:
    with pytest.raises(Forged, match=r"^signature$"):
        line.verify(Request(b"[]", s.sign_line(b"{}")), s.LINE, s.SECRETS, s.NOW)


# --- Replies. ---


def test_a_reply_is_one_push_with_everything_in_it() -> None:
    call = line.render(s.reply("Hello\r\n\x00£\ud800", to=USER, files=(PICTURE,)), s.LINE, s.SECRETS)
    assert (call.method, call.url) == ("POST", "https://api.line.me/v2/bot/message/push")
    assert call.headers == {
        "content-type": "application/json",
        "authorization": "Bearer line-token",
        "x-line-retry-key": str(uuid.uuid5(uuid.NAMESPACE_OID, "m-1")),
    }
    picture = {"type": "image", "originalContentUrl": PICTURE.url, "previewImageUrl": PICTURE.url}
    assert json.loads(call.body) == {"to": USER, "messages": [{"type": "text", "text": "Hello\n£"}, picture]}


@pytest.mark.parametrize("event", [{"replyToken": None}, {"deliveryContext": {"isRedelivery": True}}])
def test_a_message_without_a_fresh_token_is_answered_by_push(event: dict[str, Any]) -> None:
    assert message({"type": "text"}, **event).reply_token is None


def test_a_token_makes_a_reply_that_is_tried_once() -> None:
    call = line.render(replace(s.reply("Hello", to=USER), reply_token="t1"), s.LINE, s.SECRETS)
    assert (call.url, call.once) == ("https://api.line.me/v2/bot/message/reply", True)
    assert "x-line-retry-key" not in call.headers
    assert json.loads(call.body) == {"replyToken": "t1", "messages": [{"type": "text", "text": "Hello"}]}
    assert not line.render(s.reply("Hello", to=USER), s.LINE, s.SECRETS).once


@pytest.mark.parametrize(("size", "fine"), [(5000, True), (5001, False)])
def test_a_text_has_at_most_5000_characters(size: int, fine: bool) -> None:
    if fine:
        assert messages(line.render(s.reply("x" * size), s.LINE, s.SECRETS)) == [{"type": "text", "text": "x" * size}]
    else:
        with pytest.raises(Unsendable, match="at most 5000 characters"):
            line.render(s.reply("x" * size), s.LINE, s.SECRETS)


@pytest.mark.parametrize(("text", "pictures", "fine"), [("x", 4, True), ("", 5, True), ("x", 5, False), ("", 6, False)])
def test_a_push_has_at_most_five_messages(text: str, pictures: int, fine: bool) -> None:
    asked = s.reply(text, files=(PICTURE,) * pictures)
    if fine:
        assert len(messages(line.render(asked, s.LINE, s.SECRETS))) == 5
    else:
        with pytest.raises(Unsendable, match="at most 5 messages"):
            line.render(asked, s.LINE, s.SECRETS)


def messages(call: HttpCall) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(call.body)["messages"]
    return found


@pytest.mark.parametrize(
    ("media_type", "fine"),
    [("image/png", True), ("IMAGE/JPEG", True), ("image/gif", False), ("application/pdf", False)],
)
def test_a_picture_is_jpeg_or_png(media_type: str, fine: bool) -> None:
    asked = s.reply(files=(File("a.bin", media_type, url="https://cdn.example/a"),))
    if fine:
        assert [each["type"] for each in messages(line.render(asked, s.LINE, s.SECRETS))] == ["text", "image"]
    else:
        with pytest.raises(Unsendable, match=r"JPEG and PNG pictures only, and a\.bin is none"):
            line.render(asked, s.LINE, s.SECRETS)


def test_a_picture_that_only_we_have_is_named_with_its_provider() -> None:
    with pytest.raises(Unsendable, match=r"^LINE takes files by https URL only, and a\.jpg has none$"):
        line.render(s.reply(files=(File("a.jpg", "image/jpeg", b"x"),)), s.LINE, s.SECRETS)


@pytest.mark.parametrize("asked", [s.reply("x", to=""), s.reply(""), s.reply(" \n")])
def test_a_reply_needs_a_recipient_and_a_text_or_a_picture(asked: Any) -> None:
    with pytest.raises(Unsendable, match="recipient"):
        line.render(asked, s.LINE, s.SECRETS)


def test_an_account_without_a_base_url_sends_nothing() -> None:
    with pytest.raises(Unsendable, match="line-th has no base_url"):
        line.render(s.reply(), s.LINE.model_copy(update={"base_url": None}), s.SECRETS)


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (200, b'{"sentMessages":[{"id":"46"},{"id":"47"}]}', Sent("46")),
        (200, b'{"sentMessages":[]}', Sent(None)),
        (409, b'{"sentMessages":[{"id":"46"}]}', Sent("46")),
        (409, b"taken before", Sent(None)),
        (400, b"no", SendFailure("HTTP 400: no", permanent=True)),
        (410, b"no", SendFailure("HTTP 410: no", permanent=True)),
    ],
)
def test_an_answer_that_says_that_it_was_taken_before_is_as_good_as_sent(
    status: int, body: bytes, outcome: Any
) -> None:
    assert line.outcome(status, {}, body) == outcome


def test_how_long_to_wait_is_told_by_the_answer() -> None:
    assert line.outcome(429, {"Retry-After": "5"}, b"") == SendFailure("HTTP 429: no reason given", False, 5.0)
