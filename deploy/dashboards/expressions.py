"""Which series and labels an expression names, and which there are. Not a parser of PromQL: promtool has one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from deploy.dashboards.model import RATE, Dashboard

_RULES = Path(__file__).resolve().parents[1] / "prometheus" / "rules"
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_GROUPED = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_MATCHED = re.compile(r"{([^}]*)}")
_WORD = re.compile(r"(?<![\w.$:])[a-zA-Z_:][\w:]*(?!\s*\()(?![\w:])")
_OPERATORS = {"or", "and", "unless", "bool", "offset"}
#: Of the Python client, whatever the service.
_PROCESS = ("process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds")


def series(expr: str) -> set[str]:
    """Return the names of the series that an expression selects."""
    bare = _MATCHED.sub(" ", _GROUPED.sub(" ", _STRING.sub('""', expr)))
    return set(_WORD.findall(re.sub(r"\[[^\]]*\]", " ", bare))) - _OPERATORS


def labels(expr: str) -> set[str]:
    """Return the labels that an expression matches or groups by."""
    bare = _STRING.sub('""', expr)
    matched = {name for inside in _MATCHED.findall(bare) for name in re.findall(r"(\w+)\s*[=!]", inside)}
    return matched | {name for inside in _GROUPED.findall(bare) for name in re.findall(r"\w+", inside)}


def known_series() -> dict[str, set[str]]:
    """Return the series that our services expose and our rules record, with their labels besides `service`."""
    from deploy.reference import metric_rows

    known: dict[str, set[str]] = {name: set() for name in _PROCESS} | {"ALERTS": {"alertname", "alertstate"}}
    for row in metric_rows():
        own = set(row.labels)
        if row.kind == "histogram":
            known |= {f"{row.name}_bucket": own | {"le"}, f"{row.name}_sum": own, f"{row.name}_count": own}
        else:
            known[row.name] = own
    for file in sorted(_RULES.glob("*.yml")):
        for group in yaml.safe_load(file.read_text("utf-8"))["groups"]:
            for rule in group["rules"]:
                if "record" in rule:
                    known.setdefault(rule["record"], set()).update(labels(rule["expr"]), rule.get("labels", {}))
    return known


def as_rules(dashboards: Iterable[Dashboard]) -> dict[str, Any]:
    """Return a rule file of all expressions, which Prometheus's own parser can check."""
    found = [query.expr for each in dashboards for panel in each.panels() for query in panel.queries]
    rules = [
        {"record": f"expression:{number}", "expr": expr.replace(RATE, "5m"), "labels": {"number": str(number)}}
        for number, expr in enumerate(found)
    ]
    return {"groups": [{"name": "dashboards", "rules": rules}]}
