"""Files: which ticket has which, who may name one in a reply, and their bytes, fetched from the channel when asked.

A file is known by one id of ours (`Attachment.ref`). It came with a message, or was uploaded by a token; the bytes are
a blob of that id as soon as we have them. An upload that no reply names expires; one that a reply names stays.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from contracts.ticket import Attachment, Direction, Ticket
from kit.base.clock import Clock
from kit.base.ids import stable_id
from kit.http_client import MOST_ANSWER, Answer, Forbidden, Unreached
from kit.policy.secrets import Secrets, Unresolved
from services.ingest.accounts import Accounts
from services.ingest.channels import CHANNELS
from services.ingest.core.messages import HttpCall, SendFailure, Unsendable, Upload
from services.ingest.core.state import MESSAGES
from services.ingest.store import TICKETS, UPLOADS, Keeping, accepted

MERGED = 50
"""Tickets that were merged into one, whose files it has too."""
HOLDERS = 20
"""Messages that have one file: the one that it came with, and replies that send it along."""
REDIRECTS = 3
AT_ONCE = 4
SAME = timedelta(hours=1)
"""Within it the same file of the same token is the same upload: a request that is tried again makes no second one."""
MARGIN = timedelta(hours=1)
"""The bytes of an upload outlast the right to name it, so that they are whole when a reply has just named it."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Fetching(Protocol):
    """Makes requests: `kit.http_client.HttpClient`."""

    async def call(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, *, most: int = MOST_ANSWER
    ) -> Answer: ...


class NotFetched(Exception):
    """The channel did not give the file. `permanent`: asking again will not help."""

    def __init__(self, reason: str, *, permanent: bool) -> None:
        super().__init__(reason)
        self.permanent = permanent


