"""`python -m deploy.reference [--check]`: generates the reference in docs/ (metrics, settings, policies, channels, REST
APIs), parts of the Helm chart, Grafana's dashboards and the rules of the service level objectives.

Services are built but not started; no server is contacted.
"""

import argparse
import asyncio
import importlib
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from contracts.topics import SERVICES
from deploy import channels, chart, policies
from deploy.dashboards import DASHBOARDS, grafana
from deploy.settings import settings_class
from deploy.slo import rules as slo_rules
from kit.base.settings import ServiceSettings
from kit.process.service import Service

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PER_SERVICE = {"port", "ops_port", "policy"}
"""Settings that all services have, each with its own default."""


def outputs() -> dict[Path, str]:
    """Return every generated file with its text."""
    documents = asyncio.run(_openapi())
    return {
        **chart.outputs(),
        **{ROOT / path: text for path, text in grafana.outputs(DASHBOARDS).items()},
        DOCS / "metrics.md": _metrics(),
        DOCS / "settings.md": _settings(),
        DOCS / "policies.md": policies.page(),
        DOCS / "channels" / "README.md": channels.page(),
        slo_rules.OUTPUT: slo_rules.text(),
        chart.FILES / "rules" / slo_rules.OUTPUT.name: slo_rules.text(),
        **{DOCS / "openapi" / f"{name}.json": _json(document) for name, document in documents.items()},
    }


def drift(wanted: Mapping[Path, str]) -> list[str]:
    """Return a line for each file that differs from its generated text, is missing, or belongs to no service."""
    faults = [
        f"{path.relative_to(ROOT)}: {'differs' if path.exists() else 'is missing'}"
        for path, text in wanted.items()
        if not path.exists() or path.read_text("utf-8") != text
    ]
    ours = (DOCS / "openapi", *(ROOT / folder for folder in grafana.FOLDERS))
    unknown = [path for folder in ours for path in sorted(folder.glob("*")) if path not in wanted]
    unknown += [path for path in chart.strays(wanted) if path not in unknown]
    return faults + [f"{path.relative_to(ROOT)}: is generated from nothing" for path in unknown]


def write() -> None:
    """Write all generated files."""
    for path, text in outputs().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


def _build(service: str) -> Service:
    module = importlib.import_module(f"services.{service}.app")
    nowhere = SecretStr("mongodb://127.0.0.1:9/?connect=false")
    settings = settings_class(service)(
        kafka="127.0.0.1:9", mongo=nowhere, tokens=SecretStr(""), policy=ROOT / "deploy" / "config" / f"{service}.yaml"
    )
    return cast("Service", module.create_service(settings))


async def _openapi() -> dict[str, dict[str, Any]]:
    documents = {}
    for name in SERVICES:
        service = _build(name)
        transport = httpx.ASGITransport(cast("Any", service.app))
        async with httpx.AsyncClient(transport=transport, base_url="http://door") as caller:
            documents[name] = (await caller.get("/openapi.json")).raise_for_status().json()
        await service.shut()
    return documents


