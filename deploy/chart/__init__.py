"""What is generated into the Helm chart and for Kustomize: facts of the contracts, a schema, a README, copies of files.

`deploy.reference` writes these files and finds drift. Templates and values.yaml are written by hand.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from contracts.topics import SERVICES
from deploy.chart import facts, monitoring, readme, schema

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy" / "helm" / "deskbus"
FILES = CHART / "files"
KUSTOMIZE = ROOT / "deploy" / "kustomize"
COPIED = {
    "rules": (ROOT / "deploy" / "prometheus" / "rules", "*.yml"),
    "dashboards": (ROOT / "deploy" / "grafana" / "dashboards", "*.json"),
}
"""Folder of the chart -> folder and files that it holds a copy of: Helm reads no file outside the chart."""


def outputs() -> dict[Path, str]:
    """Return every generated file of the chart with its text."""
    values = (CHART / "values.yaml").read_text("utf-8")
    policies = ROOT / "deploy" / "config"
    copies = {
        FILES / folder / file.name: file.read_text("utf-8")
        for folder, (source, pattern) in COPIED.items()
        for file in sorted(source.glob(pattern))
    }
    return {
        FILES / "contracts.json": _json(facts.collect(policies)),
        CHART / "values.schema.json": _json(schema.build(values)),
        CHART / "README.md": readme.page(values),
        **{
            folder / f"{name}.yaml": (policies / f"{name}.yaml").read_text("utf-8")
            for folder in (FILES / "policies", KUSTOMIZE / "overlays" / "minimal" / "policies")
            for name in SERVICES
        },
        **copies,
        **monitoring.component(KUSTOMIZE / "components" / "monitoring"),
    }


def strays(wanted: Mapping[Path, str]) -> list[Path]:
    """Return files among the copies that are copies of nothing."""
    return [file for file in sorted(FILES.rglob("*")) if file.is_file() and file not in wanted]


def _json(document: object) -> str:
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"
