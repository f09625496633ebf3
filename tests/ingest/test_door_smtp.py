"""The mail door: 250 only after Kafka has it, 451 while it has not, 550 for nobody's address, and bounds on all."""

import asyncio
import smtplib
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiosmtplib
import pytest

from contracts.inbound import InboundRecord
from kit.base.errors import TransientError
from kit.doors.tls import DoorCertificate
from kit.protocol.ports import Outgoing
from services.ingest.intake import Intake
from services.ingest.smtp import MAX_RECIPIENTS, MailDoor, MailLimits
from tests.fake_clock import FakeClock
from tests.ingest.channels import samples as s
from tests.kit.fake_store import FakeStore
from tests.pki import Authority

MAIL = b"From: anna@example.pl\r\nMessage-ID: <a1@x>\r\nSubject: x\r\n\r\nline\r\n..dot \xff\r\n"


class Kafka:
    def __init__(self) -> None:
        self.taken: list[Outgoing] = []
        self.refuses: Callable[[Outgoing], bool] = lambda _: False

    async def send(self, record: Outgoing, *, seconds: float) -> None:
        if self.refuses(record):
            raise TransientError("no broker")
        self.taken.append(record)

    def records(self) -> list[InboundRecord]:
        return [InboundRecord.from_kafka(sent.value, sent.headers) for sent in self.taken]


def away() -> FakeStore:
    store = FakeStore()
    store.away = True
    return store


@pytest.fixture
def kafka() -> Kafka:
    return Kafka()


@asynccontextmanager
async def listening(kafka: Kafka, **limits: Any) -> AsyncIterator[tuple[MailDoor, int]]:
    intake = Intake(kafka, away(), FakeClock(s.NOW), topic="inbound", seconds=0.2, claim_seconds=0.2)
    door = MailDoor(intake, lambda: s.ACCOUNTS, MailLimits(**{"max_bytes": 1_000_000, **limits}))
    await door.start()
    try:
        yield door, door.port
    finally:
        await door.stop(0.1)


async def deliver(port: int, *recipients: str, body: bytes = MAIL, sender: str = "anna@example.pl") -> Any:
    async with aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False) as client:
        return await client.sendmail(sender, list(recipients), body)


async def test_a_mail_reaches_kafka_byte_for_byte(kafka: Kafka) -> None:
    async with listening(kafka) as (_, port):
        await deliver(port, "support@nimbus.example")
    (taken,) = kafka.records()
    assert taken.body == MAIL
    assert (taken.channel, taken.account, taken.key) == ("email", "support-nimbus", "support-nimbus:<a1@x>")
    assert taken.http is not None
    assert taken.http.query == {"mail_from": "anna@example.pl", "rcpt_to": "support@nimbus.example"}


async def test_a_null_sender_and_plus_addresses_are_taken(kafka: Kafka) -> None:
    async with listening(kafka) as (_, port):
        await deliver(port, "Support+0123.abc@Nimbus.example", sender="")
    (taken,) = kafka.records()
    assert taken.http is not None
    assert taken.http.query["mail_from"] == ""


async def test_a_mail_to_two_accounts_is_a_record_of_each(kafka: Kafka) -> None:
    async with listening(kafka) as (_, port):
        await deliver(port, "support@nimbus.example", "returns@nimbus.example", "help@korale.example")
    assert [taken.account for taken in kafka.records()] == ["support-nimbus", "help-korale"]


async def test_an_address_of_nobody_is_refused_and_the_others_are_not(kafka: Kafka) -> None:
    async with listening(kafka) as (_, port):
        refused, _ = await deliver(port, "support@nimbus.example", "ceo@nimbus.example")
        assert refused["ceo@nimbus.example"][0] == 550
        with pytest.raises(aiosmtplib.SMTPRecipientsRefused):
            await deliver(port, "x@elsewhere.example")
    assert len(kafka.taken) == 1


async def test_without_kafka_the_sender_keeps_the_mail(kafka: Kafka) -> None:
    kafka.refuses = lambda _: True
    async with listening(kafka) as (_, port):
        with pytest.raises(aiosmtplib.SMTPDataError) as refusal:
            await deliver(port, "support@nimbus.example")
    assert refusal.value.code == 451
    assert kafka.taken == []


async def test_without_mongo_large_mail_waits_and_small_mail_goes_on(kafka: Kafka) -> None:
    async with listening(kafka) as (_, port):
        with pytest.raises(aiosmtplib.SMTPDataError) as refusal:
            await deliver(port, "support@nimbus.example", body=MAIL + b"x\r\n" * 200_000)
        await deliver(port, "support@nimbus.example")
    assert refusal.value.code == 451
    assert len(kafka.taken) == 1


async def test_a_mail_over_the_limit_is_refused_for_good(kafka: Kafka) -> None:
    async with listening(kafka, max_bytes=1000) as (_, port):
        with pytest.raises((aiosmtplib.SMTPDataError, aiosmtplib.SMTPSenderRefused)) as refusal:
            await deliver(port, "support@nimbus.example", body=MAIL + b"x" * 1000)
    assert refusal.value.code == 552
    assert kafka.taken == []


