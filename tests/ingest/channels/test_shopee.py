"""Shopee: whose messages count, what they show, and calls signed as a client signs them."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from contracts.ticket import Market
from services.ingest.channels import shopee
from services.ingest.channels.channel import Forged, Request
from services.ingest.core.messages import Faulty, File, InboundMessage, SendFailure, Unsendable
from tests.ingest.channels.cases.shopee import CASE, KEY, PICTURE, SHOP, URL, document, push, signature
from tests.ingest.channels.samples import NOW


def one(body: bytes) -> InboundMessage:
    (found,) = CASE.parsed(body)
    assert isinstance(found, InboundMessage)
    return found


def test_a_message_brings_shop_order_and_country() -> None:
    message = one(CASE.message)
    assert (message.channel, message.conversation, message.shop) == ("marketplace", "709122092476686867", str(SHOP))
    assert (message.order_ref, message.listing) == ("220818EGS328B9", None)
    assert message.market == Market(marketplace="shopee", country="ID")
    assert message.sent_at.timestamp() == 1795253300
    (identity,) = message.sender.identities
    assert (identity.id, identity.account, message.sender.address) == ("165105353", "shopee-id", "165105353")
    assert message.sender.name == "vn_cstoreponorogo"


@pytest.mark.parametrize(
    ("kind", "content", "text", "listing", "ref"),
    [
        ("item", {"item_id": 9112503530}, "[item 9112503530]", "9112503530", None),
        ("order", {"order_sn": "A1"}, "[order A1]", None, None),
        ("sticker", {"sticker_id": "x"}, "[sticker]", None, None),
        ("faq_liveagent", {"text": "Chat dengan Penjual"}, "Chat dengan Penjual", None, None),
        ("image", PICTURE, "", None, "https://cf.shopee.co.id/file/09591ecdc9f1dc7bd5"),
        ("video", {"video_url": "cf03c9e1"}, "", None, None),
    ],
)
def test_what_is_shown_is_named(kind: str, content: dict[str, Any], text: str, listing: str, ref: str) -> None:
    message = one(push(10, content, kind, source_content={}))
    assert (message.text, message.listing) == (text, listing)
    assert [part.ref for part in message.parts] == ([ref] if kind in {"image", "video"} else [])


def test_a_chat_with_an_affiliate_is_tagged() -> None:
    assert one(push(10, business_type=11)).tags == ("affiliate",)


def test_a_message_to_a_shop_without_an_account_is_foreign() -> None:
    body = json.loads(CASE.message)
    (found,) = CASE.parsed(json.dumps({**body, "shop_id": 1}).encode())
    assert isinstance(found, Faulty)
    assert found.foreign


@pytest.mark.parametrize(("query", "url"), [("", URL), ("account=shopee-id", f"{URL}?account=shopee-id")])
def test_the_signature_covers_the_address_as_it_was_called(query: str, url: str) -> None:
    request = Request(CASE.message, {"authorization": signature(CASE.message, url)}, raw_query=query)
    shopee.verify(request, CASE.account, CASE.secrets, NOW)
    other = Request(CASE.message, {"authorization": signature(CASE.message, url + "x")}, raw_query=query)
    with pytest.raises(Forged):
        shopee.verify(other, CASE.account, CASE.secrets, NOW)


def query_of(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))


def test_a_reply_is_signed_as_the_client_signs_it() -> None:
    """The signature is what `signRequest` of shopee-openapi-v2 1.0.39 returns for these values."""
    call = shopee.render(CASE.reply(), CASE.account, CASE.secrets)
    assert call.url.startswith("https://partner.shopeemobile.com/api/v2/sellerchat/send_message?")
    assert query_of(call.url) == {
        "partner_id": "2001234", "timestamp": "1795253400", "access_token": "access", "shop_id": "947042923",
        "sign": "d0a0ea3a42f2b399f2d0f6141d0cbd5aecfe4d703c001549137f7683a59d9d5f",
    }  # fmt: skip
    assert json.loads(call.body) == {"to_id": 165105353, "message_type": "text", "content": {"text": "On its way"}}


def test_tokens_are_refreshed_with_the_partners_signature() -> None:
    call = shopee.OAUTH.refresh(CASE.account, CASE.secrets, "r1", NOW)
    assert query_of(call.url)["sign"] == "86651ab74bb79f8761924dc84ab4eab9873a56ab339a96f0b010175b7955e7ae"
    assert json.loads(call.body) == {"refresh_token": "r1", "partner_id": 2001234, "shop_id": 947042923}
    assert KEY not in call.url


def test_a_grant_brings_the_next_refresh_token() -> None:
    grant = shopee.OAUTH.read(200, b'{"access_token":"a","refresh_token":"r2","expire_in":14400,"error":""}')
    assert (grant.access, grant.seconds, grant.refresh) == ("a", 14400, "r2")
    for status, body in ((200, b'{"error":"error_auth","message":"Invalid refresh_token"}'), (403, b"{}")):
        with pytest.raises(ValueError, match=r"HTTP \d"):
            shopee.OAUTH.read(status, body)


@pytest.mark.parametrize(
    ("error", "permanent"),
    [("error_auth", False), ("invalid_access_token", False), ("error_server", False), ("error_param", True)],
)
def test_an_error_with_status_200_is_a_failure(error: str, permanent: bool) -> None:
    found = shopee.outcome(200, {}, json.dumps({"error": error, "message": "no"}).encode())
    assert found == SendFailure(f"{error}: no", permanent=permanent)


@pytest.mark.parametrize("body", [b"", b"{}", b"<html>We are back soon</html>"])
def test_an_answer_that_cannot_be_read_is_no_success(body: bytes) -> None:
    assert shopee.outcome(200, {}, body) == SendFailure("Shopee: an answer that cannot be read", False, unsure=True)


@pytest.mark.parametrize(
    "reply",
    [{"text": " "}, {"to": "abc"}, {"to": ""}, {"files": (File("a", "image/jpeg", url="https://a.example/a"),)}],
)
def test_what_shopee_does_not_take_is_refused_before_sending(reply: dict[str, Any]) -> None:
    with pytest.raises(Unsendable):
        shopee.render(CASE.reply(**{"text": "x", **reply}), CASE.account, CASE.secrets)


def test_a_push_without_chat_is_silent() -> None:
    assert CASE.parsed(document({"type": "notification", "content": {}})) == []
