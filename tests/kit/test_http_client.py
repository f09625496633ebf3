"""Requests that services make reach public addresses, and others only when the operator allows the host by name."""

import asyncio
import traceback
from collections.abc import Sequence
from typing import Any

import httpcore
import pytest

from kit.http_client import MOST_ANSWER, Answer, Forbidden, GuardedNetwork, HttpClient, Unreached, is_public, resolve
from tests.notify.receivers import HttpReceiver, Reply

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


async def post(url: str, allowed: set[str], names: dict[str, list[str]] | None = None) -> Answer:
    async def lookup(host: str, port: int) -> list[str]:
        if names is None or host not in names:
            raise OSError("no such host")
        return names[host]

    http_client = HttpClient(lambda: allowed, agent="test", seconds=2, lookup=resolve if names is None else lookup)
    try:
        return await http_client.call("POST", url, {}, b"{}")
    finally:
        await http_client.close()


@pytest.fixture
async def local() -> HttpReceiver:
    return await HttpReceiver().start()


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "2130706433", "0x7f.1", "0177.0.0.1", "127.1", "localhost", "[::ffff:127.0.0.1]"]
)
async def test_however_loopback_is_written_it_is_not_called(local: HttpReceiver, host: str) -> None:
    # Only a name that the system does not know may be tried again.
    with pytest.raises((Forbidden, Unreached), match=r"private address|resolv"):
        await post(f"https://{host}:{local.port}/", set())
    assert local.requests == []


async def test_a_name_that_leads_to_a_private_address_is_not_called(local: HttpReceiver) -> None:
    with pytest.raises(Forbidden):
        await post(f"https://hooks.example:{local.port}/", set(), {"hooks.example": ["127.0.0.1"]})
    assert local.requests == []


async def test_one_private_address_among_public_ones_is_enough_to_refuse() -> None:
    with pytest.raises(Forbidden):
        await post("https://hooks.example/", set(), {"hooks.example": ["8.8.8.8", "10.0.0.1"]})


async def test_the_address_that_was_checked_is_the_one_that_is_called(local: HttpReceiver) -> None:
    looked: list[str] = []

    async def rebinding(host: str, port: int) -> list[str]:
        looked.append(host)
        return ["127.0.0.1"]

    http_client = HttpClient(lambda: {"hooks.example"}, agent="test", seconds=2, lookup=rebinding)
    await http_client.call("POST", f"http://hooks.example:{local.port}/x", {}, b"{}")
    await http_client.close()
    assert looked == ["hooks.example"]
    assert local.requests[0].headers["host"] == f"hooks.example:{local.port}"


async def test_a_host_is_allowed_by_its_name_and_by_name_and_port(local: HttpReceiver) -> None:
    url = f"http://127.0.0.1:{local.port}/"
    assert isinstance(await post(url, {"127.0.0.1"}), Answer)
    assert isinstance(await post(url, {f"127.0.0.1:{local.port}"}), Answer)
    with pytest.raises(Forbidden):
        await post(url, {"127.0.0.1:1"})


async def test_without_tls_only_what_is_allowed_by_name() -> None:
    with pytest.raises(Forbidden, match="called with TLS"):
        await post("http://hooks.example/", set(), {"hooks.example": ["8.8.8.8"]})


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
    with pytest.raises(Forbidden):
        await post(url, set(), {})


async def test_a_name_that_is_not_known_now_is_tried_again() -> None:
    with pytest.raises(Unreached) as fault:
        await post("https://hooks.example/", set(), {})
    assert not fault.value.unsure


