"""Verify the DKIM signatures of mail, for accounts with `check_dkim`. Queries DNS, within limits.

A signature that covers only a part of the body does not count: anybody could append to such a mail (RFC 6376, 8.2).

Rule: a batch waits at most `MAX_PATIENCE` seconds for DNS, since messages of other channels and accounts wait behind
its mails. While DNS does not respond, it waits less, so that batches can still grow. Mail that was not checked in time
counts as unauthenticated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import dkim
import structlog
from dkim.dnsplug import get_txt

from contracts.inbound import HttpRequest, InboundRecord

#: (Name, timeout in seconds) -> the TXT record, or None if there is none.
Lookup = Callable[[bytes, int], bytes | None]
#: Maximum number of signatures checked per mail, each with one DNS query; most mails have one or two.
MAX_SIGNATURES = 3
LOOKUP_SECONDS = 2
#: Threads mostly wait for DNS. A thread stays occupied until its query ends, even if the batch no longer waits for it.
THREADS = 32
#: Maximum seconds that a batch waits for DNS: below a quarter of a session (kit's BatchSize), or batches would shrink.
MAX_PATIENCE = 2.0
#: The same while DNS does not respond in time: below a sixteenth of a session, or batches would not grow.
MIN_PATIENCE = 0.5
log = structlog.get_logger(__name__)


class Signatures:
    """Checks signatures in threads, since the library computes and queries DNS synchronously."""

    def __init__(self, lookup: Lookup = get_txt, *, patience: float = MAX_PATIENCE) -> None:
        """`patience`: seconds per batch. It is halved after a timeout, and doubled again once DNS responds."""
        self._lookup, self.patience, self._max_patience = lookup, patience, patience
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="dkim")

    def batch(self) -> Checks:
        """Return the checks of a batch, which share its patience."""
        return Checks(self)

    async def check(self, record: InboundRecord, until: float) -> tuple[InboundRecord, bool | None]:
        """Return the record with the domains of its valid signatures, and whether DNS responded before `until`.

        `until` is a time of the event loop. The second value is None if DNS was not queried. The record must have its
        body, not a claim check.
        """
        loop = asyncio.get_running_loop()
        answered: bool | None
        try:
            async with asyncio.timeout_at(until):
                in_time = partial(_in_time, loop, until)
                domains, answered = await loop.run_in_executor(self._pool, self._verified_domains, record.body, in_time)
        except TimeoutError:
            log.warning("DKIM check timed out", receipt=record.receipt)
            domains, answered = (), False
        http = record.http or HttpRequest()
        query = {**http.query, "dkim": " ".join(domains)}
        return record.model_copy(update={"http": http.model_copy(update={"query": query})}), answered

    def adapt(self, answers: Sequence[bool | None]) -> None:
        """Halve the patience if DNS did not respond to a check in time; double it if it responded to all."""
        if False in answers:
            self.patience = max(min(MIN_PATIENCE, self.patience), self.patience / 2)
        elif True in answers:
            self.patience = min(self._max_patience, self.patience * 2)

    def _verified_domains(self, raw: bytes, in_time: Callable[[], bool]) -> tuple[tuple[str, ...], bool | None]:
        found, asked = [], False

        def lookup(name: bytes, timeout: int) -> bytes | None:
            nonlocal asked
            if not in_time():
                raise dkim.DnsTimeoutError("the DKIM check has timed out")
            asked = True
            return self._lookup(name, timeout)

        for index in range(MAX_SIGNATURES):
            try:
                mail = dkim.DKIM(raw, timeout=LOOKUP_SECONDS)
                valid = mail.verify(index, dnsfunc=lookup)
            except Exception as fault:  # the library may raise anything on hostile input
                log.debug("a DKIM signature cannot be read", fault=repr(fault))
                continue
            # With several From headers, the signature may cover one and mail programs may show another.
            authors = sum(name.strip().lower() == b"from" for name, _ in mail.headers)
            if valid and authors == 1 and b"l" not in mail.signature_fields:
                found.append(mail.domain.decode("ascii", "replace").lower())
        return tuple(found), asked or None


def _in_time(loop: asyncio.AbstractEventLoop, until: float) -> bool:
    return loop.time() < until


class Checks:
    """The checks of one batch. In total they wait at most the patience that there was when the batch began."""

    def __init__(self, signatures: Signatures) -> None:
        self._signatures, self._remaining = signatures, signatures.patience

    async def check(self, records: Sequence[InboundRecord]) -> list[InboundRecord]:
        """Check these records concurrently."""
        if not records:  # most batches; besides, the simulation has no event loop
            return []
        loop = asyncio.get_running_loop()
        begin = loop.time()
        until = begin + self._remaining
        checked = await asyncio.gather(*(self._signatures.check(record, until) for record in records))
        self._remaining -= loop.time() - begin
        self._signatures.adapt([answered for _, answered in checked])
        return [record for record, _ in checked]
