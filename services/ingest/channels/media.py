"""Files on WhatsApp (Cloud API, "Media").

A file to send is referred to by its URL, or uploaded first if it has none. Customers' files are fetched by media id.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from contracts.ticket import Attachment
from kit.policy.secrets import Secrets
from services.ingest.accounts import Account
from services.ingest.channels import originals
from services.ingest.channels.reading import line, peek, read_answer
from services.ingest.core.messages import File, HttpCall, SendFailure, Upload

Message = Callable[[str, Mapping[str, Any]], HttpCall]
"""(Type, content) -> the request that sends a message of this type, such as `document`."""

_KINDS = {"image/jpeg": "image", "image/png": "image", "video/mp4": "video", "video/3gpp": "video"}
_KINDS |= {f"audio/{each}": "audio" for each in ("aac", "amr", "mpeg", "mp4", "ogg")}
"""Media type -> message type; others are sent as documents, and the API may refuse them."""


def render(file: File, url: str, login: Mapping[str, str], message: Message) -> HttpCall | Upload:
    """Return the message for a file, preceded by an upload to `url` if the file has no URL."""
    media_type = line(file.media_type.lower(), 100) or "application/octet-stream"
    name = line(file.name, 200) or "file"
    kind = _KINDS.get(media_type, "document")
    shown = {"filename": name} if kind == "document" else {}
    if file.url is not None:
        return message(kind, {"link": file.url, **shown})

    def then(status: int, body: bytes) -> HttpCall | SendFailure:
        taken = read_answer(status, {}, body, "id")
        if isinstance(taken, SendFailure):
            return replace(taken, unsure=False)  # the message itself has not been sent
        if taken.channel_message_id is None:
            return SendFailure("the upload was answered without an id", permanent=False)
        return message(kind, {"id": taken.channel_message_id, **shown})

    content_type, body = form(
        {"messaging_product": "whatsapp", "type": media_type}, name, media_type, file.content or b""
    )
    return Upload(HttpCall("POST", url, {"content-type": content_type, **login}, body), then)


def original(file: Attachment, account: Account, secrets: Secrets) -> HttpCall | Upload:
    """Return two requests: the first returns the file's URL, valid for five minutes (Meta, "Retrieve Media URL")."""
    if file.media_id is None:
        return originals.by_url(file)
    api, login = originals.api(account, secrets), originals.bearer(account, secrets)

    def then(status: int, body: bytes) -> HttpCall | SendFailure:
        url = line(peek(body).get("url"), 4000)
        if status != 200 or url is None:
            return SendFailure(f"HTTP {status}: the answer has no file URL", permanent=False)
        return HttpCall("GET", url, login, b"")

    return Upload(HttpCall("GET", f"{api}/{quote(file.media_id, safe='')}", login, b""), then)


def form(
    fields: Mapping[str, str], name: str, media_type: str, content: bytes, field: str = "file"
) -> tuple[str, bytes]:
    """Return content type and body of a `multipart/form-data` request (RFC 7578) with fields and a file in `field`."""
    boundary = hashlib.sha256(content).hexdigest()
    quoted = name.replace("%", "%25").replace('"', "%22")
    parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in fields.items()]
    parts.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="{quoted}"\r\n'
        f"Content-Type: {media_type}\r\n\r\n"
    )
    body = "".join(parts).encode() + content + f"\r\n--{boundary}--\r\n".encode()
    return f"multipart/form-data; boundary={boundary}", body
