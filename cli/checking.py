"""Validation of policy files with the services' own models; reports each fault with file, line and reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from kit.base.errors import InvalidPolicy
from kit.policy.file import load


def models() -> dict[str, type[BaseModel]]:
    """Return the model of each service's policy file."""
    from services.ingest.policy_file import AccountsFile
    from services.notify.policy_file import NotifyFile
    from services.routing.core.policy import RoutingPolicy as Routing
    from services.sla.core.policy import Book

    return {"ingest": AccountsFile, "routing": Routing, "sla": Book, "notify": NotifyFile}


def faults(folder: Path) -> Iterator[str]:
    """Yield `file:line: reason` for every fault in the policy files of a folder."""
    for service, model in models().items():
        path = folder / f"{service}.yaml"
        try:
            load(path, model)
        except InvalidPolicy as fault:
            yield from str(fault).splitlines()
