"""Files: which ticket has which, who may attach one to a reply, and their bytes, fetched from the channel on demand.

A file has one id of ours (`Attachment.ref`). It arrived with a message, or was uploaded with a token. Once we have the
bytes, they are a blob with that id. An upload expires unless a reply attaches it.
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
from services.ingest import blobs
from services.ingest.accounts import Account, Accounts
from services.ingest.blobs import BlobStore
from services.ingest.channels import CHANNELS
from services.ingest.core.messages import HttpCall, SendFailure, Unsendable, Upload
from services.ingest.core.state import MESSAGES
from services.ingest.store import TICKETS, UPLOADS, only_taken

MAX_MERGED = 50
"""Maximum number of merged tickets whose files the surviving ticket may use."""
MAX_HOLDERS = 20
"""Maximum number of messages looked up per file: the one it arrived with, and replies that attach it."""
MAX_REDIRECTS = 3
CONCURRENT_FETCHES = 4
UPLOAD_PERIOD = timedelta(hours=1)
"""Within one period, repeated uploads of a file with the same token are one upload, so that a retry makes no second."""
BLOB_MARGIN = timedelta(hours=1)
"""An upload's bytes are kept this much longer than it may be attached, so that a reply just before expiry has them."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class HttpCaller(Protocol):
    """Makes HTTP requests: `kit.http_client.HttpClient`."""

    async def call(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, *, most: int = MOST_ANSWER
    ) -> Answer: ...


class AccountSecrets(Protocol):
    """Returns the secrets, with an account's access token among them: `access_tokens.AccessTokens`."""

    async def secrets(self, account: Account) -> Secrets: ...


class NotFetched(Exception):
    """The channel did not return the file. `permanent`: a retry will not help."""

    def __init__(self, reason: str, *, permanent: bool) -> None:
        super().__init__(reason)
        self.permanent = permanent


