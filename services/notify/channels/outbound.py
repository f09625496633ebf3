"""One outgoing POST: guarded, bounded in size and time, no redirect followed. What an answer means, sinks say."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import httpcore
import httpx

from services.notify.channels.guard import Forbidden, GuardedNetwork, Resolve, is_allowed, resolve
from services.notify.core.settle import Later, Refused

MOST_ANSWER = 64 * 1024
_NOT_SENT = (httpcore.ConnectError, httpcore.ConnectTimeout, httpcore.PoolTimeout, OSError)
"""What goes wrong before there is a connection. Whatever goes wrong on one may have happened behind the receiver."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, as far as we read it."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def excerpt(self) -> str:
        """The beginning of the body for an error text."""
        return " ".join(self.body[:200].decode("utf-8", "replace").split())


class Outbound:
    """The service's way out over HTTP. Proxies of the environment are not used: they would resolve for us."""

    def __init__(
        self,
        allowed: Callable[[], Collection[str]],
        *,
        seconds: float = 15.0,
        lookup: Resolve = resolve,
        connections: int = 100,
    ) -> None:
        self._allowed, self._seconds = allowed, seconds
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=connections,
            max_keepalive_connections=connections // 5,
            keepalive_expiry=30,
            network_backend=GuardedNetwork(allowed, lookup),
        )

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer | Later | Refused:
        """Send it once; what no answer came to is an outcome already."""
        fault = self._look_at(url)
        if fault is not None:
            return Refused(fault)
        try:
            async with asyncio.timeout(self._seconds):
                return await self._send(url, headers, body)
        except Forbidden as fault:
            return Refused(str(fault))
        except TimeoutError:
            return Later(f"no answer within {self._seconds:g} s", unsure=True)
        except _NOT_SENT as fault:
            return Later(f"{type(fault).__name__}: {fault}"[:300])
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as fault:
            return Later(f"{type(fault).__name__}: {fault}"[:300], unsure=True)
        except (httpcore.UnsupportedProtocol, ValueError, TypeError) as fault:
            return Refused(f"{type(fault).__name__}: {fault}"[:300])

    def _look_at(self, url: str) -> str | None:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError as error:
            return f"not a URL: {error}"
        if parts.scheme not in {"http", "https"} or not host or parts.username is not None:
            return "not an http(s) URL without user and password"
        if parts.scheme == "http" and not is_allowed(host, port, self._allowed()):
            return f"{host} is not called without TLS unless it is allowed by name"
        return None

    async def _send(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        step = self._seconds / 2
        timeouts = {"connect": step, "read": self._seconds, "write": step, "pool": step}
        sent = {
            "host": urlsplit(url).netloc,
            "user-agent": "deskbus-notify",
            "content-length": str(len(body)),
            **headers,
        }
        async with self._pool.stream(
            "POST", url, headers=list(sent.items()), content=body, extensions={"timeout": timeouts}
        ) as response:
            taken = bytearray()
            async for chunk in response.aiter_stream():
                taken += chunk
                if len(taken) > MOST_ANSWER:
                    break
            known = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
            return Answer(response.status, known, bytes(taken[:MOST_ANSWER]))

    async def close(self) -> None:
        """Let go of all connections."""
        await self._pool.aclose()


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds that the receiver asks us to wait: a number or a date."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds())


def refusal(answer: Answer, now: datetime) -> Later | Refused:
    """What a status that is no success means, where the sink has no rule of its own."""
    said = f"status {answer.status}: {answer.excerpt()}" if answer.body else f"status {answer.status}"
    if answer.status == 410:
        return Refused(said, 410, gone=True)
    if 300 <= answer.status < 400:
        return Refused(f"redirects are not followed: {said}", answer.status)
    # A receiver that is being repaired answers 401, 404 or 5xx for hours: only 410 says that it will not come back.
    return Later(said, answer.status, retry_after(answer.headers, now))
