"""DKIM where mail reaches Deskbus first: right signatures are told by their domains, within bounds."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Awaitable, Iterator
from functools import cache

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from contracts.inbound import HttpRequest, InboundRecord
from kit.base.settings import ServiceSettings
from kit.kafka.batch_size import BatchSize
from services.ingest import blobs
from services.ingest.signatures import MAX_PATIENCE, MIN_PATIENCE, THREADS, Signatures
from tests.ingest.worker_rig import START, Worker

MAIL = (
    b"From: Jan <jan@example.org>\r\nTo: first@nimbus.example\r\nSubject: Parcel\r\nMessage-ID: <1@x>\r\n\r\nHello\r\n"
)


@cache
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 1024)


def signed(raw: bytes = MAIL, domain: bytes = b"example.org", **more: object) -> bytes:
    pem = key().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    line: bytes = dkim.sign(raw, b"s1", domain, pem, include_headers=[b"from", b"subject"], **more)
    return line + raw


def dns(name: bytes, timeout: int) -> bytes | None:
    assert timeout <= 5
    if not name.startswith(b"s1._domainkey."):
        return None
    der = key().public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return b"v=DKIM1; k=rsa; p=" + base64.b64encode(der)


def record(body: bytes) -> InboundRecord:
    return InboundRecord(
        receipt="r1", channel="email", account="first-hop", key="k", received_at=START, body=body, size=len(body),
        http=HttpRequest(query={"mail_from": "jan@example.org"}),
    )  # fmt: skip


async def found(body: bytes, signatures: Signatures | None = None) -> list[str]:
    (checked,) = await (signatures or Signatures(dns)).batch().check([record(body)])
    assert checked.http is not None
    assert checked.http.query["mail_from"] == "jan@example.org"
    return checked.http.query["dkim"].split()


async def test_right_signatures_are_told_by_their_domains() -> None:
    assert await found(signed()) == ["example.org"]


async def test_the_author_who_is_shown_is_the_one_who_is_signed_for() -> None:
    """A carriage return alone is no line end to who signs, so it must not begin another From here."""
    worker = Worker(signatures=Signatures(dns))
    mail = MAIL.replace(b"From: Jan <jan@", b"Subject: a\rFrom: ola@example.org\r\rHi\r\nFrom: Jan <jan@")
    await worker.take(worker.raw(signed(mail), "first-hop", "email"))
    message = worker.events()[0].data.message
    assert (worker.ticket().contact.address, message.authentication) == ("jan@example.org", "pass")
    assert await found(signed(signed(), b"list.example")) == ["list.example", "example.org"]


@pytest.mark.parametrize(
    "body",
    [
        MAIL,
        signed().replace(b"Hello", b"Send it to me"),
        signed().replace(b"Subject: Parcel", b"Subject: Refund"),
        signed(length=True) + b"More\r\n",
        signed().replace(b"s=s1", b"s=s2"),
        b"From: Boss <boss@example.org>\r\n" + signed(),
        b"DKIM-Signature: v=1; a=\r\n" + MAIL,
        b"\x00\xff",
    ],
    ids=["none", "body", "header", "part of the body", "no key", "two authors", "broken", "no mail"],
)
async def test_what_is_not_right_is_not_told(body: bytes) -> None:
    assert await found(body) == []


async def test_no_more_signatures_are_looked_at_than_a_mail_needs() -> None:
    asked: list[bytes] = []

    def counted(name: bytes, timeout: int) -> bytes | None:
        asked.append(name)
        return dns(name, timeout)

    body = MAIL
    for _ in range(6):
        body = signed(body)
    await found(body, Signatures(counted))
    assert len(asked) <= 3


class Slow:
    """A resolver that answers nothing, however long it was given, until it is told to."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.answers = threading.Event()

    def __call__(self, name: bytes, timeout: int) -> bytes | None:
        self.asked.append(name)
        self.answers.wait(60)
        return dns(name, timeout)


@pytest.fixture
def slow() -> Iterator[Slow]:
    resolver = Slow()
    yield resolver
    resolver.answers.set()


def signed_mails(count: int) -> list[bytes]:
    return [signed(MAIL.replace(b"<1@x>", b"<%d@x>" % n)) for n in range(count)]


