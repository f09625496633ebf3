"""Hostile input through real doors, Kafka and workers: a refusal or a dead letter with a reason, and the work goes on.

What strangers can send must not stop a service, fill its memory, or bring a secret into a log or a topic.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import aiosmtplib
import psutil
import pytest
import schemathesis
from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy as LooseBuilder

from cli import traffic
from contracts import topics
from contracts.dlq import DeadLetter
from tests.attack.targets import CORPUS
from tests.attack.test_documents import ask_all
from tests.system.rig import System, until

pytestmark = pytest.mark.timeout(300)
MB = 1024 * 1024
PLANTED = "hunter2-do-not-tell"
SHOP = "allegro-pl"


def mails() -> dict[str, bytes]:
    """Mails of strangers that are hard to read, but mails."""
    nested = "".join(f"Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n" for n in range(10_000))
    return {
        "10,000 nested parts": f"From: a@b.pl\r\n{nested}\r\nx".encode(),
        "1 MB header": b"From: a@b.pl\r\nX-Big: " + b"x" * 60_000 + b"\r\n y" * 15_000 + b"\r\n\r\nhello",
        "NUL and invalid UTF-8": b"From: a@b.pl\r\nSubject: \xff\xfe\0\r\n\r\n\xff\0 hello",
        "half a pair": b"From: a@b.pl\r\nContent-Type: text/plain; charset=utf-16\r\n\r\n\x00\xd8x",
        "a zip bomb": b"From: a@b.pl\r\nContent-Type: application/zip; name=bomb.zip\r\n"
        b"Content-Disposition: attachment\r\nContent-Transfer-Encoding: base64\r\n\r\nUEsDBBQAAAAIAA==",
        "an XML bomb": b'From: a@b.pl\r\nContent-Type: text/xml\r\n\r\n<!DOCTYPE a [<!ENTITY b "&c;&c;">]><a>&b;</a>',
        **{path.name: path.read_bytes() for path in sorted((CORPUS / "email").glob("*"))},
    }


def bodies() -> dict[str, bytes]:
    """Bodies that are rightly signed and cannot be read."""
    return {
        "100,000 levels": b"[" * 100_000,
        "5 MB of one number": b'{"id":' + b"9" * (5 * MB) + b"}",
        "half a pair": rb'{"id":"\ud800","from":{"id":"p"},"text":"\udfff"}',
        "NUL": b"\0",
        "invalid UTF-8": b'{"id":"\xff"}',
        "a template": b'{"id":"{{7*7}}","from":{"id":1},"text":"${jndi:ldap://127.0.0.1/} %s {0.__class__}"}',
    }


async def send_mails(port: int, every: list[bytes], sender: str = "a@b.pl") -> None:
    async with aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False) as smtp:
        for data in every:
            await smtp.sendmail(sender, ["support@nimbus.example"], data)


class _NotUtf8(str):
    """A header's name that the builder writes as no UTF-8."""

    __slots__ = ()

    def encode(self, *_: Any) -> bytes:
        return b"\xff\xfe"


async def send_records(system: System, name: str, *, unreadable: str | None = None) -> int:
    """Records that no door of ours writes, to a topic that others may write to; says how many."""
    topic, stolen = system.prefix + name, (system.prefix + topics.retry("routing")).encode()
    producer = AIOKafkaProducer(bootstrap_servers=system.kafka, max_request_size=2 * MB)
    await producer.start()
    try:
        cases: list[tuple[bytes | None, bytes | None, list[tuple[str, Any]]]] = [
            (b"k", None, []),
            (b"k", b"junk", [("reply_to", stolen), ("correlation_id", b"1")]),
            (b"k", b"junk", [("content-type", b"\xff\xfe"), ("", b""), ("nothing", None)]),
            (b"k", b"junk", [("ce_type", b"deskbus.inbound.received.v1"), ("deskbus_size", None)]),
            (b"k" * 100_000, b"[" * 100_000, []),
            (b"\xff\0", rb'{"specversion":"1.0","id":"\ud800"}', []),
            (b"k", b"x" * 1_030_000, []),
        ]
        for key, value, headers in cases:
            await producer.send_and_wait(topic, value, key=key, headers=headers)
        for codec in ("gzip", "snappy", "lz4", "zstd"):
            other = AIOKafkaProducer(bootstrap_servers=system.kafka, compression_type=codec)
            await other.start()
            await other.send_and_wait(topic, b"packed " * 10_000, key=b"k")
            await other.stop()
        if unreadable is not None:
            batch = producer.create_batch()
            batch._builder = LooseBuilder(2, 0, False, -1, -1, -1, MB)
            batch.append(key=b"k", value=b"x", timestamp=None, headers=[(_NotUtf8("x"), b"1")])
            await (await producer.send_batch(batch, system.prefix + unreadable, partition=0))
            await producer.send_and_wait(system.prefix + unreadable, b"the next one", partition=0)
    finally:
        await producer.stop()
    return len(cases) + 4


def rss(system: System) -> dict[str, int]:
    return {r.name: psutil.Process(r.process.pid).memory_info().rss for r in system.fleet.replicas if r.process}


async def letters(system: System, service: str) -> list[DeadLetter]:
    return [DeadLetter.from_kafka(x.key, x.value, x.headers) for x in await system.lines(topics.dlq(service))]


async def dead(system: System, service: str, count: int) -> list[DeadLetter]:
    found: list[DeadLetter] = []

    async def there() -> bool:
        found[:] = await letters(system, service)
        return len(found) >= count

    try:
        await until(there, 60, f"{count} dead letters of {service}")
    except AssertionError as late:
        told = [(x.topic, x.partition, x.offset, x.error[:60]) for x in found if "a sender" not in x.error]
        raise AssertionError(f"{late}: {len(found)}, {told}") from None
    assert all(letter.error for letter in found)
    return found


