"""Chat-like channels: what their bodies say, field by field, and what is sent back."""

import json
from typing import Any
from urllib.parse import parse_qs

import pytest

from contracts.contacts import Identity
from contracts.ticket import Priority
from services.ingest.accounts import Account, Accounts
from services.ingest.channels import CHANNELS, WEBHOOKS, generic, line, meta, twilio
from services.ingest.core.messages import (
    Delivery,
    DeliveryStatus,
    Faulty,
    HttpCall,
    Inbound,
    InboundMessage,
    SendFailure,
    Sent,
    Unreadable,
    Unsendable,
)
from tests.ingest.channels import samples as s


def parse(own: Account, body: bytes) -> list[Inbound]:
    return list(CHANNELS[own.channel].parse(s.record(own, body), own, s.ACCOUNTS, s.SECRETS))


def one(own: Account, body: bytes) -> InboundMessage:
    (found,) = parse(own, body)
    assert isinstance(found, InboundMessage)
    return found


def facts(own: Account, body: bytes) -> list[DeliveryStatus]:
    found = parse(own, body)
    assert all(isinstance(each, DeliveryStatus) for each in found)
    return [each for each in found if isinstance(each, DeliveryStatus)]


# --- WhatsApp. ---


def test_a_whatsapp_text_says_who_what_and_when() -> None:
    message = one(s.WA, s.whatsapp(s.wa_text("ของยังไม่มาเลยค่ะ 😢", context={"from": "6620000000", "id": "wamid.OURS"})))
    assert message.text == "ของยังไม่มาเลยค่ะ 😢"
    assert message.message_id == "wamid.A1"
    assert message.in_reply_to == "wamid.OURS"
    assert message.sender.name == "สมหญิง ใจดี"
    assert message.sender.phone == "+66811111111"
    assert message.sent_at.isoformat() == "2026-11-21T09:30:00+00:00"


def test_a_whatsapp_user_is_keyed_by_user_id_and_known_by_number() -> None:
    message = one(s.WA, s.whatsapp(s.wa_text("hi")))
    ids = ["TH.13491208655302741918", "66811111111"]
    assert message.sender.identities == tuple(
        Identity(channel="whatsapp", account="wa-th", id=i, verified=True) for i in ids
    )
    assert message.conversation == "TH.13491208655302741918"


def test_a_whatsapp_user_without_a_number_is_a_person_too() -> None:
    text = s.wa_text("hi")
    del text["from"]
    contacts = [{"profile": {"username": "somying"}, "user_id": "TH.13491208655302741918"}]
    sender = one(s.WA, s.whatsapp(text, contacts=contacts)).sender
    assert (sender.name, sender.address, sender.phone) == ("somying", "TH.13491208655302741918", None)
    call = meta.render(s.reply(to=sender.address), s.WA, s.SECRETS)
    assert isinstance(call, HttpCall)
    assert json.loads(call.body)["recipient"] == "TH.13491208655302741918"


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"type": "image", "image": {"caption": "กล่องแตก", "id": "99", "mime_type": "image/jpeg"}}, "กล่องแตก"),
        ({"type": "button", "button": {"text": "Yes", "payload": "p"}}, "Yes"),
        ({"type": "interactive", "interactive": {"type": "list_reply", "list_reply": {"title": "Refund"}}}, "Refund"),
        ({"type": "contacts", "contacts": [{"name": {"formatted_name": "Anna"}}]}, "Anna"),
        ({"type": "unsupported", "errors": [{"code": 131051}]}, "[unsupported]"),
    ],
)
def test_other_whatsapp_messages_show_what_they_say(message: dict[str, Any], text: str) -> None:
    assert (
        one(s.WA, s.whatsapp({"from": "66811111111", "id": "wamid.B", "timestamp": "1795253400", **message})).text
        == text
    )


