"""Targets ("4h", by priority) and warnings ("80%", "15m") of the policy file. No clocks here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, model_validator

from contracts.ticket import Priority
from contracts.values import OneOrMany
from kit.policy.duration import parse_positive
from kit.policy.part import Part
from services.sla.core.clocks import Threshold

_PERCENT = re.compile(r"(\d{1,2})%")
_MS = timedelta(milliseconds=1)


class Target(Part):
    """Working time allowed, in milliseconds by priority."""

    by_priority: dict[Priority, int]

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and "by_priority" in value:  # the archived form
            return value
        given = value if isinstance(value, Mapping) else {"default": value}
        unknown = set(given) - {"default", *Priority}
        if unknown:
            raise ValueError(f"{min(unknown)!r} is not a priority: {', '.join(Priority)} or default")
        missing = [priority for priority in Priority if priority not in given]
        if missing and "default" not in given:
            raise ValueError(f"no target for {', '.join(missing)}: add them or a default")
        return {"by_priority": {p: parse_positive(given.get(p, given.get("default"))) // _MS for p in Priority}}


def _check_mark(value: Any) -> str:
    if isinstance(value, str) and (percent := _PERCENT.fullmatch(value)) and int(percent[1]) > 0:
        return value
    if isinstance(value, str) and value.endswith("%"):
        raise ValueError(f"{value!r}: expected the share of the target used, 1% to 99%")
    parse_positive(value)
    return str(value)


Marks = OneOrMany[Annotated[str, BeforeValidator(_check_mark)]]
"""Where to warn: "80%" of the target used, or "15m" of working time before it is due."""


class Warnings(Part):
    """When to warn that a clock is about to expire."""

    due_soon: Marks = ()
    """One or more marks: `15m` before the clock is due, or `80%` of the target used."""
    at_risk: Marks = ()
    """As `due_soon`, with an event of its own that notify's routes can match."""

    def within(self, target_ms: int) -> tuple[Threshold, ...]:
        """Return the thresholds for one target. Warnings that would come before its start are left out."""
        marks = [(mark, False) for mark in self.due_soon] + [(mark, True) for mark in self.at_risk]
        found = {Threshold(_after(mark, target_ms), at_risk) for mark, at_risk in marks}
        return tuple(sorted((w for w in found if 0 < w.after_ms < target_ms), key=lambda w: (w.after_ms, w.at_risk)))


def _after(mark: str, target_ms: int) -> int:
    if mark.endswith("%"):
        return target_ms * int(mark[:-1]) // 100
    return target_ms - parse_positive(mark) // _MS