@dataclass(frozen=True)
class MetricRow:
    """A row of the table of metrics."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...]
    series: int
    """How many there are at most in one process."""


def metric_rows() -> list[MetricRow]:
    """Return all metrics of kit and of the services, sorted by name."""
    for service in SERVICES:
        importlib.import_module(f"services.{service}.metrics")
    rows = []
    for metric in set(REGISTRY._collector_to_names):  # noqa: SLF001 - prometheus_client has no public list of collectors
        if isinstance(metric, MetricWrapperBase):
            (family,) = metric.describe()
            if family.name.startswith("deskbus_"):
                name = family.name + ("_total" if family.type == "counter" else "")
                series = metric.series  # type: ignore[attr-defined]  # all are of kit/base/series.py
                rows.append(MetricRow(name, family.type, family.documentation, metric._labelnames, series))  # noqa: SLF001
    return sorted(rows, key=lambda row: row.name)


def ceiling(service: str, rows: Iterable[MetricRow]) -> int:
    """Return how many series of ours a process of the service exposes at most."""
    others = tuple(f"deskbus_{other}_" for other in SERVICES if other != service)
    return sum(row.series for row in rows if not row.name.startswith(others))


def _metrics() -> str:
    rows = metric_rows()
    chapters = {service: [row for row in rows if row.name.startswith(f"deskbus_{service}_")] for service in SERVICES}
    own = {row.name for chapter in chapters.values() for row in chapter}
    lines = [
        "# Metrics",
        "",
        "Generated from the code by `python -m deploy.reference`; do not edit. Every sample has the label `service`.",
        "Units are in the names. A histogram is exposed as `_bucket`, `_sum` and `_count`; with a scraper that accepts",
        "OpenMetrics, its buckets have exemplars with the label `trace_id`.",
        "",
        "The column *series* is the most that one process exposes, whatever it is sent: label sets beyond that are",
        "counted as `other`. Besides, the Python runtime has about 20.",
        "",
        *_table(("service", "series at most"), [(name, str(ceiling(name, rows))) for name in SERVICES]),
    ]
    every = [row for row in rows if row.name not in own]
    for title, chapter in [("Every service", every), *((name, chapters[name]) for name in SERVICES)]:
        cells = [(f"`{row.name}`", row.kind, ", ".join(row.labels), str(row.series), row.help) for row in chapter]
        lines += ["", f"## {title}", "", *_table(("metric", "kind", "labels", "series", "meaning"), cells)]
    return "\n".join(lines) + "\n"


def _settings() -> str:
    lines = [
        "# Settings",
        "",
        "Generated from the code by `python -m deploy.reference`; do not edit. Set the variables of the first table",
        "for all services as `DESKBUS_…`, or for one service as `DESKBUS_<SERVICE>_…`, which takes precedence. If",
        "`DESKBUS_SECRETS_DIR` is set, a setting may also be a file in that directory, named like its variable in",
        "lower case. A variable that a service's table repeats has another default there. Empty variables are not set.",
    ]
    common = ServiceSettings.model_fields
    shared = {name: field for name, field in common.items() if name not in PER_SERVICE}
    chapters: list[tuple[str, str, dict[str, FieldInfo]]] = [("Every service", "DESKBUS_", shared)]
    for service in SERVICES:
        fields = settings_class(service).model_fields
        own = {
            name: field for name, field in fields.items() if name in PER_SERVICE or _differs(field, common.get(name))
        }
        chapters.append((service, f"DESKBUS_{service.upper()}_", own))
    for title, prefix, fields in chapters:
        cells = [
            (f"`{prefix}{name.upper()}`", f"`{_default(name, field, fields)}`", field.description or "")
            for name, field in fields.items()
        ]
        lines += ["", f"## {title}", "", *_table(("variable", "default", "meaning"), cells)]
    return "\n".join(lines) + "\n"


def _differs(field: FieldInfo, common: FieldInfo | None) -> bool:
    return common is None or (field.default, field.description) != (common.default, common.description)


def _default(name: str, field: FieldInfo, fields: dict[str, FieldInfo]) -> str:
    value = field.default
    if name == "ops_port":
        return str(fields["port"].default + 1000)
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    return " " if value in (None, "", ()) else str(value)


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    return [
        "| " + " | ".join(heads) + " |",
        "|" + "---|" * len(heads),
        *("| " + " | ".join(cell.replace("|", "\\|").replace("` `", "") for cell in row) + " |" for row in rows),
    ]


def _json(document: object) -> str:
    return json.dumps(document, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Write the files, or with --check compare them; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m deploy.reference", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file differs")
    if not parser.parse_args(arguments).check:
        write()
        return 0
    faults = drift(outputs())
    if faults:
        print("\n".join(faults), file=sys.stderr)
        print("run: python -m deploy.reference", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
