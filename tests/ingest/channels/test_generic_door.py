"""The door of the generic webhook: whose a body is, signatures and secrets."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any

import pytest

from kit.policy.secrets import Secrets, Unresolved
from services.ingest.accounts import Account
from services.ingest.channels import generic
from services.ingest.channels.channel import Forged, Request
from tests.ingest.channels import samples as s

BODY = s.encode({"id": "a1", "from": {"id": "b1"}})


@pytest.mark.parametrize(
    ("document", "key"),
    [
        ({"from": {"id": "b1"}, "message_id": "m"}, "b1"),
        ({"message_id": "m"}, "m"),
        ({"from": "b1"}, None),
        ({"from": {"id": "b1"}, "text": "x" * 70_000}, "b1"),
    ],
)
def test_the_key_of_a_contact_is_the_person_or_the_message_of_a_status(document: Any, key: str | None) -> None:
    asked = Request(s.encode(document))
    assert generic.contact_key(asked) == key
    assert generic.account_id(asked) is None


def refused(changes: dict[str, str | None], account: Account = s.COUPANG, secrets: Secrets = s.SECRETS) -> str | None:
    """Why a rightly signed request with other headers is refused; None: it is not."""
    headers = {name: value for name, value in {**s.sign_generic(BODY), **changes}.items() if value is not None}
    try:
        generic.verify(Request(BODY, headers), account, secrets, s.NOW)
    except Forged as refusal:
        return refusal.reason
    return None


RIGHT = s.sign_generic(BODY)["webhook-signature"]
STAMP = s.sign_generic(BODY)["webhook-timestamp"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, None),
        ({"webhook-id": None}, "missing"),
        ({"webhook-id": ""}, "missing"),
        ({"webhook-id": "other"}, "signature"),
        ({"webhook-timestamp": None}, "missing"),
        ({"webhook-timestamp": "soon"}, "missing"),
        ({"webhook-timestamp": "\u0661" * 10}, "missing"),
        ({"webhook-timestamp": "-1"}, "missing"),
        ({"webhook-timestamp": "1" * 12}, "signature"),
        ({"webhook-timestamp": "1" * 13}, "missing"),
        ({"webhook-signature": None}, "missing"),
        ({"webhook-signature": ""}, "missing"),
        ({"webhook-signature": "v1"}, "missing"),
        ({"webhook-signature": "v1,"}, "missing"),
        ({"webhook-signature": "v1,###"}, "missing"),
        ({"webhook-signature": "v1,AAAA"}, "signature"),
        ({"webhook-signature": RIGHT.replace("v1,", "v2,")}, "missing"),
        ({"webhook-signature": RIGHT + "\n"}, "missing"),
        ({"webhook-signature": f"v1,### {RIGHT}"}, None),
        ({"webhook-signature": f"{RIGHT} v1,AAAA"}, None),
        ({"webhook-signature": "v1,AAAA " * 9 + RIGHT}, None),
        ({"webhook-signature": "v1,AAAA " * 10 + RIGHT}, "signature"),
    ],
)
def test_a_signature_is_one_of_the_first_ten_of_version_1(changes: dict[str, str | None], why: str | None) -> None:
    assert refused(changes) == why


def test_a_request_that_is_rightly_signed_but_old_is_stale() -> None:
    old = s.sign_generic(BODY, s.NOW - timedelta(seconds=301))
    assert refused({**old}) == "stale"


def test_an_id_that_is_no_text_is_signed_as_it_came() -> None:
    headers = {"webhook-id": "\udcff", "webhook-timestamp": STAMP, "webhook-signature": "v1,AAAA"}
    assert refused({**headers}) == "signature"


@pytest.mark.parametrize("shape", ["{0}", "whsec_{0}", "whsec_{1}", "{1}"])
def test_a_secret_may_come_without_its_prefix_and_padding(shape: str) -> None:
    secret = base64.b64encode(b"four and more bytes").decode()
    assert secret.endswith("=")
    secrets = Secrets({"DESKBUS_SECRET_COUPANG_KR": shape.format(secret, secret.rstrip("="))})
    assert refused({**s.sign_generic(BODY, secret=secret)}, secrets=secrets) is None


def test_a_secret_that_is_no_base64_leaves_the_others_valid() -> None:
    account = s.COUPANG.model_copy(update={"signing": ("env:BAD", "env:EMPTY", "env:GOOD")})
    secrets = Secrets({"BAD": "whsec_###", "EMPTY": "whsec_", "GOOD": s.WHSEC})
    assert refused({}, account, secrets) is None


@pytest.mark.parametrize("secret", ["whsec_###", "whsec_", "whsec_QUJD!", "ä"])
def test_secrets_that_are_no_base64_are_missing(secret: str) -> None:
    with pytest.raises(Unresolved, match="not base64"):
        refused({}, secrets=Secrets({"DESKBUS_SECRET_COUPANG_KR": secret}))
