"""The generic webhook: documents and requests compared whole, and the bounds of both."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts.contacts import Identity
from contracts.ticket import CustomerFacts, Location, Market, Priority
from services.ingest.accounts import Account
from services.ingest.channels import generic
from services.ingest.channels.channel import Request
from services.ingest.core.messages import (
    Delivery,
    DeliveryStatus,
    File,
    HttpCall,
    InboundMessage,
    OutgoingReply,
    Part,
    Sender,
    SendFailure,
    Sent,
    Unreadable,
    Unsendable,
)
from tests.ingest.channels import samples as s

LITTLE = {"id": "a1", "from": {"id": "b1"}}


def parse(document: Any) -> Any:
    body = document if isinstance(document, bytes) else s.encode(document)
    (found,) = generic.parse(s.record(s.COUPANG, body), s.COUPANG, s.ACCOUNTS, s.SECRETS)
    return found


def sender(person: str, /, **more: str | None) -> Sender:
    identity = Identity(channel="webhook", account="coupang-kr", id=person, verified=True)
    return Sender((identity,), address=person, **more)


# --- Messages. ---


def test_a_message_with_everything_is_read_field_by_field() -> None:
    person = {"name": "김민준", "email": "kim@example.kr", "phone": "+8210", "language": "ko"}
    document = {
        "type": "message",
        "id": "cp-1",
        "conversation": "order-77",
        "from": {"id": "buyer-9", **person},
        "text": "배송이\r\n너무 늦어요",
        "html": "<p>not read</p>",
        "subject": "배송 문의",
        "language": "ko",
        "attachments": [
            {"name": "box.jpg", "media_type": "image/jpeg", "url": "https://cdn.example/box.jpg", "size": 9},
            {"name": " ", "url": "http://cdn.example/x"},
        ],
        "location": {"latitude": 37.5, "longitude": 127.0, "name": "서울"},
        "sent_at": "2026-11-21T18:29:59.5+09:00",
        "in_reply_to": "m-1",
        "brand": "korale",
        "market": {"marketplace": "coupang", "country": "KR"},
        "order_ref": "77",
        "order_line": "77-1",
        "listing": "item-9",
        "shop": "nimbus-kr",
        "reply_by": "2026-11-22T18:00:00+09:00",
        "tags": ["delivery", " ", "late"],
        "customer": {"tier": "gold", "orders": 12},
        "priority": "high",
        "required_skills": {"lang-ko": 3},
        "preferred_skills": {"returns": 2},
        "bot": False,
        "automated": True,
    }
    assert parse(document) == InboundMessage(
        channel="webhook",
        account="coupang-kr",
        message_id="cp-1",
        sender=sender("buyer-9", **person),
        conversation="order-77",
        sent_at=datetime(2026, 11, 21, 9, 29, 59, 500_000, UTC),
        text="배송이\n너무 늦어요",
        subject="배송 문의",
        language="ko",
        in_reply_to="m-1",
        parts=(
            Part("box.jpg", "image/jpeg", ref="https://cdn.example/box.jpg", size=9),
            Part("file", "application/octet-stream", ref="http://cdn.example/x"),
        ),
        location=Location(latitude=37.5, longitude=127.0, name="서울"),
        automated_because="the sender says so",
        brand="korale",
        market=Market(marketplace="coupang", country="KR"),
        order_ref="77",
        order_line="77-1",
        listing="item-9",
        shop="nimbus-kr",
        reply_by=datetime(2026, 11, 22, 9, tzinfo=UTC),
        tags=("delivery", "late"),
        customer=CustomerFacts.model_validate({"tier": "gold", "orders": 12}),
        priority=Priority.HIGH,
        required_skills={"lang-ko": 3},
        preferred_skills={"returns": 2},
        bot=False,
    )


SAID_LITTLE = InboundMessage(
    channel="webhook", account="coupang-kr", message_id="a1", sender=sender("b1"), conversation="b1", sent_at=s.NOW
)


def test_a_message_with_little_leaves_the_rest_unsaid() -> None:
    assert parse(LITTLE) == SAID_LITTLE


def test_a_blank_field_is_as_good_as_none() -> None:
    person = {"id": "b1", "name": " ", "email": "", "phone": "\t", "language": ""}
    blank = dict.fromkeys(("subject", "language", "brand", "order_ref", "listing"), " ")
    assert parse({**LITTLE, **blank, "from": person}) == SAID_LITTLE


@pytest.mark.parametrize("text", ["", " \n"])
def test_html_is_read_where_there_is_no_text(text: str) -> None:
    found = parse({**LITTLE, "text": text, "html": "<p>a &amp; b</p>"})
    assert (found.text, found.html, found.text_full) == ("a & b", True, None)


def test_no_text_and_no_html_is_an_empty_message() -> None:
    found = parse({**LITTLE, "text": " "})
    assert (found.text, found.html) == (" ", False)
    assert (parse({**LITTLE, "html": ""}).text, parse({**LITTLE, "html": ""}).html) == ("", True)


@pytest.mark.parametrize(("size", "cut"), [(32_768, False), (32_769, True)])
@pytest.mark.parametrize("field", ["text", "html"])
def test_a_text_of_more_than_32768_characters_is_kept_whole_beside_its_beginning(
    field: str, size: int, cut: bool
) -> None:
    found = parse({**LITTLE, field: "x" * size})
    assert (found.text, found.text_full) == ("x" * 32_768, "x" * size if cut else None)


@pytest.mark.parametrize("more", [{"text": "x" * 131_072}, {"html": "x" * 131_073}])
def test_a_whole_text_ends_at_131072_characters(more: dict[str, str]) -> None:
    assert parse({**LITTLE, **more}).text_full == "x" * 131_072


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ({"id": "x" * 201}, "id: String should have at most 200 characters"),
        ({"id": " "}, "id: Value error, must not be blank"),
        ({"from": {}}, "from.id: Field required"),
        ({"sent_at": "0001-01-01T00:00:00+09:00"}, "sent_at: Value error, out of range"),
        ({"text": "x" * 131_073}, "text: String should have at most 131072 characters"),
        ({"id": "", "from": 1, "text": 2, "bot": 3}, "id: [^;]*; from: [^;]*; text: [^;]*"),
    ],
)
def test_a_wrong_document_says_up_to_three_times_what_is_wrong_where(bad: dict[str, Any], told: str) -> None:
    with pytest.raises(Unreadable) as refusal:
        parse({**LITTLE, **bad})
    assert re.fullmatch(told, str(refusal.value))


# --- Statuses. ---


def test_a_failed_status_is_read_field_by_field() -> None:
    document = {"type": "status", "message_id": "m-1", "state": "failed", "reason": "탈퇴한 회원"}
    assert parse({**document, "at": "2026-11-21T18:00:00+09:00"}) == DeliveryStatus(
        channel="webhook",
        account="coupang-kr",
        channel_message_id="m-1",
        state=Delivery.FAILED,
        at=datetime(2026, 11, 21, 9, 0, tzinfo=UTC),
        permanent=True,
        reason="탈퇴한 회원",
        our_message_id="m-1",
    )


@pytest.mark.parametrize(
    ("state", "said", "permanent"),
    [
        ("failed", True, True),
        ("bounced", True, True),
        ("failed", False, False),
        ("bounced", False, False),
        ("sent", True, False),
        ("delivered", True, False),
        ("read", True, False),
    ],
)
def test_only_a_failure_is_for_good_and_only_if_the_sender_does_not_say_otherwise(
    state: str, said: bool, permanent: bool
) -> None:
    found = parse({"type": "status", "message_id": "m-1", "state": state, "permanent": said, "reason": " "})
    assert (found.state, found.permanent, found.reason, found.at) == (Delivery(state), permanent, None, s.NOW)


def test_a_message_that_speaks_of_a_status_is_a_message() -> None:
    assert parse({**LITTLE, "text": 'what is my "status"?', "tags": ["status"]}).tags == ("status",)


# --- Replies. ---


def rendered(reply: OutgoingReply, account: Account = s.COUPANG) -> HttpCall:
    call = generic.render(reply, account, s.SECRETS)
    assert isinstance(call, HttpCall)
    return call


FILES = (
    File("label.pdf", "application/pdf", url="https://cdn.example/label.pdf"),
    File("a.txt", "text/plain", content=b"abc"),
    File("b.txt", "text/plain"),
)


def test_a_reply_with_everything_is_one_document() -> None:
    asked = s.reply(
        "Hello\r\n\x00£\ud800",
        to="buyer-9",
        to_name="김민준",
        author_name="Anna",
        html="<p>Hello</p>",
        files=FILES,
        conversation="order-77",
        in_reply_to="cp-1",
        order_ref="77",
        automated=True,
        tried_at=s.NOW + timedelta(seconds=90),
    )
    call = rendered(asked)
    assert (call.method, call.url) == ("POST", "https://connector.korale.example/coupang/replies")
    assert json.loads(call.body) == {
        "type": "reply",
        "id": "m-1",
        "account": "coupang-kr",
        "ticket_id": "0190163d-8694-739b-aea5-966c26f8ad91",
        "conversation": "order-77",
        "to": {"id": "buyer-9", "name": "김민준"},
        "author": "Anna",
        "text": "Hello\n£",
        "html": "<p>Hello</p>",
        "attachments": [
            {"name": "label.pdf", "media_type": "application/pdf", "url": "https://cdn.example/label.pdf"},
            {"name": "a.txt", "media_type": "text/plain", "content": "YWJj"},
            {"name": "b.txt", "media_type": "text/plain", "content": ""},
        ],
        "in_reply_to": "cp-1",
        "order_ref": "77",
        "automated": True,
        "sent_at": "2026-11-21T09:30:00.000Z",
    }
    signed = s.sign_generic(call.body, s.NOW + timedelta(seconds=90))
    assert set(call.headers) == {"content-type", *signed}
    assert call.headers["content-type"] == "application/json"
    assert (call.headers["webhook-id"], call.headers["webhook-timestamp"]) == ("m-1", signed["webhook-timestamp"])
    generic.verify(Request(call.body, call.headers), s.COUPANG, s.SECRETS, s.NOW)


def test_a_reply_with_little_leaves_the_rest_out() -> None:
    assert json.loads(rendered(s.reply("x", to="b1")).body) == {
        "type": "reply",
        "id": "m-1",
        "account": "coupang-kr",
        "ticket_id": "0190163d-8694-739b-aea5-966c26f8ad91",
        "to": {"id": "b1", "name": None},
        "text": "x",
        "automated": False,
        "sent_at": "2026-11-21T09:30:00.000Z",
    }


def test_a_file_goes_without_a_text_and_an_id_of_blanks_is_still_signed() -> None:
    call = rendered(s.reply("", to="b1", files=FILES[:1], message_id=" "))
    assert call.headers["webhook-id"] == "reply"
    assert json.loads(call.body)["text"] == ""


def test_a_text_of_a_reply_is_cut_at_131072_characters() -> None:
    assert json.loads(rendered(s.reply("x" * 131_073)).body)["text"] == "x" * 131_072


@pytest.mark.parametrize("asked", [s.reply("x", to=""), s.reply(""), s.reply(" \n"), s.reply("", to="", files=FILES)])
def test_a_reply_needs_a_recipient_and_a_text_or_a_file(asked: OutgoingReply) -> None:
    with pytest.raises(Unsendable, match="recipient"):
        rendered(asked)


def test_an_account_without_a_base_url_sends_nothing() -> None:
    with pytest.raises(Unsendable, match="coupang-kr has no base_url"):
        rendered(s.reply(), s.COUPANG.model_copy(update={"base_url": None}))


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (202, b'{"id":"x1"}', Sent("x1")),
        (200, b"thanks", Sent(None)),
        (400, b"no", SendFailure("HTTP 400: no", permanent=True, retry_after=5.0)),
    ],
)
def test_an_answer_names_the_message_or_the_reason(status: int, body: bytes, outcome: Any) -> None:
    assert generic.outcome(status, {"Retry-After": "5"}, body) == outcome
