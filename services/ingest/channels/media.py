"""Files on WhatsApp (Cloud API, "Media").

Ours: by URL where there is one, else uploaded first, then named by the message. Theirs: fetched by the id of the media.
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
from services.ingest.channels.reading import glance, line, read_answer
from services.ingest.core.messages import File, HttpCall, SendFailure, Upload

Message = Callable[[str, Mapping[str, Any]], HttpCall]
"""Makes the message of a kind (`document`) with its content."""

_KINDS = {"image/jpeg": "image", "image/png": "image", "video/mp4": "video", "video/3gpp": "video"}
_KINDS |= {f"audio/{each}": "audio" for each in ("aac", "amr", "mpeg", "mp4", "ogg")}
"""What is shown as itself; anything else is a document, and the API says which of those it takes."""


def render(file: File, url: str, login: Mapping[str, str], message: Message) -> HttpCall | Upload:
    """The message of a file; `url` is where files are uploaded to."""
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
    """Two requests: the first says where the file is for the next five minutes (Meta, "Retrieve Media URL")."""
    if file.media_id is None:
        return originals.by_url(file)
    api, login = originals.api(account, secrets), originals.bearer(account, secrets)

    def then(status: int, body: bytes) -> HttpCall | SendFailure:
        url = line(glance(body).get("url"), 4000)
        if status != 200 or url is None:
            return SendFailure(f"HTTP {status}: the file's address was not told", permanent=False)
        return HttpCall("GET", url, login, b"")

    return Upload(HttpCall("GET", f"{api}/{quote(file.media_id, safe='')}", login, b""), then)


def form(fields: Mapping[str, str], name: str, media_type: str, content: bytes) -> tuple[str, bytes]:
    """A `multipart/form-data` body (RFC 7578) of fields and one `file`, and its content type."""
    boundary = hashlib.sha256(content).hexdigest()
    quoted = name.replace("%", "%25").replace('"', "%22")
    parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in fields.items()]
    parts.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{quoted}"\r\n'
        f"Content-Type: {media_type}\r\n\r\n"
    )
    body = "".join(parts).encode() + content + f"\r\n--{boundary}--\r\n".encode()
    return f"multipart/form-data; boundary={boundary}", body
