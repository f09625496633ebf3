"""Mails with more files than are kept: the message says how many are left out."""

from __future__ import annotations

from email.message import EmailMessage

import pytest

from tests.ingest.worker_rig import Worker


@pytest.fixture
def worker() -> Worker:
    return Worker()


def many(count: int) -> bytes:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Message-ID"] = "jan@example.org", "support@nimbus.example", "<many@x>"
    mail.set_content("Look")
    for number in range(count):
        mail.add_attachment(b"PNG", maintype="image", subtype="png", filename=f"{number}.png")
    return mail.as_bytes()


@pytest.mark.parametrize(("count", "left_out"), [(100, None), (101, 1), (250, 150), (400, 300)])
async def test_a_message_says_how_many_of_its_files_are_not_kept(
    worker: Worker, count: int, left_out: int | None
) -> None:
    await worker.take(worker.raw(many(count), "support-nimbus", "email"))
    message = worker.events()[-1].data.message
    assert (len(message.attachments), message.attachments_left_out) == (100, left_out)
    assert [file.name for file in message.attachments] == [f"{number}.png" for number in range(100)]
    bodies = [key for key in worker.store.rows["blobs"] if key.startswith(message.id) and ":" not in key]
    assert len(bodies) == 100


async def test_a_part_too_deep_to_be_read_is_told_of(worker: Worker) -> None:
    mail = many(1)
    for level in range(21):
        head = f"Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n--b{level}\r\n".encode()
        mail = head + mail + f"\r\n--b{level}--\r\n".encode()
    start = b"From: jan@example.org\r\nTo: support@nimbus.example\r\nMessage-ID: <deep@x>\r\n"
    await worker.take(worker.raw(start + mail, "support-nimbus", "email"))
    message = worker.events()[-1].data.message
    assert (message.attachments, message.attachments_left_out) == ((), 1)
