"""Lazada: whose messages count, what they show, and calls signed as its SDK signs them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl

import pytest

from contracts.ticket import Market
from services.ingest.channels import lazada
from services.ingest.core.messages import Faulty, File, InboundMessage, SendFailure, Unsendable
from tests.ingest.channels.cases.lazada import CASE, SESSION, push
from tests.ingest.channels.samples import NOW


def one(body: bytes) -> InboundMessage:
    (found,) = CASE.parsed(body)
    assert isinstance(found, InboundMessage)
    return found


def test_a_message_brings_seller_session_and_country() -> None:
    message = one(CASE.message)
    assert (message.channel, message.conversation, message.shop) == ("marketplace", SESSION, "100003015")
    assert message.market == Market(marketplace="lazada", country="TH")
    assert message.sent_at.timestamp() == 1795253300.437
    (identity,) = message.sender.identities
    assert (identity.id, identity.account, identity.verified) == ("300162024226", "lazada-th", True)


@pytest.mark.parametrize(
    ("template", "content", "text", "about"),
    [
        (3, {"imgUrl": "https://sg-live.slatic.net/a.jpg"}, "", (None, None)),
        (4, {"txt": "[smile]"}, "[smile]", (None, None)),
        (6, {"videoId": "1"}, "[video]", (None, None)),
        (10006, {"itemId": 1234567}, "[item 1234567]", ("1234567", None)),
        (10007, {"orderId": "77"}, "[order 77]", (None, "77")),
        (10010, {"x": 1}, "[message]", (None, None)),
    ],
)
def test_what_is_shown_is_named(
    template: int, content: dict[str, Any], text: str, about: tuple[str | None, str | None]
) -> None:
    message = one(push(10, content, template))
    assert (message.text, (message.listing, message.order_ref)) == (text, about)
    assert [part.ref for part in message.parts] == (["https://sg-live.slatic.net/a.jpg"] if template == 3 else [])


def test_a_picture_without_an_address_is_named() -> None:
    assert one(push(10, {"imgUrl": "//sg-live.slatic.net/a.jpg"}, 3)).text == "[picture]"


def test_a_text_that_is_no_json_is_a_text() -> None:
    assert one(push(10, "hello")).text == "hello"


def test_a_message_to_a_seller_without_an_account_is_foreign() -> None:
    body = json.loads(CASE.message)
    (found,) = CASE.parsed(json.dumps({**body, "seller_id": "1"}).encode())
    assert isinstance(found, Faulty)
    assert found.foreign


def test_a_reply_is_signed_as_the_sdk_signs_it() -> None:
    """The signature is what `signRequest` of lazada-open-platform-sdk 2.0.0 returns for these values."""
    call = lazada.render(CASE.reply(), CASE.account, CASE.secrets)
    assert call.url == "https://api.lazada.co.th/rest/im/message/send"
    assert dict(parse_qsl(call.body.decode())) == {
        "app_key": "123456", "timestamp": "1795253400000", "sign_method": "sha256", "access_token": "access",
        "session_id": SESSION, "template_id": "1", "txt": "On its way",
        "sign": "0CEF35E20170724C463856EC9EDDAE47E5D6C3839F93752D6F49630BE676D230",
    }  # fmt: skip


def test_tokens_are_refreshed_where_all_countries_are() -> None:
    call = lazada.OAUTH.refresh(CASE.account, CASE.secrets, "r1", NOW)
    assert call.url == "https://auth.lazada.com/rest/auth/token/refresh"
    grant = lazada.OAUTH.read(200, b'{"access_token":"a","refresh_token":"r2","expires_in":2592000,"code":"0"}')
    assert (grant.access, grant.seconds, grant.refresh) == ("a", 2592000, "r2")
    with pytest.raises(ValueError, match="IllegalRefreshToken"):
        lazada.OAUTH.read(200, b'{"code":"IllegalRefreshToken","message":"no"}')


@pytest.mark.parametrize(
    ("body", "permanent"),
    [
        ({"code": "IllegalAccessToken", "message": "The specified access token is invalid"}, False),
        ({"code": "AppCallLimit", "message": "x"}, False),
        ({"code": "0", "err_code": "E001", "err_message": "sensitive words"}, True),
    ],
)
def test_an_error_with_status_200_is_a_failure(body: dict[str, str], permanent: bool) -> None:
    found = lazada.outcome(200, {}, json.dumps(body).encode())
    assert isinstance(found, SendFailure)
    assert found.permanent == permanent


@pytest.mark.parametrize("body", [b"", b"{}", b"<html>We are back soon</html>"])
def test_an_answer_that_cannot_be_read_is_no_success(body: bytes) -> None:
    assert lazada.outcome(200, {}, body) == SendFailure("Lazada: an answer that cannot be read", False, unsure=True)


@pytest.mark.parametrize(
    "reply", [{"text": " "}, {"conversation": None}, {"files": (File("a", "image/jpeg", url="https://a.example/a"),)}]
)
def test_what_lazada_does_not_take_is_refused_before_sending(reply: dict[str, Any]) -> None:
    with pytest.raises(Unsendable):
        lazada.render(replace(CASE.reply("x"), **reply), CASE.account, CASE.secrets)
