"""How each service is rebuilt from Kafka: its documents, its core's rules, and the policy files that they need."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from cli.rebuild import Further, Plan, Report, differing, rebuild
from cli.rebuild_ingest import rebuild_ingest
from kit.base.clock import SystemClock
from kit.mongo import Row
from kit.policy.file import load
from kit.policy.secrets import Secrets
from kit.protocol.document import Document
from kit.protocol.handling import event_item
from services.ingest.policy_file import AccountsFile
from services.notify.core.alerts import EVENT_TYPES
from services.notify.core.restore import RestoreEscalations
from services.notify.core.state import Escalation, escalation_id
from services.notify.policy_file import NotifyFile
from services.notify.store import ESCALATIONS
from services.routing.core.agents import AgentState
from services.routing.core.policy import RoutingPolicy
from services.routing.core.restore import RestoreTickets, Staff
from services.routing.core.state import TicketState
from services.routing.handlers import RoutingHandling
from services.routing.settings import RoutingSettings
from services.routing.store.kinds import TICKET_KIND, agent_kind
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
        read=lambda record: [event_item(record, EVENT_TYPES)],
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


def _routing(policy: Path, former: Sequence[Path]) -> Plan[TicketState]:
    if former:
        raise ValueError("routing is rebuilt with one policy file: the one that was in force")
    rules = load(policy, RoutingPolicy)
    staff = Staff(rules)
    every = RoutingSettings().announce_hours

    def agents() -> Iterator[Document[AgentState]]:
        for name, state in staff.people.items():
            document: Document[AgentState] = Document(name, emitted=staff.emitted[name], changed=True)
            document.state = state
            yield document

    return Plan(
        "routing",
        TICKET_KIND,
        RestoreTickets(rules, staff.people, staff.was_online),
        note=staff.note,
        read=RoutingHandling.read,
        restored=staff.took,
        further=(Further(agent_kind(timedelta(hours=every)), agents, _differ_in_agents),),
        differ=_differ_in_tickets,
    )


def _differ_in_tickets(mine: Row, stored: Row) -> list[str]:
    """Compare without the next look at a waiting ticket, and without its share."""
    now = SystemClock().now()

    def known(row: Row) -> Row:
        state = {name: value for name, value in (row.get("state") or {}).items() if name not in {"looks", "next_look"}}
        if state.get("phase") != "assigned":
            state.pop("share", None)
        target = state.get("target")
        if target is not None and target["command"] is None and target["until"] <= now:
            state["target"] = None  # the wait for who answered ends without a word
        return {**row, "state": state, "due": None}

    return differing(known(mine), known(stored))


def _differ_in_agents(mine: Row, stored: Row) -> list[str]:
    """Compare without instants of writes, and without the ticket's version at which a claim was made."""

    def known(row: Row) -> Row:
        state = {name: value for name, value in (row.get("state") or {}).items() if name not in _INSTANTS}
        state["claims"] = sorted((claim["ticket"], claim["weight"]) for claim in state.get("claims", ()))
        return {**row, "state": state, "due": None}

    return differing(known(mine), known(stored))


_INSTANTS = ("last_assigned_at", "announced_at", "touched_at")

PLANS: Mapping[str, Callable[[Path, Sequence[Path]], Plan[Any]]] = {"sla": _sla, "routing": _routing, "notify": _notify}
"""Service -> how it is rebuilt with its policy file and the files before it. Ingest has a way of its own."""


def rebuilding(service: str, policy: Path, former: Sequence[Path]) -> Callable[..., Awaitable[Report]]:
    """Return what rebuilds a service, given its store and Kafka. Raises InvalidPolicy or ValueError."""
    if service in PLANS:
        return partial(rebuild, PLANS[service](policy, former))
    if former:
        raise ValueError(f"{service} is rebuilt with one policy file: the one that was in force")
    return partial(rebuild_ingest, load(policy, AccountsFile), secrets=Secrets())
