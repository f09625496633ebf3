"""The way out over HTTP, of every service: requests to checked addresses only, bounded in size and time.

Rules: a name is looked up once and the connection goes to an address that was checked (no DNS rebinding). Private,
link-local, loopback and otherwise special addresses, and plain http, are refused unless the operator allows the host by
name. Proxies of the environment are not used: they would resolve for us. No redirect is followed. What an answer means,
callers say.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpcore
import httpx

from kit.base import tracing
from kit.base.tracing import Span

MOST_ANSWER = 64 * 1024
"""Bytes of an answer that are read: an id, or a reason."""
_BROKEN_OFF = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError)
_LEAVES = "send_request_headers.started"
"""What httpcore traces, after the version of HTTP, once there is a connection and its TLS."""

Resolve = Callable[[str, int], Awaitable[list[str]]]
Trace = Callable[[str, object], Awaitable[None]]
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class Forbidden(Exception):
    """The URL may not be called, or is none."""


class Unreached(Exception):
    """No answer came. `unsure`: the request was leaving or had left, so it may have arrived."""

    def __init__(self, reason: str, *, unsure: bool = False) -> None:
        super().__init__(reason)
        self.unsure = unsure


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, as far as we read it. Names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    cut: bool = False
    """More came than was to be read."""

    def excerpt(self) -> str:
        """The beginning of the body for an error text."""
        return " ".join(self.body[:200].decode("utf-8", "replace").split())


def is_public(address: str) -> bool:
    """Whether an address is an ordinary one of the Internet, also when another is wrapped in it."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed in _NAT64:
            return is_public(str(ipaddress.IPv4Address(int(parsed) & 0xFFFF_FFFF)))
        inner = parsed.ipv4_mapped or parsed.sixtofour
        if inner is not None:
            return is_public(str(inner))
        if parsed.is_site_local or parsed.teredo is not None:
            return False
    return parsed.is_global and not (parsed.is_multicast or parsed.is_reserved or parsed.is_unspecified)


def is_allowed(host: str, port: int, allowed: Collection[str]) -> bool:
    """Whether the operator allows this host by name, whatever its address."""
    host = host.lower().rstrip(".")
    shown = f"[{host}]" if ":" in host else host
    return host in allowed or f"{shown}:{port}" in allowed


async def resolve(host: str, port: int) -> list[str]:
    """Every address of a host, as the system gives them."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class GuardedNetwork(httpcore.AsyncNetworkBackend):
    """Makes connections for an HTTP client, to checked addresses only. TLS still verifies the name of the URL."""

    def __init__(
        self,
        allowed: Callable[[], Collection[str]],
        lookup: Resolve = resolve,
        inner: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        self._allowed, self._lookup = allowed, lookup
        self._inner = inner or httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Resolve, check every address, connect to the first that answers."""
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._lookup(host.strip("[]"), port)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"resolving {host} timed out") from error
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"{host} cannot be resolved") from error
        if not is_allowed(host.strip("[]"), port, self._allowed()) and not all(map(is_public, addresses)):
            raise Forbidden(f"{host} resolves to a private address and is not in allow_hosts")
        fault: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in addresses[:4]:
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                fault = error
        raise fault

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        """Refuse: a policy names hosts."""
        raise Forbidden(f"unix sockets are not supported: {path} ({timeout}, {socket_options})")

    async def sleep(self, seconds: float) -> None:
        """Wait between connection attempts."""
        await self._inner.sleep(seconds)


def _context(span: Span) -> dict[str, str]:
    """Return the headers by which the other side continues the trace."""
    return {} if span.traceparent is None else {"traceparent": span.traceparent}


class HttpClient:
    """A service's HTTP client. `allowed` gives the hosts that may be called although private or without TLS."""

    def __init__(
        self,
        allowed: Callable[[], Collection[str]],
        *,
        agent: str,
        seconds: float = 15.0,
        lookup: Resolve = resolve,
        connections: int = 100,
    ) -> None:
        """`agent` is told as user-agent; `seconds` bounds a call from look-up to the end of its answer."""
        self._allowed, self._agent, self._seconds = allowed, agent, seconds
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=connections,
            max_keepalive_connections=connections // 5,
            keepalive_expiry=30,
            network_backend=GuardedNetwork(allowed, lookup),
        )

    async def call(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        most: int = MOST_ANSWER,
        seconds: float | None = None,
    ) -> Answer:
        """Send a request once, and read at most so many bytes of its answer. `seconds` may shorten the client's own.

        Raises Forbidden for what no later try will change, else Unreached.
        """
        self._look_at(url)
        left = False

        async def trace(event: str, _: object) -> None:
            nonlocal left
            left = left or event.endswith(_LEAVES)

        within = self._seconds if seconds is None else min(seconds, self._seconds)
        known = {"http.request.method": method, "server.address": urlsplit(url).hostname}
        try:
            with tracing.within(method, "client", known) as span:
                async with asyncio.timeout(within):
                    answer = await self._send(method, url, {**_context(span), **headers}, body, most, trace)
                span.note({"http.response.status_code": answer.status})
                if answer.status >= 400:
                    span.fail(str(answer.status))
                return answer
        except TimeoutError:
            raise Unreached(f"no answer within {within:g} s", unsure=left) from None
        except httpcore.LocalProtocolError:  # its text quotes the header, which may be a secret that is to be mended
            raise Unreached("a header or the address has a character that HTTP does not allow") from None
        except _BROKEN_OFF as fault:
            raise Unreached(f"{type(fault).__name__}: {fault}"[:300], unsure=left) from fault
        except (httpcore.UnsupportedProtocol, ValueError, TypeError) as fault:
            raise Forbidden(f"{type(fault).__name__}: {fault}"[:300]) from fault

    def _look_at(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError as error:
            raise Forbidden(f"invalid URL: {error}") from None
        if parts.scheme not in {"http", "https"} or not host or parts.username is not None:
            raise Forbidden("must be an http(s) URL without user and password")
        if parts.scheme == "http" and not is_allowed(host, port, self._allowed()):
            raise Forbidden(f"{host} is not in allow_hosts, so it must be called with TLS")

    async def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, most: int, trace: Trace
    ) -> Answer:
        step = self._seconds / 2
        timeouts = {"connect": step, "read": self._seconds, "write": step, "pool": step}
        sent = {
            "host": urlsplit(url).netloc,
            "user-agent": self._agent,
            "accept-encoding": "identity",  # nothing is unpacked here
            "content-length": str(len(body)),
            **headers,
        }
        async with self._pool.stream(
            method, url, headers=list(sent.items()), content=body, extensions={"timeout": timeouts, "trace": trace}
        ) as response:
            taken = bytearray()
            async for chunk in response.aiter_stream():
                taken += chunk
                if len(taken) > most:
                    break
            known = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
            return Answer(response.status, known, bytes(taken[:most]), cut=len(taken) > most)

    async def close(self) -> None:
        """Let go of all connections."""
        await self._pool.aclose()
