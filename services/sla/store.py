"""The clocks of a ticket as a document, and the archive of policy files that running clocks are still bound to.

One document a ticket, keyed by its id; it stays after the ticket is closed, so that no late event starts it anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from contracts.sla import CalendarRef, PolicyRef
from contracts.ticket import Status, TicketFacts
from contracts.topics import SLA, TICKETS
from kit.base.clock import Clock
from kit.mongo import MongoStore
from kit.protocol.document import Kind
from services.sla.core.clocks import Phase, SlaClock, Terms, Warn
from services.sla.core.history import Span
from services.sla.core.policy import Book
from services.sla.core.replies import Given
from services.sla.core.state import Breach, TicketClocks, UnknownVersion, due

COLLECTION = "clocks"
ARCHIVE = "policies"
SOURCE = "/deskbus/sla"


def breach_key(at: datetime, ticket_id: str = "") -> str:
    """Return a unique key that sorts by instant: what breaches are listed and paged by."""
    return f"{at.strftime('%Y-%m-%dT%H:%M:%S')}.{at.microsecond // 1000:03d}|{ticket_id}"


def _plain(record: Any, *names: str) -> dict[str, Any]:
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
    """Return what is stored. `open` and `last_breach` are there to be searched by."""
    last = max((breach.breached_at for breach in state.breaches), default=None)
    return {
        **_plain(state, *_STATE),
        "facts": state.facts.model_dump(mode="json"),
        "status": state.status.value,
        "history": [{"since": span.since, "status": span.status.value} for span in state.history],
        "replies": [_plain(reply, "message_id", "at") for reply in state.replies],
        "live": [_dump_clock(clock) for clock in state.live],
        "ended": [_dump_clock(clock) for clock in state.ended],
        "breaches": [_plain(breach, *_BREACH) for breach in state.breaches],
        "open": not state.closed,
        "last_breach": None if last is None else breach_key(last, state.ticket_id),
    }


def load(raw: Mapping[str, Any]) -> TicketClocks:
    """Return the state that was stored."""
    return TicketClocks(
        facts=TicketFacts.model_validate(raw["facts"]),
        status=Status(raw["status"]),
        history=tuple(Span(span["since"], Status(span["status"])) for span in raw["history"]),
        replies=tuple(Given(**reply) for reply in raw.get("replies", ())),
        live=tuple(_load_clock(clock) for clock in raw["live"]),
        ended=tuple(_load_clock(clock) for clock in raw["ended"]),
        breaches=tuple(Breach(**breach) for breach in raw["breaches"]),
        **{name: raw[name] for name in _STATE},
    )


def _dump_clock(clock: SlaClock) -> dict[str, Any]:
    terms = clock.terms
    return {
        **_plain(clock, *_CLOCK),
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
            tuple(Warn(**warn) for warn in terms["warnings"]),
            tuple(terms["pauses"]),
        ),
        **{name: raw[name] for name in _CLOCK},
    )


KIND: Kind[TicketClocks] = Kind(
    collection=COLLECTION, source=SOURCE, topic=SLA, load=load, dump=dump, due=due, home_topic=TICKETS
)


async def prepare(store: MongoStore) -> None:
    """Make the indexes."""
    await store.ensure_outbox_indexes(COLLECTION)
    await store.ensure_indexes(COLLECTION, [("state.last_breach", -1)])
    await store.ensure_indexes(COLLECTION, ["state.open", "_id"])


class Archive:
    """All versions of the policies: the one in force, and those that tickets were opened under.

    A new file comes into force here only once it is archived, so that every replica can look up what another one used.
    """

    def __init__(self, store: MongoStore, on_disk: Callable[[], Book], clock: Clock) -> None:
        self._store, self._on_disk, self._clock = store, on_disk, clock
        self._current = on_disk()
        self._known: dict[str, Book] = {self._current.version: self._current}
        self._wanted: set[str] = set()
        self._gone: set[str] = set()
        self._archived = ""

    @property
    def current(self) -> Book:
        """Return the policies in force."""
        return self._current

    def version(self, version: str) -> Book:
        """Return one version; raises UnknownVersion for one that must be looked up first. A lost one gives the current.

        Asking changes nothing: see `want` and `know`.
        """
        found = self._known.get(version)
        if found is not None:
            return found
        if version in self._gone:
            return self._current
        raise UnknownVersion(version)

    def want(self, version: str) -> None:
        """Let the next `look_up` fetch a version, too."""
        self._wanted.add(version)

    async def refresh(self) -> bool:
        """Archive a new file and put it in force, look up what was asked for; says whether the policies changed."""
        await self.look_up()
        book = self._on_disk()
        if book.version == self._archived:
            return False
        row = {"_id": book.version, "at": self._clock.now(), "book": book.model_dump_json()}
        await self._store.insert(ARCHIVE, [row])
        changed = book.version != self._current.version
        self._known[book.version] = self._current = book
        self._archived = book.version
        return changed

    async def look_up(self) -> None:
        """Fetch the versions that are wanted and not known."""
        wanted = sorted(self._wanted)
        if wanted:
            self._take(await self._store.fetch(ARCHIVE, wanted))
            self._gone |= set(wanted) - self._known.keys()
            self._wanted -= set(wanted)

    async def know(self, versions: Iterable[str]) -> None:
        """Look up those of these versions that are not known here."""
        self._wanted |= set(versions) - self._known.keys() - self._gone
        await self.look_up()

    async def recall(self, most: int = 100) -> None:
        """Fetch the versions archived last, so that a fresh process need not ask one by one; older ones it looks up."""
        self._take(await self._store.find(ARCHIVE, {}, sort=[("at", -1)], limit=most))

    def _take(self, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            self._known.setdefault(row["_id"], Book.model_validate_json(row["book"]))
