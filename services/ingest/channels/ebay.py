"""eBay: messages of buyers, announced by the Notification API and answered by the Message API.

Rule: the signature is eBay's own, by a key whose id it names. `keys.py` fetches the key; `verify` sees those at hand.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from contracts.contacts import Identity
from contracts.inbound import InboundRecord
from contracts.ticket import Attachment, Channel, Market
from contracts.values import to_instant
from kit.policy.secrets import Secrets
from services.ingest.accounts import Account, Accounts
from services.ingest.channels import originals
from services.ingest.channels.channel import (
    Answer,
    Challenge,
    Forged,
    KeySource,
    OAuthFlow,
    Request,
    UnknownKey,
    VerifyKey,
    document_of,
    json_body,
    public_url,
)
from services.ingest.channels.html import html_to_text
from services.ingest.channels.reading import (
    MAX_TEXT,
    find_value,
    line,
    obj,
    objects,
    peek,
    read_answer,
    read_object,
    text_or_empty,
)
from services.ingest.core.messages import (
    HttpCall,
    Inbound,
    InboundMessage,
    OutgoingReply,
    Part,
    Sender,
    SendOutcome,
    Unreadable,
    Unsendable,
)

NAME = "ebay"
CHANNEL = Channel.MARKETPLACE.value
NEEDS: tuple[str, ...] = ("external_id", "username", "signing", "refresh", "verify_token", "base_url", "public_url")
ONE_FILE_PER_MESSAGE = False
IDEMPOTENT = False
HEADERS: frozenset[str] = frozenset()
ACCOUNT_BY_SECRET = False
SUCCESS = Answer(204)
REFUSAL_STATUS = 412
MAX_FILES = 5
APP_SCOPE = "https://api.ebay.com/oauth/api_scope"

_KID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PEM = re.compile(r"-----(?:BEGIN|END) PUBLIC KEY-----|\s")
_DIGESTS: Mapping[str, type[hashes.HashAlgorithm]] = {
    "SHA1": hashes.SHA1, "SHA256": hashes.SHA256, "SHA384": hashes.SHA384, "SHA512": hashes.SHA512,
}  # fmt: skip
_MEDIA = {"IMAGE": "image/jpeg", "PDF": "application/pdf", "TXT": "text/plain", "DOC": "application/msword"}


# --- The door. ---


def account_id(request: Request) -> str | None:
    """Return the user name of the recipient."""
    return find_value(request.body, "recipientUserName")


def verify(request: Request, account: Account, secrets: Secrets, now: datetime) -> None:  # noqa: ARG001 - Webhook's
    """Verify `x-ebay-signature`: the id of a public key of eBay's, and its ECDSA signature of the body.

    Raises Forged, or UnknownKey if the key is not at hand.
    """
    kid, signature = _signature(request.headers.get("x-ebay-signature"))
    key = request.keys.get(kid)
    if key is None:
        raise UnknownKey(kid)
    if not key(signature, request.body):
        raise Forged("signature")


def _signature(header: str | None) -> tuple[str, bytes]:
    """Return the id of the key, and the signature. The header's digest is not used: the key says which it is."""
    if not header:
        raise Forged("missing")
    try:
        said = peek(base64.b64decode(header[:4096], validate=True))
        signature = base64.b64decode(str(said["signature"]), validate=True)
        kid = said["kid"]
    except (binascii.Error, ValueError, KeyError):
        raise Forged("signature") from None
    if not isinstance(kid, str) or not _KID.fullmatch(kid):
        raise Forged("signature")
    return kid, signature


def _challenge(request: Request, account: Account, secrets: Secrets) -> Answer | None:
    """Return the digest of challenge, token and our URL as eBay knows it."""
    code = request.query.get("challenge_code")
    if not code or len(code) > 1000 or account.public_url is None:
        return None
    url = secrets.expand(account.public_url)
    if "account" in request.query:
        url = f"{url}?account={account.name}"
    token = secrets.secret(account.verify_token)
    digest = hashlib.sha256((code + token + url).encode("utf-8", "replace")).hexdigest()
    return Answer(200, json_body({"challengeResponse": digest}))


CHALLENGES: Mapping[str, Challenge] = {"GET": _challenge}


