"""How each service is rebuilt from Kafka: its documents, its core's rules, and the policy files that they need."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cli.rebuild import Plan
from kit.mongo import Row
from kit.policy.file import load
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


PLANS: Mapping[str, Callable[[Path, Sequence[Path]], Plan[Any]]] = {"sla": _sla}
"""Service -> how it is rebuilt with its policy file and the files before it."""
