"""`python -m deploy.chart.kustomize [--check]`: writes deploy/kustomize/ from the chart, for those without Helm.

The base is a render of the chart with `base/values.yaml`, the component `hpa` is what autoscaling adds to it; both
need Helm. The component `monitoring` is written by `deploy.reference`, and the rest by hand.
"""

import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from deploy.chart import CHART, KUSTOMIZE
from deploy.check import tools

NAMESPACE = "deskbus"
_HEAD = "# Rendered from the Helm chart by `python -m deploy.chart.kustomize`; do not edit.\n"


def outputs(helm: Path) -> dict[Path, str]:
    """Return the rendered files with their texts."""
    base = KUSTOMIZE / "base" / "values.yaml"
    return {
        KUSTOMIZE / "base" / "deskbus.yaml": _dump(_render(helm, base)),
        KUSTOMIZE / "components" / "hpa" / "hpa.yaml": _dump(
            found
            for found in _render(helm, base, "--set", "defaults.autoscaling.by=hpa")
            if found["kind"] == "HorizontalPodAutoscaler"
        ),
    }


def drift(wanted: Mapping[Path, str]) -> list[str]:
    """Return the files that differ from what the chart renders."""
    return [
        str(path.relative_to(KUSTOMIZE))
        for path, text in wanted.items()
        if not path.exists() or path.read_text("utf-8") != text
    ]


def _render(helm: Path, values: Path, *options: str) -> list[dict[str, Any]]:
    command = [str(helm), "template", "deskbus", str(CHART), "--namespace", NAMESPACE, "--values", str(values)]
    done = subprocess.run([*command, "--kube-version", "1.34", *options], capture_output=True, text=True, check=True)
    return [found for found in yaml.safe_load_all(done.stdout) if found]


def _dump(objects: Iterable[dict[str, Any]]) -> str:
    return _HEAD + yaml.safe_dump_all(objects, sort_keys=False, width=120)


def main(arguments: list[str]) -> int:
    """Write the files, or with --check compare them; return the exit code."""
    wanted = outputs(tools.find("helm"))
    if "--check" not in arguments:
        for path, text in wanted.items():
            path.write_text(text, "utf-8")
        return 0
    faults = drift(wanted)
    if faults:
        print(f"differ from the chart: {', '.join(faults)}; run: python -m deploy.chart.kustomize", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
