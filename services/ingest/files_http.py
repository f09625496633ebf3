"""Files over REST: download a file of a visible ticket, and upload files for replies.

Rule: files come from unauthenticated senders, so browsers must never render them: every response is a download.
"""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import quote

from fastapi import Depends, Path, Query, Request
from fastapi.responses import Response

from contracts.ticket import Attachment, Ticket
from kit.base.tokens import LIMITS, Caller
from kit.doors.http import Problem, Router, requires
from kit.protocol.outbox import Documents
from services.ingest.channels.reading import line
from services.ingest.core.state import TicketState
from services.ingest.files import Files, NotFetched
from services.ingest.visibility import Reader, reaches

_MEDIA_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,99}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,99}")
_DEFAULT_TYPE = "application/octet-stream"
_BINARY = {"schema": {"type": "string", "format": "binary"}}

Ref = Annotated[str, Path(min_length=1, max_length=200, description="Id of the file: `ref` of an attachment.")]
Name = Annotated[str, Query(min_length=1, max_length=200, description="File name.")]
Uploader = Annotated[Caller, Depends(requires("commands:write", keeps=LIMITS))]


def files_router(files: Files, tickets: Documents[TicketState]) -> Router:
    """Return the routes."""
    router = Router(tags=["files"])

    @router.get(
        "/v1/files/{ref}",
        response_class=Response,
        responses={200: {"description": "The bytes, as a download", "content": {"*/*": _BINARY}}},
    )
    async def read(ref: Ref, caller: Reader) -> Response:
        """Return a file of a ticket that the token may see, or its own upload. A file kept by a channel is fetched."""
        ticket, file = await _find_visible(ref, caller)
        try:
            body = None if file is None else await files.read(ref, ticket)
        except NotFetched as fault:
            status, retry = (502, {}) if fault.permanent else (503, {"retry-after": "10"})
            raise Problem(status, "The channel did not return the file", str(fault), headers=retry) from None
        if file is None or body is None:
            raise Problem(404, "Unknown file")
        return _download(file, body)

    @router.post(
        "/v1/files",
        status_code=201,
        openapi_extra={"requestBody": {"required": True, "content": {"*/*": _BINARY}}},
    )
    async def upload(request: Request, name: Name, caller: Uploader) -> Attachment:
        """Upload a file to attach to a reply.

        Only replies of the same token may use it. It is deleted after 24 hours (by default) unless a reply uses it.
        """
        shown = line(name, 200)
        if shown is None:
            raise Problem(422, "Invalid file name", "It must have visible characters")
        body = await request.body()
        if not body:
            raise Problem(422, "The file is empty")
        return await files.upload(caller.name, shown, _media_type(request.headers.get("content-type")), body)

    async def _find_visible(ref: str, caller: Caller) -> tuple[Ticket | None, Attachment | None]:
        holders = await files.holders(ref)
        docs = await tickets.load([ticket for ticket, _ in holders])
        for ticket_id, file in holders:
            state = docs[ticket_id].state
            if state is not None and state.ticket is not None and reaches(caller, state.ticket):
                return state.ticket, file
        return None, (await files.uploads([ref], caller.name)).get(ref)

    return router


def _media_type(declared: str | None) -> str:
    media_type = (declared or "").split(";", 1)[0].strip().lower()
    return media_type if _MEDIA_TYPE.fullmatch(media_type) else _DEFAULT_TYPE


def _download(file: Attachment, body: bytes) -> Response:
    headers = {
        "content-disposition": f"attachment; filename*=UTF-8''{quote(file.name, safe='', errors='replace')}",
        "content-security-policy": "sandbox; default-src 'none'",
        "x-content-type-options": "nosniff",
        "cache-control": "private, no-store",
    }
    return Response(body, headers=headers, media_type=_media_type(file.media_type))