def test_a_whatsapp_image_keeps_its_media_id() -> None:
    image = {"from": "66811111111", "id": "w", "type": "image", "image": {"id": "99", "mime_type": "image/jpeg"}}
    (part,) = one(s.WA, s.whatsapp(image)).parts
    assert (part.ref, part.media_type, part.content) == ("99", "image/jpeg", None)


def test_a_whatsapp_location_is_a_place() -> None:
    place = {"latitude": 13.7563, "longitude": 100.5018, "name": "สยาม", "address": "กรุงเทพ"}
    message = one(s.WA, s.whatsapp({"from": "66811111111", "id": "w", "type": "location", "location": place}))
    assert message.location is not None
    assert (message.location.latitude, message.location.name) == (13.7563, "สยาม")


def test_a_reaction_opens_nothing() -> None:
    assert (
        parse(s.WA, s.whatsapp({"from": "66811111111", "id": "w", "type": "reaction", "reaction": {"emoji": "👍"}}))
        == []
    )


def test_whatsapp_statuses_are_facts_about_our_messages() -> None:
    failed = {"id": "wamid.X", "status": "failed", "timestamp": "1795253400", "recipient_id": "66811111111",
              "biz_opaque_callback_data": "m-1",
              "errors": [{"code": 131047, "title": "Re-engagement message"}]}  # fmt: skip
    read = {"id": "wamid.Y", "status": "read", "timestamp": "1795253401", "recipient_id": "66811111111"}
    first, second = facts(s.WA, s.whatsapp(statuses=[failed, read]))
    assert (first.state, first.permanent, first.our_message_id) == (Delivery.FAILED, True, "m-1")
    assert first.reason == "131047 Re-engagement message"
    assert (second.channel_message_id, second.state) == ("wamid.Y", Delivery.READ)


def test_a_batch_for_a_number_of_another_app_is_not_believed() -> None:
    found = parse(s.WA, s.whatsapp(s.wa_text("hi"), statuses=[{"id": "w", "status": "read"}], number="999"))
    assert found == [Faulty("phone_number_id 999 is no account of this app", foreign=True)]


def test_a_whatsapp_change_or_message_that_cannot_be_taken_leaves_the_others_alone() -> None:
    batch = json.loads(s.whatsapp({"type": "text", "from": "66811111111"}, s.wa_text("good", "wamid.G")))
    foreign = json.loads(s.whatsapp(s.wa_text("theirs"), number="999"))
    batch["entry"] = [*foreign["entry"], *batch["entry"]]
    first, second, third = parse(s.WA, s.encode(batch))
    assert (isinstance(first, Faulty), isinstance(second, Faulty)) == (True, True)
    assert isinstance(third, InboundMessage)
    assert third.text == "good"


@pytest.mark.parametrize(("secret", "owner"), [("env:DESKBUS_SECRET_WA_TH", "wa-my"), ("env:OTHER", None)])
def test_a_number_of_ours_is_believed_only_under_the_secret_that_vouches_for_it(secret: str, owner: str | None) -> None:
    """An app's secret signs for its own numbers: whoever knows that of one app must not write as another's number."""
    other = s.WA.model_copy(update={"name": "wa-my", "external_id": "555", "signing": (secret,)})
    accounts = Accounts(accounts=(s.WA, other))
    body = s.whatsapp(s.wa_text("hi"), statuses=[{"id": "w", "status": "read"}], number="555")
    found = meta.parse(s.record(s.WA, body), s.WA, accounts, s.SECRETS)
    if owner is None:
        assert found == [Faulty("phone_number_id 555 is no account of this app", foreign=True)]
    else:
        assert [each.account for each in found if not isinstance(each, Faulty)] == [owner, owner]


def test_a_burst_of_one_contact_has_one_key_and_one_conversation() -> None:
    body = s.whatsapp(*(s.wa_text(f"photo {n}", f"wamid.{n}") for n in range(5)))
    messages = [each for each in parse(s.WA, body) if isinstance(each, InboundMessage)]
    assert len({each.message_id for each in messages}) == 5
    assert {each.conversation for each in messages} == {meta.contact_key(s.request(body))}


