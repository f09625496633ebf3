"""eBay's notifications, in the form of NEW_MESSAGE 1.0."""

from __future__ import annotations

import base64
import json
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.ingest.channels import ebay
from services.ingest.channels.channel import Request
from tests.ingest.channels.cases import Case

KID = "9936261a-7d7b-4621-a0f1-96ccb428af49"
_PRIVATE = ec.derive_private_key(0x5EED, ec.SECP256R1())


def key_answer(private: ec.EllipticCurvePrivateKey = _PRIVATE) -> bytes:
    """Return the answer of getPublicKey: PEM without line breaks, as eBay sends it."""
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return json.dumps({"key": pem.replace("\n", ""), "algorithm": "ECDSA", "digest": "SHA1"}).encode()


def notification(number: int, **data: Any) -> bytes:
    """Return a NEW_MESSAGE."""
    said = {
        "messageId": f"34293737600{number}",
        "conversationId": "124850576707",
        "conversationType": "FROM_MEMBERS",
        "createdDate": "2026-11-21T09:29:30.000Z",
        "messageBody": "Is there a size standard?",
        "messageMedia": [],
        "readStatus": False,
        "recipientUserName": "nimbus-shop",
        "senderUserName": "pwz796",
        "subject": "",
    }
    return document("NEW_MESSAGE", {**said, **data})


def document(topic: str, data: Any) -> bytes:
    """Return a notification of a topic."""
    whole = {
        "metadata": {"topic": topic, "schemaVersion": "1.0", "deprecated": False},
        "notification": {
            "notificationId": "bec65ccd-2e28-411f-ae8f-3c8f5e7426ed_c132bed5-b9e3-4abc-ba2a-8fb08f641b50",
            "eventDate": "2026-11-21T09:29:30.092Z",
            "publishDate": "2026-11-21T09:29:31.518Z",
            "publishAttemptCount": 1,
            "data": data,
        },
    }
    return json.dumps(whole, separators=(",", ":"), ensure_ascii=False).encode()


def signature(body: bytes, kid: str = KID) -> str:
    """Return the value of x-ebay-signature."""
    made = base64.b64encode(_PRIVATE.sign(body, ec.ECDSA(hashes.SHA1()))).decode()
    said = {"alg": "ecdsa", "kid": kid, "signature": made, "digest": "SHA1"}
    return base64.b64encode(json.dumps(said, separators=(",", ":")).encode()).decode()


def sign(body: bytes, _: datetime) -> Request:
    """Return the signed request."""
    return Request(body, {"x-ebay-signature": signature(body), "content-type": "application/json"})


_KEY = ebay.KEYS.read(200, key_answer())
assert _KEY is not None

CASE = Case(
    name="ebay",
    environ={
        "DESKBUS_SECRET_EBAY": "PRD-0a1b2c3d4e5f",
        "DESKBUS_REFRESH_EBAY": "v^1.1#i^1#refresh",
        "DESKBUS_VERIFY_EBAY": "71745723-d031-455c-bfa5-f90d11b4f20a",
    },
    sign=sign,
    message=notification(17),
    message_id="3429373760017",
    text="Is there a size standard?",
    another=notification(18, messageBody="Hello?"),
    silent=(
        document("MARKETPLACE_ACCOUNT_DELETION", {"username": "test_user", "userId": "ma8vp1jySJC"}),
        document("NEW_MESSAGE", {"conversationId": "1", "conversationType": "FROM_MEMBERS", "messageId": "2"}),
    ),
    several={
        notification(
            19,
            messageBody="",
            messageMedia=[{"mediaName": "a.jpg", "mediaType": "IMAGE", "mediaUrl": "https://i.ebayimg.com/a.jpg"}],
        ): ("3429373760019",)
    },
    unreadable=(b"", b"[]", b"{}", b"\xff\xfe", notification(20, conversationId=None)),
    keys={KID: _KEY},
    reply_id=(200, b'{"messageId":"3429373760099","messageBody":"On its way"}', "3429373760099"),
)
