"""What templates of the chart must know from the code: ports, topics, ACLs, settings. Nothing is decided here."""

import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from cli.running import PORTS, SMTP_PORT
from cli.traffic import SCOPES
from contracts.access import USERS, access
from contracts.topics import CONSUMES, SERVICES, TOPICS, group_name, settings
from kit.base.settings import ServiceSettings

OUTSIDE = {"ingest", "notify"}
"""Services that call servers outside: the APIs of channels, receivers of notifications."""
_SECRET = re.compile(r"^env:(\w+)$")


def collect(policies: Path) -> dict[str, Any]:
    """Return the facts. `policies` holds the example policies, which name secrets."""
    return {
        "services": {name: _service(name, policies / f"{name}.yaml") for name in SERVICES},
        "topics": [{"name": topic.name, "config": settings(topic)} for topic in TOPICS],
        "users": {user: [asdict(each) for each in access(user)] for user in USERS},
        "scopes": list(SCOPES),
    }


def _service(name: str, policy: Path) -> dict[str, Any]:
    found = {
        "port": PORTS[name],
        "opsPort": PORTS[name] + 1000,
        "group": group_name(name),
        "consumes": list(CONSUMES[name]),
        "graceSeconds": ServiceSettings.model_fields["grace_seconds"].default,
        "outside": name in OUTSIDE,
        "exampleSecrets": sorted(set(_secrets(yaml.safe_load(policy.read_text("utf-8"))))),
    }
    return found | ({"smtpPort": SMTP_PORT} if name == "ingest" else {})


def _secrets(part: Any) -> Iterator[str]:
    """Yield the variables that a part of a policy refers to as secrets."""
    if isinstance(part, str):
        yield from _SECRET.findall(part)
    elif isinstance(part, dict | list):
        for inner in part.values() if isinstance(part, dict) else part:
            yield from _secrets(inner)
