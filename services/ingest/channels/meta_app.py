"""What the channels of a Meta app share: its signature, its verification request, its API's answers.

Rule: nothing here knows messages. WhatsApp's are in meta.py, those of Messenger and Instagram in meta_messaging.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from contracts.tickets import FailureReason
from kit.policy.secrets import Secrets
from services.ingest.accounts import Account
from services.ingest.channels.channel import RECEIPT, Answer, Challenge, Forged, Request, is_one_of, require_hmac
from services.ingest.channels.reading import obj, peek, read_answer
from services.ingest.core.messages import SendFailure, SendOutcome

SUCCESS = Answer(200, RECEIPT)
"""Meta redelivers webhooks that are not answered with 200, and finally disables them."""
_CONFIGURATION = {102, 190}
"""Codes about the access token, which operators will renew."""
_TEMPORARY = {1, 2, 4, 17, 32, 341, 613, 1200, 80006, 80007, 130429, 131016, 131056}
"""Codes of rate limits and of an API that is unavailable; they come with status 400, 403 or 500."""
_LATE = {131047}
_LATE_BY_SUBCODE = {2018065, 2018278, 2534022}
"""Codes for a message outside the time in which the customer may be answered."""


def verify(request: Request, account: Account, secrets: Secrets, now: datetime) -> None:  # noqa: ARG001 - no timestamp
    """Verify `X-Hub-Signature-256: sha256=…`, the hex HMAC of the body with the app secret."""
    scheme, _, digest = request.headers.get("x-hub-signature-256", "").partition("=")
    try:
        signature = bytes.fromhex(digest) if scheme == "sha256" else b""
    except ValueError:
        signature = b""
    if not signature:
        raise Forged("missing")
    require_hmac(signature, account, secrets, request.body)


def challenge(request: Request, account: Account, secrets: Secrets) -> Answer | None:
    """Return hub.challenge if hub.verify_token is one of the account's, else None."""
    token, answer = request.query.get("hub.verify_token", ""), request.query.get("hub.challenge", "")
    valid = is_one_of(token, secrets.secrets(account.verify_token))
    if request.query.get("hub.mode") != "subscribe" or not valid:
        return None
    if not (len(answer) <= 1000 and answer.isascii() and answer.isalnum()):
        return None
    return Answer(200, answer.encode(), "text/plain; charset=utf-8")


CHALLENGES: Mapping[str, Challenge] = {"GET": challenge}


def outcome(status: int, headers: Mapping[str, str], body: bytes, *path: str | int) -> SendOutcome:
    """Return the outcome for the API's response; `path` leads to the id of a message that was sent.

    The status does not tell what to do about an error; its code does (Meta, "Handle errors").
    """
    read = read_answer(status, headers, body, *path)
    if not isinstance(read, SendFailure):
        return read
    fault: Mapping[str, Any] = obj(peek(body).get("error"))
    code, subcode = (value if isinstance(value := fault.get(name), int) else None for name in ("code", "error_subcode"))
    if code in _LATE or subcode in _LATE_BY_SUBCODE:
        return replace(read, permanent=True, why=FailureReason.WINDOW_CLOSED)
    if code in _CONFIGURATION or code in _TEMPORARY or fault.get("is_transient") is True:
        return replace(read, permanent=False)
    return read
