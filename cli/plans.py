"""How each service is rebuilt from Kafka: its documents, its core's rules, and the policy files that they need."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cli.rebuild import Plan, differing
from kit.mongo import Row
from kit.policy.file import load
from services.notify.core.alerts import EVENT_TYPES
from services.notify.core.restore import RestoreEscalations
from services.notify.core.state import Escalation, escalation_id
from services.notify.policy_file import NotifyFile
from services.notify.store import ESCALATIONS
from services.sla.core.policy import Book
from services.sla.core.restore import RestoreClocks, Shelf
from services.sla.core.state import TicketClocks
from services.sla.store import ARCHIVE
from services.sla.store import KIND as CLOCKS


def _sla(policy: Path, former: Sequence[Path]) -> Plan[TicketClocks]:
    shelf = Shelf.of(load(policy, Book), *(load(each, Book) for each in former))

    def archive() -> list[tuple[str, Row]]:
        used = sorted(shelf.used.items(), key=lambda each: each[1])
        return [(ARCHIVE, {"_id": v, "at": at, "book": shelf.books[v].model_dump_json()}) for v, at in used]

    def remarks() -> Iterator[str]:
        for version in sorted(shelf.unknown):
            yield f"clocks started by policies {version}, whose file was not given (--former)"

    return Plan("sla", CLOCKS, RestoreClocks(shelf), note=shelf.note, finish=archive, remarks=remarks)


def _notify(policy: Path, former: Sequence[Path]) -> Plan[Escalation]:
    if former:
        raise ValueError("notify is rebuilt with one policy file: the one that was in force")
    return Plan(
        "notify",
        ESCALATIONS,
        RestoreEscalations(load(policy, NotifyFile)),
        doc_of=escalation_id,
        event_types=EVENT_TYPES,
        differ=_differ_in_escalations,
    )


def _differ_in_escalations(mine: Row, stored: Row) -> list[str]:
    """Compare without the attempts at notifications that are still to be sent."""
    return differing(*(_without_attempts(row) for row in (mine, stored)))


def _without_attempts(row: Row) -> Row:
    state = row.get("state")
    if not state or not state.get("planned"):
        return row
    planned = [{name: value for name, value in each.items() if name not in _ATTEMPTS} for each in state["planned"]]
    return {**row, "state": {**state, "planned": planned, "next_try": None}}


_ATTEMPTS = ("attempts", "unsettled", "next_try", "planned_at")

PLANS: Mapping[str, Callable[[Path, Sequence[Path]], Plan[Any]]] = {"sla": _sla, "notify": _notify}
"""Service -> how it is rebuilt with its policy file and the files before it."""
