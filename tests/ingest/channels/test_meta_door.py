"""The door of WhatsApp: whose a body is, signatures and challenges."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest

from services.ingest.accounts import Account
from services.ingest.channels import meta
from services.ingest.channels.channel import Forged, Request
from tests.ingest.channels import samples as s

USER = "TH.13491208655302741918"


def test_a_large_body_names_its_account_and_contact_too() -> None:
    body = s.whatsapp(s.wa_text("x" * 70_000))
    assert meta.account_id(Request(body)) == "106540352242922"
    assert meta.contact_key(Request(body)) == USER


def test_the_number_is_read_as_json_where_that_is_cheap() -> None:
    """A light look at a large body takes letters, digits and a few signs only."""
    body = s.whatsapp(s.wa_text("x"), number="a b")
    most = body + b" " * (64 * 1024 - len(body))
    assert meta.account_id(Request(most)) == "a b"
    assert meta.account_id(Request(most + b" ")) is None


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"entry":7}', b'{"entry":[{"changes":[{}]}]}'])
def test_a_body_that_names_nobody_has_no_account_and_no_contact(body: bytes) -> None:
    assert (meta.account_id(Request(body)), meta.contact_key(Request(body))) == (None, None)


ALL = {"group_id": "G", "from_user_id": "U", "from": "N"}
CONTACT = {"user_id": "C"}
RECIPIENT = {"recipient_user_id": "RU", "recipient_id": "R"}


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ({"messages": [ALL], "contacts": [CONTACT]}, "G"),
        ({"messages": [{"from_user_id": "U", "from": "N"}], "contacts": [CONTACT]}, "U"),
        ({"messages": [{"from": "N"}], "contacts": [CONTACT], "statuses": [RECIPIENT]}, "C"),
        ({"messages": [{"from": "N"}], "statuses": [RECIPIENT]}, "N"),
        ({"statuses": [RECIPIENT]}, "RU"),
        ({"statuses": [{"recipient_id": "R"}]}, "R"),
        ({}, None),
    ],
)
def test_the_key_of_a_contact_is_the_first_that_is_there(value: dict[str, Any], key: str | None) -> None:
    body = s.encode({"entry": [{"changes": [{"value": {}}, {"value": value}]}]})
    assert meta.contact_key(Request(body)) == key


@pytest.mark.parametrize("signature", [None, "", "sha256=", "sha256=zz", "sha1=00", "00", "ä"])
def test_a_signature_that_is_no_hex_of_sha256_is_missing(signature: str | None) -> None:
    headers = {} if signature is None else {"x-hub-signature-256": signature}
    with pytest.raises(Forged, match=r"^missing$"):
        meta.verify(Request(b"{}", headers), s.WA, s.SECRETS, s.NOW)


def test_a_right_digest_under_another_scheme_is_missing() -> None:
    digest = hmac.new(b"meta app secret", b"{}", hashlib.sha256).hexdigest()
    for scheme in ("sha1", "", "sha256=x"):
        with pytest.raises(Forged, match=r"^missing$"):
            meta.verify(Request(b"{}", {"x-hub-signature-256": f"{scheme}={digest}"}), s.WA, s.SECRETS, s.NOW)


def test_a_signature_of_another_body_is_refused_as_such() -> None:
    with pytest.raises(Forged, match=r"^signature$"):
        meta.verify(Request(b"[]", s.sign_whatsapp(b"{}")), s.WA, s.SECRETS, s.NOW)


def challenged(account: Account = s.WA, **changes: str) -> str | None:
    asked = {"mode": "subscribe", "verify_token": "agreed-token", "challenge": "1158201444", **changes}
    answer = meta.challenge(Request(b"", {}, {f"hub.{k}": v for k, v in asked.items()}), account, s.SECRETS)
    return None if answer is None else answer.body.decode()


@pytest.mark.parametrize(
    ("said", "answer"),
    [("x" * 1000, "x" * 1000), ("x" * 1001, None), ("", None), ("a-b", None), ("\u0663", None), ("aB1", "aB1")],
)
def test_a_challenge_is_letters_and_digits_and_at_most_1000(said: str, answer: str | None) -> None:
    assert challenged(challenge=said) == answer


def test_a_challenge_is_for_a_subscription_only() -> None:
    assert challenged() == "1158201444"
    assert challenged(mode="unsubscribe") is None


def test_any_of_the_tokens_answers_a_challenge() -> None:
    tokens = ("env:DESKBUS_VERIFY_WA_TH", "env:DESKBUS_TOKEN_WA_TH")
    account = s.WA.model_copy(update={"verify_token": tokens})
    assert (challenged(account), challenged(account, verify_token="wa-token")) == ("1158201444",) * 2
    assert challenged(account, verify_token="") is None


def test_a_token_that_no_encoder_takes_is_not_the_right_one() -> None:
    assert challenged(verify_token="\udcff") is None


def test_a_request_without_a_challenge_is_answered_by_nothing() -> None:
    query = {"hub.mode": "subscribe", "hub.verify_token": "agreed-token"}
    assert meta.challenge(Request(b"", {}, query), s.WA, s.SECRETS) is None
