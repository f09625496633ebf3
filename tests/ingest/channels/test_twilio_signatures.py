"""Signatures of Twilio: which URLs, which secrets, which algorithm, and what is no signature at all."""

from __future__ import annotations

import pytest
from twilio.request_validator import RequestValidator

from services.ingest.accounts import Account
from services.ingest.channels import twilio
from services.ingest.channels.channel import Forged, Request
from tests.ingest.channels import samples as s


@pytest.fixture(autouse=True)
def no_url_is_remembered() -> None:
    """What is kept of a URL must not hide from one test how it is read."""
    twilio._bases.cache_clear()


def signed(url: str, algorithm: str = "HMAC_SHA1") -> dict[str, str]:
    """As Twilio's own client signs the sample."""
    client = RequestValidator("twilio auth token")
    return {"x-twilio-signature": client.compute_signature(url, s.SMS_FORM, algorithm)}


def right(public: str, url: str, query: str = "") -> bool:
    account = s.SMS.model_copy(update={"public_url": public})
    return is_right(Request(s.form(s.SMS_FORM), signed(url), raw_query=query), account)


def is_right(asked: Request, account: Account = s.SMS) -> bool:
    try:
        twilio.verify(asked, account, s.SECRETS, s.NOW)
    except Forged as refusal:
        assert refusal.reason == "signature"  # noqa: PT017
        return False
    return True


@pytest.mark.parametrize(
    ("public", "query", "with_port", "without"),
    [
        ("https://d.example/sms", "", "https://d.example:443/sms", "https://d.example/sms"),
        ("http://d.example/sms", "", "http://d.example:80/sms", "http://d.example/sms"),
        ("https://d.example:8443/sms", "a=1", "https://d.example:8443/sms?a=1", "https://d.example/sms?a=1"),
        ("https://d.example/sms?k=v", "", "https://d.example:443/sms?k=v", "https://d.example/sms?k=v"),
        ("https://d.example/sms?k=v", "a=1", "https://d.example:443/sms?k=v&a=1", "https://d.example/sms?k=v&a=1"),
        ("https://u:p@d.example/sms", "", "https://u:p@d.example:443/sms", "https://u:p@d.example/sms"),
        ("https://a@b:p@d.example/sms", "", "https://a@b:p@d.example:443/sms", "https://a@b:p@d.example/sms"),
        ("https://[2001:db8::1]/sms", "", "https://[2001:db8::1]:443/sms", "https://[2001:db8::1]/sms"),
        ("https://D.Example/sms#top", "", "https://d.example:443/sms", "https://d.example/sms"),
    ],
)
def test_the_urls_that_may_be_signed_have_the_port_or_none(
    public: str, query: str, with_port: str, without: str
) -> None:
    assert twilio.urls(public, query) == (with_port, without)
    assert right(public, with_port, query)
    assert right(public, without, query)


@pytest.mark.parametrize(
    "url",
    [
        "https://d.example:444/sms",
        "https://d.example:80/sms",
        "http://d.example/sms",
        "https://other.example/sms",
        "https://d.example/other",
        "https://d.example/sms?a=2",
    ],
)
def test_a_signature_over_another_url_is_none(url: str) -> None:
    assert not right("https://d.example/sms", url)


def test_an_account_without_a_public_url_takes_no_signature_of_one() -> None:
    account = s.SMS.model_copy(update={"public_url": None})
    assert not is_right(Request(s.form(s.SMS_FORM), signed(s.SMS_URL)), account)


def test_any_of_the_secrets_may_have_signed() -> None:
    both = s.SMS.model_copy(update={"signing": ("env:DESKBUS_SECRET_SMS_GB", "env:DESKBUS_SECRET_LINE_TH")})
    assert is_right(Request(s.form(s.SMS_FORM), signed(s.SMS_URL)), both)
    turned = both.model_copy(update={"signing": both.signing[::-1]})
    assert is_right(Request(s.form(s.SMS_FORM), signed(s.SMS_URL)), turned)


@pytest.mark.parametrize(
    ("settings", "stronger"),
    [
        ("algorithm=HMAC_SHA256", True),
        ("key=k1, algorithm = HMAC_SHA256", True),
        ("algorithm=HMAC_SHA256,key=k1", True),
        ("algorithm=HMAC_SHA1", False),
        ("key=k1", False),
        ("", False),
    ],
)
def test_the_algorithm_is_the_one_that_the_settings_name(settings: str, stronger: bool) -> None:
    body = s.form(s.SMS_FORM)
    said = {"x-twilio-webhooks-signature-settings": settings}
    assert is_right(Request(body, {**signed(s.SMS_URL, "HMAC_SHA256"), **said})) == stronger
    assert is_right(Request(body, {**signed(s.SMS_URL), **said})) != stronger


@pytest.mark.parametrize("signature", [None, "", "###", "ä", "QUJD!"])
def test_a_signature_that_is_no_base64_is_missing(signature: str | None) -> None:
    headers = {} if signature is None else {"x-twilio-signature": signature}
    with pytest.raises(Forged, match=r"^missing$"):
        twilio.verify(Request(s.form(s.SMS_FORM), headers), s.SMS, s.SECRETS, s.NOW)


def test_a_signature_is_read_strictly() -> None:
    given = {"x-twilio-signature": signed(s.SMS_URL)["x-twilio-signature"] + "\n*"}
    with pytest.raises(Forged, match=r"^missing$"):
        twilio.verify(Request(s.form(s.SMS_FORM), given), s.SMS, s.SECRETS, s.NOW)


def test_a_body_that_is_no_form_is_forged_whatever_its_signature() -> None:
    with pytest.raises(Forged, match=r"^body$"):
        twilio.verify(Request(b"\xff", signed(s.SMS_URL)), s.SMS, s.SECRETS, s.NOW)


def test_values_of_one_name_are_signed_in_order_and_each_once() -> None:
    headers = s.sign_twilio({"A": "1A2B"})
    assert is_right(Request(b"B=&A=2&A=1&A=2", headers))


def test_a_query_that_no_encoder_takes_is_refused_and_breaks_nothing() -> None:
    assert not is_right(Request(s.form(s.SMS_FORM), signed(s.SMS_URL), raw_query="a=\udcff"))
