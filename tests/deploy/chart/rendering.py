"""Renders the chart with Helm, and finds things in what is rendered."""

import subprocess
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from deploy.chart import CHART
from deploy.check.tools import MissingTool, find
from deploy.local.process import LocalError

Object = dict[str, Any]
NAMESPACE = "deskbus"
KUBERNETES = "1.34"


@dataclass(frozen=True)
class Variant:
    """Values that the chart is rendered with, and the objects that must be there before it is installed."""

    name: str
    file: str
    over: dict[str, Any] = field(default_factory=dict, hash=False)
    existing: frozenset[str] = frozenset()


def helm() -> Path | None:
    """Return Helm, if it is here."""
    try:
        return find("helm", build=False)
    except (MissingTool, LocalError):
        return None


def attempt(
    values: Path, *options: str, release: str = "deskbus", chart: Path = CHART
) -> subprocess.CompletedProcess[str]:
    program = helm()
    assert program is not None
    fixed = ["--namespace", NAMESPACE, "--kube-version", KUBERNETES, "--values", str(values)]
    command = [str(program), "template", release, str(chart), *fixed, *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def parse(text: str) -> list[Object]:
    return [found for found in yaml.safe_load_all(text) if found]


@cache
def render(variant: Variant, folder: Path, release: str = "deskbus") -> list[Object]:
    """Return the objects of a variant."""
    over = folder / f"{variant.name}.yaml"
    over.write_text(yaml.safe_dump(variant.over), encoding="utf-8")
    done = attempt(CHART / "ci" / variant.file, "--values", str(over), release=release)
    assert done.returncode == 0, done.stderr
    return parse(done.stdout)


def of(objects: list[Object], *kinds: str) -> list[Object]:
    return [found for found in objects if found["kind"] in kinds]


def name(thing: Object) -> str:
    found: str = thing["metadata"]["name"]
    return found


def component(thing: Object) -> str:
    found: str = thing["metadata"]["labels"].get("app.kubernetes.io/component", "")
    return found


def workloads(objects: list[Object]) -> list[Object]:
    return of(objects, "Deployment", "StatefulSet", "Job")


def pod(workload: Object) -> Object:
    found: Object = workload["spec"]["template"]
    return found


def container(workload: Object) -> Object:
    (only,) = pod(workload)["spec"]["containers"]
    found: Object = only
    return found


def selects(selector: dict[str, str], workload: Object) -> bool:
    labels: dict[str, str] = pod(workload)["metadata"]["labels"]
    return selector.items() <= labels.items()


def one(objects: list[Object], kind: str, wanted: str) -> Object:
    (found,) = (each for each in of(objects, kind) if name(each) == wanted)
    return found


def environment(objects: list[Object], workload: Object) -> dict[str, str]:
    """Return the plain variables of a workload's container."""
    found: dict[str, str] = {}
    inside = container(workload)
    for source in inside.get("envFrom", ()):
        found |= one(objects, "ConfigMap", source["configMapRef"]["name"])["data"]
    return found | {each["name"]: each["value"] for each in inside.get("env", ()) if "value" in each}
