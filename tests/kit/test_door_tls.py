"""Doors with a certificate, and real clients: what is served, and what a rotation changes."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvloop
from cryptography.hazmat.primitives import serialization
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from deploy.local import free_port
from kit.base.clock import SystemClock
from kit.base.errors import InvalidCertificate
from kit.base.health import Health
from kit.base.settings import ServiceSettings
from kit.doors.http import door
from kit.doors.listening import BoundedProtocol
from kit.doors.tls import DoorCertificate
from kit.process.service import Service, run
from tests.fake_clock import FakeClock
from tests.pki import Authority, Issued


class Idle:
    """A producer and a consumer with nothing to do."""

    async def start(self, router: Any = None) -> None: ...
    async def stop(self) -> None: ...
    async def measure_lag(self) -> None: ...

    def fault(self) -> str | None:
        return None


@dataclass
class Door:
    """A running service with a certificate, and those who ask it."""

    ca: Path
    in_use: Issued
    port: int
    ops_port: int

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(verify=ssl.create_default_context(cafile=str(self.ca)))

    async def shown(self, **options: Any) -> ssl.SSLObject:
        """The TLS of a new connection to the public port."""
        context = ssl.create_default_context(cafile=str(self.ca))
        for name, value in options.items():
            setattr(context, name, value)
        _, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=context)
        try:
            found: ssl.SSLObject = writer.get_extra_info("ssl_object")
            return found
        finally:
            writer.close()

    async def serial(self) -> str:
        certificate = (await self.shown()).getpeercert()
        assert certificate is not None
        return str(certificate["serialNumber"])


def value(metric: str) -> float | None:
    return REGISTRY.get_sample_value(metric, {"name": "door"})


async def until(ask: Any, wanted: Any) -> None:
    async with asyncio.timeout(20):
        while await ask() != wanted:  # noqa: ASYNC110 - the answer is another task's
            await asyncio.sleep(0.05)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@asynccontextmanager
async def serving(authority: Authority, issued: Issued) -> AsyncIterator[Door]:
    settings = ServiceSettings(port=free_port(), ops_port=free_port())
    app = door("things", settings)
    app.get("/hello")(lambda: "hello")
    clock = SystemClock()
    certificate = DoorCertificate("door", issued.certificate, issued.key)
    idle = Idle()
    service = Service(settings, clock, Health(clock), app, producer=idle, consumer=idle, certificate=certificate)
    stop = asyncio.Event()
    running = asyncio.create_task(run(service, stop))
    try:
        opened = Door(authority.ca, issued, settings.port, settings.ops_port)
        async with asyncio.timeout(10):
            while True:
                try:
                    await opened.shown()
                except ConnectionRefusedError:
                    await asyncio.sleep(0.01)
                else:
                    break
        yield opened
    finally:
        stop.set()
        assert await running == 0


async def test_both_ports_serve_tls_and_nothing_else(authority: Authority) -> None:
    async with serving(authority, authority.issue("door")) as opened, opened.client() as client:
        hello = await client.get(f"https://127.0.0.1:{opened.port}/hello")
        assert (hello.status_code, hello.json()) == (200, "hello")
        metrics = await client.get(f"https://127.0.0.1:{opened.ops_port}/metrics")
        assert "deskbus_certificate_expiry_timestamp_seconds{" in metrics.text
        for port in (opened.port, opened.ops_port):
            with pytest.raises(httpx.TransportError):
                await client.get(f"http://127.0.0.1:{port}/hello")


async def test_tls_1_2_and_1_3_are_served_and_nothing_older(authority: Authority) -> None:
    issued = authority.issue("door")
    assert DoorCertificate("door", issued.certificate, issued.key).context.minimum_version == ssl.TLSVersion.TLSv1_2
    async with serving(authority, issued) as opened:
        assert (await opened.shown(maximum_version=ssl.TLSVersion.TLSv1_2)).version() == "TLSv1.2"
        assert (await opened.shown()).version() == "TLSv1.3"


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_connection_that_says_nothing_is_closed_in_the_time_of_a_head(
    loop: Callable[[], asyncio.AbstractEventLoop], authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BoundedProtocol, "head_seconds", 0.3)
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(_silence(authority))


async def _silence(authority: Authority) -> None:
    async with serving(authority, authority.issue("door")) as opened:
        for port in (opened.port, opened.ops_port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            async with asyncio.timeout(10):
                with contextlib.suppress(ConnectionResetError):
                    assert await reader.read() == b""
            writer.close()


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_rotated_certificate_is_served_to_new_connections_and_open_ones_stay(
    loop: Callable[[], asyncio.AbstractEventLoop], authority: Authority
) -> None:
    """Also on uvloop, which has a TLS of its own and runs the services."""
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(_rotation(authority))


async def _rotation(authority: Authority) -> None:
    async with serving(authority, authority.issue("door")) as opened, opened.client() as client:
        before = await opened.serial()
        await client.get(f"https://127.0.0.1:{opened.port}/hello")
        new = authority.issue("door", days=9)
        opened.in_use.replace_by(new)
        await until(lambda: _differs(opened, before), wanted=True)
        assert value("deskbus_certificate_expiry_timestamp_seconds") == new.expires.timestamp()
        assert (await client.get(f"https://127.0.0.1:{opened.port}/hello")).status_code == 200


async def _differs(opened: Door, before: str) -> bool:
    return await opened.serial() != before


async def test_a_bad_new_file_keeps_the_old_certificate_and_says_so(
    authority: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(authority, authority.issue("door")) as opened:
        before, expires = await opened.serial(), opened.in_use.expires.timestamp()
        kept = opened.in_use.key.read_bytes()
        opened.in_use.key.write_bytes(authority.issue("other").key.read_bytes())

        async def refused() -> float | None:
            return value("deskbus_certificate_refused")

        await until(refused, wanted=1)
        assert await opened.serial() == before
        assert value("deskbus_certificate_expiry_timestamp_seconds") == expires
        said = capsys.readouterr().out
        assert "the certificate is invalid, keeping the previous one" in said
        assert "KEY_VALUES_MISMATCH" in said
        opened.in_use.key.write_bytes(kept)
        await until(refused, wanted=0)
        assert await opened.serial() == before


async def test_a_certificate_that_is_not_valid_yet_waits_until_it_is(authority: Authority) -> None:
    now = SystemClock().now()
    clock = FakeClock(now)
    issued = authority.issue("door", days=5)
    certificate = DoorCertificate("door", issued.certificate, issued.key, clock)
    first = certificate._current
    issued.replace_by(authority.issue("door", begins=1, days=9))
    with capture_logs() as logs:
        for _ in range(2):
            await certificate.reload()
    assert [line["event"] for line in logs] == [
        "the certificate is not valid yet, keeping the previous one until it is"
    ]
    assert (certificate._current is first, value("deskbus_certificate_refused")) == (True, 1)
    assert value("deskbus_certificate_expiry_timestamp_seconds") == issued.expires.timestamp()
    clock.set(now + timedelta(days=1, seconds=1))
    await certificate.reload()
    assert (certificate._current is first, value("deskbus_certificate_refused")) == (False, 0)


async def test_a_certificate_that_is_not_valid_yet_replaces_one_that_has_expired(authority: Authority) -> None:
    """By a clock that is behind, or not: there is nothing better to show."""
    now = SystemClock().now()
    clock = FakeClock(now)
    issued = authority.issue("door", days=1)
    certificate = DoorCertificate("door", issued.certificate, issued.key, clock)
    first = certificate._current
    clock.set(now + timedelta(days=2))
    issued.replace_by(authority.issue("door", begins=3, days=9))
    await certificate.reload()
    assert certificate._current is not first


async def test_files_that_have_not_changed_are_not_loaded_again(authority: Authority) -> None:
    def counted() -> list[float | None]:
        labels = [{"name": "still", "outcome": outcome} for outcome in ("accepted", "refused")]
        return [REGISTRY.get_sample_value("deskbus_certificate_reloads_total", each) for each in labels]

    issued = authority.issue("door")
    certificate = DoorCertificate("still", issued.certificate, issued.key)
    await certificate.reload()
    assert counted() == [0, 0]
    issued.replace_by(authority.issue("door"))
    await certificate.reload()
    issued.key.write_bytes(b"half of it")
    await certificate.reload()
    await certificate.reload()
    assert counted() == [1, 1]


def test_an_encrypted_key_is_refused_and_asks_nobody(authority: Authority) -> None:
    issued = authority.issue("door")
    key = serialization.load_pem_private_key(issued.key.read_bytes(), None)
    hidden = serialization.BestAvailableEncryption(b"secret")
    form = serialization.PrivateFormat.PKCS8
    issued.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, hidden))
    with pytest.raises(InvalidCertificate, match="the key is encrypted, and no password is asked for"):
        DoorCertificate("door", issued.certificate, issued.key)


@pytest.mark.parametrize("broken", ["absent", "garbage", "other's key"])
def test_a_door_does_not_open_without_its_certificate(broken: str, authority: Authority) -> None:
    issued = authority.issue("door")
    match broken:
        case "absent":
            issued.certificate.unlink()
        case "garbage":
            issued.certificate.write_text("-----BEGIN CERTIFICATE-----\nxyz\n-----END CERTIFICATE-----\n")
        case _:
            issued.key.write_bytes(authority.issue("other").key.read_bytes())
    with pytest.raises(InvalidCertificate, match=issued.certificate.name):
        DoorCertificate("door", issued.certificate, issued.key)


@pytest.mark.parametrize("one", ["CERTIFICATE", "KEY"])
def test_a_certificate_without_its_key_is_refused(one: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"DESKBUS_TLS_{one}", "door.pem")
    with pytest.raises(ValueError, match="must be set together"):
        ServiceSettings()
