"""Files: a reply names those of its ticket or of its own token, the door gives bytes to who may see the ticket."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from email.message import EmailMessage
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from contracts.commands import Merge, Reply
from contracts.ticket import Attachment, Status
from kit.base.settings import ServiceSettings
from kit.doors.http import door
from services.ingest import blobs
from services.ingest.core.messages import HttpCall, MailOut, Upload
from services.ingest.files_http import files_router
from services.ingest.reply_delivery import FILE_SLOTS
from tests.ingest.channels import samples as s
from tests.ingest.sender_rig import ALL, FakeTransport, sender, served
from tests.ingest.worker_rig import AGENT, Worker

PDF = b"%PDF-1.7"
TOKENS = {
    "crm": "tickets:read,commands:write",
    "erp": "tickets:read,commands:write",
    "nimbus": "tickets:read brands=nimbus",
    "korale": "tickets:read brands=korale",
    "wa": "tickets:read accounts=wa-th",
    "writer": "commands:write brands=nimbus authors=bot/x",
}


@pytest.fixture
def worker() -> Worker:
    return Worker()


@pytest.fixture
async def http(worker: Worker) -> AsyncIterator[httpx.AsyncClient]:
    tokens = [f"{name}:{hashlib.sha256(name.encode()).hexdigest()}:{scopes}" for name, scopes in TOKENS.items()]
    app = door("test", ServiceSettings(tokens=SecretStr(";".join(tokens))), max_body=1000)
    app.include_router(files_router(worker.files, worker.tickets))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
        yield client


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def get(http: httpx.AsyncClient, ref: str, token: str = "crm") -> httpx.Response:
    return await http.get(f"/v1/files/{ref}", headers=bearer(token))


async def put(http: httpx.AsyncClient, token: str = "crm", content: bytes = PDF, name: str = "label.pdf") -> Any:
    headers = {**bearer(token), "content-type": "application/pdf; x=y"}
    answer = await http.post("/v1/files", params={"name": name}, content=content, headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def mailed(worker: Worker, number: str = "1", name: str = "photo.png", content: bytes = b"PNG") -> Attachment:
    """A mail with a file: its ticket is the worker's last one."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Message-ID"] = "jan@example.org", "support@nimbus.example", f"<{number}@x>"
    mail.set_content("Look")
    mail.add_attachment(content, maintype="image", subtype="png", filename=name)
    await worker.take(worker.raw(mail.as_bytes(), "support-nimbus", "email"))
    (file,) = worker.events()[-1].data.message.attachments
    assert isinstance(file, Attachment)
    return file


async def chatted(worker: Worker, **file: Any) -> Attachment:
    """A chat message whose file the connector keeps."""
    told = {"name": "box.jpg", "media_type": "image/jpeg", "url": "https://cdn.example/box.jpg", **file}
    await worker.take(worker.says("Look", "m1", attachments=[told]))
    (kept,) = worker.events()[-1].data.message.attachments
    assert isinstance(kept, Attachment)
    return kept


def attached(ref: str | None, **fields: Any) -> Attachment:
    return Attachment(name="label.pdf", media_type="application/pdf", ref=ref, **fields)


async def answer(worker: Worker, ticket: str, *files: Attachment, caller: str | None = "crm", number: str = "c") -> str:
    """What becomes of a reply with these files: waiting, or why it was refused."""
    limits = {} if caller is None else {"caller": caller}
    before = len(worker.events())
    await worker.take(worker.asks(Reply(by=AGENT, text="Here", attachments=files), ticket, number, **limits))
    told = worker.events()[before:]
    return told[0].data.reason if told else "waiting"


# --- Who may name which. ---


async def test_a_reply_names_files_of_its_own_ticket(worker: Worker) -> None:
    file = await mailed(worker)
    own = worker.ticket().id
    assert (file.media_id, file.url) == (None, None)
    assert await answer(worker, own, attached(file.ref)) == "waiting"
    other = await mailed(worker, "2")
    assert worker.ticket().id != own
    assert await answer(worker, own, attached(other.ref), number="c2") == "forbidden"
    assert await answer(worker, own, attached(file.ref), attached(other.ref), number="c3") == "forbidden"


async def test_a_body_that_a_door_left_by_claim_check_is_no_file(worker: Worker) -> None:
    await blobs.put(worker.store, "receipt-1", b"From: somebody else")
    await mailed(worker)
    assert await answer(worker, worker.ticket().id, attached("receipt-1")) == "forbidden"


