"""DKIM signatures of mails, for a Deskbus that mail reaches first: whose are right. Asks DNS, within bounds.

A signature that covers a part of the body only counts as none: anybody could add to such a mail (RFC 6376, 8.2).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import dkim
import structlog
from dkim.dnsplug import get_txt

from contracts.inbound import HttpRequest, InboundRecord

#: A name and the seconds that the answer may take -> the TXT record, None if there is none.
Lookup = Callable[[bytes, int], bytes | None]
#: Signatures that are looked at; a mail has one or two.
MOST = 3
LOOKUP_SECONDS = 3
THREADS = 4
log = structlog.get_logger(__name__)


class Signatures:
    """Checks signatures beside the loop: it is arithmetic, and waiting for DNS."""

    def __init__(self, lookup: Lookup = get_txt, *, seconds: float = 10.0) -> None:
        """`seconds` is what a mail may take in all; past it, its signatures count as not proven."""
        self._lookup, self._seconds = lookup, seconds
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="dkim")

    async def check_all(self, records: Sequence[InboundRecord]) -> list[InboundRecord]:
        """Check several at once, in the time that one may take."""
        return list(await asyncio.gather(*(self.check(record) for record in records)))

    async def check(self, record: InboundRecord) -> InboundRecord:
        """Return the record, whose body is here, with the domains whose signatures are right."""
        try:
            async with asyncio.timeout(self._seconds):
                loop = asyncio.get_running_loop()
                domains = await loop.run_in_executor(self._pool, self._right, record.body)
        except TimeoutError:
            log.warning("DKIM was not checked in time", receipt=record.receipt)
            domains = ()
        http = record.http or HttpRequest()
        return record.model_copy(
            update={"http": http.model_copy(update={"query": {**http.query, "dkim": " ".join(domains)}})}
        )

    def _right(self, raw: bytes) -> tuple[str, ...]:
        found = []
        for index in range(MOST):
            try:
                mail = dkim.DKIM(raw, timeout=LOOKUP_SECONDS)
                right = mail.verify(index, dnsfunc=self._lookup)
            except Exception as fault:  # the library raises what a stranger's bytes make it raise
                log.debug("a signature cannot be read", fault=repr(fault))
                continue
            # Another From might be what the signature is about, and another one what is shown.
            authors = sum(name.strip().lower() == b"from" for name, _ in mail.headers)
            if right and authors == 1 and b"l" not in mail.signature_fields:
                found.append(mail.domain.decode("ascii", "replace").lower())
        return tuple(found)