@contextmanager
def memory_stays(system: System, most: int) -> Iterator[None]:
    before = rss(system)
    yield
    grown = {name: (size - before[name]) // MB for name, size in rss(system).items()}
    print("memory, MB:", {name: (before[name] // MB, grown[name]) for name in grown})
    assert max(grown.values()) < most // MB, grown


async def lives(system: System, text: str) -> None:
    """A customer's message still becomes a ticket that somebody has."""
    async with system.doors() as doors:
        await doors.send(system.traffic.whatsapp(text))

    async def arrived() -> bool:
        opened = await system.events(topics.TICKETS, "deskbus.ticket.opened.v1")
        own = {event.subject for event in opened if event.data.message and event.data.message.text == text}
        return bool(own & await system.ticket_ids(topics.ASSIGNMENTS, "deskbus.ticket.assigned.v1"))

    await until(arrived, 60, f"{text!r} is a ticket with an agent")
    assert all(replica.alive and replica.ready() for replica in system.fleet.replicas)


async def no_secret_is_told(system: System, names: list[str]) -> None:
    secrets = [*traffic.secrets_environment().values(), system.token.bearer, PLANTED]
    for replica in system.fleet.replicas:
        assert replica.log is not None
        log = replica.log.read_text(errors="replace")
        assert log, "there is a log to look at"
        assert [secret for secret in secrets if secret in log] == []
    for name in names:
        for line in await system.lines(name):
            told = b" ".join([line.key or b"", line.value or b"", *(v or b"" for _, v in line.headers)])
            assert [secret for secret in secrets if secret.encode() in told] == [], name


async def test_hostile_input_is_refused_or_kept_and_the_work_goes_on(deskbus: System) -> None:
    deskbus.start()
    await deskbus.agents(2)
    await lives(deskbus, "before")
    smtp = deskbus.one("ingest").extra_ports["smtp"]
    with memory_stays(deskbus, 150 * MB):
        # Nonsense that anybody can mail, in a mass that would stop the service if it said anything about us.
        await send_mails(smtp, [b"Subject: x\r\n\r\nnobody wrote %d" % n for n in range(60)], sender="nobody")
        await send_mails(smtp, list(mails().values()))
        refused = await dead(deskbus, "ingest", 60)
        assert {letter.error for letter in refused} == {"email: a mail without a sender"}

        for body in bodies().values():
            hook = deskbus.traffic.signed_webhook(SHOP, body)
            planted = {**hook.headers, "authorization": f"Bearer {PLANTED}", "x-api-key": PLANTED, "cookie": PLANTED}
            answer = await deskbus.http.post(deskbus.one("ingest").url + hook.path, content=body, headers=planted)
            assert answer.status_code == 202
        await dead(deskbus, "ingest", 60 + len(bodies()))

        sent = await send_records(deskbus, topics.COMMAND, unreadable=topics.retry("ingest"))
        found = await dead(deskbus, "ingest", 60 + len(bodies()) + sent + 2)
        assert sum("not valid UTF-8" in letter.error for letter in found) == 1
        for service in ("sla", "notify"):  # by their retry topics: what is on the others, this test reads too
            sent = await send_records(deskbus, topics.retry(service), unreadable=topics.retry(service))
            await dead(deskbus, service, sent + 2)

        for path in ("/v1/tickets/%00", "/v1/tickets?tag=%ed%a0%80", "/v1/tickets?cursor=%00", "/v1/commands"):
            wrong = {"authorization": f"Bearer {PLANTED}"}
            answer = await deskbus.http.get(deskbus.one("ingest").url + path, headers=wrong)
            assert answer.status_code in {401, 404, 405}, path
            assert PLANTED not in answer.text
    await lives(deskbus, "after")
    assert await deskbus.lines(topics.retry("routing")) == [], "nothing is sent where a header says so"
    known = [topics.INBOUND, topics.TICKETS, topics.SLA, topics.ASSIGNMENTS, topics.COMMAND, topics.CONTACTS]
    await no_secret_is_told(deskbus, [*known, *(topics.dlq(name) for name in ("ingest", "sla", "notify", "routing"))])


async def test_replayed_and_reordered_webhooks_become_one_message_each(deskbus: System) -> None:
    deskbus.start(services=["ingest"])
    hooks = [deskbus.traffic.webhook(SHOP, f"number {n}", sender="one person") for n in range(4)]
    order = [3, 0, 2, 1, 0, 3, 1, 2, 0]
    async with deskbus.doors() as doors:
        for n in order:
            await doors.send(hooks[n])

    async def arrived() -> bool:
        return len(await deskbus.texts()) >= 4

    await until(arrived, 60, "four messages")
    assert sorted(await deskbus.texts()) == [f"number {n}" for n in range(4)]
    assert len(await deskbus.events(topics.TICKETS, "deskbus.ticket.opened.v1")) == 1
    assert await letters(deskbus, "ingest") == []


async def test_running_doors_answer_as_their_documents_say(deskbus: System) -> None:
    deskbus.start()
    for replica in deskbus.fleet.replicas:
        schema = await asyncio.to_thread(schemathesis.openapi.from_url, f"{replica.url}/openapi.json")
        for result in schema.get_all_operations():
            operation = result.ok()  # type: ignore[union-attr]  # a document that cannot be read raises here
            strategy = operation.as_strategy()
            assert await asyncio.to_thread(ask_all, strategy, deskbus.token.bearer, 5)
    await deskbus.agents(1)
    await lives(deskbus, "after")