async def test_a_reply_names_uploads_of_the_same_token(worker: Worker, http: httpx.AsyncClient) -> None:
    uploaded = await put(http, "crm")
    await mailed(worker)
    ticket = worker.ticket().id
    assert await answer(worker, ticket, attached(uploaded["ref"]), caller="erp") == "forbidden"
    assert await answer(worker, ticket, attached(uploaded["ref"]), caller=None, number="c2") == "forbidden"
    assert await answer(worker, ticket, attached(uploaded["ref"]), caller="crm", number="c3") == "waiting"


async def test_what_left_on_a_ticket_is_its_file_from_then_on(worker: Worker, http: httpx.AsyncClient) -> None:
    uploaded = await put(http, "crm")
    await mailed(worker)
    ticket = worker.ticket().id
    await answer(worker, ticket, attached(uploaded["ref"]))
    await served(sender(worker, FakeTransport(), *ALL))
    assert worker.types()[-2:] == ["message.sent", "ticket.status_changed"]
    assert await answer(worker, ticket, attached(uploaded["ref"]), caller="erp", number="c2") == "waiting"
    assert (await get(http, uploaded["ref"], "nimbus")).content == PDF


async def test_the_survivor_of_a_merge_has_the_files_of_the_merged_ticket(worker: Worker) -> None:
    await mailed(worker)
    old = worker.ticket().id
    file = await mailed(worker, "2")
    young = worker.ticket().id
    assert await answer(worker, old, attached(file.ref)) == "forbidden"
    await worker.take(worker.asks(Merge(by=AGENT, into=old), young))
    assert await answer(worker, old, attached(file.ref), number="c2") == "waiting"


async def test_a_ticket_has_the_files_of_what_was_merged_into_it_by_way_of_another(worker: Worker) -> None:
    await mailed(worker)
    old = worker.ticket().id
    await mailed(worker, "2")
    middle = worker.ticket().id
    file = await mailed(worker, "3")
    young = worker.ticket().id
    await worker.take(worker.asks(Merge(by=AGENT, into=middle), young))
    assert await answer(worker, old, attached(file.ref)) == "forbidden"
    await worker.take(worker.asks(Merge(by=AGENT, into=old), middle, "c1b"))
    assert await answer(worker, old, attached(file.ref), number="c2") == "waiting"


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (attached(None), "invalid"),
        (attached("x", url="https://cdn.example/a.pdf"), "invalid"),
        (attached(None, url="https://cdn.example/a.pdf", media_id="1"), "invalid"),
        (attached(None, url="file:///etc/passwd"), "invalid"),
        (attached("https://cdn.example/a.pdf"), "forbidden"),
        (attached(None, url="https://cdn.example/a.pdf"), "waiting"),
    ],
)
async def test_a_file_is_named_by_its_id_or_by_a_url(worker: Worker, file: Attachment, reason: str) -> None:
    await mailed(worker)
    assert await answer(worker, worker.ticket().id, file) == reason


# --- What leaves. ---


async def sent_with(worker: Worker, wire: FakeTransport, *files: Attachment, **fields: Any) -> None:
    """A reply with these files, as far as it gets."""
    await worker.take(worker.asks(Reply(by=AGENT, text="Here", attachments=files, **fields), worker.ticket().id))
    for _ in range(4):
        await served(sender(worker, wire, *ALL))


async def test_files_that_are_kept_here_go_along(worker: Worker) -> None:
    wire, file = FakeTransport(), await mailed(worker)
    await sent_with(worker, wire, attached(file.ref))
    (mail,) = wire.sent
    assert isinstance(mail, MailOut)
    assert b"label.pdf" in mail.data


async def test_a_reply_whose_file_is_not_there_fails_and_says_so(worker: Worker) -> None:
    wire, file = FakeTransport(), await mailed(worker)
    del worker.store.rows["blobs"][file.ref or ""]
    await sent_with(worker, wire, attached(file.ref))
    assert wire.sent == []
    assert worker.types()[-1] == "message.failed"
    failed = worker.events()[-1].data
    assert (failed.permanent, "label.pdf" in failed.error) == (True, True)


