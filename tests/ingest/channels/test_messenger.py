"""Messenger and Instagram: what is special about their events and replies."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts.contacts import Identity
from contracts.ticket import Attachment, Location
from contracts.tickets import FailureReason
from services.ingest.accounts import Account, Accounts
from services.ingest.channels import CHANNELS, instagram, messenger
from services.ingest.channels.channel import Forged, Request
from services.ingest.core.messages import (
    Delivery,
    DeliveryStatus,
    Faulty,
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
from tests.ingest.channels.cases import CASES
from tests.ingest.channels.cases import instagram as ig
from tests.ingest.channels.cases import messenger as m

AT = datetime(2026, 11, 21, 9, 30, 0, 123_000, UTC)
PAGE, IG = CASES["messenger"].account, CASES["instagram"].account


def parse(body: bytes, name: str = "messenger", *others: Account) -> list[Any]:
    case = CASES[name]
    accounts = Accounts(accounts=(case.account, *others))
    return list(CHANNELS[name].parse(s.record(case.account, body), case.account, accounts, case.secrets))


def one(*events: Any) -> Any:
    (found,) = parse(m.webhook(*events))
    return found


def on_instagram(*events: Any) -> Any:
    (found,) = parse(ig.webhook(*events), "instagram")
    return found


# --- Messages. ---


def test_a_text_is_read_field_by_field() -> None:
    assert one(m.text("Hi\r\n\x00there", "m_1", reply_to={"mid": "m_0"})) == InboundMessage(
        channel="messenger",
        account="messenger-th",
        message_id="m_1",
        sender=Sender(
            (Identity(channel="messenger", account="messenger-th", id=m.PERSON, verified=True),), address=m.PERSON
        ),
        conversation=m.PERSON,
        sent_at=AT,
        text="Hi\nthere",
        in_reply_to="m_0",
    )


def test_a_postback_is_a_message_with_its_title() -> None:
    assert one(m.event(postback={"mid": "m_5", "title": "Track my order", "payload": "TRACK"})).text == "Track my order"
    untitled = one(m.event(postback={"payload": "TRACK"}))
    assert (untitled.text, untitled.message_id) == ("TRACK", f"postback:{m.PERSON}:{m.AT}")


def test_an_edit_is_a_further_message_that_answers_the_first() -> None:
    found = one(m.event(message_edit={"mid": "m_1", "text": "blue, not red", "num_edit": 2}))
    assert (found.message_id, found.text, found.in_reply_to) == ("m_1:edit:2", "[edited] blue, not red", "m_1")


@pytest.mark.parametrize(
    ("attachment", "text", "parts"),
    [
        ({"type": "image", "payload": {"url": m.PICTURE}}, "", (Part("image", "image/jpeg", ref=m.PICTURE),)),
        (
            {"type": "file", "payload": {"url": "https://cdn.fbsbx.com/v/bill%20May.pdf?_nc=1"}},
            "",
            (
                Part(
                    "bill May.pdf", "application/octet-stream", ref="https://cdn.fbsbx.com/v/bill%20May.pdf?_nc=1"
                ),
            ),
        ),
        ({"type": "file", "payload": {"url": "https://["}}, "", (Part("file", "application/octet-stream", ref="https://["),)),
        ({"type": "sticker", "payload": {"sticker_id": "7"}}, "[sticker]", ()),
        ({"type": "image", "payload": {"sticker_id": 369239263222822}}, "👍", ()),
        (
            {"type": "fallback", "title": "Shop", "payload": {"url": "https://x.example/a"}},
            "[fallback] Shop https://x.example/a",
            (),
        ),
        ({"type": "fallback"}, "[fallback]", ()),
        ({"type": "template", "payload": {"product": {"elements": [{"title": "Lamp"}]}}}, "[template] Lamp", ()),
        ({"type": "ig_reel", "payload": {"title": "A", "url": "https://r.ex"}}, "[ig_reel] A https://r.ex", ()),
        ({"type": "ephemeral"}, "[ephemeral]", ()),
        ({}, "[unknown]", ()),
        ({"type": "location", "payload": {"coordinates": {"lat": 95, "long": 1}}}, "[location]", ()),
    ],
)  # fmt: skip
def test_no_attachment_disappears(attachment: Any, text: str, parts: tuple[Part, ...]) -> None:
    found = one(m.files("m_1", attachment))
    assert (found.text, found.parts) == (text, parts)


def test_a_sticker_that_is_listed_as_an_image_too_is_one() -> None:
    payload = {"url": m.PICTURE, "sticker_id": 7}
    found = one(m.files("m_1", {"type": "image", "payload": payload}, {"type": "sticker", "payload": payload}))
    assert (found.text, len(found.parts)) == ("[sticker]", 1)


def test_a_place_is_a_location() -> None:
    found = one(m.files("m_1", {"type": "location", "payload": {"coordinates": {"lat": 13.7, "long": 100.5}}}))
    assert found.location == Location(latitude=13.7, longitude=100.5)


def test_what_led_the_customer_here_is_shown() -> None:
    ad = {"source": "ADS", "ad_id": "77", "ads_context_data": {"ad_title": "Lamp sale"}, "ref": "nov"}
    assert one(m.text("Hi", "m_1", referral=ad)).text == "Hi\n[from ad: Lamp sale]\n[from link: nov]"
    product = on_instagram(ig.message("a1", text="Hi", referral={"product": {"id": "9"}}))
    assert product.text == "Hi\n[from product: 9]"


def test_a_reply_to_a_story_and_a_mention_have_the_story() -> None:
    story = (Part("story", "application/octet-stream", ref=ig.STORY),)
    answer = on_instagram(ig.message("a1", text="Wow", reply_to={"story": {"url": ig.STORY, "id": "1"}}))
    assert (answer.text, answer.parts, answer.in_reply_to) == ("Wow\n[reply to a story]", story, None)
    mention = on_instagram(ig.message("a2", attachments=[ig.MENTION]))
    assert (mention.text, mention.parts) == ("[mention in a story]", story)


@pytest.mark.parametrize("content", [{}, {"is_unsupported": True}, {"text": 7}, {"attachments": {}}])
def test_a_message_that_says_nothing_is_still_one(content: dict[str, Any]) -> None:
    assert on_instagram(ig.message("a1", **content)).text == "[unsupported]"


def test_a_message_in_our_own_name_is_no_customers() -> None:
    assert parse(m.webhook(m.event(m.PAGE, m.PAGE, message={"mid": "m_1", "text": "x"}))) == []


@pytest.mark.parametrize(
    "event", [m.event(message={"text": "x"}), {"message": {"mid": "m_1"}}, m.event(message_edit={"text": "x"})]
)
def test_a_message_without_an_id_or_a_sender_is_faulty(event: dict[str, Any]) -> None:
    assert one(event) == Faulty("a message without id or sender")


def test_an_event_of_another_page_of_the_app_is_of_its_account() -> None:
    body = m.webhook(m.event("99", message={"mid": "m_1", "text": "x"}), page="99")
    other = PAGE.model_copy(update={"name": "other", "external_id": "99"})
    (found,) = parse(body, "messenger", other)
    assert found.account == "other"
    stranger = Faulty("page 99 is no account of this app", foreign=True)
    assert parse(body) == [stranger]
    assert parse(body, "messenger", other.model_copy(update={"signing": ("env:OTHER",)})) == [stranger]


def test_a_body_of_the_sister_channel_is_unreadable() -> None:
    with pytest.raises(Unreadable, match="its object is not instagram"):
        parse(CASES["messenger"].message, "instagram")


# --- Statuses. ---


def test_a_delivery_receipt_is_about_each_message_that_it_names() -> None:
    found = parse(m.webhook(m.event(delivery={"mids": ["m_1", "m_2"], "watermark": m.AT + 1000})))
    assert [(each.channel_message_id, each.state, each.conversation) for each in found] == [
        ("m_1", Delivery.DELIVERED, None),
        ("m_2", Delivery.DELIVERED, None),
    ]
    assert found[0].at == AT + timedelta(seconds=1)


@pytest.mark.parametrize(("name", "state"), [("read", Delivery.READ), ("delivery", Delivery.DELIVERED)])
def test_a_watermark_is_about_the_conversation(name: str, state: Delivery) -> None:
    found = one(m.event(**{name: {"watermark": m.AT + 1000}}))
    assert found == DeliveryStatus(
        "messenger", "messenger-th", "", state, AT + timedelta(seconds=1), recipient=m.PERSON, conversation=m.PERSON
    )


def test_instagram_names_the_message_that_was_read() -> None:
    found = on_instagram(ig.event(read={"mid": "aOur1"}))
    assert (found.channel_message_id, found.state, found.at, found.conversation) == ("aOur1", Delivery.READ, AT, None)


# --- The door. ---


def test_records_of_one_person_have_one_key_whoever_wrote() -> None:
    echo = m.event(m.PERSON, m.PAGE, message={"mid": "m_2", "is_echo": True})
    for event in (m.text("x", "m_1"), m.READ, echo):
        assert messenger.contact_key(Request(m.webhook(event))) == m.PERSON
    assert messenger.contact_key(Request(b'{"entry":[{}]}')) is None


def test_an_account_is_found_by_its_page_unless_the_body_is_large() -> None:
    assert messenger.account_id(Request(m.webhook(m.text("x", "m_1")))) == m.PAGE
    assert messenger.account_id(Request(m.webhook(m.text("x" * 70_000, "m_1")))) is None


def test_a_signature_of_another_body_is_refused() -> None:
    signed = m.sign(b"{}", AT)
    with pytest.raises(Forged, match="signature"):
        messenger.verify(Request(b"[]", signed.headers), PAGE, CASES["messenger"].secrets, AT)


def test_a_challenge_is_answered_with_the_agreed_token_only() -> None:
    asked = {"hub.mode": "subscribe", "hub.challenge": "1158201444", "hub.verify_token": "agreed-with-meta"}
    answer = messenger.CHALLENGES["GET"](Request(b"", query=asked, method="GET"), PAGE, CASES["messenger"].secrets)
    assert answer is not None
    assert (answer.status, answer.body) == (200, b"1158201444")
    wrong = Request(b"", query={**asked, "hub.verify_token": "guessed"}, method="GET")
    assert messenger.CHALLENGES["GET"](wrong, PAGE, CASES["messenger"].secrets) is None


# --- Replies. ---


def reply(text: str = "On its way", *files: File, **more: Any) -> OutgoingReply:
    asked = OutgoingReply(
        "msg-1", "T1", m.PERSON, text, AT, AT, files=files, by_person=True, customer_wrote_at=AT - timedelta(hours=1)
    )
    return replace(asked, **more)


def sent(asked: OutgoingReply, name: str = "messenger") -> HttpCall:
    case = CASES[name]
    call = CHANNELS[name].render(asked, case.account, case.secrets)
    assert isinstance(call, HttpCall)
    return call


def test_a_reply_is_a_response_to_the_person() -> None:
    call = sent(reply())
    assert (call.method, call.url) == ("POST", "https://graph.facebook.com/v25.0/me/messages")
    assert call.headers == {"content-type": "application/json", "authorization": "Bearer EAAGm0PX4ZCpsBA"}
    assert json.loads(call.body) == {
        "recipient": {"id": m.PERSON},
        "messaging_type": "RESPONSE",
        "message": {"text": "On its way"},
    }


@pytest.mark.parametrize(
    ("hours", "by_person", "tagged"), [(23, True, False), (23.95, True, True), (160, True, True), (23.95, False, False)]
)
def test_a_person_who_answers_late_is_a_human_agent(hours: float, by_person: bool, tagged: bool) -> None:
    asked = reply(by_person=by_person, customer_wrote_at=AT - timedelta(hours=hours))
    for name in ("messenger", "instagram"):
        document = json.loads(sent(asked, name).body)
        assert document.get("tag") == ("HUMAN_AGENT" if tagged else None)
        assert document["messaging_type"] == ("MESSAGE_TAG" if tagged else "RESPONSE")


@pytest.mark.parametrize(
    ("media_type", "kind"), [("image/png", "image"), ("VIDEO/mp4", "video"), ("application/pdf", "file")]
)
def test_a_file_is_sent_by_its_url(media_type: str, kind: str) -> None:
    asked = reply("", File("a", media_type, url="https://cdn.example/a"))
    for name in ("messenger", "instagram"):
        attachment = json.loads(sent(asked, name).body)["message"]["attachment"]
        assert attachment == {"type": kind, "payload": {"url": "https://cdn.example/a", "is_reusable": False}}


def test_bytes_are_sent_with_the_message_on_messenger_only() -> None:
    asked = reply("", File("bill.pdf", "application/pdf", content=b"%PDF"))
    call = sent(asked)
    assert call.headers["content-type"].startswith("multipart/form-data; boundary=")
    for part in (b'name="recipient"\r\n\r\n{"id": "%s"}' % m.PERSON.encode(), b'name="messaging_type"\r\n\r\nRESPONSE'):
        assert part in call.body
    assert b'name="filedata"; filename="bill.pdf"\r\nContent-Type: application/pdf\r\n\r\n%PDF\r\n' in call.body
    with pytest.raises(Unsendable, match=r"Instagram takes files by https URL only, and bill\.pdf has none"):
        sent(asked, "instagram")


@pytest.mark.parametrize(
    ("name", "fits", "too_long"),
    [("messenger", "ก" * 2000, "ก" * 2001), ("instagram", "ก" * 333 + "x", "ก" * 333 + "xx")],
)
def test_a_text_has_the_length_that_the_channel_takes(name: str, fits: str, too_long: str) -> None:
    assert json.loads(sent(reply(fits), name).body)["message"]["text"] == fits
    with pytest.raises(Unsendable, match="takes at most"):
        sent(reply(too_long), name)


@pytest.mark.parametrize(
    "asked",
    [
        reply(" "),
        reply(to=""),
        reply("x", File("a", "image/png", url="https://cdn.example/a")),
        reply("", File("a", "image/png", url="http://cdn.example/a")),
    ],
)
def test_a_reply_that_is_no_message_is_refused(asked: OutgoingReply) -> None:
    with pytest.raises(Unsendable):
        sent(asked)


def fault(code: int, **more: Any) -> bytes:
    return json.dumps({"error": {"message": "x", "code": code, **more}}).encode()


@pytest.mark.parametrize(
    ("status", "body", "permanent", "why"),
    [
        (400, fault(10, error_subcode=2018278), True, FailureReason.WINDOW_CLOSED),
        (403, fault(10, error_subcode=2534022), True, FailureReason.WINDOW_CLOSED),
        (400, fault(131047), True, FailureReason.WINDOW_CLOSED),
        (400, fault(100), True, None),
        (400, fault(190), False, None),
        (400, fault(613), False, None),
        (400, fault(1200, error_subcode=2018024), False, None),
        (400, fault(100, is_transient=True), False, None),
        (400, b"no JSON", True, None),
        (400, b'{"error":{"code":[1]}}', True, None),
    ],
)
def test_what_to_do_about_a_refusal_is_told_by_its_code(
    status: int, body: bytes, permanent: bool, why: FailureReason | None
) -> None:
    outcome = messenger.outcome(status, {}, body)
    assert isinstance(outcome, SendFailure)
    assert (outcome.permanent, outcome.why) == (permanent, why)


def test_a_message_that_was_taken_has_its_id() -> None:
    assert instagram.outcome(200, {}, b'{"recipient_id":"1","message_id":"a1"}') == Sent("a1")


@pytest.mark.parametrize(
    ("url", "fetched"),
    [
        (m.PICTURE, True),
        (ig.STORY, True),
        ("https://fbcdn.net/a", True),
        ("https://evilfbcdn.net/a", False),
        ("https://fbcdn.net.evil.example/a", False),
        ("http://scontent.xx.fbcdn.net/a", False),
        ("https://scontent.xx.fbcdn.net:8443/a", False),
        ("https://[", False),
    ],
)
def test_files_are_fetched_from_hosts_of_meta_only(url: str, fetched: bool) -> None:
    file = Attachment(name="a", media_type="image/jpeg", url=url)
    for name in ("messenger", "instagram"):
        case = CASES[name]
        if fetched:
            assert CHANNELS[name].original(file, case.account, case.secrets) == HttpCall("GET", url, {}, b"")
        else:
            with pytest.raises(Unsendable, match="not on a host of the provider"):
                CHANNELS[name].original(file, case.account, case.secrets)
