"""DKIM signatures of mails, for a Deskbus that mail reaches first: whose are right. Asks DNS, within bounds.

A signature that covers a part of the body only counts as none: anybody could add to such a mail (RFC 6376, 8.2).

Rule: whatever DNS does, a batch waits for it no longer than `MOST_PATIENCE`, since other channels and accounts stand
behind its mails; while DNS does not answer, so little that batches may still grow. What was not checked in time counts
as not proven.
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

#: A name and the seconds that the answer may take -> the TXT record, None if there is none.
Lookup = Callable[[bytes, int], bytes | None]
#: Signatures that are looked at, each with one question to DNS; a mail has one or two.
MOST = 3
LOOKUP_SECONDS = 2
#: They mostly wait. One is held for as long as a question takes, also when nobody waits for the answer any more.
THREADS = 32
#: Seconds that a batch waits for DNS, at most: below a quarter of a session (kit's BatchSize), or batches would shrink.
MOST_PATIENCE = 2.0
#: While DNS does not answer in time: below a sixteenth of a session, or batches would not grow.
LEAST_PATIENCE = 0.5
log = structlog.get_logger(__name__)


class Signatures:
    """Checks signatures beside the loop: it is arithmetic, and waiting for DNS."""

    def __init__(self, lookup: Lookup = get_txt, *, patience: float = MOST_PATIENCE) -> None:
        """Wait at first so many seconds a batch; half as long after one that ran out of them, and back again."""
        self._lookup, self.patience, self._most = lookup, patience, patience
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="dkim")

    def batch(self) -> Checks:
        """Begin the checks of a batch."""
        return Checks(self)

    async def check(self, record: InboundRecord, until: float) -> tuple[InboundRecord, bool | None]:
        """Return the record, whose body is here, with the domains whose signatures are right.

        Also: whether DNS answered before `until`, an instant of the loop; None where it was not asked.
        """
        loop = asyncio.get_running_loop()
        answered: bool | None
        try:
            async with asyncio.timeout_at(until):
                in_time = partial(_in_time, loop, until)
                domains, answered = await loop.run_in_executor(self._pool, self._right, record.body, in_time)
        except TimeoutError:
            log.warning("DKIM check timed out", receipt=record.receipt)
            domains, answered = (), False
        http = record.http or HttpRequest()
        query = {**http.query, "dkim": " ".join(domains)}
        return record.model_copy(update={"http": http.model_copy(update={"query": query})}), answered

    def learn(self, answers: Sequence[bool | None]) -> None:
        """Lose patience with a DNS that does not answer in time, and find it again with one that does."""
        if False in answers:
            self.patience = max(min(LEAST_PATIENCE, self.patience), self.patience / 2)
        elif True in answers:
            self.patience = min(self._most, self.patience * 2)

    def _right(self, raw: bytes, in_time: Callable[[], bool]) -> tuple[tuple[str, ...], bool | None]:
        found, asked = [], False

        def lookup(name: bytes, timeout: int) -> bytes | None:
            nonlocal asked
            if not in_time():
                raise dkim.DnsTimeoutError("the DKIM check has timed out")
            asked = True
            return self._lookup(name, timeout)

        for index in range(MOST):
            try:
                mail = dkim.DKIM(raw, timeout=LOOKUP_SECONDS)
                right = mail.verify(index, dnsfunc=lookup)
            except Exception as fault:  # the library raises what a stranger's bytes make it raise
                log.debug("a DKIM signature cannot be read", fault=repr(fault))
                continue
            # Another From might be what the signature is about, and another one what is shown.
            authors = sum(name.strip().lower() == b"from" for name, _ in mail.headers)
            if right and authors == 1 and b"l" not in mail.signature_fields:
                found.append(mail.domain.decode("ascii", "replace").lower())
        return tuple(found), asked or None


def _in_time(loop: asyncio.AbstractEventLoop, until: float) -> bool:
    return loop.time() < until


class Checks:
    """The checks of one batch: at once or one after the other, together they wait as long as Deskbus has patience."""

    def __init__(self, signatures: Signatures) -> None:
        self._signatures, self._left = signatures, signatures.patience

    async def check(self, records: Sequence[InboundRecord]) -> list[InboundRecord]:
        """Check these at once."""
        if not records:  # most batches: nothing waits, and the simulation, which has no loop, is not asked for one
            return []
        loop = asyncio.get_running_loop()
        begin = loop.time()
        until = begin + self._left
        checked = await asyncio.gather(*(self._signatures.check(record, until) for record in records))
        self._left -= loop.time() - begin
        self._signatures.learn([answered for _, answered in checked])
        return [record for record, _ in checked]
