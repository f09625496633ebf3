"""Outbound requests reach public addresses, and others only when the policy names the host."""

import pytest

from services.notify.channels.guard import is_public, resolve
from services.notify.channels.outbound import Answer, Outbound
from services.notify.core.settle import Later, Refused
from tests.notify.receivers import HttpReceiver

PRIVATE = [
    "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
    "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "fec0::1", "ff02::1", "2001:db8::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::1", "2002:a9fe:a9fe::", "2001:0:4136::1",
    "not an address", "",
]  # fmt: skip
PUBLIC = ["8.8.8.8", "93.184.216.34", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]


@pytest.mark.parametrize("address", PRIVATE)
def test_special_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_ordinary_addresses_are_public(address: str) -> None:
    assert is_public(address)


async def post(url: str, allowed: set[str], names: dict[str, list[str]] | None = None) -> Answer | Later | Refused:
    async def lookup(host: str, port: int) -> list[str]:
        if names is None or host not in names:
            raise OSError("no such host")
        return names[host]

    outbound = Outbound(lambda: allowed, seconds=2, lookup=resolve if names is None else lookup)
    try:
        return await outbound.post(url, {}, b"{}")
    finally:
        await outbound.close()


@pytest.fixture
async def local() -> HttpReceiver:
    return await HttpReceiver().start()


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "2130706433", "0x7f.1", "0177.0.0.1", "127.1", "localhost", "[::ffff:127.0.0.1]"]
)
async def test_however_loopback_is_written_it_is_not_called(local: HttpReceiver, host: str) -> None:
    outcome = await post(f"https://{host}:{local.port}/", set())
    assert isinstance(outcome, Refused | Later)
    assert local.requests == []
    if isinstance(outcome, Refused):
        assert "not public" in outcome.error
    else:
        assert "resolved" in outcome.error, "only a name that the system does not know may be tried again"


async def test_a_name_that_leads_to_a_private_address_is_not_called(local: HttpReceiver) -> None:
    outcome = await post(f"https://hooks.example:{local.port}/", set(), {"hooks.example": ["127.0.0.1"]})
    assert isinstance(outcome, Refused)
    assert local.requests == []


async def test_one_private_address_among_public_ones_is_enough_to_refuse() -> None:
    outcome = await post("https://hooks.example/", set(), {"hooks.example": ["8.8.8.8", "10.0.0.1"]})
    assert isinstance(outcome, Refused)


async def test_the_address_that_was_checked_is_the_one_that_is_called(local: HttpReceiver) -> None:
    looked: list[str] = []

    async def rebinding(host: str, port: int) -> list[str]:
        looked.append(host)
        return ["127.0.0.1"]

    outbound = Outbound(lambda: {"hooks.example"}, seconds=2, lookup=rebinding)
    answer = await outbound.post(f"http://hooks.example:{local.port}/x", {}, b"{}")
    await outbound.close()
    assert isinstance(answer, Answer)
    assert looked == ["hooks.example"]
    assert local.requests[0].headers["host"] == f"hooks.example:{local.port}"


async def test_a_host_is_allowed_by_its_name_and_by_name_and_port(local: HttpReceiver) -> None:
    url = f"http://127.0.0.1:{local.port}/"
    assert isinstance(await post(url, {"127.0.0.1"}), Answer)
    assert isinstance(await post(url, {f"127.0.0.1:{local.port}"}), Answer)
    assert isinstance(await post(url, {"127.0.0.1:1"}), Refused)


async def test_without_tls_only_what_is_allowed_by_name() -> None:
    assert isinstance(await post("http://hooks.example/", set(), {"hooks.example": ["8.8.8.8"]}), Refused)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://hooks.example/",
        "https:///x",
        "file:///etc/passwd",
        "https://hooks.example:99999/",
        "https://u:p@hooks.example/",
        "https://[::",
    ],
)
async def test_what_is_no_http_url_is_refused(url: str) -> None:
    assert isinstance(await post(url, set(), {}), Refused)


async def test_a_name_that_is_not_known_now_is_tried_again() -> None:
    assert isinstance(await post("https://hooks.example/", set(), {}), Later)
