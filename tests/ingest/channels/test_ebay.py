"""eBay: its signature and challenge, as its own SDK makes them; messages and replies."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from contracts.ticket import Market
from services.ingest.channels import ebay
from services.ingest.channels.channel import Forged, Request, UnknownKey
from services.ingest.core.messages import File, HttpCall, InboundMessage, Unreadable, Unsendable
from tests.ingest.channels.cases.ebay import CASE, KID, document, notification, sign, signature
from tests.ingest.channels.samples import NOW
from tests.ingest.door_rig import Kafka, opened_door
from tests.kit.fake_store import FakeStore

# The test vector of eBay's event-notification-nodejs-sdk 1.0.3 (Apache-2.0), test/test.json.
VECTOR = (
    "eyJhbGciOiJlY2RzYSIsImtpZCI6Ijk5MzYyNjFhLTdkN2ItNDYyMS1hMGYxLTk2Y2NiNDI4YWY0OSIsInNpZ25hdHVyZSI6Ik1FWUNJUUNmeGZJV3V4"
    "bVdjSUJRSjljNS9YN2lHREpxczJSQ0dzQkVhQWppbnlycmZBSWhBSVY2d0djVGlCdVY1S0pVaWYyaG9reXJMK1E5c3NIa2FkK214Mm5FRTI1dyIsImRp"
    "Z2VzdCI6IlNIQTEifQ=="
)
VECTOR_KEY = {
    "key": "-----BEGIN PUBLIC KEY-----MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEZhhxXKtR+TOvtDbgTPCkSof02qgBB7IsYOyf76ilExJ/"
    "upAa/vKIKheOoCyOpcLmi4t0b4uepb7LLjmMr90FUg==-----END PUBLIC KEY-----",
    "algorithm": "ECDSA",
    "digest": "SHA1",
}
VECTOR_BODY = (
    b'{"metadata":{"topic":"MARKETPLACE_ACCOUNT_DELETION","schemaVersion":"1.0","deprecated":false},"notification":'
    b'{"notificationId":"49feeaeb-4982-42d9-a377-9645b8479411_33f7e043-fed8-442b-9d44-791923bd9a6d",'
    b'"eventDate":"2021-03-19T20:43:59.462Z","publishDate":"2021-03-19T20:43:59.679Z","publishAttemptCount":1,'
    b'"data":{"username":"test_user","userId":"ma8vp1jySJC","eiasToken":"nY+sHZ2PrBmdj6wVnY+sEZ2PrA2dj6wJnY+gAZGEpwmdj6x9nY'
    b'+seQ=="}}}'
)
HOOK = "/v1/channels/ebay/webhook"


def one(body: bytes) -> InboundMessage:
    (found,) = CASE.parsed(body)
    assert isinstance(found, InboundMessage)
    return found


def verify(request: Request) -> None:
    ebay.verify(request, CASE.account, CASE.secrets, NOW)


def test_the_vector_of_ebays_sdk_verifies_and_no_other_body_does() -> None:
    key = ebay.KEYS.read(200, json.dumps(VECTOR_KEY).encode())
    assert key is not None
    verify(Request(VECTOR_BODY, {"x-ebay-signature": VECTOR}, keys={KID: key}))
    with pytest.raises(Forged, match="signature"):
        verify(Request(VECTOR_BODY[:-1] + b" }", {"x-ebay-signature": VECTOR}, keys={KID: key}))


def test_a_key_that_is_not_at_hand_is_named() -> None:
    with pytest.raises(UnknownKey) as unknown:
        verify(sign(CASE.message, NOW))
    assert unknown.value.kid == KID


@pytest.mark.parametrize("kid", ["", "../../oauth", "a" * 65, "a?b=c", 7, None])
def test_an_id_that_could_not_be_one_is_never_asked_for(kid: Any) -> None:
    with pytest.raises(Forged):
        verify(Request(CASE.message, {"x-ebay-signature": signature(CASE.message, kid)}))


def test_the_headers_own_digest_is_not_believed() -> None:
    said = json.loads(base64.b64decode(signature(CASE.message)))
    header = base64.b64encode(json.dumps({**said, "alg": "none", "digest": "SHA512"}).encode()).decode()
    verify(Request(CASE.message, {"x-ebay-signature": header}, keys=CASE.keys))


_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
_RSA_PEM = _RSA.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"{}"),
        (200, b"not JSON"),
        (200, json.dumps({**VECTOR_KEY, "digest": "MD5"}).encode()),
        (200, json.dumps({**VECTOR_KEY, "key": "-----BEGIN PUBLIC KEY-----AAAA-----END PUBLIC KEY-----"}).encode()),
        (200, json.dumps({**VECTOR_KEY, "key": "%%%"}).encode()),
        (200, json.dumps({**VECTOR_KEY, "key": _RSA_PEM}).encode()),
        (401, b""),
        (500, b""),
    ],
)
def test_an_answer_without_a_usable_key_says_nothing_about_the_id(status: int, body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        ebay.KEYS.read(status, body)


@pytest.mark.parametrize("status", [400, 404])
def test_ebay_says_that_there_is_no_such_key(status: int) -> None:
    assert ebay.KEYS.read(status, b'{"errors":[{"errorId":195018}]}') is None


@pytest.mark.parametrize(("query", "url"), [("", ""), ("account=ebay-de&", "?account=ebay-de")])
async def test_the_challenge_is_answered_over_the_url_as_ebay_knows_it(query: str, url: str) -> None:
    async with opened_door(Kafka(), FakeStore(), CASE.accounts, CASE.secrets) as client:
        answer = await client.get(f"{HOOK}?{query}challenge_code=a8628072-3d33-45ee-9004-bee86830a22d")
    endpoint = f"https://desk.nimbus.example{HOOK}{url}"
    whole = f"a8628072-3d33-45ee-9004-bee86830a22d71745723-d031-455c-bfa5-f90d11b4f20a{endpoint}"
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == {"challengeResponse": hashlib.sha256(whole.encode()).hexdigest()}


@pytest.mark.parametrize("query", ["", "challenge_code=", f"challenge_code={'a' * 1001}"])
async def test_what_is_no_challenge_gets_no_hash(query: str) -> None:
    async with opened_door(Kafka(), FakeStore(), CASE.accounts, CASE.secrets) as client:
        assert (await client.get(f"{HOOK}?{query}")).status_code == 403


def test_a_message_brings_what_ebay_says() -> None:
    media = [
        {"mediaName": "box.pdf", "mediaType": "PDF", "mediaUrl": "https://i.ebayimg.com/box.pdf"},
        {"mediaName": "x"},
    ]
    reference = {"referenceId": "1102", "referenceType": "LISTING"}
    message = one(notification(1, messageMedia=media, subject="Kettle", reference=reference))
    assert (message.channel, message.account, message.conversation) == ("marketplace", "ebay-de", "124850576707")
    (identity,) = message.sender.identities
    assert (identity.account, identity.id, identity.verified) == ("ebay-de", "pwz796", True)
    assert message.sent_at == datetime(2026, 11, 21, 9, 29, 30, tzinfo=UTC)
    assert message.market == Market(marketplace="ebay", country="DE")
    assert (message.listing, message.shop, message.subject) == ("1102", "nimbus-shop", "Kettle")
    assert [(part.name, part.media_type, part.ref) for part in message.parts] == [
        ("box.pdf", "application/pdf", "https://i.ebayimg.com/box.pdf")
    ]


def test_our_own_message_is_not_a_customers() -> None:
    assert CASE.parsed(notification(1, senderUserName="nimbus-shop", recipientUserName="pwz796")) == []


def test_a_message_of_ebay_starts_no_clock() -> None:
    message = one(
        notification(1, conversationType="FROM_EBAY", senderUserName="eBay", messageBody="<p>Hi &amp; bye</p>")
    )
    assert (message.automated_because, message.text) == ("a message of eBay", "Hi & bye")


@pytest.mark.parametrize("data", [{"messageId": None}, {"senderUserName": None}])
def test_a_message_without_what_names_it_is_a_dead_letter(data: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        CASE.parsed(notification(1, **data))


def test_a_topic_that_is_not_known_is_silent() -> None:
    assert CASE.parsed(document("ORDER_CONFIRMATION", {"order": {}})) == []


def test_a_reply_goes_into_the_conversation() -> None:
    file = File("box.jpg", "image/jpeg", url="https://cdn.example/box.jpg")
    call = ebay.render(CASE.reply(files=(file,)), CASE.account, CASE.secrets)
    assert call == HttpCall(
        "POST",
        "https://api.ebay.com/commerce/message/v1/send_message",
        {"authorization": "Bearer access", "content-type": "application/json"},
        json.dumps({
            "conversationId": "124850576707", "messageText": "On its way",
            "messageMedia": [{"mediaName": "box.jpg", "mediaType": "IMAGE", "mediaUrl": "https://cdn.example/box.jpg"}],
        }).encode(),
    )  # fmt: skip


PICTURE = File("a.jpg", "image/jpeg", url="https://cdn.example/a.jpg")


@pytest.mark.parametrize(
    "reply",
    [
        {"text": " "},
        {"conversation": None},
        {"files": (PICTURE,) * 6},
        {"files": (File("a.zip", "application/zip", url="https://cdn.example/a.zip"),)},
        {"files": (File("a.jpg", "image/jpeg", content=b"x"),)},
    ],
)
def test_what_ebay_does_not_take_is_refused_before_sending(reply: dict[str, Any]) -> None:
    with pytest.raises(Unsendable):
        ebay.render(CASE.reply(**{"text": "x", **reply}), CASE.account, CASE.secrets)