async def test_a_proxy_of_the_environment_is_not_asked(local: HttpReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = await HttpReceiver().start()
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    await post(f"http://127.0.0.1:{local.port}/x", {"127.0.0.1"})
    assert (len(local.requests), proxy.requests) == (1, [])


async def test_an_answer_that_does_not_come_may_have_been_preceded_by_an_arrival(local: HttpReceiver) -> None:
    local.answer = lambda _: Reply(hang=True)
    http_client = HttpClient(lambda: {"127.0.0.1"}, agent="test", seconds=0.2)
    with pytest.raises(Unreached) as fault:
        await http_client.call("POST", f"http://127.0.0.1:{local.port}/", {}, b"{}")
    await http_client.close()
    assert fault.value.unsure


async def test_a_connection_that_is_never_made_has_surely_brought_nothing() -> None:
    async def says_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(says_nothing, "127.0.0.1", 0)
    http_client = HttpClient(lambda: {"127.0.0.1"}, agent="test")
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(Unreached, match=r"within 0\.3 s") as fault:
            await http_client.call("POST", f"https://127.0.0.1:{port}/", {}, b"{}", seconds=0.3)
        await http_client.close()
    assert not fault.value.unsure


async def test_an_answer_is_read_no_further_than_an_answer_goes_and_never_unpacked(local: HttpReceiver) -> None:
    local.answer = lambda _: Reply(200, {"content-encoding": "gzip"}, b"x" * (MOST_ANSWER * 3))
    answer = await post(f"http://127.0.0.1:{local.port}/", {"127.0.0.1"})
    assert answer.body == b"x" * MOST_ANSWER
    assert local.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("value", ["Bearer geheim\nsecond line", "Bearer geheim\x00", "Bearer gehéim"])
async def test_a_header_that_http_does_not_allow_is_not_quoted(local: HttpReceiver, value: str) -> None:
    http_client = HttpClient(lambda: {"127.0.0.1"}, agent="test")
    with pytest.raises((Forbidden, Unreached)) as fault:
        await http_client.call("POST", f"http://127.0.0.1:{local.port}/", {"authorization": value}, b"{}")
    await http_client.close()
    assert not getattr(fault.value, "unsure", False)
    assert "geh" not in "".join(traceback.format_exception(fault.value))
    assert local.requests == []


async def test_a_request_is_what_the_caller_says(local: HttpReceiver) -> None:
    await post(f"http://127.0.0.1:{local.port}/a?b=c", {"127.0.0.1"})
    (request,) = local.requests
    assert (request.path, request.body, request.headers["user-agent"]) == ("/a?b=c", b"{}", "test")


@pytest.mark.parametrize(("most", "cut"), [(9, True), (10, False), (11, False)])
async def test_no_more_of_an_answer_is_read_than_was_asked_for(local: HttpReceiver, most: int, cut: bool) -> None:
    local.answer = lambda _: Reply(body=b"0123456789")
    http_client = HttpClient(lambda: {"127.0.0.1"}, agent="test", seconds=2)
    answer = await http_client.call("GET", f"http://127.0.0.1:{local.port}/", {}, b"", most=most)
    await http_client.close()
    assert (answer.body, answer.cut) == (b"0123456789"[:most], cut)


class Network(httpcore.AsyncMockBackend):
    """Connects to nothing; the addresses in `away` do not answer."""

    def __init__(self, *away: str) -> None:
        super().__init__([])
        self.away, self.asked = away, list[str]()

    async def connect_tcp(self, host: str, *more: Any, **options: Any) -> httpcore.AsyncNetworkStream:
        self.asked.append(host)
        if host in self.away:
            raise httpcore.ConnectError("away")
        return await super().connect_tcp(host, *more, **options)


def guarded(network: Network, *addresses: str, allowed: Sequence[str] = ()) -> GuardedNetwork:
    async def lookup(_: str, __: int) -> list[str]:
        return list(addresses)

    return GuardedNetwork(lambda: allowed, lookup, network)


async def test_a_public_host_is_called_at_the_address_that_was_looked_up() -> None:
    network = Network()
    await guarded(network, "8.8.8.8").connect_tcp("hooks.example", 443)
    assert network.asked == ["8.8.8.8"]


async def test_an_address_that_does_not_answer_leaves_the_next_of_the_first_four() -> None:
    addresses = [f"8.8.8.{n}" for n in range(6)]
    network = Network(*addresses[:3])
    await guarded(network, *addresses).connect_tcp("hooks.example", 443)
    assert network.asked == addresses[:4]
    with pytest.raises(httpcore.ConnectError):
        await guarded(Network(*addresses), *addresses).connect_tcp("hooks.example", 443)
    with pytest.raises(httpcore.ConnectError, match="no address"):
        await guarded(Network()).connect_tcp("hooks.example", 443)


async def test_an_address_of_version_six_is_allowed_in_brackets() -> None:
    network = Network()
    await guarded(network, "::1", allowed=["[::1]:8080"]).connect_tcp("[::1]", 8080)
    assert network.asked == ["::1"]
    with pytest.raises(Forbidden):
        await guarded(network, "::1", allowed=["[::1]:8080"]).connect_tcp("[::1]", 80)


async def test_no_socket_of_the_file_system_is_called() -> None:
    with pytest.raises(Forbidden):
        await guarded(Network()).connect_unix_socket("/run/docker.sock")
