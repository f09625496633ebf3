"""Zalo: events of users and about our messages, uploads, and answers whose status is always 200."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import pytest

from contracts.contacts import Identity
from contracts.ticket import Location
from services.ingest.channels import zalo
from services.ingest.channels.channel import Forged, Grant, Request
from services.ingest.core.messages import (
    Delivery,
    DeliveryStatus,
    Faulty,
    File,
    HttpCall,
    InboundMessage,
    Part,
    Sender,
    SendFailure,
    Sent,
    Unsendable,
    Upload,
)
from tests.ingest.channels import samples as s
from tests.ingest.channels.cases import CASES
from tests.ingest.channels.cases.zalo import COORDINATES, OA, USER, attached, event, mac, seen

CASE = CASES["zalo"]
AT = datetime(2026, 11, 21, 9, 30, 0, 123_000, UTC)
API = "https://openapi.zalo.me"
PICTURE, PDF = File("a.jpg", "image/jpeg", b"jpeg"), File("a.pdf", "application/pdf", b"%PDF")


def parse(body: bytes) -> list[Any]:
    return list(zalo.parse(s.record(CASE.account, body), CASE.account, CASE.accounts, CASE.secrets))


def one(body: bytes) -> InboundMessage:
    (found,) = parse(body)
    assert isinstance(found, InboundMessage)
    return found


def render(text: str = "Chào bạn", **more: Any) -> Any:
    return zalo.render(s.reply(text, **{"to": USER, **more}), CASE.account, CASE.secrets)


def sent(call: Any) -> Any:
    assert isinstance(call, HttpCall)
    assert (call.method, call.url) == ("POST", f"{API}/v3.0/oa/message/cs")
    assert call.headers == {"content-type": "application/json", "access_token": "access"}
    document = json.loads(call.body)
    assert document["recipient"] == {"user_id": USER}
    return document["message"]


def test_a_text_is_read_field_by_field() -> None:
    assert one(event(message={"text": "Chào", "quote_msg_id": "m0"})) == InboundMessage(
        channel="zalo",
        account="zalo-vn",
        message_id="96d3cdf3af150460909",
        sender=Sender((Identity(channel="zalo", account="zalo-vn", id=USER, verified=True),), address=USER),
        conversation=USER,
        sent_at=AT,
        text="Chào",
        in_reply_to="m0",
    )


@pytest.mark.parametrize(
    ("kind", "payload", "part"),
    [
        ("image", {"url": "https://z.example/i"}, Part("image", "image/jpeg", ref="https://z.example/i")),
        ("gif", {"url": "https://z.example/i"}, Part("gif", "image/gif", ref="https://z.example/i")),
        ("audio", {"url": "https://z.example/i"}, Part("audio", "audio/mp4", ref="https://z.example/i")),
        (
            "file",
            {"url": "https://z.example/i", "name": "a.pdf", "size": "2138"},
            Part("a.pdf", "application/octet-stream", ref="https://z.example/i", size=2138),
        ),
        ("file", {"url": "https://z.example/i", "size": "-1"}, Part("file", "application/octet-stream", ref="https://z.example/i")),
        (
            "file",
            {"url": "https://z.example/i", "size": str(2**53)},
            Part("file", "application/octet-stream", ref="https://z.example/i"),
        ),
        ("image", {}, None),
        ("sticker", {"url": "https://z.example/s"}, None),
    ],
)  # fmt: skip
def test_a_file_is_known_by_its_url(kind: str, payload: dict[str, str], part: Part | None) -> None:
    assert one(attached(kind, **payload)).parts == ((part,) if part else ())


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (attached("sticker", id="1"), "[sticker]"),
        (attached("something_new"), "[something_new]"),
        (attached("link", title="Shop", description="Shop", url="https://a.example"), "Shop\nhttps://a.example"),
        (attached("business_card"), "[business_card]"),
        (attached("image", url="https://z.example/i"), ""),
        (event("user_send_image", message={"text": "vỡ"}), "vỡ"),
    ],
)
def test_other_messages_show_what_they_say(body: bytes, text: str) -> None:
    assert one(body).text == text


@pytest.mark.parametrize(
    ("coordinates", "place"),
    [
        (COORDINATES, Location(latitude=10.764247, longitude=106.656431)),
        ({"latitude": 10.5, "longitude": 106}, Location(latitude=10.5, longitude=106)),
        ({"latitude": "91", "longitude": "0"}, None),
        ({"latitude": "nan", "longitude": "0"}, None),
        ({"latitude": "x", "longitude": "0"}, None),
        (None, None),
    ],
)
def test_a_place_is_on_earth(coordinates: Any, place: Location | None) -> None:
    assert one(attached("location", coordinates=coordinates)).location == place


def test_what_became_of_our_messages_is_told() -> None:
    common = {"channel": "zalo", "account": "zalo-vn", "at": AT, "recipient": USER}
    read = [DeliveryStatus(channel_message_id=each, state=Delivery.READ, **common) for each in ("m1", "m2")]  # type: ignore[arg-type]
    assert parse(seen("m1", "m2")) == read
    received = event("user_received_message", sender={"id": OA}, recipient={"id": USER}, number="m1")
    assert parse(received) == [DeliveryStatus(channel_message_id="m1", state=Delivery.DELIVERED, **common)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "body", [CASE.message, seen("m1"), event("oa_send_text", sender={"id": OA}, recipient={"id": USER})]
)
def test_the_account_and_the_user_are_known_in_either_direction(body: bytes) -> None:
    assert (zalo.account_id(Request(body)), zalo.contact_key(Request(body))) == (OA, USER)


@pytest.mark.parametrize("lacking", [{"number": ""}, {"sender": {}}])
def test_a_message_without_an_id_or_a_sender_is_faulty(lacking: dict[str, Any]) -> None:
    assert parse(event(**lacking)) == [Faulty("a message without msg_id or sender")]


@pytest.mark.parametrize(
    ("body", "signature", "reason"),
    [
        (CASE.message, None, "missing"),
        (CASE.message, "mac=xyz", "missing"),
        (CASE.message, "mac=" + mac(CASE.message, "another"), "signature"),
        (CASE.message, "mac=" + mac(CASE.another), "signature"),
        (b'{"app_id":"1"}', "mac=00", "signature"),
    ],
)
def test_what_is_not_signed_is_refused(body: bytes, signature: str | None, reason: str) -> None:
    headers = {} if signature is None else {"x-zevent-signature": signature}
    with pytest.raises(Forged, match=f"^{reason}$"):
        zalo.verify(Request(body, headers), CASE.account, CASE.secrets, s.NOW)


def test_a_signature_is_right_with_and_without_its_prefix() -> None:
    for prefix in ("mac=", ""):
        given = Request(CASE.message, {"x-zevent-signature": prefix + mac(CASE.message)})
        zalo.verify(given, CASE.account, CASE.secrets, s.NOW)


def test_a_text_and_a_picture_by_url_are_one_call() -> None:
    assert sent(render("Chào bạn")) == {"text": "Chào bạn"}
    elements = [{"media_type": "image", "url": "https://cdn.example/a.png"}]
    payload = {"template_type": "media", "elements": elements}
    by_url = File("a.png", "image/png", url="https://cdn.example/a.png")
    assert sent(render("", files=(by_url,))) == {"attachment": {"type": "template", "payload": payload}}


@pytest.mark.parametrize(
    ("file", "path", "answer", "attachment"),
    [
        (
            PICTURE,
            "image",
            {"attachment_id": "A1"},
            {
                "type": "template",
                "payload": {"template_type": "media", "elements": [{"media_type": "image", "attachment_id": "A1"}]},
            },
        ),
        (PDF, "file", {"token": "T1"}, {"type": "file", "payload": {"token": "T1"}}),
    ],
)
def test_a_file_is_uploaded_first(file: File, path: str, answer: Any, attachment: Any) -> None:
    wanted = render("", files=(file,))
    assert isinstance(wanted, Upload)
    assert (wanted.call.method, wanted.call.url) == ("POST", f"{API}/v2.0/oa/upload/{path}")
    assert wanted.call.headers["access_token"] == "access"
    assert (file.content or b"") in wanted.call.body
    assert sent(wanted.then(200, s.encode({"error": 0, "data": answer}))) == {"attachment": attachment}
    expired = wanted.then(200, b'{"error":-216,"message":"Access token has expired"}')
    assert expired == SendFailure("upload: Zalo: -216 Access token has expired", permanent=False)
    unread = wanted.then(502, b"<html>")
    assert isinstance(unread, SendFailure)
    assert (unread.permanent, unread.unsure) == (False, False)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"to": ""}, "recipient"),
        ({"text": " "}, "recipient"),
        ({"text": "x" * 2001}, "at most 2000"),
        ({"files": (PICTURE,)}, "a text or one file"),
        ({"text": "", "files": (File("a.zip", "application/zip", b"x"),)}, "takes JPEG and PNG"),
        ({"text": "", "files": (File("a.pdf", "application/pdf", url="https://cdn.example/a"),)}, "takes JPEG and PNG"),
    ],
)
def test_what_zalo_does_not_take_is_not_sent(more: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unsendable, match=reason):
        render(**more)
    assert sent(render("x" * 2000))["text"] == "x" * 2000


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b'{"error":0,"data":{"message_id":"m9"}}', Sent("m9")),
        (200, b'{"error":0}', Sent(None)),
        (200, b'{"error":-216,"message":"Invalid token"}', SendFailure("Zalo: -216 Invalid token", False)),
        (200, b'{"error":-220,"message":"expired"}', SendFailure("Zalo: -220 expired", False)),
        (200, b'{"error":-230,"message":"7 days"}', SendFailure("Zalo: -230 7 days", True)),
        (200, b"<html>", SendFailure("Zalo: an answer that cannot be read", False, unsure=True)),
        (500, b"no", SendFailure("HTTP 500: no", False, unsure=True)),
    ],
)  # fmt: skip
def test_an_answer_is_a_success_only_if_its_error_is_0(status: int, body: bytes, expected: Any) -> None:
    assert zalo.outcome(status, {}, body) == expected


def test_a_token_is_given_for_a_refresh_token() -> None:
    """As zalo-java-sdk's GetAccessTokenByRefreshToken asks for it."""
    call = zalo.OAUTH.refresh(CASE.account, CASE.secrets, "r1", s.NOW)
    assert (call.method, call.url) == ("POST", "https://oauth.zaloapp.com/v4/oa/access_token")
    assert call.headers == {"content-type": "application/x-www-form-urlencoded", "secret_key": "WgLrb5t3K8aPp"}
    form = {"app_id": "360846524940903967", "grant_type": "refresh_token", "refresh_token": "r1"}
    assert dict(parse_qsl(call.body.decode())) == form


@pytest.mark.parametrize(("said", "seconds"), [("90000", 90_000.0), (7200, 7200.0), ("soon", 3600.0), (None, 3600.0)])
def test_a_token_is_valid_as_long_as_it_is_said(said: Any, seconds: float) -> None:
    body = s.encode({"access_token": "a", "refresh_token": "r2", "expires_in": said})
    assert zalo.OAUTH.read(200, body) == Grant("a", seconds, "r2")


def test_a_refused_refresh_token_is_told() -> None:
    with pytest.raises(ValueError, match="Invalid refresh token"):
        zalo.OAUTH.read(200, b'{"error":-14014,"error_description":"Invalid refresh token."}')
