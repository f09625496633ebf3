"""KakaoTalk: a chatbot's skill requests; replies by the Event API.

Kakao signs nothing and numbers no messages: a secret header stands for the first, the callback's URL for the second.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from contracts.contacts import Identity
from contracts.inbound import InboundRecord
from contracts.ticket import Attachment, Channel
from kit.policy.secrets import Secrets
from services.ingest.accounts import Account, Accounts
from services.ingest.channels import originals
from services.ingest.channels.channel import (
    Answer,
    Challenge,
    Request,
    document_of,
    json_body,
    public_url,
    require_token,
)
from services.ingest.channels.reading import (
    PEEK_BYTES,
    clean,
    each,
    line,
    obj,
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
    SendFailure,
    SendOutcome,
    Sent,
    Unreadable,
    Unsendable,
)

CHANNEL = Channel.KAKAOTALK.value
NAME = CHANNEL
NEEDS: tuple[str, ...] = ("signing", "external_id")
ONE_FILE_PER_MESSAGE = False
HEADERS: frozenset[str] = frozenset()
ACCOUNT_BY_SECRET = False
SUCCESS = Answer(200, b'{"version":"2.0","data":{"receipt":"%s"}}')
"""The answer of a skill without bubbles: the bot shows those of its block, which may contain {{#webhook.receipt}}."""
REFUSAL_STATUS = 401
CHALLENGES: Mapping[str, Challenge] = {}
#: The Event API accepts no idempotency key.
IDEMPOTENT = False
_TEXT_LIMIT = 1000
_MEDIA_TYPES = {"image": "image/jpeg", "video": "video/mp4", "audio": "audio/mp4"}
_MAX_PICTURES = 10
_URL_CHARACTERS = 4000
_URL = re.compile(r"https://[^\s,()\"']{1,2000}")


def account_id(request: Request) -> str | None:
    """Return the bot's id. That of its development channel ends with `!`."""
    if len(request.body) > PEEK_BYTES:
        return None
    identifier = line(obj(request.cached(peek).get("bot")).get("id"))
    return identifier.removesuffix("!") if identifier else None


def verify(request: Request, account: Account, secrets: Secrets, now: datetime) -> None:  # noqa: ARG001 - no timestamp
    """Verify `X-Skill-Token`, a header that the bot's operators set for the skill. Nothing is signed."""
    require_token(request.headers.get("x-skill-token", ""), account, secrets)


def _user(asked: Mapping[str, Any]) -> str | None:
    return line(obj(asked.get("user")).get("id"))


def contact_key(request: Request) -> str | None:
    """Return the user's id."""
    return _user(obj(document_of(request).get("userRequest")))


def parse(record: InboundRecord, account: Account, accounts: Accounts, secrets: Secrets) -> list[Inbound]:  # noqa: ARG001
    """Return what the user wrote. A block that runs without an utterance, such as the bot's welcome, is silent."""
    document = read_object(record.body)
    asked = obj(document.get("userRequest"))
    if not asked:
        raise Unreadable("no userRequest: not a skill request of Kakao")
    parts = tuple(_parts(asked, obj(document.get("action"))))
    text = text_or_empty(asked.get("utterance")).strip()
    if not text and not parts:
        return []
    return list(each([asked], lambda asked: _message(asked, text, parts, record, account)))


def _message(
    asked: Mapping[str, Any], text: str, parts: tuple[Part, ...], record: InboundRecord, account: Account
) -> InboundMessage:
    user = _user(asked)
    if user is None:
        raise Unreadable("a skill request without a user")
    if len(parts) == 1 and text == parts[0].ref:  # the utterance of a picture is its address
        text = ""
    return InboundMessage(
        channel=CHANNEL,
        account=account.name,
        # A callback's URL is made for one request. Without it, equal texts are two messages, and Kakao repeats none.
        message_id=line(asked.get("callbackUrl"), _URL_CHARACTERS) or f"receipt:{record.receipt}",
        sender=Sender((Identity(channel=CHANNEL, account=account.name, id=user, verified=True),), address=user),
        conversation=user,
        sent_at=record.received_at,
        text=text,
        parts=parts,
    )


def _parts(asked: Mapping[str, Any], action: Mapping[str, Any]) -> Iterator[Part]:
    """Yield a picture, film or sound sent to the bot, and pictures from the plugin for secure images."""
    media = obj(obj(asked.get("params")).get("media"))
    kind, url = line(media.get("type"), 40) or "file", line(media.get("url"), 2000)
    if url is not None and _URL.fullmatch(url.replace("http://", "https://", 1)):
        yield Part(kind, _MEDIA_TYPES.get(kind, "application/octet-stream"), ref=url)
    for value in obj(action.get("params")).values():
        if isinstance(value, str) and '"secureUrls"' in value:
            listed = text_or_empty(peek(value.encode("utf-8", "replace")).get("secureUrls"))
            for number, found in enumerate(_URL.findall(listed)[:_MAX_PICTURES]):
                yield Part(f"image-{number + 1}", "image/jpeg", ref=found)


def render(reply: OutgoingReply, account: Account, secrets: Secrets) -> HttpCall:
    """Return a call of the Event API, which has the bot show an event's block with our text. Files are linked."""
    if not reply.to or not (reply.text.strip() or reply.files):
        raise Unsendable("a message needs a recipient and a text or a file")
    if not account.username:
        raise Unsendable(f"{account.name} has no username, the bot's event for replies: answer in Kakao's own tools")
    text = "\n".join(filter(None, [clean(reply.text), *(public_url(file, "KakaoTalk") for file in reply.files)]))
    if len(text) > _TEXT_LIMIT:
        raise Unsendable(f"KakaoTalk takes at most {_TEXT_LIMIT} characters")
    document = {
        "event": {"name": secrets.expand(account.username), "data": {"text": text}},
        "user": [{"type": "botUserKey", "id": reply.to}],
    }
    headers = {"content-type": "application/json", "authorization": f"KakaoAK {secrets.secret(account.access)}"}
    bot = quote(account.external_id or "", safe="")
    return HttpCall("POST", f"{originals.api(account, secrets)}/v2/bots/{bot}/talk", headers, json_body(document))


def outcome(status: int, headers: Mapping[str, str], body: bytes) -> SendOutcome:
    """Read the response, whose status is 200 even if its `status` is not SUCCESS: `taskId` stands for the message."""
    found, answer = read_answer(status, headers, body, "taskId"), peek(body)
    if not isinstance(found, Sent) or answer.get("status") == "SUCCESS":
        return found
    state = line(answer.get("status"), 20) or "an answer without status"
    reason = " ".join(filter(None, (state, line(answer.get("message"), 300))))
    return SendFailure(f"KakaoTalk: {reason}", permanent=state == "FAIL", unsure=state != "FAIL")


def original(file: Attachment, account: Account, secrets: Secrets) -> HttpCall:  # noqa: ARG001 - no login
    """Return the request for a file by its URL, which Kakao keeps for a while."""
    return originals.by_url(file)


def message_ids(body: bytes) -> list[str] | None:
    """Return the callback's URL; None if there is none, since only the record has an id then."""
    document = json.loads(body)
    asked = document["userRequest"]
    pictures = "media" in asked.get("params", {}) or any("secureUrls" in str(each) for each in document.values())
    if not pictures and not asked.get("utterance", "").strip():
        return []
    return [asked["callbackUrl"]] if asked.get("callbackUrl") else None
