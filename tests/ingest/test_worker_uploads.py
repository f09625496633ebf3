"""Uploads: what no reply names in time is let go, what one names stays."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from contracts.commands import Reply
from contracts.ticket import Attachment
from services.ingest.files import BLOB_MARGIN
from tests.ingest.worker_rig import AGENT, START, Worker


async def put(worker: Worker, owner: str = "crm") -> str:
    file = await worker.files.upload(owner, "label.pdf", "application/pdf", b"%PDF-1.7")
    assert file.ref is not None
    return file.ref


async def answer(worker: Worker, ref: str, number: str = "c1") -> str:
    """What becomes of a reply of crm's with this file: waiting, or why it was refused."""
    if not worker.events():
        await worker.take(worker.says("Where?", "m1"))
    ticket, before = worker.ticket().id, len(worker.events())
    file = Attachment(name="label.pdf", media_type="application/pdf", ref=ref)
    await worker.take(worker.asks(Reply(by=AGENT, text="Here", attachments=(file,)), ticket, number, caller="crm"))
    told = worker.events()[before:]
    return told[0].data.reason if told else "waiting"


def expires(worker: Worker, ref: str) -> Any:
    return worker.store.rows["blobs"][ref].get("expires")


async def test_an_upload_that_no_reply_names_expires() -> None:
    worker = Worker()
    ref = await put(worker)
    until = worker.store.rows["uploads"][ref]["expires"]
    assert timedelta(hours=24) <= until - START <= timedelta(hours=25)
    assert expires(worker, ref) - until == BLOB_MARGIN
    worker.clock.advance(24 * 3600 - 1)
    assert list(await worker.files.uploads([ref], "crm")) == [ref]
    worker.clock.advance(3601)
    assert await worker.files.uploads([ref], "crm") == {}
    assert await answer(worker, ref) == "forbidden"
    assert expires(worker, ref) is not None


async def test_an_upload_that_a_reply_names_stays() -> None:
    worker = Worker()
    named, refused = await put(worker), await put(worker, "erp")
    assert await answer(worker, named) == "waiting"
    assert await answer(worker, refused, "c2") == "forbidden"
    assert expires(worker, named) is None
    assert expires(worker, refused) is not None


async def test_the_same_file_is_another_upload_after_an_hour() -> None:
    worker = Worker()
    first = await put(worker)
    worker.clock.advance(3599)
    assert await put(worker) == first
    worker.clock.advance(2)
    assert await put(worker) != first
