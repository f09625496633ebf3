"""Checks of what Helm and Kustomize render, by programs that know Kubernetes' schemas and habits but no server."""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from deploy.check.context import Context, Failed

NAMESPACE = "deskbus"
#: What kube-score says and is not heeded: the object, the words, the reason.
UNHEEDED = (
    (r".*", "CPU limit is not set", "a limit throttles the poll loop's heartbeat; requests share the CPU fairly"),
    (r".*", "ImagePullPolicy is not set to Always", "tags are versions; a start must not depend on the registry"),
    (r"deskbus-\w+", "host podAntiAffinity", "topologySpreadConstraints spread replicas over zones and hosts"),
    (r"deskbus-\w+", "Deployment few replicas", "KEDA or the HPA sets the replicas, at least two"),
    (r"deskbus-(kafka|mongo)", "low user ID", "the trial's public images run as their own users"),
    (r"deskbus-(kafka|mongo)", "low group ID", "the trial's public images run as their own users"),
    (r"deskbus-(kafka|mongo)", "Ephemeral Storage", "the trial's data are on a volume"),
    (r"deskbus-kafka", "writable root filesystem", "the trial's public image writes its configuration when it starts"),
)


def render(context: Context, values: Path, *, version: str = "", namespace: str = NAMESPACE) -> str:
    """Return the chart's objects with one file of values, for a version of Kubernetes (the newest)."""
    require_chart(context)
    options = ["--namespace", namespace, "--kube-version", version or supported(context)[-1]]
    return context.run([context.tool("helm"), "template", "deskbus", context.chart, "--values", values, *options])


def require_chart(context: Context) -> None:
    if not (context.chart / "Chart.yaml").exists():
        raise Failed("there is no chart in deploy/helm/deskbus")


def check_helm_lint(context: Context) -> None:
    """`helm lint --strict` accepts the chart with every file of values."""
    require_chart(context)
    if not context.values_files:
        raise Failed("there is no file of values below the chart's ci/")
    for values in context.values_files:
        context.run([context.tool("helm"), "lint", "--strict", "--quiet", "--values", values, context.chart])


def check_kubeconform(context: Context) -> None:
    """Every object fits its schema, strictly, in the oldest and in the newest supported Kubernetes."""
    for version in supported(context):
        rendered = {values.stem: render(context, values, version=version) for values in context.values_files}
        conform(context, rendered, version)


def check_kustomize(context: Context) -> None:
    """Every Kustomize overlay renders, and what it renders fits its schema in every supported Kubernetes."""
    for version in supported(context):
        conform(context, overlays(context), version)


def overlays(context: Context) -> dict[str, str]:
    """Return the objects of each Kustomize overlay."""
    folders = sorted((context.root / "deploy" / "kustomize" / "overlays").iterdir())
    return {folder.name: context.run([context.tool("kubectl"), "kustomize", folder]) for folder in folders}


def check_kube_score(context: Context) -> None:
    """kube-score finds nothing to criticise, except for what `UNHEEDED` gives reasons for."""
    score = [str(context.tool("kube-score")), "score", "--output-format", "ci"]
    found = []
    for values in context.values_files:
        done = context.attempt([*score, "-"], text=render(context, values))
        if done.returncode not in {0, 1}:
            raise Failed(f"kube-score: {done.stderr}")
        found += [f"{values.name}: {line}" for line in done.stdout.splitlines() if line.startswith(("[CRIT", "[WARN"))]
    left, unused = heeded(found)
    if left or unused:
        raise Failed("\n".join([*left, *(f"not said any more, remove it from UNHEEDED: {rule}" for rule in unused)]))