# --- LINE. ---


def test_a_line_text_says_who_what_and_when() -> None:
    message = one(s.LINE, s.line_events(s.line_message({"type": "text", "text": "ขอคืนเงิน", "quotedMessageId": "77"})))
    assert (message.text, message.message_id, message.in_reply_to) == ("ขอคืนเงิน", "444573844083572737", "77")
    assert message.conversation == message.sender.address == "U8189cf6745fc0d808977bdb0b9f22995"
    assert message.sent_at.isoformat() == "2026-11-21T09:30:00.123000+00:00"


def test_a_line_group_is_one_conversation_and_is_answered_as_one() -> None:
    source = {"type": "group", "groupId": "C1", "userId": "U1"}
    message = one(s.LINE, s.line_events(s.line_message({"type": "text", "text": "hi"}, source=source)))
    assert (message.conversation, message.sender.address, message.sender.identities[0].id) == ("C1", "C1", "U1")


def test_a_redelivered_line_event_keeps_its_message_id() -> None:
    event = s.line_message({"type": "text", "text": "hi"})
    again = {**event, "deliveryContext": {"isRedelivery": True}}
    assert one(s.LINE, s.line_events(event)).message_id == one(s.LINE, s.line_events(again)).message_id


def test_a_line_event_that_cannot_be_read_leaves_the_others_alone() -> None:
    bad = s.line_message({"type": "text", "text": "from nowhere"}, source=None)
    good = s.line_message({"type": "text", "text": "good"})
    first, second = parse(s.LINE, s.line_events(bad, good))
    assert first == Faulty("an event without id or source")
    assert isinstance(second, InboundMessage)
    assert second.text == "good"


@pytest.mark.parametrize("kind", ["follow", "unfollow", "join", "unsend", "memberJoined", "accountLink"])
def test_line_events_that_are_no_messages_open_nothing(kind: str) -> None:
    event = {
        "type": kind,
        "timestamp": 1795253400123,
        "source": {"type": "user", "userId": "U1"},
        "webhookEventId": "e",
    }
    assert parse(s.LINE, s.line_events(event)) == []


def test_a_line_push_has_the_same_retry_key_at_every_try() -> None:
    first, second = (line.render(s.reply(), s.LINE, s.SECRETS) for _ in range(2))
    assert first == second
    assert (
        first.headers["x-line-retry-key"]
        != line.render(s.reply(message_id="m-2"), s.LINE, s.SECRETS).headers["x-line-retry-key"]
    )
    assert json.loads(first.body) == {"to": "66811111111", "messages": [{"type": "text", "text": "สวัสดีค่ะ"}]}
    assert line.outcome(409, {}, b'{"sentMessages":[{"id":"461230966842064897"}]}') == Sent("461230966842064897")


# --- Twilio. ---


def test_an_sms_is_one_message() -> None:
    message = one(s.SMS, s.form(s.SMS_FORM))
    assert message.text == s.SMS_FORM["Body"]
    assert message.sender.identities == (Identity(channel="sms", id="+447700900123"),)


def test_media_of_an_sms_are_parts() -> None:
    media = {**s.SMS_FORM, "NumMedia": "1", "MediaUrl0": "https://api.twilio.com/M1", "MediaContentType0": "image/png"}
    (part,) = one(s.SMS, s.form(media)).parts
    assert (part.ref, part.media_type) == ("https://api.twilio.com/M1", "image/png")


@pytest.mark.parametrize(
    ("state", "expected"),
    [("delivered", Delivery.DELIVERED), ("undelivered", Delivery.FAILED), ("sent", Delivery.SENT), ("queued", None)],
)
def test_status_callbacks_of_an_sms_are_facts(state: str, expected: Delivery | None) -> None:
    callback = {"MessageSid": "SM1", "MessageStatus": state, "From": s.SMS_FORM["To"], "To": "+447700900123"}
    assert [fact.state for fact in facts(s.SMS, s.form(callback))] == ([expected] if expected else [])
    assert twilio.account_id(s.request(s.form(callback))) == s.SMS.external_id
    assert twilio.contact_key(s.request(s.form(callback))) == "+447700900123"