def contact_key(request: Request) -> str | None:
    """Return the conversation's id."""
    return line(_data(document_of(request)).get("conversationId"), 200)


# --- Keys. ---


def _login(account: Account, secrets: Secrets) -> HttpCall:
    """Return the call for a token of the application, which may read keys."""
    form = urlencode({"grant_type": "client_credentials", "scope": APP_SCOPE}).encode()
    return _token_call(account, secrets, form)


def _token_call(account: Account, secrets: Secrets, form: bytes) -> HttpCall:
    """Return a call of the token endpoint, in the application's name."""
    plain = f"{originals.username(account, secrets)}:{secrets.secret(account.signing)}".encode()
    headers = {
        "authorization": f"Basic {base64.b64encode(plain).decode()}",
        "content-type": "application/x-www-form-urlencoded",
    }
    return HttpCall("POST", f"{originals.api(account, secrets)}/identity/v1/oauth2/token", headers, form)


def _token(status: int, body: bytes) -> str:
    token = line(peek(body).get("access_token"), 8000) if status == 200 else None
    if token is None:
        raise ValueError(f"no token: HTTP {status}")
    return token


def _key_call(kid: str, account: Account, secrets: Secrets, token: str) -> HttpCall:
    url = f"{originals.api(account, secrets)}/commerce/notification/v1/public_key/{kid}"
    return HttpCall("GET", url, {"authorization": f"Bearer {token}"}, b"")


def _read_key(status: int, body: bytes) -> VerifyKey | None:
    """Return the key, or None if eBay knows none with this id. Raises ValueError for any other answer."""
    if status in {400, 404}:
        return None
    said = peek(body)
    if status != 200 or not isinstance(said.get("key"), str):
        raise ValueError(f"no key: HTTP {status}")
    digest = _DIGESTS.get(str(said.get("digest")).upper().replace("-", ""))
    if digest is None:
        raise ValueError("the digest of the key is unknown")
    try:
        key = load_der_public_key(base64.b64decode(_PEM.sub("", said["key"])))
    except UnsupportedAlgorithm as fault:
        raise ValueError(str(fault)) from fault
    if not isinstance(key, EllipticCurvePublicKey):
        raise ValueError("the key is not an ECDSA key")  # noqa: TRY004 - eBay's answer is wrong, no argument
    algorithm = ECDSA(digest())

    def check(signature: bytes, message: bytes) -> bool:
        try:
            key.verify(signature, message, algorithm)
        except InvalidSignature:
            return False
        return True

    return check


KEYS = KeySource(_login, _token, _key_call, _read_key)


def _refresh(account: Account, secrets: Secrets, refresh: str, now: datetime) -> HttpCall:  # noqa: ARG001 - OAuthFlow's
    form = {"grant_type": "refresh_token", "refresh_token": refresh}
    return _token_call(account, secrets, urlencode(form).encode())


OAUTH = OAuthFlow(_refresh, originals.grant)


# --- Messages. ---


def _data(document: Mapping[str, Any]) -> Mapping[str, Any]:
    return obj(obj(document.get("notification")).get("data"))


def parse(record: InboundRecord, account: Account, accounts: Accounts, secrets: Secrets) -> Sequence[Inbound]:  # noqa: ARG001
    """Return the message of a NEW_MESSAGE; other topics, and messages of our own, have none."""
    document = read_object(record.body)
    topic = obj(document.get("metadata")).get("topic")
    if not isinstance(topic, str):
        raise Unreadable("a notification without a topic")
    if topic != "NEW_MESSAGE":
        return []
    data = _data(document)
    sender = line(data.get("senderUserName") or data.get("senderUsername"), 200)
    if _is_of(sender, account) or (sender is None and not data.get("messageBody")):
        return []  # our own message; or the test of a subscription, which has ids only
    return [_message(data, sender, _owner(data, account, accounts), record.received_at)]


def _owner(data: Mapping[str, Any], account: Account, accounts: Accounts) -> Account:
    """Return the account that the message is for, whatever URL it came to: eBay signs for all with the same keys."""
    recipient = line(data.get("recipientUserName") or data.get("recipientUsername"), 200)
    return account if recipient is None else accounts.external(NAME, recipient) or account