async def test_recipients_are_bounded(kafka: Kafka) -> None:
    async with listening(kafka) as (_, port):
        many = [f"support+{n}@nimbus.example" for n in range(MAX_RECIPIENTS + 1)]
        refused, _ = await deliver(port, *many)
    assert {code for code, _ in refused.values()} == {452}
    assert len(refused) == 1


async def talk(port: int, *commands: bytes) -> list[bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"".join(commands))
    await writer.drain()
    rows = [row async for row in reader]
    writer.close()
    return rows


async def test_lmtp_answers_for_each_recipient(kafka: Kafka) -> None:
    kafka.refuses = lambda record: (record.key or b"").startswith(b"help-korale")
    async with listening(kafka) as (_, port):
        rows = await talk(
            port, b"LHLO x\r\n", b"MAIL FROM:<a@b.pl>\r\n", b"RCPT TO:<support@nimbus.example>\r\n",
            b"RCPT TO:<help@korale.example>\r\n", b"DATA\r\n", b"Subject: x\r\n\r\nhello\r\n.\r\n", b"QUIT\r\n",
        )  # fmt: skip
    codes = [row[:3] for row in rows]
    assert codes[-3:] == [b"250", b"451", b"221"]
    (taken,) = kafka.records()
    assert taken.http is not None
    assert taken.http.method == "LMTP"


async def test_sessions_at_once_are_bounded(kafka: Kafka) -> None:
    async with listening(kafka, sessions=1) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert (await reader.readline()).startswith(b"220")
        rows = await talk(port)
        assert any(row.startswith(b"421") for row in rows)
        writer.close()


async def test_a_session_ends_after_its_time(kafka: Kafka) -> None:
    async with listening(kafka, session_seconds=0.1) as (_, port), asyncio.timeout(5):
        assert (await talk(port))[0].startswith(b"220")


async def test_a_line_that_never_ends_is_hung_up_on(kafka: Kafka) -> None:
    async with listening(kafka) as (_, port), asyncio.timeout(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"EHLO x\r\nMAIL FROM:<a@b.pl>\r\nRCPT TO:<support@nimbus.example>\r\nDATA\r\n")
        try:
            for _ in range(100):
                writer.write(b"x" * 65_536)
                await writer.drain()
            await reader.read()
        except ConnectionError:
            pass
        writer.close()
    assert kafka.taken == []


@pytest.mark.parametrize("ending", ["\n.\n", "\r.\r", "\n.\r\n"])
async def test_a_mail_cannot_hide_another_behind_a_false_end(kafka: Kafka, ending: str) -> None:
    smuggled = f"Subject: x\r\n\r\nhello{ending}MAIL FROM:<evil@x.pl>\r\nRCPT TO:<support@nimbus.example>\r\n"
    async with listening(kafka) as (_, port):
        await talk(
            port, b"EHLO x\r\n", b"MAIL FROM:<a@b.pl>\r\n", b"RCPT TO:<support@nimbus.example>\r\n", b"DATA\r\n",
            smuggled.encode() + b"\r\n.\r\n", b"QUIT\r\n",
        )  # fmt: skip
    assert len(kafka.taken) == 1


async def test_starttls_serves_the_certificate_that_is_on_disk(kafka: Kafka, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    issued = authority.issue("mail")
    certificate = DoorCertificate("smtp", issued.certificate, issued.key)
    trusting = ssl.create_default_context(cafile=str(authority.ca))

    async def serial(port: int) -> str:
        async with aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=True, tls_context=trusting) as client:
            await client.sendmail("anna@example.pl", ["support@nimbus.example"], MAIL)
            assert client.transport is not None
            return str(client.transport.get_extra_info("peercert")["serialNumber"])

    async with listening(kafka) as (door, port):
        door.tls = certificate.context
        first = await serial(port)
        issued.replace_by(authority.issue("mail"))
        await certificate.reload()
        assert await serial(port) != first
    assert len(kafka.taken) == 2


async def test_a_door_that_closes_answers_the_mail_on_its_way_in(kafka: Kafka) -> None:
    intake = Intake(kafka, away(), FakeClock(s.NOW), topic="inbound", seconds=0.2, claim_seconds=0.2)
    door = MailDoor(intake, lambda: s.ACCOUNTS, MailLimits(max_bytes=100_000))
    await door.start()
    client = aiosmtplib.SMTP(hostname="127.0.0.1", port=door.port, start_tls=False)
    await client.connect()
    stopping = asyncio.create_task(door.stop(5))
    await asyncio.sleep(0)
    await client.sendmail("a@b.pl", ["support@nimbus.example"], MAIL)
    await client.quit()
    await stopping
    assert len(kafka.taken) == 1
    with pytest.raises(aiosmtplib.SMTPConnectError):
        await aiosmtplib.SMTP(hostname="127.0.0.1", port=door.port, start_tls=False, timeout=1).connect()


async def test_the_standard_librarys_client_gets_on_with_it(kafka: Kafka) -> None:
    def send(port: int) -> None:
        with smtplib.SMTP("127.0.0.1", port) as client:
            client.sendmail("a@b.pl", ["support@nimbus.example"], MAIL)

    async with listening(kafka) as (_, port):
        await asyncio.to_thread(send, port)
    assert kafka.records()[0].body == MAIL
