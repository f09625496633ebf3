"""Telegram: what its updates say, and the requests of its Bot API."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from contracts.contacts import Identity
from contracts.ticket import Attachment, Location
from services.ingest.channels import telegram
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
    Upload,
)
from tests.ingest.channels import samples as s
from tests.ingest.channels.cases import CASES
from tests.ingest.channels.cases.telegram import message, photo, update

CASE = CASES["telegram"]
BOT = "https://api.telegram.org/bot110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"
GROUP = {"id": -1001987654321, "title": "Hurtownia", "type": "supergroup"}


def parse(body: bytes) -> list[Any]:
    return list(telegram.parse(s.record(CASE.account, body), CASE.account, CASE.accounts, CASE.secrets))


def one(body: bytes) -> InboundMessage:
    (found,) = parse(body)
    assert isinstance(found, InboundMessage)
    return found


def render(text: str = "Dzień dobry", **more: Any) -> HttpCall:
    return telegram.render(s.reply(text, **{"to": "5018273645", **more}), CASE.account, CASE.secrets)


def test_a_text_is_read_field_by_field() -> None:
    assert one(CASE.message) == InboundMessage(
        channel="telegram",
        account="telegram-pl",
        message_id="5018273645:4211",
        sender=Sender(
            (Identity(channel="telegram", account="telegram-pl", id="5018273645", verified=True),),
            name="Anna Nowak",
            address="5018273645",
            language="pl",
        ),
        conversation="5018273645",
        sent_at=datetime(2026, 11, 21, 9, 30, tzinfo=UTC),
        text="Gdzie jest moja paczka?",
    )


def test_in_a_group_the_person_writes_and_the_group_is_answered() -> None:
    found = one(update(text="hi", chat=GROUP, reply_to_message={"message_id": 7}))
    assert (found.conversation, found.sender.address, found.in_reply_to) == (
        "-1001987654321",
        "-1001987654321",
        "-1001987654321:7",
    )
    assert found.sender.identities[0].id == "5018273645"
    assert telegram.contact_key(Request(update(text="hi", chat=GROUP))) == "-1001987654321"


def test_equal_numbers_in_two_chats_are_two_messages() -> None:
    assert one(update(text="hi")).message_id != one(update(text="hi", chat=GROUP)).message_id


def test_the_photos_of_an_album_are_messages_of_one_conversation() -> None:
    first = one(photo(1, media_group_id="13579", caption="Uszkodzone"))
    second = one(json.dumps({"update_id": 2, "message": message(4212, photo=[{"file_id": "x"}])}).encode())
    assert first.message_id != second.message_id
    assert first.conversation == second.conversation
    assert first.text == "Uszkodzone"


def test_the_largest_size_of_a_photo_is_its_file() -> None:
    assert one(photo(1)).parts == (Part("photo", "image/jpeg", ref="AgACAgQAAx12", size=128_000),)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (
            {"document": {"file_id": "D", "file_name": "fv.pdf", "mime_type": "application/pdf", "file_size": 7}},
            Part("fv.pdf", "application/pdf", ref="D", size=7),
        ),
        ({"voice": {"file_id": "V", "duration": 3}}, Part("voice", "audio/ogg", ref="V")),
        ({"animation": {"file_id": "A"}, "document": {"file_id": "D"}}, Part("animation", "video/mp4", ref="A")),
        ({"video": {"file_id": "V", "file_size": -1}}, Part("video", "video/mp4", ref="V")),
        ({"document": {}}, None),
        ({"photo": []}, None),
    ],
)
def test_a_file_is_known_by_its_file_id(content: dict[str, Any], part: Part | None) -> None:
    assert one(update(**content)).parts == ((part,) if part else ())


def test_a_venue_is_a_place_with_a_name() -> None:
    place = {"latitude": 52.2297, "longitude": 21.0122}
    found = one(update(venue={"location": place, "title": "Sklep", "address": "Prosta 1"}, location=place))
    assert found.location == Location(latitude=52.2297, longitude=21.0122, name="Sklep", address="Prosta 1")
    assert found.text == "Sklep\nProsta 1"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"sticker": {"emoji": "👍"}}, "[sticker: 👍]"),
        ({"poll": {"question": "Why?"}}, "[poll: Why?]"),
        ({"dice": {"emoji": "🎲", "value": 3}}, "[dice: 🎲]"),
        ({"contact": {"first_name": "Jan", "phone_number": "+48600100200"}}, "Jan +48600100200"),
        ({"story": {}}, "[story]"),
        ({"something_new": {}}, "[unknown]"),
        ({"text": 7}, ""),
        ({"location": None}, ""),
    ],
)
def test_other_contents_show_what_they_say(content: dict[str, Any], text: str) -> None:
    assert one(update(**content)).text == text


def test_an_edit_is_a_message_that_answers_the_one_it_changes() -> None:
    found = one(update("edited_message", text="Paczka 1182", edit_date=1795253460))
    assert (found.text, found.in_reply_to) == ("[edited] Paczka 1182", "5018273645:4211")
    assert found.message_id == "5018273645:4211:1795253460"
    assert found.sent_at == datetime(2026, 11, 21, 9, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    "content",
    [
        {"text": "hi", "from": {"id": 1, "is_bot": True, "first_name": "Bot"}},
        {"text": "News", "is_automatic_forward": True},
        {"pinned_message": {"message_id": 1}},
        {"new_chat_title": "Support"},
        {"text": "/start"},
        {"new_chat_members": [{"id": 7}]},
        {"migrate_to_chat_id": -100123},
    ],
)
def test_what_no_customer_wrote_is_silent(content: dict[str, Any]) -> None:
    assert parse(update(**content)) == []


def test_a_live_location_that_moves_is_silent() -> None:
    place = {"latitude": 52.2, "longitude": 21.0, "live_period": 900}
    assert parse(update("edited_message", location=place, edit_date=1795253460)) == []


def test_an_edit_that_its_author_did_not_make_is_silent() -> None:
    """Telegram sends the update for a first reaction, too, without `edit_date`."""
    body = update("edited_message", text="Where is parcel 1182?")
    assert parse(body) == []
    assert telegram.message_ids(body) == []


def test_a_start_with_a_parameter_says_something() -> None:
    assert one(update(text="/start order-1182")).text == "/start order-1182"


@pytest.mark.parametrize("lacking", [{"chat": {}}, {"from": {}}, {"message_id": None}])
def test_a_message_without_id_chat_or_sender_is_faulty(lacking: dict[str, Any]) -> None:
    assert parse(update(text="hi", **lacking)) == [Faulty("a message without id, chat or sender")]


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (None, "missing"),
        ("", "missing"),
        ("wrong", "signature"),
        ("wT7f-telegram_secre", "signature"),
        ("ä", "signature"),
    ],
)
def test_only_the_secret_token_is_accepted(token: str | None, reason: str) -> None:
    headers = {} if token is None else {"x-telegram-bot-api-secret-token": token}
    with pytest.raises(Forged, match=f"^{reason}$"):
        telegram.verify(Request(b"{}", headers), CASE.account, CASE.secrets, s.NOW)


def test_a_text_is_sent_as_it_is() -> None:
    call = render("5 < 7 *x*", in_reply_to="5018273645:4211")
    assert (call.method, call.url) == ("POST", f"{BOT}/sendMessage")
    assert json.loads(call.body) == {"chat_id": "5018273645", "text": "5 < 7 *x*"}


def test_a_reply_in_a_group_answers_the_customers_message() -> None:
    sent = json.loads(render("hi", to="-100198", in_reply_to="-100198:7:1795253460").body)
    assert sent["reply_parameters"] == {"message_id": 7, "allow_sending_without_reply": True}
    assert "reply_parameters" not in json.loads(render("hi", to="-100198", in_reply_to="-5:7").body)


@pytest.mark.parametrize(
    ("media_type", "method", "field"),
    [("image/png", "sendPhoto", "photo"), ("application/pdf", "sendDocument", "document")],
)
def test_a_file_with_a_url_is_fetched_by_telegram(media_type: str, method: str, field: str) -> None:
    call = render("", files=(File("a", media_type, url="https://cdn.example/a"),))
    assert call.url == f"{BOT}/{method}"
    assert json.loads(call.body) == {"chat_id": "5018273645", field: "https://cdn.example/a"}


def test_a_file_without_a_url_is_uploaded() -> None:
    call = render("", files=(File("fv.pdf", "application/pdf", b"%PDF"),))
    assert call.url == f"{BOT}/sendDocument"
    assert call.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert b'name="chat_id"\r\n\r\n5018273645\r\n' in call.body
    assert b'name="document"; filename="fv.pdf"\r\nContent-Type: application/pdf\r\n\r\n%PDF\r\n' in call.body


@pytest.mark.parametrize(("size", "fine"), [(4096, True), (4097, False)])
def test_a_text_has_at_most_4096_characters(size: int, fine: bool) -> None:
    if fine:
        assert len(json.loads(render("x" * size).body)["text"]) == size
    else:
        with pytest.raises(Unsendable, match="at most 4096"):
            render("x" * size)


@pytest.mark.parametrize("more", [{"to": ""}, {"text": " "}, {"files": (File("a", "b", b"c"),)}])
def test_a_reply_is_a_text_or_one_file_to_somebody(more: dict[str, Any]) -> None:
    with pytest.raises(Unsendable):
        render(**more)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, CASE.reply_id[1] if CASE.reply_id else b"", Sent("5018273645:4213")),
        (200, b'{"ok":true,"result":true}', Sent(None)),
        (429, b'{"ok":false,"parameters":{"retry_after":31}}', (False, 31.0)),
        (429, b'{"ok":false,"parameters":{"retry_after":1%s}}' % (b"0" * 400), (False, 3600.0)),
        (403, b'{"ok":false,"description":"Forbidden: bot was blocked by the user"}', (True, None)),
        (401, b'{"ok":false,"description":"Unauthorized"}', (False, None)),
        (404, b'{"ok":false,"description":"Not Found"}', (False, None)),
        (400, b'{"ok":false,"description":"Bad Request: chat not found"}', (True, None)),
    ],
)
def test_an_answer_says_what_became_of_a_reply(status: int, body: bytes, expected: Any) -> None:
    found = telegram.outcome(status, {}, body)
    if isinstance(found, SendFailure):
        assert (found.permanent, found.retry_after) == expected
    else:
        assert found == expected


def test_a_file_is_fetched_in_two_steps() -> None:
    file = Attachment(name="photo", media_type="image/jpeg", ref="r", media_id="AgAC/x")
    wanted = telegram.original(file, CASE.account, CASE.secrets)
    assert isinstance(wanted, Upload)
    assert wanted.call == HttpCall("GET", f"{BOT}/getFile?file_id=AgAC%2Fx", {}, b"")
    assert wanted.then(200, b'{"ok":true,"result":{"file_path":"photos/file 1.jpg"}}') == HttpCall(
        "GET", f"{BOT.replace('/bot', '/file/bot')}/photos/file%201.jpg", {}, b""
    )
    too_big = wanted.then(400, b'{"ok":false,"description":"Bad Request: file is too big"}')
    assert isinstance(too_big, SendFailure)
    assert too_big.permanent
    assert wanted.then(200, b"{}") == replace(too_big, reason="HTTP 200: the answer has no file path", permanent=False)
