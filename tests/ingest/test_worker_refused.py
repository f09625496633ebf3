"""A message whose document was written on a ticket that then refused it: nobody sees it there."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from email.message import EmailMessage

import httpx
import pytest
from pydantic import SecretStr

from contracts.commands import Merge, SetStatus
from contracts.ticket import Status
from kit.base.settings import ServiceSettings
from kit.doors.http import door
from kit.protocol.ports import Guarded, WriteOutcome
from services.ingest.core import state as ticket_state
from services.ingest.store import TICKETS
from services.ingest.tickets_http import tickets_router
from tests.ingest.worker_rig import AGENT, Worker
from tests.kit.fake_store import FakeStore


class Beaten(FakeStore):
    """Another replica writes tickets just before this one does, once."""

    def __init__(self) -> None:
        super().__init__()
        self.before: Callable[[], Awaitable[None]] | None = None

    async def write(self, collection: str, writes: Sequence[Guarded]) -> WriteOutcome:
        if collection == TICKETS and writes and self.before is not None:
            faster, self.before = self.before, None
            await faster()
        return await super().write(collection, writes)


async def thread(worker: Worker, ticket: str) -> list[str]:
    """What the door says was written on a ticket."""
    app = door("test", ServiceSettings(tokens=SecretStr(f"crm:{hashlib.sha256(b'crm').hexdigest()}:tickets:read")))
    app.include_router(tickets_router(worker.tickets, worker.store))
    headers = {"authorization": "Bearer crm"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x", headers=headers) as client:
        answer = await client.get(f"/v1/tickets/{ticket}")
    return [entry["message"]["text"].strip() for entry in answer.json()["thread"]]


def picture(number: int, *, answers: str | None = None) -> bytes:
    mail = EmailMessage()
    mail["From"], mail["To"] = "jan@example.org", "support@nimbus.example"
    mail["Message-ID"], mail["Subject"] = f"<{number}@x>", "Parcel"
    if answers:
        mail["In-Reply-To"] = answers
    mail.set_content(f"mail {number}")
    mail.add_attachment(b"\x89PNG", maintype="image", subtype="png", filename="photo.png")
    return mail.as_bytes()


async def refused(worker: Worker, store: Beaten) -> tuple[str, str]:
    """A mail with a file whose ticket is closed by another replica before it is written: it goes on with a new one."""
    await worker.take(worker.raw(picture(1), "support-nimbus", "email"))
    first = worker.ticket().id
    other = Worker(store, worker.clock, worker.broker)

    async def close() -> None:
        for number, status in enumerate((Status.SOLVED, Status.CLOSED)):
            await other.take(other.asks(SetStatus(by=AGENT, status=status), first, f"c{number}"))

    store.before = close
    answer = worker.raw(picture(2, answers="<1@x>"), "support-nimbus", "email")
    while await worker.take(answer):
        pass
    second = worker.opened()[-1].id
    assert second != first
    assert {row["ticket"] for row in store.rows["messages"].values()} == {first, second}
    assert len(store.rows["messages"]) == 3  # one of them where it was refused
    return first, second


async def test_a_thread_does_not_show_a_message_that_its_ticket_refused() -> None:
    worker = Worker(store := Beaten())
    first, second = await refused(worker, store)
    assert await thread(worker, first) == ["mail 1"]
    assert await thread(worker, second) == ["mail 2"]


async def test_a_ticket_has_no_files_of_a_message_that_it_refused() -> None:
    worker = Worker(store := Beaten())
    first, second = await refused(worker, store)
    (file,) = worker.events()[-1].data.message.attachments
    assert [ticket for ticket, _ in await worker.files.holders(file.ref)] == [second]
    assert await worker.files.usable(first, [file.ref], None) == frozenset()
    assert await worker.files.usable(second, [file.ref], None) == {file.ref}


async def test_a_merge_does_not_pass_on_a_message_that_its_ticket_refused() -> None:
    worker = Worker(store := Beaten())
    await worker.take(worker.says("one", "m1", "jan"), worker.says("two", "m2", "ola"))
    old, young = worker.opened()
    (row,) = [row for row in store.rows["messages"].values() if row["ticket"] == young.id]
    left = {**row, "_id": f"{young.id}:other", "message": "other"}
    await store.insert("messages", [{**left, "body": {**row["body"], "id": "other", "text": "refused"}}])
    await worker.take(worker.asks(Merge(by=AGENT, into=old.id), young.id))
    state = (await worker.tickets.load([young.id]))[young.id].state
    assert state is not None
    assert [pending.message.text for pending in state.pending] == ["two"]


async def test_a_thread_shows_messages_that_its_ticket_no_longer_remembers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ticket_state, "TAKEN_CAP", 1)
    worker = Worker()
    for number in range(3):
        await worker.take(worker.says(f"text {number}", f"m{number}", after=number))
    assert len(worker.store.rows["taken"]) == 2
    assert await thread(worker, worker.ticket().id) == ["text 0", "text 1", "text 2"]
