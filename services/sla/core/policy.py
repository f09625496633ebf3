"""The policy file: calendars, holidays and ordered policies. The first policy whose conditions all hold applies.

What a clock does with its terms is in `clocks.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, ClassVar, Literal

from pydantic import (
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from contracts.matching import Match
from contracts.sla import CalendarRef, Metric, PolicyRef
from contracts.ticket import Status, TicketFacts
from contracts.values import OneOrMany, country_code
from kit.calendar.spec import CalendarSpec, DateText, Holiday
from kit.calendar.working_time import TZDATA, Calendar, NeverDue
from kit.policy.part import Part
from services.sla.core.clocks import TOTAL_RESOLUTION, Terms
from services.sla.core.targets import Target, Warnings

METRICS = (Metric.FIRST_REPLY, Metric.NEXT_REPLY, Metric.RESOLUTION, TOTAL_RESOLUTION)

_ALWAYS = CalendarRef(name="always", version="1", tzdata=TZDATA)
_SOME_DAY = datetime(2026, 1, 1, tzinfo=UTC)


class SlaPolicy(Part):
    """Targets for the tickets that match."""

    name: str = Field(min_length=1)
    """Name of the policy in events and in notify's routes."""
    match: Match = Match()
    """Conditions that must all hold."""
    calendar: str | dict[str, str] = "always"
    """One calendar, or a calendar per country of the market with a `default`."""
    targets: dict[str, Target] = Field(min_length=1)
    """first_reply, next_reply, resolution, total_resolution: a duration each, or one per priority with a `default`."""
    warn: Warnings = Warnings()
    """When to warn that a clock is about to expire."""
    pause_on: OneOrMany[Literal["pending", "on_hold"]] = ("pending",)
    """Statuses that pause the `resolution` clock."""

    @field_validator("calendar")
    @classmethod
    def _has_default(cls, calendar: str | dict[str, str]) -> str | dict[str, str]:
        if isinstance(calendar, str):
            return calendar
        if "default" not in calendar:
            raise ValueError("calendars by country require a default")
        return {key if key == "default" else country_code(key): name for key, name in calendar.items()}

    @property
    def calendars(self) -> dict[str, str]:
        """Return the names of its calendars, by country or `default`."""
        return self.calendar if isinstance(self.calendar, dict) else {"default": self.calendar}

    def calendar_for(self, facts: TicketFacts) -> str:
        """Return the name of the calendar for the clocks of a ticket with these facts."""
        calendars = self.calendars
        return calendars.get((facts.market.country or "").upper(), calendars["default"])

    @field_validator("targets")
    @classmethod
    def _known(cls, targets: dict[str, Target]) -> dict[str, Target]:
        for metric in targets:
            if metric not in METRICS:
                raise ValueError(f"{metric!r} is not a metric: {', '.join(METRICS)}")
        return targets


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class Book(Part):
    """Everything in the file. Equal content has the same version, whatever its layout."""

    renamed_keys: ClassVar[Mapping[str, str]] = {"when": "match"}

    on_change: Literal["keep", "rebase"] = "keep"
    """Whether running clocks `keep` their terms when the file changes, or `rebase` to the new ones."""
    calendars: dict[str, CalendarSpec] = Field(default_factory=dict)
    """Calendars by name; `always` is predefined."""
    holidays: dict[str, dict[DateText, Holiday]] = Field(default_factory=dict)
    """Lists of holidays by name: dates with names."""
    policies: tuple[SlaPolicy, ...] = Field(min_length=1)
    """Policies in order; the first whose conditions all hold applies."""

    @model_validator(mode="after")
    def _consistent(self) -> Book:
        faults: list[InitErrorDetails] = []

        def fault(reason: str, *loc: str | int) -> None:
            text = PydanticCustomError("policy", "{reason}", {"reason": reason})
            faults.append(InitErrorDetails(type=text, loc=loc, input=None))

        for name, spec in self.calendars.items():
            for place, wanted in enumerate(spec.holidays):
                if wanted not in self.holidays:
                    fault(f"unknown holiday list {wanted!r}", "calendars", name, "holidays", place)
        names: set[str] = set()
        for place, policy in enumerate(self.policies):
            if policy.name in names:
                fault(f"duplicate policy name {policy.name!r}", "policies", place, "name")
            names.add(policy.name)
            for country, name in policy.calendars.items():
                if name != "always" and name not in self.calendars:
                    fault(f"unknown calendar {name!r}", "policies", place, "calendar", country)
            if place and self.policies[place - 1].match == Match():
                fault("never reached: the policy above matches every ticket", "policies", place)
        if not faults:
            self._check_due(fault)
        if faults:
            raise ValidationError.from_exception_data("Book", faults)
        return self

    def _check_due(self, fault: Any) -> None:
        for place, policy in enumerate(self.policies):
            for name in set(policy.calendars.values()):
                for metric, target in policy.targets.items():
                    try:
                        self.calendar(name).add_ms(_SOME_DAY, max(target.by_priority.values()))
                    except NeverDue as error:
                        fault(f"by the calendar {name!r} {error}", "policies", place, "targets", metric)

    @cached_property
    def version(self) -> str:
        """Return the hash of the content."""
        return _hashed(self.model_dump_json())

    def match(self, facts: TicketFacts) -> SlaPolicy | None:
        """Return the policy that applies: the first whose conditions all hold."""
        return next((policy for policy in self.policies if policy.match.holds(facts)), None)

    def terms(self, facts: TicketFacts, metric: str) -> Terms | None:
        """Return the terms of one metric for a ticket with these facts; None if no policy sets a target."""
        policy = self.match(facts)
        target = None if policy is None else policy.targets.get(metric)
        if policy is None or target is None:
            return None
        target_ms = target.by_priority[facts.priority]
        return Terms(
            PolicyRef(name=policy.name, version=self.version),
            self.calendar_ref(policy.calendar_for(facts)),
            target_ms,
            policy.warn.within(target_ms),
            tuple(Status(s) for s in policy.pause_on) if metric == Metric.RESOLUTION else (),
        )

    def calendar(self, name: str) -> Calendar:
        """Return a calendar; `always` for a name that this version does not have."""
        found = self._calendars.get(name)
        return self._calendars["always"] if found is None else found

    def calendar_ref(self, name: str) -> CalendarRef:
        """Return a calendar's name with the versions of everything that it is made of."""
        return self._refs.get(name, _ALWAYS)

    @cached_property
    def _refs(self) -> dict[str, CalendarRef]:
        return {name: self._ref(name, spec) for name, spec in self.calendars.items()}

    def _ref(self, name: str, spec: CalendarSpec) -> CalendarRef:
        lists = {holiday: {d: h.hours for d, h in self.holidays[holiday].items()} for holiday in spec.holidays}
        holidays = _hashed(repr(sorted((k, sorted(v.items())) for k, v in lists.items()))) if lists else None
        return CalendarRef(name=name, version=_hashed(spec.model_dump_json()), holidays=holidays, tzdata=TZDATA)

    @cached_property
    def _calendars(self) -> dict[str, Calendar]:
        every = {"always": CalendarSpec(zone="UTC"), **self.calendars}
        return {name: spec.build(self.holidays[each] for each in spec.holidays) for name, spec in every.items()}