class Files:
    """Looks files up, takes them in and reads them."""

    def __init__(
        self,
        store: Keeping,
        clock: Clock,
        http_client: Fetching,
        accounts: Callable[[], Accounts],
        secrets: Secrets,
        *,
        most_bytes: int,
        upload_for: timedelta = timedelta(hours=24),
    ) -> None:
        """`most_bytes` is the largest file that is fetched from a channel, `upload_for` how long one may be named."""
        self._store, self._clock, self._http = store, clock, http_client
        self._accounts, self._secrets, self._most = accounts, secrets, most_bytes
        self._hands, self._upload_for = asyncio.Semaphore(AT_ONCE), upload_for

    async def upload(self, owner: str, name: str, media_type: str, body: bytes) -> Attachment:
        """Keep a file of a token until a reply names it, or it expires."""
        digest = hashlib.sha256(body).hexdigest()
        period = (self._clock.now() - _EPOCH) // SAME
        ref = stable_id("upload", owner, name, media_type, digest, str(period))
        expires = _EPOCH + (period + 1) * SAME + self._upload_for
        await self._store.put_blob(ref, body, expires=expires + MARGIN)
        row = {"_id": ref, "owner": owner, "name": name, "media_type": media_type, "size": len(body)}
        await self._store.insert(UPLOADS, [{**row, "expires": expires}])
        return Attachment(name=name, media_type=media_type, size=len(body), ref=ref)

    async def uploads(self, refs: Collection[str], owner: str | None) -> dict[str, Attachment]:
        """Those of the files that this token uploaded, and may name still."""
        if owner is None:
            return {}
        rows, now = await self._store.fetch(UPLOADS, sorted(refs)), self._clock.now()
        return {
            row["_id"]: Attachment(name=row["name"], media_type=row["media_type"], size=row["size"], ref=row["_id"])
            for row in rows
            if row["owner"] == owner and row["expires"] > now
        }

    async def keep(self, refs: Iterable[str]) -> None:
        """Let these uploads stay: a reply that names them is about to be stored."""
        await asyncio.gather(*(self._store.keep_blob(ref) for ref in refs))

    async def holders(self, ref: str) -> list[tuple[str, Attachment]]:
        """The tickets whose messages have the file, and how each names it; the message that it came with first."""
        found = await self._store.find(MESSAGES, {"body.attachments.ref": ref}, limit=HOLDERS)
        rows = await accepted(self._store, found)
        rows.sort(key=lambda row: (row["body"]["direction"] != Direction.IN.value, row["at"]))
        return [(row["ticket"], _named(row, ref)) for row in rows]

    async def usable(self, ticket: str, refs: Collection[str], caller: str | None) -> frozenset[str]:
        """Those of the files that a reply on the ticket may name: the ticket's own, and uploads of the caller."""
        wanted = sorted(set(refs))
        tickets = await self._merged_into(ticket)
        uploads, rows = await asyncio.gather(
            self.uploads(wanted, caller),
            self._store.find(
                MESSAGES,
                {"ticket": {"$in": tickets}, "body.attachments.ref": {"$in": wanted}},
                limit=HOLDERS * len(wanted),
                projection=["ticket", "message", "body.direction", "body.attachments"],
            ),
        )
        rows = await accepted(self._store, rows)
        own: set[str] = {file.get("ref") for row in rows for file in row["body"]["attachments"]}
        return frozenset(each for each in wanted if each in own or each in uploads)

    async def _merged_into(self, ticket: str) -> list[str]:
        """The ticket and those that were merged into it, also by way of others; the nearest, if there are too many."""
        tickets, last = [ticket], [ticket]
        while last and len(tickets) <= MERGED:
            query = {"state.ticket.merged_into": {"$in": last}, "_id": {"$nin": tickets}}
            most = MERGED + 1 - len(tickets)
            rows = await self._store.find(TICKETS, query, limit=most, projection={"_id": 1})
            last = [row["_id"] for row in rows]
            tickets += last
        return tickets

    async def read(self, ref: str, ticket: Ticket | None) -> bytes | None:
        """The bytes; of a file that the ticket's channel still keeps, fetched now and kept. Raises NotFetched.

        None: there is no such file.
        """
        body = await self._store.get_blob(ref)
        if body is not None or ticket is None:
            return body
        came_with = next(iter(await self.holders(ref)), None)
        if came_with is None or (came_with[1].media_id is None and came_with[1].url is None):
            return None
        async with self._hands:
            body = await self._fetch(came_with[1], ticket)
        await self._store.put_blob(ref, body)
        return body

    async def _fetch(self, file: Attachment, ticket: Ticket) -> bytes:
        account = self._accounts().named(ticket.channel, ticket.account)
        channel = CHANNELS.get(ticket.channel)
        if account is None or channel is None:
            raise NotFetched(f"unknown account {ticket.account} on {ticket.channel}", permanent=False)
        try:
            wanted = channel.original(file, account, self._secrets)
            if isinstance(wanted, Upload):
                told = await self._http.call("GET", wanted.call.url, wanted.call.headers, b"")
                after = wanted.then(told.status, told.body)
                if isinstance(after, SendFailure):
                    raise NotFetched(after.reason, permanent=after.permanent)
                wanted = after
            answer = await self._follow(wanted)
        except (Unsendable, Forbidden) as fault:
            raise NotFetched(str(fault), permanent=True) from fault
        except (Unresolved, Unreached) as fault:
            raise NotFetched(str(fault), permanent=False) from fault
        if answer.status != 200:
            raise NotFetched(f"the channel answered {answer.status}", permanent=answer.status in {400, 403, 404, 410})
        if answer.cut:
            raise NotFetched(f"the file exceeds {self._most} bytes", permanent=True)
        return answer.body

    async def _follow(self, call: HttpCall) -> Answer:
        """Follow redirects, which providers answer with; without credentials, each address checked as any other."""
        url, headers = call.url, call.headers
        for _ in range(REDIRECTS):
            answer = await self._http.call("GET", url, headers, b"", most=self._most)
            target = answer.headers.get("location")
            if answer.status not in {301, 302, 303, 307, 308} or target is None:
                return answer
            url, headers = target, {}
        raise NotFetched("the channel redirects too often", permanent=True)


def _named(row: Mapping[str, Any], ref: str) -> Attachment:
    return next(Attachment.model_validate(file) for file in row["body"]["attachments"] if file.get("ref") == ref)
