"""Makes `deploy/prometheus/rules/slo.yml` from the files beside this one; `python -m deploy.reference` writes it.

Each objective gives recording rules (share of bad events and rate of events, over several windows) and three alerts on
how fast it uses up its error budget. Nothing is contacted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator

HERE = Path(__file__).parent
OUTPUT = HERE.parent / "prometheus" / "rules" / "slo.yml"
HEAD = (
    "# Generated from deploy/slo/*.yaml by `python -m deploy.reference`; do not edit. docs/slo.md explains the rules.\n"
)
#: Windows over which shares of bad events are recorded, in seconds.
WINDOWS = {"5m": 300, "30m": 1800, "1h": 3600, "6h": 21_600, "3d": 259_200}


@dataclass(frozen=True)
class Burn:
    """An alert: the budget is used up `factor` times as fast as would last for the objective's window."""

    name: str
    factor: float
    long: str
    short: str
    severity: Literal["page", "ticket"]

    def lasts(self, days: int) -> str:
        """Return how long the budget lasts at this rate, in words."""
        left = days / self.factor
        return f"{left:.0f} days" if left >= 3 else f"{left * 24:.0f} hours"


BURNS = (
    Burn("fast", 14.4, "1h", "5m", "page"),
    Burn("slow", 6, "6h", "30m", "page"),
    Burn("creeping", 1, "3d", "6h", "ticket"),
)


class Indicator(BaseModel):
    """Good and total events per second, with `[$window]` for the range."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    good: str
    total: str

    @field_validator("good", "total")
    @classmethod
    def _has_a_window(cls, text: str) -> str:
        if "[$window]" not in text:
            raise ValueError("has no [$window]")
        return text


class Objective(BaseModel):
    """One file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z]+(-[a-z]+)*$")
    title: str
    service: Literal["ingest", "routing", "sla", "notify"] | None = None
    """The service that it is about; None: the indicator tells services apart."""
    objective: Annotated[float, Field(gt=0, lt=100)]
    """Percentage of events that are good."""
    window: Annotated[str, Field(pattern=r"^[1-9][0-9]*d$")]
    owner: str
    runbook: str
    description: str
    indicator: Indicator
    minimum: Annotated[int, Field(gt=0)]
    """Events in an alert's longer window below which it does not fire."""

    @property
    def alert(self) -> str:
        """Name of its alerts."""
        return "DeskbusSlo" + "".join(word.capitalize() for word in self.name.split("-"))

    @property
    def budget(self) -> float:
        """Share of events that may be bad."""
        return round(1 - self.objective / 100, 9)

    @property
    def labels(self) -> dict[str, str]:
        return {"slo": self.name} | ({"service": self.service} if self.service else {})

    def good(self, window: str) -> str:
        return self.indicator.good.replace("$window", window)

    def total(self, window: str) -> str:
        return self.indicator.total.replace("$window", window)

    def bad_share(self, window: str) -> str:
        """Return the share of bad events; events of which none is good have no series of good ones."""
        total = self.total(window)
        return f"1 - (({self.good(window)}) or 0 * ({total})) / ({total})"


def objectives(folder: Path = HERE) -> list[Objective]:
    """Read all files. Raises ValueError for an invalid one."""
    found = []
    for path in sorted(folder.glob("*.yaml")):
        objective = Objective.model_validate(yaml.safe_load(path.read_text("utf-8")))
        if objective.name != path.stem:
            raise ValueError(f"{path.name}: its name is {objective.name}")
        found.append(objective)
    return found


def _recording(objective: Objective) -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = []
    for window in WINDOWS:
        rules += [
            {"record": f"slo:deskbus_errors:ratio_rate{window}", "expr": objective.bad_share(window)},
            {"record": f"slo:deskbus_events:rate{window}", "expr": objective.total(window)},
        ]
    return [{**rule, "labels": objective.labels} for rule in rules]


def _budget(objective: Objective) -> list[dict[str, Any]]:
    """Return what dashboards show; of long windows, so evaluated less often."""
    left = f"1 - ({objective.bad_share(objective.window)}) / {objective.budget:g}"
    return [
        {"record": "slo:deskbus_budget_left:ratio", "expr": left, "labels": objective.labels},
        {
            "record": "slo:deskbus_objective:ratio",
            "expr": f"vector({objective.objective / 100:g})",
            "labels": objective.labels,
        },
    ]


def _alert(objective: Objective, burn: Burn) -> dict[str, Any]:
    chosen = f'{{slo="{objective.name}"}}'
    limit = f"{burn.factor:g} * {objective.budget:g}"
    lasts = burn.lasts(int(objective.window[:-1]))
    return {
        "alert": objective.alert,
        "expr": f"slo:deskbus_errors:ratio_rate{burn.long}{chosen} > {limit}\n"
        f"  and slo:deskbus_errors:ratio_rate{burn.short}{chosen} > {limit}\n"
        f"  and slo:deskbus_events:rate{burn.long}{chosen} * {WINDOWS[burn.long]} > {objective.minimum}\n",
        "labels": {"severity": burn.severity, "burn": burn.name, "owner": objective.owner},
        "annotations": {
            "summary": f"{objective.title}: {{{{ $labels.service }}}} misses {objective.objective:g} %",
            "description": f"{{{{ $value | humanizePercentage }}}} of events were bad in the last {burn.long}; at this "
            f"rate the error budget of {objective.window} lasts {lasts}. Good are: {objective.description}",
            "runbook": objective.runbook,
        },
    }


def document(found: Sequence[Objective]) -> dict[str, Any]:
    """Return the rule file as data."""
    groups: list[dict[str, Any]] = []
    for objective in found:
        alerts = [_alert(objective, burn) for burn in BURNS]
        groups += [
            {"name": f"slo-{objective.name}", "rules": [*_recording(objective), *alerts]},  # evaluated in this order
            {"name": f"slo-{objective.name}-budget", "interval": "5m", "rules": _budget(objective)},
        ]
    return {"groups": groups}


def text() -> str:
    """Return the rule file."""
    dumped: str = yaml.safe_dump(document(objectives()), sort_keys=False, width=120, allow_unicode=True)
    return HEAD + dumped