async def elapsed(waits: Awaitable[object]) -> float:
    begin = asyncio.get_running_loop().time()
    await waits
    return asyncio.get_running_loop().time() - begin


async def test_dns_that_does_not_answer_in_time_leaves_the_sender_unproven(slow: Slow) -> None:
    assert await found(signed(), Signatures(slow, patience=0.05)) == []


async def test_a_batch_waits_for_dns_as_long_as_one_mail_does(slow: Slow) -> None:
    worker = Worker(signatures=Signatures(slow, patience=0.2))
    async with asyncio.timeout(3):
        await worker.take(
            *(worker.raw(mail, account="first-hop", channel="email") for mail in signed_mails(THREADS * 3))
        )
    assert [event.data.message.authentication for event in worker.events()] == ["none"] * THREADS * 3


async def test_large_mails_that_come_one_after_the_other_wait_together_no_longer_than_one(slow: Slow) -> None:
    worker = Worker(signatures=Signatures(slow, patience=0.3))
    mails = signed_mails(20)
    for number, mail in enumerate(mails):
        await blobs.put(worker.store, f"claim-{number}", mail)
    large = [worker.raw(b"", account="first-hop", channel="email", claim=f"claim-{n}") for n in range(len(mails))]
    assert await elapsed(worker.take(*large)) < 3
    assert [event.data.message.authentication for event in worker.events()] == ["none"] * 20


async def test_batches_wait_less_and_less_for_dns_that_does_not_answer_and_as_before_once_it_does(slow: Slow) -> None:
    signatures = Signatures(slow, patience=1.2)
    for patience, then in ((1.2, 0.6), (0.6, MIN_PATIENCE), (MIN_PATIENCE, MIN_PATIENCE)):
        assert await elapsed(signatures.batch().check([record(signed())])) > patience - 0.05
        assert signatures.patience == then
    await signatures.batch().check([record(MAIL)])
    assert signatures.patience == MIN_PATIENCE, "a mail without a signature says nothing about DNS"
    slow.answers.set()
    assert await found(signed(), signatures) == ["example.org"]
    assert signatures.patience == 1.0
    assert await found(signed(), signatures) == ["example.org"]
    assert signatures.patience == 1.2


def test_while_dns_does_not_answer_batches_may_grow_and_at_first_do_not_shrink() -> None:
    quarter = ServiceSettings.model_fields["session_timeout_ms"].default / 1000 / 4
    assert quarter > MAX_PATIENCE
    size = BatchSize(500, quarter, 1000)
    size.note(1, MIN_PATIENCE + 0.1)
    assert size.records == 2


async def test_nothing_more_is_asked_for_a_mail_that_has_waited_its_time(slow: Slow) -> None:
    signatures = Signatures(slow, patience=0.05)
    body = signed(signed(signed()))
    await signatures.batch().check([record(body)])
    slow.answers.set()
    signatures._pool.shutdown()
    assert slow.asked == [b"s1._domainkey.example.org."]


async def test_a_resolver_that_holds_every_thread_holds_no_batch(slow: Slow) -> None:
    """Not even one that never comes back: what was asked is given up, and what waits behind it too."""
    signatures = Signatures(slow, patience=0.1)
    for _ in range(3):
        assert await elapsed(signatures.batch().check([record(mail) for mail in signed_mails(THREADS)])) < 2
    assert len(slow.asked) == THREADS
    slow.answers.set()
    assert await found(signed(), Signatures(dns)) == ["example.org"]


async def test_a_large_mail_is_checked_once_its_body_is_here() -> None:
    worker = Worker(signatures=Signatures(dns))
    await blobs.put(worker.store, "claim-1", signed())
    large = worker.raw(b"", account="first-hop", channel="email", claim="claim-1")
    await worker.take(large)
    assert [event.data.message.authentication for event in worker.events()] == ["pass"]


async def test_a_mail_that_is_signed_by_its_senders_domain_is_proven() -> None:
    worker = Worker(signatures=Signatures(dns))
    mail = worker.raw(signed(), account="first-hop", channel="email")
    forged = worker.raw(MAIL.replace(b"<1@x>", b"<2@x>"), account="first-hop", channel="email")
    await worker.take(mail, forged)
    assert [event.data.message.authentication for event in worker.events()] == ["pass", "none"]
