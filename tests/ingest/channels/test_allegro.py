"""Allegro: what its messages say, its files and its replies. Polling is in tests/ingest/test_polling.py."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from contracts.ticket import Attachment, Market
from services.ingest.channels import allegro
from services.ingest.core.messages import File, HttpCall, InboundMessage, Unsendable
from tests.ingest.channels.cases.allegro import ATTACHMENT, CASE, THREAD, body
from tests.ingest.channels.samples import NOW

TYPE = "application/vnd.allegro.public.v1+json"


def one(raw: bytes) -> InboundMessage:
    (found,) = CASE.parsed(raw)
    assert isinstance(found, InboundMessage)
    return found


def test_a_message_brings_order_offer_and_shop() -> None:
    message = one(CASE.message)
    assert (message.channel, message.account, message.conversation) == ("marketplace", "allegro-pl", THREAD)
    assert (message.order_ref, message.listing) == ("29738e61-7f6a-11ec-bf8b-2d6f3c1f5a11", "15030554210")
    assert (message.shop, message.subject) == ("nimbus-pl", "Pytanie o zamówienie")
    assert message.market == Market(marketplace="allegro", country="PL")
    assert message.sent_at == datetime(2026, 11, 21, 9, 29, tzinfo=UTC)
    (identity,) = message.sender.identities
    assert (identity.id, identity.account, identity.verified) == ("Kupujacy_77", "allegro-pl", True)


@pytest.mark.parametrize(
    ("status", "fetched"), [("NEW", True), ("SAFE", True), ("UNSAFE", False), ("EXPIRED", False), ("HYPER", False)]
)
def test_a_file_that_allegro_has_not_found_safe_is_named_and_not_fetched(status: str, fetched: bool) -> None:
    (part,) = one(body("m", "x", attachments=[{**ATTACHMENT, "status": status}])).parts
    identifier = "e5ea1b2c-3d4e-5f60-7182-93a4b5c6d7e8"
    assert (part.name, part.media_type, part.ref) == ("paczka.jpg", "image/jpeg", identifier if fetched else None)


def test_a_file_is_fetched_by_its_id_from_allegros_host_whatever_its_url_says() -> None:
    (part,) = one(body("m", "x", attachments=[{**ATTACHMENT, "url": "https://evil.example/a/../x?y=1"}])).parts
    assert part.ref == "x"
    file = Attachment(name="a", media_type="image/jpeg", media_id="a/b?c")
    call = allegro.original(file, CASE.account, CASE.secrets)
    assert call.url == "https://api.allegro.pl/messaging/message-attachments/a%2Fb%3Fc"
    assert call.headers["authorization"] == "Bearer access"
    with pytest.raises(Unsendable):
        allegro.original(Attachment(name="a", media_type="image/jpeg"), CASE.account, CASE.secrets)


def test_a_reply_is_written_into_the_thread() -> None:
    call = allegro.render(CASE.reply("Już jedzie"), CASE.account, CASE.secrets)
    assert call == HttpCall(
        "POST",
        f"https://api.allegro.pl/messaging/threads/{THREAD}/messages",
        {"authorization": "Bearer access", "accept": TYPE, "content-type": TYPE},
        json.dumps({"text": "Już jedzie"}, ensure_ascii=False).encode(),
    )


@pytest.mark.parametrize(
    "reply",
    [
        {"text": " "},
        {"text": "x" * 2001},
        {"conversation": None},
        {"files": (File("a.jpg", "image/jpeg", url="https://cdn.example/a.jpg"),)},
    ],
)
def test_what_allegro_does_not_take_is_refused_before_sending(reply: dict[str, Any]) -> None:
    with pytest.raises(Unsendable):
        allegro.render(CASE.reply(**{"text": "x", **reply}), CASE.account, CASE.secrets)


def test_tokens_are_refreshed_at_allegros_own_host() -> None:
    call = allegro.OAUTH.refresh(CASE.account, CASE.secrets, "eyJ+1", NOW)
    assert (call.method, call.url) == ("POST", "https://allegro.pl/auth/oauth/token")
    assert call.body == b"grant_type=refresh_token&refresh_token=eyJ%2B1"
    assert base64.b64decode(call.headers["authorization"].removeprefix("Basic ")) == (
        b"7c5f0d8a9b1e4c2fa3d6e8b0c1d2e3f4:QxsfTsbiA2xSecret"
    )
