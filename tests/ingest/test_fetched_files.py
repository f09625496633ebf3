"""What comes from a channel in place of a file, and is not kept as one."""

from __future__ import annotations

import json

import pytest

from services.ingest.files import NotFetched
from tests.ingest.channels import samples as s
from tests.ingest.worker_rig import Worker

CDN, LOGIN = "https://lookaside.example/1", "https://login.example/"


@pytest.mark.parametrize("media_type", ["image/jpeg", "text/html"])
async def test_a_page_to_log_in_is_not_kept_as_the_file(media_type: str) -> None:
    worker = Worker()
    message = {"type": "document", "document": {"id": "1", "mime_type": media_type}}
    text = {name: value for name, value in s.wa_text("x").items() if name != "text"}
    await worker.take(worker.raw(s.whatsapp({**text, **message}), "wa-th", "whatsapp"))
    (file,) = worker.events()[-1].data.message.attachments
    worker.channel.kept = {
        "https://graph.example/v25.0/1": (200, {}, json.dumps({"url": CDN}).encode()),
        CDN: (302, {"location": LOGIN}, b""),
        LOGIN: (200, {"content-type": "text/html; charset=utf-8"}, b"<html>"),
    }
    if media_type == "text/html":
        assert await worker.files.read(file.ref, worker.ticket()) == b"<html>"
        return
    with pytest.raises(NotFetched, match="may the token read files") as fault:
        await worker.files.read(file.ref, worker.ticket())
    assert not fault.value.permanent
    worker.channel.kept[CDN] = (200, {"content-type": media_type}, b"bytes")
    assert await worker.files.read(file.ref, worker.ticket()) == b"bytes"