def test_an_sms_reply_asks_for_status_callbacks_at_its_account() -> None:
    call = twilio.render(s.reply("Hello & bye", to="+447700900123"), s.SMS, s.SECRETS)
    fields = parse_qs(call.body.decode())
    assert call.url.endswith("/2010-04-01/Accounts/AC00000000000000000000000000000000/Messages.json")
    assert fields["Body"] == ["Hello & bye"]
    assert fields["StatusCallback"] == [f"{s.SMS_URL}?account=sms-gb"]


# --- The generic webhook. ---

FULL = {
    "id": "cp-1", "conversation": "order-77", "from": {"id": "buyer-9", "name": "김민준", "email": "kim@example.kr"},
    "text": "배송이 너무 늦어요", "subject": "배송 문의", "language": "ko", "sent_at": "2026-11-21T18:29:59.5+09:00",
    "brand": "korale", "market": {"marketplace": "coupang", "country": "KR"}, "order_ref": "77", "tags": ["delivery"],
    "customer": {"tier": "gold", "orders": 12, "lifetime_value": {"amount": "1250000", "currency": "KRW"}},
    "priority": "high", "required_skills": {"lang-ko": 3}, "bot": True, "unknown": 1,
    "attachments": [{"name": "box.jpg", "media_type": "image/jpeg", "url": "https://cdn.example/box.jpg", "size": 9}],
}  # fmt: skip


def test_a_generic_message_brings_all_that_its_sender_knows() -> None:
    message = one(s.COUPANG, s.encode(FULL))
    assert (message.message_id, message.conversation, message.text) == ("cp-1", "order-77", "배송이 너무 늦어요")
    assert message.sent_at.isoformat() == "2026-11-21T09:29:59.500000+00:00"
    assert message.customer is not None
    assert (message.customer.tier, message.priority, message.bot) == ("gold", Priority.HIGH, True)
    assert message.required_skills == {"lang-ko": 3}
    assert (message.order_ref, message.tags, message.parts[0].ref) == (
        "77",
        ("delivery",),
        "https://cdn.example/box.jpg",
    )


def test_a_generic_message_needs_little() -> None:
    message = one(s.ALLEGRO, s.encode({"id": "a1", "from": {"id": "b1"}, "text": "Gdzie jest moja paczka? Zażółć"}))
    assert (message.conversation, message.sent_at, message.bot) == ("b1", s.NOW, None)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"id": None}, "id"),
        ({"id": "  "}, "id"),
        ({"from": {}}, "from.id"),
        ({"priority": "extreme"}, "priority"),
        ({"sent_at": "yesterday"}, "sent_at"),
        ({"sent_at": "2026-11-21T18:29:59"}, "sent_at"),
        ({"required_skills": {"lang-ko": 9}}, "required_skills.lang-ko"),
        ({"attachments": [{"name": "x", "url": "file:///etc/passwd"}]}, "attachments.0.url"),
    ],
)
def test_a_generic_document_that_is_wrong_says_where(change: dict[str, Any], named: str) -> None:
    with pytest.raises(Unreadable, match=named.replace(".", r"\.")):
        parse(s.COUPANG, s.encode({**FULL, **change}))


def test_a_generic_status_is_a_fact() -> None:
    (fact,) = facts(
        s.COUPANG, s.encode({"type": "status", "message_id": "m-1", "state": "failed", "reason": "탈퇴한 회원"})
    )
    assert (fact.channel_message_id, fact.state, fact.permanent, fact.reason) == (
        "m-1",
        Delivery.FAILED,
        True,
        "탈퇴한 회원",
    )


def test_html_alone_becomes_text() -> None:
    message = one(s.COUPANG, s.encode({**FULL, "text": "", "html": "<p>a &amp; b</p><script>x</script><p>c</p>"}))
    assert (message.text, message.html) == ("a & b\n\nc", True)


