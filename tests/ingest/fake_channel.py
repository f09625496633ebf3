"""A channel that does not exist, as small as a channel can be: for tests that add one to the table.

Its provider signs the body with hex HMAC-SHA256 in `x-fake-signature` and keeps pictures under an id.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime

from contracts.contacts import Identity
from contracts.inbound import InboundRecord
from contracts.ticket import Attachment, Channel
from kit.policy.secrets import Secrets
from services.ingest.accounts import Account, Accounts
from services.ingest.channels import originals
from services.ingest.channels.channel import (
    RECEIPT,
    Answer,
    Challenge,
    Forged,
    Request,
    document_of,
    hmac_is_one_of,
    json_body,
)
from services.ingest.channels.reading import clean, each, line, objects, read_answer, read_object
from services.ingest.core.messages import (
    HttpCall,
    Inbound,
    InboundMessage,
    OutgoingReply,
    Part,
    Sender,
    SendOutcome,
    Unreadable,
)

NAME = "fake"
CHANNEL = Channel.MARKETPLACE.value
NEEDS: tuple[str, ...] = ("signing", "external_id")
ONE_FILE_PER_MESSAGE = False
HEADERS: frozenset[str] = frozenset()
ACCOUNT_BY_SECRET = False
SUCCESS = Answer(200, RECEIPT)
REFUSAL_STATUS = 401
CHALLENGES: Mapping[str, Challenge] = {}
IDEMPOTENT = False


def account_id(request: Request) -> str | None:
    return line(document_of(request).get("page"))


def verify(request: Request, account: Account, secrets: Secrets, now: datetime) -> None:
    given = request.headers.get("x-fake-signature", "").encode()
    if not given:
        raise Forged("missing")
    try:
        digest = bytes.fromhex(given.decode())
    except ValueError:
        raise Forged("signature") from None
    if not hmac_is_one_of([digest], [key.encode() for key in secrets.secrets(account.signing)], request.body):
        raise Forged("signature")


def contact_key(request: Request) -> str | None:
    return None


def parse(record: InboundRecord, account: Account, accounts: Accounts, secrets: Secrets) -> list[Inbound]:
    messages = read_object(record.body).get("messages")
    return list(each(objects(messages), lambda message: _message(message, account, record.received_at)))


def _message(message: Mapping[str, object], account: Account, received_at: datetime) -> InboundMessage:
    identifier, person, picture = line(message.get("id")), line(message.get("from")), line(message.get("picture"))
    if identifier is None or person is None:
        raise Unreadable("a message without id or sender")
    return InboundMessage(
        channel=CHANNEL,
        account=account.name,
        message_id=identifier,
        sender=Sender((Identity(channel=CHANNEL, account=account.name, id=person, verified=True),), address=person),
        conversation=person,
        sent_at=received_at,
        text=clean(str(message.get("text", ""))),
        parts=(Part("picture.jpg", "image/jpeg", ref=picture),) if picture else (),
    )


def render(reply: OutgoingReply, account: Account, secrets: Secrets) -> HttpCall:
    body = json_body({"to": reply.to, "text": reply.text})
    return HttpCall("POST", f"{originals.api(account, secrets)}/messages", originals.bearer(account, secrets), body)


def outcome(status: int, headers: Mapping[str, str], body: bytes) -> SendOutcome:
    return read_answer(status, headers, body, "id")


def original(file: Attachment, account: Account, secrets: Secrets) -> HttpCall:
    url = f"{originals.api(account, secrets)}/pictures/{file.media_id}"
    return HttpCall("GET", url, originals.bearer(account, secrets), b"")


def message_ids(body: bytes) -> list[str]:
    return [message["id"] for message in json.loads(body)["messages"]]
