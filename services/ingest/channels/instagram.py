"""Instagram: what is its own. The rest it shares with its sister (meta_messaging.py) and with all of a Meta app."""

from __future__ import annotations

from collections.abc import Mapping

from contracts.inbound import InboundRecord
from contracts.ticket import Attachment, Channel
from kit.policy.secrets import Secrets
from services.ingest.accounts import Account, Accounts
from services.ingest.channels import meta_app, meta_messaging
from services.ingest.channels.meta_messaging import Platform
from services.ingest.core.messages import HttpCall, Inbound, OutgoingReply, SendOutcome, Unsendable

CHANNEL = Channel.INSTAGRAM.value
NAME = CHANNEL
NEEDS: tuple[str, ...] = ("signing", "external_id")
ONE_FILE_PER_MESSAGE = True
WINDOW = meta_messaging.WINDOW
HEADERS: frozenset[str] = frozenset()
ACCOUNT_BY_SECRET = True
SUCCESS = meta_app.SUCCESS
REFUSAL_STATUS = 401
CHALLENGES = meta_app.CHALLENGES
#: The Send API accepts no idempotency key.
IDEMPOTENT = False
_TEXT_BYTES = 1000
_PLATFORM = Platform(channel=CHANNEL, object="instagram", name="Instagram", takes_bytes=False)

account_id = meta_messaging.account_id
contact_key = meta_messaging.contact_key
message_ids = meta_messaging.message_ids
verify = meta_app.verify


def parse(record: InboundRecord, account: Account, accounts: Accounts, secrets: Secrets) -> list[Inbound]:  # noqa: ARG001
    """Return the messages and statuses of all entries."""
    return meta_messaging.parse(record, account, accounts, _PLATFORM)


def render(reply: OutgoingReply, account: Account, secrets: Secrets) -> HttpCall:
    """Return one message: a text or a file."""
    if len(reply.text.encode(errors="replace")) > _TEXT_BYTES:
        raise Unsendable(f"Instagram takes at most {_TEXT_BYTES} bytes of UTF-8")
    return meta_messaging.render(reply, account, secrets, _PLATFORM)


def outcome(status: int, headers: Mapping[str, str], body: bytes) -> SendOutcome:
    """Read the response: `message_id` is the message's id."""
    return meta_app.outcome(status, headers, body, "message_id")


def original(file: Attachment, account: Account, secrets: Secrets) -> HttpCall:  # noqa: ARG001 - the URL is signed
    """Return the request for a file by its URL, which expires after some days."""
    return meta_messaging.original(file)