# --- All of them. ---


@pytest.mark.parametrize(
    ("own", "body"),
    [(s.WA, s.whatsapp(s.wa_text("x" * 60_000))), (s.COUPANG, s.encode({**FULL, "text": "긴" * 60_000}))],
)
def test_a_long_text_is_cut_to_what_a_record_can_hold(own: Account, body: bytes) -> None:
    assert len(one(own, body).text) == 32_768


@pytest.mark.parametrize(
    ("channel", "account_id", "contact"),
    [
        ("whatsapp", "106540352242922", "TH.13491208655302741918"),
        ("line", s.LINE.external_id, "U8189cf6745fc0d808977bdb0b9f22995"),
        ("sms", "+442071838750", "+447700900123"),
        ("webhook", None, "buyer-9"),
    ],
)
def test_the_door_finds_account_and_contact_by_a_light_look(channel: str, account_id: str | None, contact: str) -> None:
    bodies = {
        "whatsapp": s.whatsapp(s.wa_text("hi")),
        "line": s.line_events(s.line_message({"type": "text", "text": "hi"})),
        "sms": s.form(s.SMS_FORM),
        "webhook": s.encode(FULL),
    }
    given = s.request(bodies[channel])
    assert WEBHOOKS[channel].account_id(given) == account_id
    assert WEBHOOKS[channel].contact_key(given) == contact


@pytest.mark.parametrize(
    ("own", "to"), [(s.WA, "66811111111"), (s.LINE, "U1"), (s.SMS, "+447700900123"), (s.COUPANG, "buyer-9")]
)
def test_nothing_in_a_reply_can_leave_its_place(own: Account, to: str) -> None:
    hostile = "hi\r\nX-Evil: 1\x00\ud800"
    call = CHANNELS[own.channel].render(s.reply(hostile, to=to, message_id="m-1"), own, s.SECRETS)
    assert isinstance(call, HttpCall)
    assert not any(set("\r\n\0") & set(name + value) for name, value in call.headers.items())
    assert call.url.startswith("https://")
    call.body.decode()


@pytest.mark.parametrize("own", [s.WA, s.LINE, s.SMS, s.COUPANG])
def test_an_empty_reply_is_not_sent(own: Account) -> None:
    with pytest.raises(Unsendable):
        CHANNELS[own.channel].render(s.reply("  \n"), own, s.SECRETS)


@pytest.mark.parametrize(
    ("status", "permanent"),
    [(400, True), (404, True), (401, False), (429, False), (500, False), (503, False), (302, False)],
)
def test_an_answer_says_whether_trying_again_can_help(status: int, permanent: bool) -> None:
    refused = generic.outcome(status, {"Retry-After": "7"}, b'{"error":"no"}')
    assert isinstance(refused, SendFailure)
    assert (refused.permanent, refused.retry_after) == (permanent, 7.0)


@pytest.mark.parametrize(
    ("said", "waits"),
    [("0", 0.0), ("3600", 3600.0), ("3601", 3600.0), ("99999999", 3600.0), ("999999999", None), ("-1", None),
     ("soon", None), ("１", None), ("", None)],
)  # fmt: skip
def test_a_provider_delays_us_by_an_hour_at_most(said: str, waits: float | None) -> None:
    refused = generic.outcome(429, {"retry-after": said}, b"")
    assert isinstance(refused, SendFailure)
    assert refused.retry_after == waits


@pytest.mark.parametrize(
    ("channel", "body", "identifier"),
    [
        ("whatsapp", b'{"messages":[{"id":"wamid.Z"}]}', "wamid.Z"),
        ("line", b'{"sentMessages":[{"id":"46"}]}', "46"),
        ("sms", b'{"sid":"SM9"}', "SM9"),
        ("webhook", b"thanks", None),
    ],
)
def test_an_answer_names_the_message(channel: str, body: bytes, identifier: str | None) -> None:
    assert CHANNELS[channel].outcome(200, {}, body) == Sent(identifier)