class Files:
    """Stores, looks up and reads files."""

    def __init__(
        self,
        store: BlobStore,
        clock: Clock,
        http_client: HttpCaller,
        accounts: Callable[[], Accounts],
        secrets: Secrets,
        *,
        max_bytes: int,
        upload_for: timedelta = timedelta(hours=24),
        tokens: AccountSecrets | None = None,
    ) -> None:
        """`max_bytes`: size limit of files fetched from channels. `upload_for`: how long an upload may be attached."""
        self._store, self._clock, self._http = store, clock, http_client
        self._accounts, self._secrets, self._max_bytes = accounts, secrets, max_bytes
        self._tokens = tokens
        self._fetch_slots, self._upload_for = asyncio.Semaphore(CONCURRENT_FETCHES), upload_for

    async def upload(self, owner: str, name: str, media_type: str, body: bytes) -> Attachment:
        """Store an uploaded file until it expires. Only replies of `owner`, a token's name, may attach it."""
        digest = hashlib.sha256(body).hexdigest()
        period = (self._clock.now() - _EPOCH) // UPLOAD_PERIOD
        ref = stable_id("upload", owner, name, media_type, digest, str(period))
        expires = _EPOCH + (period + 1) * UPLOAD_PERIOD + self._upload_for
        await blobs.put(self._store, ref, body, expires=expires + BLOB_MARGIN)
        row = {"_id": ref, "owner": owner, "name": name, "media_type": media_type, "size": len(body)}
        await self._store.insert(UPLOADS, [{**row, "expires": expires}])
        return Attachment(name=name, media_type=media_type, size=len(body), ref=ref)

    async def uploads(self, refs: Collection[str], owner: str | None) -> dict[str, Attachment]:
        """Return those of the files that this token uploaded and that have not expired."""
        if owner is None:
            return {}
        rows, now = await self._store.fetch(UPLOADS, sorted(refs)), self._clock.now()
        return {
            row["_id"]: Attachment(name=row["name"], media_type=row["media_type"], size=row["size"], ref=row["_id"])
            for row in rows
            if row["owner"] == owner and row["expires"] > now
        }

    async def keep(self, refs: Iterable[str]) -> None:
        """Remove the expiry of these files, since a reply that attaches them is about to be stored."""
        await asyncio.gather(*(blobs.keep(self._store, ref) for ref in refs))

    async def holders(self, ref: str) -> list[tuple[str, Attachment]]:
        """Return (ticket id, attachment) for the messages that have the file, starting with the one it arrived with."""
        found = await self._store.find(MESSAGES, {"body.attachments.ref": ref}, limit=MAX_HOLDERS)
        rows = await only_taken(self._store, found)
        rows.sort(key=lambda row: (row["body"]["direction"] != Direction.IN.value, row["at"]))
        return [(row["ticket"], _named(row, ref)) for row in rows]

    async def usable(self, ticket: str, refs: Collection[str], caller: str | None) -> frozenset[str]:
        """Return those of the files that a reply on the ticket may attach: the ticket's, and the caller's uploads."""
        wanted = sorted(set(refs))
        tickets = await self._merged_into(ticket)
        uploads, rows = await asyncio.gather(
            self.uploads(wanted, caller),
            self._store.find(
                MESSAGES,
                {"ticket": {"$in": tickets}, "body.attachments.ref": {"$in": wanted}},
                limit=MAX_HOLDERS * len(wanted),
                projection=["ticket", "message", "body.direction", "body.attachments"],
            ),
        )
        rows = await only_taken(self._store, rows)
        own: set[str] = {file.get("ref") for row in rows for file in row["body"]["attachments"]}
        return frozenset(each for each in wanted if each in own or each in uploads)

    async def _merged_into(self, ticket: str) -> list[str]:
        """Return the ticket and up to `MAX_MERGED` tickets merged into it, directly or indirectly; the direct first."""
        tickets, last = [ticket], [ticket]
        while last and len(tickets) <= MAX_MERGED:
            query = {"state.ticket.merged_into": {"$in": last}, "_id": {"$nin": tickets}}
            most = MAX_MERGED + 1 - len(tickets)
            rows = await self._store.find(TICKETS, query, limit=most, projection={"_id": 1})
            last = [row["_id"] for row in rows]
            tickets += last
        return tickets

    async def read(self, ref: str, ticket: Ticket | None) -> bytes | None:
        """Return the bytes, or None if there is no such file.

        A file that only the ticket's channel has is fetched and stored. Raises NotFetched.
        """
        body = await blobs.get(self._store, ref)
        if body is not None or ticket is None:
            return body
        came_with = next(iter(await self.holders(ref)), None)
        if came_with is None or (came_with[1].media_id is None and came_with[1].url is None):
            return None
        async with self._fetch_slots:
            body = await self._fetch(came_with[1], ticket)
        await blobs.put(self._store, ref, body)
        return body

    async def _fetch(self, file: Attachment, ticket: Ticket) -> bytes:
        account = self._accounts().named(ticket.channel, ticket.account)
        if account is None:
            raise NotFetched(f"unknown account {ticket.account} on {ticket.channel}", permanent=False)
        try:
            secrets = await self._tokens.secrets(account) if self._tokens else self._secrets
            wanted = CHANNELS[account.channel].original(file, account, secrets)
            if isinstance(wanted, Upload):
                response = await self._http.call("GET", wanted.call.url, wanted.call.headers, b"")
                after = wanted.then(response.status, response.body)
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
        if "authorization" in wanted.headers and _is_page(answer, file):
            raise NotFetched("the channel answered with a web page: may the token read files?", permanent=False)
        if answer.cut:
            raise NotFetched(f"the file exceeds {self._max_bytes} bytes", permanent=True)
        return answer.body

    async def _follow(self, call: HttpCall) -> Answer:
        """Fetch a file. Redirects are followed without credentials, and their addresses are checked as any other."""
        url, headers = call.url, call.headers
        for _ in range(MAX_REDIRECTS):
            answer = await self._http.call("GET", url, headers, b"", most=self._max_bytes)
            target = answer.headers.get("location")
            if answer.status not in {301, 302, 303, 307, 308} or target is None:
                return answer
            url, headers = target, {}
        raise NotFetched("the channel redirects too often", permanent=True)


def _is_page(answer: Answer, file: Attachment) -> bool:
    """Whether a page came instead of the file. Slack answers 200 with a form to log in if the token is not enough."""
    return answer.headers.get("content-type", "").lower().startswith("text/html") and "html" not in file.media_type


def _named(row: Mapping[str, Any], ref: str) -> Attachment:
    return next(Attachment.model_validate(file) for file in row["body"]["attachments"] if file.get("ref") == ref)