async def test_on_whatsapp_the_text_and_each_file_leave_by_themselves_and_only_what_left_is_told(
    worker: Worker, http: httpx.AsyncClient
) -> None:
    wire = FakeTransport()
    await worker.take(worker.raw(s.whatsapp(s.wa_text("Where?")), "wa-th", "whatsapp"))
    refs = [(await put(http, name=name))["ref"] for name in ("label.pdf", "gone.pdf")]
    del worker.store.rows["blobs"][refs[1]]
    kept = Attachment(name="label.pdf", media_type="application/pdf", ref=refs[0])
    gone = Attachment(name="gone.pdf", media_type="application/pdf", ref=refs[1])
    linked = Attachment(name="box.jpg", media_type="image/jpeg", url="https://cdn.example/box.jpg")
    reply = Reply(by=AGENT, text="Here", attachments=(kept, gone, linked), status=Status.SOLVED)
    await worker.take(worker.asks(reply, worker.ticket().id, caller="crm"))
    for _ in range(4):
        await served(sender(worker, wire, *ALL))
    told = [
        (event.type.split(".")[2], event.data.message.text, [file.name for file in event.data.message.attachments])
        for event in worker.events()
        if event.type.startswith("deskbus.message.")
    ]
    assert told == [
        ("sent", "Here", []),
        ("sent", "", ["label.pdf"]),
        ("failed", "", ["gone.pdf"]),
        ("sent", "", ["box.jpg"]),
    ]
    assert [type(each) for each in wire.sent] == [HttpCall, Upload, HttpCall]
    assert worker.ticket().status == Status.SOLVED
    assert len({event.data.message.id for event in worker.events() if event.type.startswith("deskbus.message.")}) == 4


