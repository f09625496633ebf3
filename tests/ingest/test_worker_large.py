"""Large bodies of one batch: weighed by what they announce, read one after the other, and never held all at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from email.message import EmailMessage
from typing import Any

import pytest

from contracts.inbound import HttpRequest, to_headers
from services.ingest import blobs
from services.ingest.handlers import weigh
from tests.ingest.worker_rig import START, Worker
from tests.kit.fake_store import FakeStore, Row
from tests.kit.raw import Raw


class Watched(FakeStore):
    """Writes down which bodies were read and which files were kept, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.story: list[str] = []

    async def fetch(self, collection: str, ids: Sequence[str]) -> list[Row]:
        if collection == blobs.BLOBS and ":" not in ids[0]:
            self.story.append(f"read {ids[0]}")
        return await super().fetch(collection, ids)

    async def insert(self, collection: str, documents: Sequence[Mapping[str, Any]]) -> set[str]:
        if collection == blobs.BLOBS and "." in documents[0]["_id"] and "sha256" in documents[0]:
            self.story.append("keep")
        return await super().insert(collection, documents)


def large_mail(number: int) -> bytes:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Message-ID"] = f"p{number}@example.org", "support@nimbus.example", f"<{number}@x>"
    mail.set_content("see the photo")
    mail.add_attachment(bytes(700_000), maintype="image", subtype="png", filename="photo.png")
    return mail.as_bytes()


async def test_the_files_of_a_large_body_are_stored_before_the_next_body_is_read() -> None:
    store = Watched()
    worker, rows = Worker(store), list[Raw]()
    for number in range(3):
        await blobs.put(store, f"b{number}", large_mail(number))
        rows.append(worker.raw(b"", account="support-nimbus", channel="email", claim=f"b{number}"))
    assert await worker.take(*rows) == set()
    assert store.story == ["read b0", "keep", "read b1", "keep", "read b2", "keep"]
    for ticket, event in zip(worker.opened(), worker.events(), strict=True):
        (file,) = event.data.message.attachments
        assert (ticket.message_count, file.name, file.media_type, file.size) == (1, "photo.png", "image/png", 700_000)
        assert await blobs.get(store, file.ref) == bytes(700_000)


async def test_the_files_of_a_large_body_stay_when_it_goes() -> None:
    worker = Worker()
    await blobs.put(worker.store, "b", large_mail(1), expires=START)
    await worker.take(worker.raw(b"", account="support-nimbus", channel="email", claim="b"))
    (file,) = worker.events()[-1].data.message.attachments
    expiring = ["b:0", "b:1", "b"]
    assert [key for key, row in worker.store.rows["blobs"].items() if "expires" in row] == expiring
    for key in expiring:
        del worker.store.rows["blobs"][key]
    assert await blobs.get(worker.store, file.ref) == bytes(700_000)


async def test_each_large_body_shows_that_the_batch_comes_further() -> None:
    worker, beats = Worker(), list[int]()
    worker.handling._beat = lambda: beats.append(1)
    rows = []
    for number in range(3):
        await blobs.put(worker.store, f"b{number}", large_mail(number))
        rows.append(worker.raw(b"", account="support-nimbus", channel="email", claim=f"b{number}"))
    rows.append(worker.raw(b"", account="support-nimbus", channel="email", claim="gone"))
    await worker.take(*rows)
    assert len(beats) == len(rows)


def announcing(size: int, claim: str | None) -> Raw:
    headers = to_headers(
        receipt="r", channel="email", account="a", key="k", received_at=START, content_type="message/rfc822",
        size=size, claim=claim, verified=False, http=HttpRequest(), traceparent=None,
    )  # fmt: skip
    return Raw("inbound", 0, 0, b"" if claim else bytes(size), headers=headers)


@pytest.mark.parametrize(
    ("record", "bytes_"),
    [
        (announcing(10_000_000, "b1"), 10_000_000),
        (announcing(300, None), 300),
        (Raw("commands", 0, 0, b"x" * 70), 70),
        (Raw("in", 0, 0, b"x" * 70, headers=[("deskbus_size", b"3")]), 70),
        (Raw("in", 0, 0, b"x" * 70, headers=[("deskbus_size", b"9" * 5000)]), 70),
        (Raw("in", 0, 0, b"x" * 70, headers=[("deskbus_size", b"-9")]), 70),
    ],
)
def test_a_record_weighs_what_it_announces_or_what_it_brings(record: Raw, bytes_: int) -> None:
    assert weigh(record) == bytes_