def heeded(lines: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the lines that no exemption covers, and the exemptions that cover none."""
    patterns = {f"{name}: {words}": re.compile(rf"\] {name}/.*{words}") for name, words, _ in UNHEEDED}
    left = [line for line in lines if not any(pattern.search(line) for pattern in patterns.values())]
    unused = [rule for rule, pattern in patterns.items() if not any(pattern.search(line) for line in lines)]
    return left, unused


def check_policies(context: Context) -> None:
    """The rules of this project about rendered objects hold; they are tests, next to those of the other rooms."""
    folder = context.root / "tests" / "deploy" / "chart"
    if not folder.is_dir():
        raise Failed("there is no tests/deploy/chart")
    context.tool("helm")  # without it they would be skipped
    said = context.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", folder], timeout=900)
    if re.search(r"\bskipped\b", said.splitlines()[-1]):
        raise Failed(f"tests were skipped:\n{said}")


def supported(context: Context) -> list[str]:
    """Return the oldest version of Kubernetes that the chart allows and the newest whose schemas are known."""
    require_chart(context)
    chart = yaml.safe_load((context.chart / "Chart.yaml").read_text("utf-8"))
    oldest = re.match(r">=\s*(\d+\.\d+)", chart.get("kubeVersion", ""))
    if oldest is None:
        raise Failed("Chart.yaml has no kubeVersion of the form >=1.30")
    schemas = context.tool("kubernetes-schemas")
    known = sorted(
        tuple(int(part) for part in found.split("."))
        for found in re.findall(r"v(\d+\.\d+\.\d+)-local-strict", "\n".join(path.name for path in schemas.iterdir()))
    )
    newest = ".".join(str(part) for part in known[-1])
    return [f"{oldest[1]}.0", newest]


def conform(context: Context, rendered: Mapping[str, str], version: str) -> None:
    """Raise Failed if an object does not fit its schema, or has none. One run, since reading schemas takes longest."""
    files = []
    for name, objects in rendered.items():
        files.append(context.work / f"{name}-{version}.yaml")
        files[-1].write_text(objects, encoding="utf-8")
    options = ["-strict", "-kubernetes-version", version, "-summary"]
    locations = [_schemas(context, version) + "/{{.ResourceKind}}{{.KindSuffix}}.json", _crd_schemas(context)]
    words = [word for location in locations for word in ("-schema-location", location)]
    done = context.attempt([context.tool("kubeconform"), *options, *words, *files])
    if done.returncode != 0:
        raise Failed(f"Kubernetes {version}:\n{(done.stdout + done.stderr).strip()}")


def _schemas(context: Context, version: str) -> str:
    """Kubernetes' schemas, with references that kubeconform can follow in a directory."""
    target = context.work / f"kubernetes-{version}"
    if not target.exists():
        target.mkdir()
        source = context.tool("kubernetes-schemas") / f"v{version}-local-strict"
        if not source.is_dir():
            raise Failed(f"there are no schemas of Kubernetes {version}")
        for file in source.glob("*.json"):
            schema = json.loads(file.read_text("utf-8"))
            schema.pop("$id", None)
            text = json.dumps(schema).replace('"/api/_definitions.json#', '"_definitions.json#')
            (target / file.name).write_text(text, encoding="utf-8")
    return str(target)


def _crd_schemas(context: Context) -> str:
    """Schemas of other operators' resources, one file per version of a kind, made from their definitions."""
    target = context.work / "crds"
    if not target.exists():
        target.mkdir()
        for file in context.tool("crds").glob("*.yaml"):
            for definition in yaml.safe_load_all(file.read_text("utf-8")):
                spec = definition["spec"]
                for version in spec["versions"]:
                    name = f"{spec['group']}_{spec['names']['kind'].lower()}_{version['name']}.json"
                    schema = closed(version["schema"]["openAPIV3Schema"])
                    schema["properties"]["metadata"] = {"type": "object"}
                    (target / name).write_text(json.dumps(schema), encoding="utf-8")
    return f"{target}/{{{{.Group}}}}_{{{{.ResourceKind}}}}_{{{{.ResourceAPIVersion}}}}.json"


def closed(schema: Any) -> Any:
    """Return a schema that allows no properties but those it names, as the server does with strict validation."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: closed(value) for key, value in schema.items()}
    if schema.get("x-kubernetes-int-or-string") is True:
        made.pop("type", None)
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        made.setdefault("additionalProperties", schema.get("x-kubernetes-preserve-unknown-fields") is True)
    return made
