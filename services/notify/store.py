"""Escalations as documents, and the queries over them. The only module that uses MongoDB, through kit."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from contracts import topics
from kit.mongo import MongoStore
from kit.protocol.document import Document, Kind
from kit.protocol.outbox import Documents
from services.notify.core.state import PREFIX, Escalation, Standing

COLLECTION = "escalations"
SOURCE = "/deskbus/notify"


def load(raw: Mapping[str, Any]) -> Escalation:
    """Return the state from its stored form."""
    return Escalation.model_validate(raw)


def dump(state: Escalation) -> dict[str, Any]:
    """Return the stored form. Defaults are left out, since most tickets never have an alert."""
    raw = state.model_dump(exclude_defaults=True)
    if state.alarms:
        raw |= {"standing": state.standing.value, "kinds": sorted({alarm.kind for alarm in state.alarms})}
        raw["alarms"] = [_without_enums(alarm) for alarm in raw["alarms"]]
    if state.planned:
        raw["next_try"] = state.next_try
    return raw


def _without_enums(alarm: dict[str, Any]) -> dict[str, Any]:
    return {name: value.value if isinstance(value, Standing) else value for name, value in alarm.items()}


ESCALATIONS: Kind[Escalation] = Kind(
    collection=COLLECTION,
    source=SOURCE,
    topic=topics.NOTIFICATIONS,
    load=load,
    dump=dump,
    due=lambda state: state.due,
    home_topic=topics.SLA,
    home_key=lambda doc_id: doc_id.removeprefix(PREFIX),
)


async def prepare(store: MongoStore) -> None:
    """Create the indexes."""
    await store.ensure_outbox_indexes(COLLECTION)
    await store.ensure_indexes(COLLECTION, ["state.next_try", "partition"])
    await store.ensure_indexes(COLLECTION, ["state.standing", ("_id", -1)])


async def due_for_attempt(
    documents: Documents[Escalation],
    partitions: Sequence[int],
    until: datetime,
    *,
    since: datetime | None = None,
    limit: int = 500,
) -> list[Document[Escalation]]:
    """Return escalations with a notification due by `until`, and not before `since`; the longest overdue first."""
    span = {"$lte": until} if since is None else {"$lte": until, "$gte": since}
    query = {"state.next_try": span, "partition": {"$in": list(partitions)}}
    return await documents.find(query, sort=[("state.next_try", 1)], limit=limit)


async def search(
    documents: Documents[Escalation],
    *,
    standings: Sequence[str],
    kind: str | None = None,
    labels: Mapping[str, str] | None = None,
    before: str | None = None,
    limit: int = 50,
) -> list[Document[Escalation]]:
    """Return a page of escalations, those of the latest tickets first; `before` is the last id of the previous page."""
    query: dict[str, Any] = {"state.standing": {"$in": list(standings)}}
    if kind is not None:
        query["state.kinds"] = kind
    for label, value in (labels or {}).items():
        query[f"state.alarms.alert.labels.{label}"] = value
    if before is not None:
        query["_id"] = {"$lt": before}
    return await documents.find(query, sort=[("_id", -1)], limit=limit)
