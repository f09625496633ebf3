"""Signatures: what the providers' own clients sign, we accept. test_every_door.py has what the door refuses."""

from collections.abc import Mapping
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from linebot.v3.webhook import SignatureValidator
from standardwebhooks import Webhook as StandardWebhook
from standardwebhooks.webhooks import WebhookVerificationError
from twilio.request_validator import RequestValidator

from kit.policy.secrets import Secrets
from services.ingest.channels import generic, line, meta, twilio
from services.ingest.channels.channel import Forged, Request
from tests.ingest.channels import samples as s

GENERIC = s.encode({"id": "m1", "from": {"id": "c1"}, "text": "안녕하세요"})


@pytest.mark.parametrize(("late", "fine"), [(299, True), (300, True), (301, False), (-300, True), (-301, False)])
def test_a_timestamp_is_good_for_five_minutes_either_way(late: int, fine: bool) -> None:
    given_request = Request(GENERIC, s.sign_generic(GENERIC, s.NOW - timedelta(seconds=late)))
    if fine:
        generic.verify(given_request, s.COUPANG, s.SECRETS, s.NOW)
    else:
        with pytest.raises(Forged, match="stale"):
            generic.verify(given_request, s.COUPANG, s.SECRETS, s.NOW)


def test_a_secret_may_be_changed_while_both_are_valid() -> None:
    both = s.COUPANG.model_copy(update={"signing": ("env:NEW", "env:OLD")})
    secrets = Secrets({"OLD": s.WHSEC, "NEW": s.ENVIRON["DESKBUS_SECRET_ALLEGRO_PL"]})
    for secret in (s.WHSEC, s.ENVIRON["DESKBUS_SECRET_ALLEGRO_PL"]):
        generic.verify(Request(GENERIC, s.sign_generic(GENERIC, secret=secret)), both, secrets, s.NOW)


@given(st.text(st.characters(codec="utf-8"), max_size=200))
def test_line_and_its_own_client_agree(text: str) -> None:
    body = s.line_events(s.line_message({"type": "text", "text": text}))
    headers = s.sign_line(body)
    assert SignatureValidator("line channel secret").validate(body.decode(), headers["x-line-signature"])
    line.verify(Request(body, headers), s.LINE, s.SECRETS, s.NOW)


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8"), min_size=1, max_size=20),
        st.text(st.characters(codec="utf-8"), max_size=50),
    )
)
def test_twilio_and_its_own_client_agree(fields: Mapping[str, str]) -> None:
    signature = RequestValidator("twilio auth token").compute_signature(s.SMS_URL, dict(fields))
    twilio.verify(Request(s.form(fields), {"x-twilio-signature": signature}), s.SMS, s.SECRETS, s.NOW)


@pytest.mark.parametrize(
    ("public", "signed"),
    [
        ("https://desk.example/sms", "https://desk.example:443/sms?account=sms-gb"),
        ("https://desk.example/sms", "https://desk.example/sms?account=sms-gb"),
        ("https://desk.example:8443/sms", "https://desk.example:8443/sms?account=sms-gb"),
        ("https://desk.example:8443/sms", "https://desk.example/sms?account=sms-gb"),
        ("http://desk.example/sms", "http://desk.example:80/sms?account=sms-gb"),
    ],
)
def test_twilio_may_sign_the_url_with_or_without_its_port(public: str, signed: str) -> None:
    account = s.SMS.model_copy(update={"public_url": public})
    signature = RequestValidator("twilio auth token").compute_signature(signed, s.SMS_FORM)
    headers = {"x-twilio-signature": signature}
    twilio.verify(s.request(s.form(s.SMS_FORM), headers, account="sms-gb"), account, s.SECRETS, s.NOW)


def test_twilio_may_sign_with_the_stronger_algorithm_when_it_says_so() -> None:
    validator = RequestValidator("twilio auth token")
    headers = {
        "x-twilio-signature": validator.compute_signature(s.SMS_URL, s.SMS_FORM, "HMAC_SHA256"),
        "x-twilio-webhooks-signature-settings": "key=k1,algorithm=HMAC_SHA256",
    }
    twilio.verify(Request(s.form(s.SMS_FORM), headers), s.SMS, s.SECRETS, s.NOW)


@given(st.text(st.characters(codec="utf-8"), max_size=200))
def test_what_standard_webhooks_signs_we_take(text: str) -> None:
    body = s.encode({"text": text})
    signature = StandardWebhook(s.WHSEC).sign("msg_1", s.NOW, body.decode())
    timestamp = str(int(s.NOW.timestamp()))
    headers = {"webhook-id": "msg_1", "webhook-timestamp": timestamp, "webhook-signature": f"v1a,x v1,AAAA {signature}"}
    generic.verify(Request(body, headers), s.COUPANG, s.SECRETS, s.NOW)


def test_what_we_sign_standard_webhooks_takes() -> None:
    call = generic.render(s.reply("주문을 확인했습니다", to="c1"), s.COUPANG, s.SECRETS)
    client = StandardWebhook(s.WHSEC)
    try:
        client.verify(call.body, dict(call.headers))
    except WebhookVerificationError as refusal:  # its clock cannot be set: the age is all it may find fault with
        assert "too old" in str(refusal) or "too new" in str(refusal)  # noqa: PT017
    assert client.sign("m-1", s.NOW, call.body.decode()) == call.headers["webhook-signature"]


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ({"hub.mode": "subscribe", "hub.verify_token": "agreed-token", "hub.challenge": "1158201444"}, "1158201444"),
        ({"hub.mode": "subscribe", "hub.verify_token": "guessed", "hub.challenge": "1158201444"}, None),
        ({"hub.mode": "subscribe", "hub.challenge": "1158201444"}, None),
        ({"hub.mode": "subscribe", "hub.verify_token": "agreed-token", "hub.challenge": "<script>"}, None),
        ({}, None),
    ],
)
def test_metas_challenge_is_echoed_to_who_knows_the_token(query: dict[str, str], answer: str | None) -> None:
    found = meta.challenge(Request(b"", {}, query), s.WA, s.SECRETS)
    assert (found and found.body.decode()) == answer
