"""The clocks of a ticket as a document, and the archive of policy files that running clocks are still bound to.

One document per ticket, keyed by its id. It is kept after the ticket is closed, so that late events start no clocks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

from contracts.sla import CalendarRef, PolicyRef
from contracts.ticket import Status, TicketFacts
from contracts.topics import SLA, TICKETS
from kit.base.clock import Clock
from kit.mongo import MongoStore
from kit.protocol.document import Kind
from kit.protocol.outbox import Documents
from services.sla.core.clocks import Phase, SlaClock, Terms, Threshold
from services.sla.core.history import Span
from services.sla.core.policy import Book
from services.sla.core.replies import SentReply
from services.sla.core.state import Breach, TicketClocks, UnknownVersion, due, warned

Where = tuple[str | None, str | None]
"""Marketplace and brand."""
COLLECTION = "clocks"
ARCHIVE = "policies"
SOURCE = "/deskbus/sla"


def breach_key(at: datetime, ticket_id: str = "") -> str:
    """Return a unique key that sorts by instant: the order and cursor of the list of breaches."""
    return f"{at.strftime('%Y-%m-%dT%H:%M:%S')}.{at.microsecond // 1000:03d}|{ticket_id}"


def _fields(record: Any, *names: str) -> dict[str, Any]:
    return {name: getattr(record, name) for name in names}


_CLOCK = (
    "id", "metric", "started_at", "since", "elapsed_ms", "due_at", "next_at", "warned", "paused_at", "pause_reason",
    "breached_at", "ended_at", "outcome", "message_id",
    "answered_by",
)  # fmt: skip
_STATE = (
    "ticket_id", "at", "version", "bot", "asked_at", "waits_since", "waits_version", "replied", "solved_at", "reopens",
    "closed", "serial", "ticket_version",
)  # fmt: skip
_BREACH = ("clock_id", "metric", "policy", "breached_at", "target_ms")


def dump(state: TicketClocks) -> dict[str, Any]:
    """Return the stored form. `open`, `last_breach` and `warned` are derived, for queries."""
    last = max((breach.breached_at for breach in state.breaches), default=None)
    return {
        **_fields(state, *_STATE),
        "facts": state.facts.model_dump(mode="json"),
        "status": state.status.value,
        "history": [{"since": span.since, "status": span.status.value} for span in state.history],
        "replies": [_fields(reply, "message_id", "at") for reply in state.replies],
        "live": [_dump_clock(clock) for clock in state.live],
        "ended": [_dump_clock(clock) for clock in state.ended],
        "breaches": [_fields(breach, *_BREACH) for breach in state.breaches],
        "open": not state.closed,
        "last_breach": None if last is None else breach_key(last, state.ticket_id),
        **({"warned": True} if warned(state) else {}),  # absent for most tickets, which the index leaves out
    }


def load(raw: Mapping[str, Any]) -> TicketClocks:
    """Return the state from its stored form."""
    return TicketClocks(
        facts=TicketFacts.model_validate(raw["facts"]),
        status=Status(raw["status"]),
        history=tuple(Span(span["since"], Status(span["status"])) for span in raw["history"]),
        replies=tuple(SentReply(**reply) for reply in raw.get("replies", ())),
        live=tuple(_load_clock(clock) for clock in raw["live"]),
        ended=tuple(_load_clock(clock) for clock in raw["ended"]),
        breaches=tuple(Breach(**breach) for breach in raw["breaches"]),
        **{name: raw[name] for name in _STATE},
    )


def _dump_clock(clock: SlaClock) -> dict[str, Any]:
    terms = clock.terms
    return {
        **_fields(clock, *_CLOCK),
        "metric": str(clock.metric),
        "phase": clock.phase.value,
        "terms": {
            "policy": terms.policy.model_dump(),
            "calendar": terms.calendar.model_dump(),
            "target_ms": terms.target_ms,
            "warnings": [{"after_ms": warn.after_ms, "at_risk": warn.at_risk} for warn in terms.warnings],
            "pauses": [str(status) for status in terms.pauses],
        },
    }


def _load_clock(raw: Mapping[str, Any]) -> SlaClock:
    terms = raw["terms"]
    return SlaClock(
        phase=Phase(raw["phase"]),
        terms=Terms(
            PolicyRef(**terms["policy"]),
            CalendarRef(**terms["calendar"]),
            terms["target_ms"],
            tuple(Threshold(**warn) for warn in terms["warnings"]),
            tuple(terms["pauses"]),
        ),
        **{name: raw[name] for name in _CLOCK},
    )


KIND: Kind[TicketClocks] = Kind(
    collection=COLLECTION, source=SOURCE, topic=SLA, load=load, dump=dump, due=due, home_topic=TICKETS
)


async def prepare(store: MongoStore) -> None:
    """Create the indexes."""
    await store.ensure_outbox_indexes(COLLECTION)
    await store.ensure_indexes(COLLECTION, [("state.last_breach", -1)])
    await store.ensure_indexes(COLLECTION, ["state.open", "_id"])
    await store.ensure_indexes(COLLECTION, ["state.warned", "partition"], partial={"state.warned": {"$exists": True}})


async def at_risk(documents: Documents[TicketClocks], partitions: Collection[int], until: datetime) -> Counter[Where]:
    """Count tickets that have been warned of, or have a warning or breach before `until`, by marketplace and brand."""
    mine = {"partition": {"$in": sorted(partitions)}}
    found = Counter[Where]()
    for query in (
        {"state.warned": True, **mine},
        {"due": {"$lte": until}, **mine, "state.warned": {"$exists": False}},
    ):
        by = ["state.facts.market.marketplace", "state.facts.brand"]
        for row in await documents.store.tally(COLLECTION, query, by, least="due"):
            marketplace, brand = row["by"]
            found[marketplace, brand] += row["count"]
    return found


class Archive:
    """All versions of the policies: the one in force, and earlier ones that tickets are bound to.

    A new file takes effect only once it is archived, so that every replica can load what another one used.
    """

    def __init__(self, store: MongoStore, read_file: Callable[[], Book], clock: Clock) -> None:
        self._store, self._read_file, self._clock = store, read_file, clock
        self._current = read_file()
        self._known: dict[str, Book] = {self._current.version: self._current}
        self._requested: set[str] = set()
        self._missing: set[str] = set()
        self._archived = ""
        """The version of the file that this process archived last."""

    @property
    def current(self) -> Book:
        """Return the policies in force."""
        return self._current

    def version(self, version: str) -> Book:
        """Return one version; the current one if the archive does not have it.

        Raises UnknownVersion for one that is not loaded, and changes nothing: see `request` and `ensure_loaded`.
        """
        found = self._known.get(version)
        if found is not None:
            return found
        if version in self._missing:
            return self._current
        raise UnknownVersion(version)

    def request(self, version: str) -> None:
        """Let the next `load_requested` load this version."""
        self._requested.add(version)

    async def refresh(self) -> bool:
        """Load requested versions, archive a new file and put it in force; return whether the policies changed."""
        await self.load_requested()
        book = self._read_file()
        if book.version == self._archived:
            return False
        row = {"_id": book.version, "at": self._clock.now(), "book": book.model_dump_json()}
        await self._store.insert(ARCHIVE, [row])
        changed = book.version != self._current.version
        self._known[book.version] = self._current = book
        self._archived = book.version
        return changed

    async def load_requested(self) -> None:
        """Load the requested versions from the archive."""
        requested = sorted(self._requested)
        if requested:
            self._add(await self._store.fetch(ARCHIVE, requested))
            self._missing |= set(requested) - self._known.keys()
            self._requested -= set(requested)

    async def ensure_loaded(self, versions: Iterable[str]) -> None:
        """Load those of the versions that are not loaded yet."""
        self._requested |= set(versions) - self._known.keys() - self._missing
        await self.load_requested()

    async def load_latest(self, limit: int = 100) -> None:
        """Load the latest versions at once, when the process starts. Older ones are loaded when needed."""
        self._add(await self._store.find(ARCHIVE, {}, sort=[("at", -1)], limit=limit))

    def _add(self, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            self._known.setdefault(row["_id"], Book.model_validate_json(row["book"]))
