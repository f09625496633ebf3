"""The four services' public doors in process, over stores in memory, with a token that may do everything."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from pydantic import SecretStr
from starlette.types import ASGIApp

from kit.doors.http import door
from services.ingest.commands_http import commands_router
from services.ingest.files_http import files_router
from services.ingest.http import with_webhooks
from services.ingest.intake import Intake
from services.ingest.settings import IngestSettings
from services.ingest.tickets_http import tickets_router
from services.notify import http as notify
from services.notify.settings import NotifySettings
from services.routing import http as routing
from services.routing.settings import RoutingSettings
from services.sla import http as sla
from services.sla.settings import SlaSettings
from tests.fake_clock import FakeClock
from tests.ingest.channels import samples as s
from tests.ingest.worker_rig import Worker
from tests.kit.fake_store import FakeStore
from tests.notify.rig import Rig as NotifyRig
from tests.routing.scenario import Log, Replica, fake_clock
from tests.sla.rig import Rig as SlaRig

SCOPES = {
    "ingest": "commands:write,tickets:read",
    "routing": "agents:read,agents:write,routing:read",
    "sla": "sla:read",
    "notify": "escalations:read,escalations:ack",
}
BEARER = "hunter2-all-scopes"


def tokens(*scopes: str, bearer: str = BEARER) -> SecretStr:
    """The setting for one token."""
    return SecretStr(f"tester:{hashlib.sha256(bearer.encode()).hexdigest()}:{','.join(scopes)}")


class Sent:
    """A sender that takes everything."""

    def __init__(self) -> None:
        self.records: list[Any] = []

    async def send(self, record: Any, *, seconds: float) -> None:
        self.records.append(record)


def ingest(setting: SecretStr, sent: Sent | None = None) -> ASGIApp:
    """Webhooks, commands and tickets; the store holds nothing."""
    clock, worker = FakeClock(s.NOW), Worker()
    app = door("Deskbus ingest", IngestSettings(tokens=setting), max_body=1 << 20)
    intake = Intake(sent or Sent(), worker.store, clock, topic="inbound", seconds=1, claim_seconds=1)
    app.include_router(commands_router(intake, clock, "commands"))
    app.include_router(tickets_router(worker.tickets, worker.store))
    app.include_router(files_router(worker.files, worker.tickets))
    return with_webhooks(app, intake, lambda: s.ACCOUNTS, s.SECRETS, clock)


def _routing(setting: SecretStr) -> FastAPI:
    replica = Replica(FakeStore(), fake_clock(), Log())
    return routing.build_app(RoutingSettings(tokens=setting), replica.assigner, replica.clock, replica.changed)


def _sla(setting: SecretStr) -> FastAPI:
    rig = SlaRig()
    return sla.build_app(SlaSettings(tokens=setting), rig.documents, rig.archive, rig.clock)


def _notify(setting: SecretStr) -> FastAPI:
    rig = NotifyRig()
    return notify.build_app(NotifySettings(tokens=setting), rig.documents, lambda: rig.policy, rig.clock)


DOORS: dict[str, Callable[[SecretStr], ASGIApp]] = {
    "ingest": ingest, "routing": _routing, "sla": _sla, "notify": _notify,
}  # fmt: skip
