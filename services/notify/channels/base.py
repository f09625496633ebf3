"""What every sink is given and gives, and where named secrets are looked up. No sink is here."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from services.notify.core import text
from services.notify.core.policy import Receiver
from services.notify.core.settle import Outcome
from services.notify.core.state import Planned, dedup_key

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


class Missing(Exception):
    """A variable or file that the policy names is not there. It may come: the notification is tried again."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A notification on its way: what to say, to whom, and under which ids."""

    planned: Planned
    ticket_id: str
    escalation_id: str
    receiver: Receiver
    thread: str | None
    now: datetime
    """When this try is made."""

    @property
    def dedup_key(self) -> str:
        """What the receiver knows the alarm by."""
        return dedup_key(self.escalation_id, self.planned.alarm)

    def facts(self) -> dict[str, str]:
        """What templates may say."""
        planned = self.planned
        return text.facts(self.ticket_id, self.escalation_id, planned.kind, planned.alert, planned.agent)


class Sink(Protocol):
    """Delivers to one kind of receiver."""

    async def deliver(self, letter: Letter) -> Outcome: ...


class Outside:
    """Environment and files, as far as the policy names them. Read when used: a rotated secret counts at once."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = os.environ if environ is None else environ

    def secret(self, ref: str) -> str:
        """What `env:NAME` or `file:/path` stands for."""
        kind, _, name = ref.partition(":")
        if kind == "env":
            value = self._environ.get(name, "")
        else:
            try:
                value = Path(name).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise Missing(f"the secret {ref} cannot be read: {type(error).__name__}") from error
        if not value.strip():
            raise Missing(f"the secret {ref} is not there")
        return value.strip()

    def url(self, written: str) -> str:
        """A URL with its `${NAME:-default}` filled in."""

        def fill(match: re.Match[str]) -> str:
            value = self._environ.get(match[1]) or match[2]
            if value is None:
                raise Missing(f"the variable {match[1]} is not set")
            return value

        return _VARIABLE.sub(fill, written)
