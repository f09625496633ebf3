"""Targets and warnings as the policy file writes them: "4h", by priority, "80%" or "15m" before. No clocks here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from contracts.ticket import Priority
from services.sla.core.clocks import Warn

_UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}
_DURATION = re.compile(r"(?:\d+(?:ms|s|m|h))+")
_PART = re.compile(r"(\d+)(ms|s|m|h)")
_PERCENT = re.compile(r"(\d{1,2})%")
_MOST = 366 * 24 * 3_600_000


def parse_duration(value: Any) -> int:
    """Read "4h", "1h30m", "45s", "250ms" as milliseconds."""
    if isinstance(value, str) and _DURATION.fullmatch(value):
        total = sum(int(number) * _UNITS[unit] for number, unit in _PART.findall(value))
        if 0 < total <= _MOST:
            return total
    raise ValueError(f"{value!r} is no duration: write for example 90s, 15m, 4h or 1h30m (at most 8784h)")


class Spec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def one_or_more(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], BeforeValidator(one_or_more), Field(min_length=1)]
"""A word or several, of which any will do."""


class Target(Spec):
    """Working time allowed, by priority."""

    by_priority: dict[Priority, int]

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and "by_priority" in value:  # as it is archived
            return value
        given = value if isinstance(value, Mapping) else {"default": value}
        unknown = set(given) - {"default", *Priority}
        if unknown:
            raise ValueError(f"{min(unknown)!r} is no priority: {', '.join(Priority)} or default")
        missing = [priority for priority in Priority if priority not in given]
        if missing and "default" not in given:
            raise ValueError(f"nothing for {', '.join(missing)}: add them or a default")
        return {"by_priority": {p: parse_duration(given.get(p, given.get("default"))) for p in Priority}}


def _check_mark(value: Any) -> str:
    if isinstance(value, str) and (percent := _PERCENT.fullmatch(value)) and int(percent[1]) > 0:
        return value
    if isinstance(value, str) and value.endswith("%"):
        raise ValueError(f"{value!r}: the share of the target that is used, 1% to 99%")
    parse_duration(value)
    return str(value)


Marks = Annotated[tuple[Annotated[str, BeforeValidator(_check_mark)], ...], BeforeValidator(one_or_more)]
"""Where to warn: "80%" of the target used, or "15m" of working time before it is due."""


class Warnings(Spec):
    """When to say that a clock is about to run out."""

    due_soon: Marks = ()
    """One mark or several: `15m` before it is due, or `80%` of the target used."""
    at_risk: Marks = ()
    """The same marks; told apart from `due_soon` by the event and by routes."""

    def within(self, target_ms: int) -> tuple[Warn, ...]:
        """Return the warnings of one target; an offset longer than the target never comes."""
        marks = [(mark, False) for mark in self.due_soon] + [(mark, True) for mark in self.at_risk]
        found = {Warn(_after(mark, target_ms), at_risk) for mark, at_risk in marks}
        return tuple(sorted((w for w in found if 0 < w.after_ms < target_ms), key=lambda w: (w.after_ms, w.at_risk)))


def _after(mark: str, target_ms: int) -> int:
    if mark.endswith("%"):
        return target_ms * int(mark[:-1]) // 100
    return target_ms - parse_duration(mark)