def _is_of(name: str | None, account: Account) -> bool:
    """Whether this is the account's user name, which eBay writes in any case."""
    return name is not None and name.casefold() == (account.external_id or "").casefold()


def _message(data: Mapping[str, Any], sender: str | None, account: Account, received_at: datetime) -> InboundMessage:
    identifier, conversation = line(data.get("messageId"), 200), line(data.get("conversationId"), 200)
    if identifier is None or conversation is None or sender is None:
        raise Unreadable("a message without messageId, conversationId or sender")
    by_ebay = data.get("conversationType") == "FROM_EBAY"
    text = text_or_empty(data.get("messageBody"))
    reference = obj(data.get("reference"))
    own = account.market.market()
    return InboundMessage(
        channel=CHANNEL,
        account=account.name,
        message_id=identifier,
        sender=Sender(
            (Identity(channel=CHANNEL, account=account.name, id=sender, verified=True),), name=sender, address=sender
        ),
        conversation=conversation,
        sent_at=_instant(data.get("createdDate"), received_at),
        text=html_to_text(text, MAX_TEXT) if by_ebay else text,
        html=by_ebay,
        subject=line(data.get("subject")),
        parts=tuple(_part(each) for each in objects(data.get("messageMedia")) if line(each.get("mediaUrl"), 2000)),
        automated_because="a message of eBay" if by_ebay else None,
        listing=line(reference.get("referenceId"), 200) if reference.get("referenceType") == "LISTING" else None,
        shop=account.external_id,
        market=Market(marketplace=own.marketplace or NAME, country=own.country),
    )


def _part(media: Mapping[str, Any]) -> Part:
    kind = str(media.get("mediaType")).upper()
    return Part(
        line(media.get("mediaName"), 200) or "file",
        _MEDIA.get(kind, "application/octet-stream"),
        ref=line(media.get("mediaUrl"), 2000),
    )


def _instant(value: object, fallback: datetime) -> datetime:
    try:
        return to_instant(datetime.fromisoformat(str(value)))
    except (ValueError, OverflowError):
        return fallback


# --- Replies. ---


def render(reply: OutgoingReply, account: Account, secrets: Secrets) -> HttpCall:
    """Return the call of sendMessage, in the conversation."""
    if not reply.text.strip():
        raise Unsendable("eBay takes no message without a text")
    if not reply.conversation:
        raise Unsendable("the ticket has no conversation at eBay")
    if len(reply.files) > MAX_FILES:
        raise Unsendable(f"eBay takes at most {MAX_FILES} files per message")
    media = [
        {
            "mediaName": line(file.name, 100) or "file",
            "mediaType": "IMAGE" if file.media_type.startswith("image/") else _kind(file.media_type),
            "mediaUrl": public_url(file, "eBay"),
        }
        for file in reply.files
    ]
    document: dict[str, Any] = {"conversationId": reply.conversation, "messageText": reply.text}
    headers = {**originals.bearer_token(account, secrets), "content-type": "application/json"}
    url = f"{originals.api(account, secrets)}/commerce/message/v1/send_message"
    return HttpCall("POST", url, headers, json_body({**document, "messageMedia": media} if media else document))


def _kind(media_type: str) -> str:
    kind = next((kind for kind, known in _MEDIA.items() if known == media_type), None)
    if kind is None:
        raise Unsendable(f"eBay takes pictures, PDF, Word and text files, not {line(media_type, 60)}")
    return kind


def outcome(status: int, headers: Mapping[str, str], body: bytes) -> SendOutcome:
    """Return the outcome, with the id that eBay gave the message."""
    return read_answer(status, headers, body, "messageId")


def original(file: Attachment, account: Account, secrets: Secrets) -> HttpCall:  # noqa: ARG001 - the URL is public
    """Return the request for a file. Raises Unsendable without a URL."""
    return originals.by_url(file)


def message_ids(body: bytes) -> list[str] | None:
    """Return the message's id; none for other topics."""
    document = peek(body, len(body))
    if document["metadata"]["topic"] != "NEW_MESSAGE":
        return []
    data = document["notification"]["data"]
    said = data.get("senderUserName") or data.get("senderUsername") or data.get("messageBody")
    return [str(data["messageId"])] if said else []
