"""SMS through Twilio: webhooks and requests compared whole, and the bounds of both."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import parse_qsl

import pytest

from contracts.contacts import Identity
from services.ingest.channels import twilio
from services.ingest.channels.channel import Request
from services.ingest.core.messages import (
    Delivery,
    DeliveryStatus,
    File,
    HttpCall,
    Inbound,
    InboundMessage,
    Part,
    Sender,
    SendFailure,
    Sent,
    Unreadable,
    Unsendable,
)
from tests.ingest.channels import samples as s

NUMBER, OURS = "+447700900123", "+442071838750"
SID = "AC00000000000000000000000000000000"
CALLBACK = {"MessageSid": "SM1", "MessageStatus": "delivered", "From": OURS, "To": NUMBER}


def parse(fields: dict[str, str] | bytes) -> list[Inbound]:
    body = fields if isinstance(fields, bytes) else s.form(fields)
    return list(twilio.parse(s.record(s.SMS, body), s.SMS, s.ACCOUNTS, s.SECRETS))


def message(**changes: str | None) -> InboundMessage:
    """What comes of the sample with other fields; None leaves one out."""
    (found,) = parse({name: value for name, value in {**s.SMS_FORM, **changes}.items() if value is not None})
    assert isinstance(found, InboundMessage)
    return found


def status(**changes: str | None) -> DeliveryStatus:
    (found,) = parse({name: value for name, value in {**CALLBACK, **changes}.items() if value is not None})
    assert isinstance(found, DeliveryStatus)
    return found


# --- Messages. ---


def test_a_message_with_everything_is_read_field_by_field() -> None:
    found = message(
        Body="STOP\r\nplease",
        OptOutType="stop",
        OriginalRepliedMessageSid="SM77",
        NumMedia="2",
        MediaUrl0="https://api.twilio.com/M1",
        MediaContentType0="image/png",
        MediaUrl1="https://api.twilio.com/M2",
    )
    assert found == InboundMessage(
        channel="sms",
        account="sms-gb",
        message_id="SM0123456789abcdef0123456789abcdef",
        sender=Sender((Identity(channel="sms", id=NUMBER),), address=NUMBER, phone=NUMBER),
        conversation=NUMBER,
        sent_at=s.NOW,
        text="STOP\nplease",
        in_reply_to="SM77",
        parts=(
            Part("media-1", "image/png", ref="https://api.twilio.com/M1"),
            Part("media-2", "application/octet-stream", ref="https://api.twilio.com/M2"),
        ),
        automated_because="opt-out keyword",
    )


def test_a_message_with_little_leaves_the_rest_unsaid() -> None:
    assert parse({"SmsSid": "SM1", "From": NUMBER}) == [
        InboundMessage(
            channel="sms",
            account="sms-gb",
            message_id="SM1",
            sender=Sender((Identity(channel="sms", id=NUMBER),), address=NUMBER, phone=NUMBER),
            conversation=NUMBER,
            sent_at=s.NOW,
        )
    ]


@pytest.mark.parametrize(
    ("kind", "automated"), [("STOP", True), ("start", True), ("HELP", True), ("", False), ("OTHER", False)]
)
def test_a_word_that_twilio_answers_by_itself_is_automated(kind: str, automated: bool) -> None:
    assert message(OptOutType=kind).automated == automated


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"From": NUMBER, "Body": "hi"}, "no MessageSid"),
        ({"MessageSid": "SM1", "Body": "hi"}, "no From"),
        (b"\xff=1", "not a form: 'ascii' codec"),
    ],
)
def test_a_form_without_what_is_needed_is_unreadable(fields: dict[str, str] | bytes, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        parse(fields)


def test_the_message_sid_goes_before_the_older_name() -> None:
    assert message(MessageSid="SM2", SmsSid="SM1").message_id == "SM2"


# --- Bounds of a form. ---


def test_a_form_may_have_64_kib_and_no_byte_more() -> None:
    rest = s.form({**s.SMS_FORM, "Body": ""}).replace(b"&Body=", b"") + b"&Body="
    most = rest + b"x" * (64 * 1024 - len(rest))
    (found,) = parse(most)
    assert isinstance(found, InboundMessage)
    with pytest.raises(Unreadable, match="larger than any form"):
        parse(most + b"x")


def test_a_form_may_have_500_fields_and_not_one_more() -> None:
    more = b"".join(b"&x=" for _ in range(500 - len(s.SMS_FORM)))
    assert len(parse(s.form(s.SMS_FORM) + more)) == 1
    with pytest.raises(Unreadable):
        parse(s.form(s.SMS_FORM) + more + b"&x=")


def test_a_body_in_no_known_encoding_is_read_as_far_as_it_goes() -> None:
    (found,) = parse(s.form({**s.SMS_FORM, "Body": ""}).replace(b"Body=", b"Body=a%FFb"))
    assert isinstance(found, InboundMessage)
    assert found.text == "a�b"


def test_a_message_without_text_is_still_a_message_and_no_status() -> None:
    assert message(Body="", SmsStatus="sent").text == ""


# --- Media. ---


@pytest.mark.parametrize(
    ("said", "read"),
    [("0", 0), ("1", 1), ("3", 3), ("10", 10), ("11", 10), ("999", 10), ("1000", 0), ("-1", 0), ("x", 0), ("", 0),
     ("\u0663", 0), ("\u00b2", 0)],
)  # fmt: skip
def test_as_many_media_are_read_as_are_told_and_ten_at_most(said: str, read: int) -> None:
    urls = {f"MediaUrl{n}": f"https://api.twilio.com/{n}" for n in range(12)}
    assert [part.ref for part in message(NumMedia=said, **urls).parts] == list(urls.values())[:read]


def test_media_without_a_url_are_left_out_and_the_others_keep_their_number() -> None:
    assert message(NumMedia="2", MediaUrl1="https://api.twilio.com/1", MediaContentType1="image/gif").parts == (
        Part("media-2", "image/gif", ref="https://api.twilio.com/1"),
    )


def test_without_a_count_there_are_no_media() -> None:
    assert message(NumMedia=None, MediaUrl0="https://api.twilio.com/0").parts == ()


def test_a_url_of_media_is_cut_at_2000_characters_and_a_type_at_100() -> None:
    (part,) = message(NumMedia="1", MediaUrl0="u" * 2001, MediaContentType0="t" * 101).parts
    assert (part.ref, part.media_type) == ("u" * 2000, "t" * 100)


# --- Statuses. ---


def test_a_failed_status_is_read_field_by_field() -> None:
    assert status(MessageStatus="undelivered", ErrorCode="30003", ErrorMessage="Unreachable handset") == DeliveryStatus(
        channel="sms",
        account="sms-gb",
        channel_message_id="SM1",
        state=Delivery.FAILED,
        at=s.NOW,
        permanent=True,
        reason="30003 Unreachable handset",
        recipient=NUMBER,
    )


@pytest.mark.parametrize(
    ("fields", "reason"),
    [({"ErrorCode": "30003"}, "30003"), ({"ErrorMessage": "gone"}, "gone"), ({}, None)],
)
def test_a_reason_is_made_of_what_is_told(fields: dict[str, str], reason: str | None) -> None:
    assert status(MessageStatus="failed", **fields).reason == reason


@pytest.mark.parametrize(
    ("said", "state", "permanent"),
    [
        ("sent", Delivery.SENT, False),
        ("delivered", Delivery.DELIVERED, False),
        ("read", Delivery.READ, False),
        ("undelivered", Delivery.FAILED, True),
        ("failed", Delivery.FAILED, True),
    ],
)
@pytest.mark.parametrize("name", ["MessageStatus", "SmsStatus"])
def test_only_a_failure_is_for_good(name: str, said: str, state: Delivery, permanent: bool) -> None:
    found = status(**{"MessageStatus": None, name: said})
    assert (found.state, found.permanent) == (state, permanent)


@pytest.mark.parametrize("state", ["queued", "sending", "accepted", "new"])
def test_a_status_that_is_no_news_says_nothing(state: str) -> None:
    assert parse({**CALLBACK, "MessageStatus": state}) == []


@pytest.mark.parametrize("name", ["MessageStatus", "SmsStatus"])
@pytest.mark.parametrize(
    ("fields", "is_status"),
    [({}, True), ({"Body": ""}, False), ({"state": "received"}, False), ({"state": ""}, False)],
)
def test_the_own_number_is_the_sender_of_what_a_status_is_about(
    name: str, fields: dict[str, str], is_status: bool
) -> None:
    form = {
        "From": "a",
        "To": "b",
        name: fields.get("state", "sent"),
        **{k: v for k, v in fields.items() if k == "Body"},
    }
    asked = s.request(s.form(form))
    assert (twilio.account_id(asked), twilio.contact_key(asked)) == (("a", "b") if is_status else ("b", "a"))


@pytest.mark.parametrize("body", [b"", b"\xff", b"x" * 70_000])
def test_a_body_that_is_no_form_names_nobody(body: bytes) -> None:
    assert (twilio.account_id(Request(body)), twilio.contact_key(Request(body))) == (None, None)


# --- Replies. ---


def test_a_reply_is_one_request_with_everything_in_it() -> None:
    files = tuple(File(f"{n}.jpg", "image/jpeg", url=f"https://cdn.example/{n}?a=b&c") for n in range(2))
    secrets = type(s.SECRETS)({**s.ENVIRON, "DESKBUS_TWILIO_SID": "AC/1"})
    call = twilio.render(s.reply("Hello & bye\r\n\x00£\ud800", to=NUMBER, files=files), s.SMS, secrets)
    login = base64.b64encode(b"AC/1:twilio auth token").decode()
    assert (call.method, call.url) == ("POST", "https://api.twilio.com/2010-04-01/Accounts/AC%2F1/Messages.json")
    assert call.headers == {"content-type": "application/x-www-form-urlencoded", "authorization": f"Basic {login}"}
    assert parse_qsl(call.body.decode("ascii"), strict_parsing=True) == [
        ("To", NUMBER),
        ("From", OURS),
        ("Body", "Hello & bye\n£"),
        ("MediaUrl", "https://cdn.example/0?a=b&c"),
        ("MediaUrl", "https://cdn.example/1?a=b&c"),
        ("StatusCallback", f"{s.SMS_URL}?account=sms-gb"),
    ]


def fields_of(call: HttpCall) -> dict[str, str]:
    return dict(parse_qsl(call.body.decode(), keep_blank_values=True))


def test_a_file_goes_without_a_text() -> None:
    picture = File("a.jpg", "image/jpeg", url="https://cdn.example/a.jpg")
    fields = fields_of(twilio.render(s.reply("", to=NUMBER, files=(picture,)), s.SMS, s.SECRETS))
    assert (fields["Body"], fields["MediaUrl"]) == ("", picture.url)


def test_the_callback_names_the_account_in_a_query() -> None:
    named = s.SMS.model_copy(update={"name": "sms & more"})
    fields = fields_of(twilio.render(s.reply("x", to=NUMBER), named, s.SECRETS))
    assert fields["StatusCallback"] == f"{s.SMS_URL}?account=sms+%26+more"


def test_without_a_public_url_no_callback_is_asked_for() -> None:
    call = twilio.render(s.reply("x", to=NUMBER), s.SMS.model_copy(update={"public_url": None}), s.SECRETS)
    assert set(fields_of(call)) == {"To", "From", "Body"}


def test_a_recipient_that_no_encoder_takes_does_not_fail_the_request() -> None:
    assert fields_of(twilio.render(s.reply("x", to="+44\ud800"), s.SMS, s.SECRETS))["To"] == "+44?"


@pytest.mark.parametrize(("size", "fine"), [(1600, True), (1601, False)])
def test_a_text_has_at_most_1600_characters(size: int, fine: bool) -> None:
    asked = s.reply("x" * size, to=NUMBER)
    if fine:
        assert fields_of(twilio.render(asked, s.SMS, s.SECRETS))["Body"] == "x" * size
    else:
        with pytest.raises(Unsendable, match="at most 1600 characters"):
            twilio.render(asked, s.SMS, s.SECRETS)


@pytest.mark.parametrize(("count", "fine"), [(10, True), (11, False)])
def test_a_message_has_at_most_ten_files(count: int, fine: bool) -> None:
    asked = s.reply("x", to=NUMBER, files=(File("a.jpg", "image/jpeg", url="https://cdn.example/a.jpg"),) * count)
    if fine:
        assert twilio.render(asked, s.SMS, s.SECRETS).body.count(b"MediaUrl=") == count
    else:
        with pytest.raises(Unsendable, match="at most 10 files"):
            twilio.render(asked, s.SMS, s.SECRETS)


def test_a_file_that_only_we_have_is_named_with_its_provider() -> None:
    with pytest.raises(Unsendable, match=r"^Twilio takes files by https URL only, and a\.jpg has none$"):
        twilio.render(s.reply("x", to=NUMBER, files=(File("a.jpg", "image/jpeg", b"x"),)), s.SMS, s.SECRETS)


@pytest.mark.parametrize("asked", [s.reply("x", to=""), s.reply("", to=NUMBER), s.reply(" \n", to=NUMBER)])
def test_a_reply_needs_a_recipient_and_a_text_or_a_file(asked: Any) -> None:
    with pytest.raises(Unsendable, match="recipient"):
        twilio.render(asked, s.SMS, s.SECRETS)


@pytest.mark.parametrize("lacking", ["base_url", "username", "external_id"])
def test_an_account_that_lacks_a_setting_sends_nothing_and_says_which_it_needs(lacking: str) -> None:
    account = s.SMS.model_copy(update={lacking: None})
    with pytest.raises(Unsendable, match="sms-gb needs base_url, username and external_id"):
        twilio.render(s.reply("x", to=NUMBER), account, s.SECRETS)


def test_an_answer_names_the_message_or_the_reason() -> None:
    assert twilio.outcome(201, {}, b'{"sid":"SM9","status":"queued"}') == Sent("SM9")
    assert twilio.outcome(429, {"Retry-After": "5"}, b"slow down") == SendFailure("HTTP 429: slow down", False, 5.0)