async def test_files_that_are_too_large_together_fail_before_anything_leaves(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.ingest.reply_delivery.MAX_FILES_BYTES", 10)
    wire, file = FakeTransport(), await mailed(worker, content=b"123456")
    await sent_with(worker, wire, attached(file.ref), attached(file.ref))
    assert (wire.sent, worker.types()[-1]) == ([], "message.failed")


async def test_a_file_that_the_channel_keeps_is_fetched_for_a_reply_and_waited_for(worker: Worker) -> None:
    wire, file = FakeTransport(), await chatted(worker)
    await sent_with(worker, wire, attached(file.ref))
    assert (wire.sent, worker.types()) == ([], ["ticket.opened"])
    worker.channel.kept["https://cdn.example/box.jpg"] = (200, {}, b"JPEG")
    worker.clock.advance(600)
    await served(sender(worker, wire, *ALL))
    assert (len(wire.sent), worker.types()[1]) == (1, "message.sent")


# --- The door. ---


async def test_the_door_gives_a_file_as_a_download_to_who_sees_its_ticket(
    worker: Worker, http: httpx.AsyncClient
) -> None:
    file = await mailed(worker, name='<b>"é.png')
    assert file.ref is not None
    given = await get(http, file.ref)
    assert (given.status_code, given.content) == (200, b"PNG")
    assert given.headers["content-type"] == "image/png"
    assert given.headers["content-disposition"] == "attachment; filename*=UTF-8''%3Cb%3E%22%C3%A9.png"
    assert given.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in given.headers["content-security-policy"]
    for token, status in {"nimbus": 200, "korale": 404, "wa": 404, "writer": 403}.items():
        assert (await get(http, file.ref, token)).status_code == status


async def test_what_is_no_file_is_not_given(worker: Worker, http: httpx.AsyncClient) -> None:
    await blobs.put(worker.store, "receipt-1", b"From: somebody else")
    for ref in ("receipt-1", "receipt-1:0", "nothing"):
        assert (await get(http, ref)).status_code == 404


async def test_an_upload_is_its_tokens_own(worker: Worker, http: httpx.AsyncClient) -> None:
    uploaded = await put(http, "crm")
    assert uploaded == {
        "name": "label.pdf", "media_type": "application/pdf", "size": len(PDF), "ref": uploaded["ref"],
        "inline": False, "media_id": None, "url": None,
    }  # fmt: skip
    assert (await get(http, uploaded["ref"], "crm")).content == PDF
    assert (await get(http, uploaded["ref"], "erp")).status_code == 404
    assert await put(http, "crm") == uploaded
    assert (await put(http, "erp"))["ref"] != uploaded["ref"]
    assert (await put(http, "crm", b"other"))["ref"] != uploaded["ref"]


@pytest.mark.parametrize(
    ("token", "name", "content", "status"),
    [
        ("nimbus", "a", b"x", 403),
        ("crm", "", b"x", 422),
        ("crm", "\x00", b"x", 422),
        ("crm", "a", b"", 422),
        ("crm", "a", b"x" * 1001, 413),
        ("writer", "a", b"x", 201),
    ],
)
async def test_an_upload_that_may_not_be_is_refused(
    http: httpx.AsyncClient, token: str, name: str, content: bytes, status: int
) -> None:
    answer = await http.post("/v1/files", params={"name": name}, content=content, headers=bearer(token))
    assert answer.status_code == status


# --- What channels keep. ---


async def test_a_file_that_the_channel_keeps_has_an_id_of_ours_and_is_fetched_once(
    worker: Worker, http: httpx.AsyncClient
) -> None:
    file = await chatted(worker)
    assert file.ref is not None
    assert (file.url, file.media_id) == ("https://cdn.example/box.jpg", None)
    worker.channel.kept["https://cdn.example/box.jpg"] = (302, {"location": "https://s3.example/x"}, b"")
    worker.channel.kept["https://s3.example/x"] = (200, {}, b"JPEG")
    for _ in range(2):
        assert (await get(http, file.ref)).content == b"JPEG"
    assert [url for url, _ in worker.channel.asked] == ["https://cdn.example/box.jpg", "https://s3.example/x"]
    assert (await get(http, file.ref, "korale")).status_code == 404


async def test_a_file_on_whatsapp_is_asked_for_with_the_accounts_own_login(
    worker: Worker, http: httpx.AsyncClient
) -> None:
    message = {"type": "image", "image": {"id": "me/dia", "mime_type": "image/jpeg"}}
    text = {name: value for name, value in s.wa_text("x").items() if name != "text"}
    await worker.take(worker.raw(s.whatsapp({**text, **message}), "wa-th", "whatsapp"))
    (file,) = worker.events()[-1].data.message.attachments
    assert (file.url, file.media_id) == (None, "me/dia")
    api, cdn = "https://graph.example/v25.0/me%2Fdia", "https://lookaside.example/1"
    store = "https://store.example/1"
    worker.channel.kept = {
        api: (200, {}, json.dumps({"url": cdn}).encode()),
        cdn: (307, {"location": store}, b""),
        store: (200, {}, b"JPEG"),
    }
    assert (await get(http, file.ref, "wa")).content == b"JPEG"
    login = f"Bearer {worker.secrets.secret(('env:S',))}"
    assert worker.channel.asked == [(api, login), (cdn, login), (store, None)]  # a redirect may lead anywhere


@pytest.mark.parametrize(
    ("kept", "status"),
    [
        (None, 503),
        ((500, {}, b""), 503),
        ((404, {}, b""), 502),
        ((200, {}, b"x" * 1001), 502),
        ((302, {"location": "https://cdn.example/box.jpg"}, b""), 502),
    ],
    ids=["away", "broken", "gone", "too large", "in a circle"],
)
async def test_a_file_that_the_channel_does_not_give_is_a_problem_and_is_not_kept(
    worker: Worker, http: httpx.AsyncClient, kept: Any, status: int
) -> None:
    file = await chatted(worker)
    assert file.ref is not None
    if kept is not None:
        worker.channel.kept["https://cdn.example/box.jpg"] = kept
    assert (await get(http, file.ref)).status_code == status
    worker.channel.kept["https://cdn.example/box.jpg"] = (200, {}, b"JPEG")
    assert (await get(http, file.ref)).content == b"JPEG"


async def test_only_so_many_messages_have_their_files_in_memory_at_once(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.ingest.reply_delivery.FILE_SLOT_SECONDS", 0.05)
    for n in range(FILE_SLOTS + 2):
        file = await mailed(worker, str(n))
        files = (file,) if n <= FILE_SLOTS else ()  # the last one has none, and waits for nobody
        await worker.take(worker.asks(Reply(by=AGENT, text="Here", attachments=files), worker.ticket().id, f"c{n}"))
    wire = FakeTransport(before=asyncio.Event())
    hands = sender(worker, wire, *ALL)
    await hands.serve()
    tasks = list(hands._busy.values())
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=5)
    assert (len(done), len(wire.sent)) == (1, FILE_SLOTS + 1)
    assert wire.before is not None
    wire.before.set()
    await asyncio.wait(tasks)
    worker.clock.advance(10)
    await served(hands)
    assert worker.types().count("message.sent") == FILE_SLOTS + 2
