"""The databases of the services, for commands that work on documents while the services are stopped.

Which documents a service keeps is known to its store; here they stand side by side. Settings are the services' own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from contracts.topics import SERVICES
from kit.base.settings import ServiceSettings
from kit.mongo import MongoStore
from kit.protocol.document import Kind
from services.ingest.settings import IngestSettings
from services.ingest.store import CONTACT_KIND, TICKET_KIND
from services.notify.settings import NotifySettings
from services.notify.store import ESCALATIONS
from services.routing.settings import RoutingSettings
from services.routing.store.kinds import TICKET_KIND as PLACED_KIND
from services.routing.store.kinds import agent_kind
from services.sla.settings import SlaSettings
from services.sla.store import KIND as CLOCKS

SETTINGS: Mapping[str, type[ServiceSettings]] = {
    "ingest": IngestSettings,
    "routing": RoutingSettings,
    "sla": SlaSettings,
    "notify": NotifySettings,
}

KINDS: Mapping[str, tuple[Kind[Any], ...]] = {
    "ingest": (TICKET_KIND, CONTACT_KIND),
    "routing": (PLACED_KIND, agent_kind(timedelta(hours=1))),
    "sla": (CLOCKS,),
    "notify": (ESCALATIONS,),
}
"""Service -> its documents. When agents are announced again does not matter here."""


@contextmanager
def stores(services: tuple[str, ...] = SERVICES) -> Iterator[dict[str, MongoStore]]:
    """Open the databases that the environment names for these services. Raises ValidationError."""
    opened: dict[str, MongoStore] = {}
    try:
        for service in services:
            settings = SETTINGS[service]()
            opened[service] = MongoStore(settings.mongo_file or settings.mongo.get_secret_value(), settings.database)
        yield opened
    finally:
        for store in opened.values():
            store.close()
