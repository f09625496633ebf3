"""Which addresses outbound requests may reach, held where the connection is made: resolve, check, connect to just that.

Rule: a name is looked up once and the connection goes to an address that was checked (no DNS rebinding). Private,
link-local, loopback and otherwise special addresses are refused unless the policy allows the host by name.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Any

import httpcore

Resolve = Callable[[str, int], Awaitable[list[str]]]
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class Forbidden(Exception):
    """The address may not be called."""


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
    """Whether the policy allows this host by name, whatever its address."""
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
            raise httpcore.ConnectTimeout(f"{host} was not resolved in time") from error
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"{host} cannot be resolved") from error
        if not is_allowed(host.strip("[]"), port, self._allowed()) and not all(map(is_public, addresses)):
            raise Forbidden(f"{host} has an address that is not public, and is not allowed by name")
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
        raise Forbidden(f"{path} is no host; waited for nothing ({timeout}, {socket_options})")

    async def sleep(self, seconds: float) -> None:
        """Wait between connection attempts."""
        await self._inner.sleep(seconds)
