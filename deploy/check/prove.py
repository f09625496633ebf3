"""Proves that the checks can fail: each breakage is made in a copy of the repository, where its check must go red.

`python -m deploy.check.prove [CHECK…]` names breakages that go unnoticed. A check without a breakage proves nothing.
"""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.check.__main__ import CHECKS
from deploy.check.context import ROOT, Context
from deploy.check.harness import run_check


@dataclass(frozen=True)
class Breakage:
    check: str
    what: str
    """In words, for people: the README's table."""
    file: str
    old: str
    new: str
    said: str
    """What the check must say."""


_CHART = "deploy/helm/deskbus"
BREAKAGES = (
    Breakage("hadolint", "`ADD` instead of `COPY`", "deploy/Dockerfile", "\nCOPY kit kit", "\nADD kit kit", "DL3020"),
    Breakage(
        "compose", "a key that Compose does not know", "compose.yaml", "\n    healthcheck:", "\n    health:", "health"
    ),
    Breakage(
        "helm-lint",
        "a value misspelt in `ci/minimal.yaml`",
        f"{_CHART}/ci/minimal.yaml",
        "\n  replication:",
        "\n  replicas:",
        "replicas",
    ),
    Breakage("docs", "a generated page edited by hand", "docs/metrics.md", "| `", "| edited `", "docs/metrics.md"),
    Breakage(
        "kubeconform",
        "a probe misspelt in the Deployment",
        f"{_CHART}/templates/deployment.yaml",
        "readinessProbe:",
        "readynessProbe:",
        "readynessProbe",
    ),
    Breakage(
        "kubeconform",
        "a field that KEDA does not know",
        f"{_CHART}/templates/autoscaling.yaml",
        "scaleTargetRef: {name:",
        "scaleTarget: {name:",
        "scaleTarget",
    ),
    Breakage(
        "kustomize",
        "a patch for an object that is not there",
        "deploy/kustomize/overlays/minimal/kustomization.yaml",
        "- {name: deskbus-sla, count: 1}",
        "- {name: deskbus-slo, count: 1}",
        "deskbus-slo",
    ),
    Breakage(
        "kube-score",
        "a writable root file system",
        f"{_CHART}/templates/_pod.tpl",
        "readOnlyRootFilesystem: true",
        "readOnlyRootFilesystem: false",
        "writable root filesystem",
    ),
    Breakage(
        "policies",
        "a mounted service account token",
        f"{_CHART}/templates/deployment.yaml",
        "automountServiceAccountToken: false",
        "automountServiceAccountToken: true",
        "FAILED",
    ),
    Breakage(
        "promtool",
        "an alert that waits ten times as long",
        "deploy/prometheus/rules/alerts.yml",
        "for: 2m\n",
        "for: 20m\n",
        "FAILED",
    ),
    Breakage(
        "amtool",
        "a route that no alert takes",
        "deploy/alertmanager/alertmanager.yml",
        '[severity="page"]\n      receiver',
        '[severity="pages"]\n      receiver',
        "goes to tickets, not to pager",
    ),
    Breakage(
        "dashboards",
        "a panel about a metric that no service has",
        "deploy/grafana/dashboards/deskbus-business.json",
        "deskbus_routing_oldest_wait_seconds",
        "deskbus_routing_longest_wait_seconds",
        "nothing for",
    ),
    Breakage(
        "dry-run",
        "privilege escalation allowed: the server only warns",
        f"{_CHART}/templates/_pod.tpl",
        "allowPrivilegeEscalation: false",
        "allowPrivilegeEscalation: true",
        "would violate PodSecurity",
    ),
    Breakage(
        "install",
        "the chart's version in a selector, which cannot be changed",
        f"{_CHART}/templates/_helpers.tpl",
        '{{- define "deskbus.selector" -}}\n',
        '{{- define "deskbus.selector" -}}\napp.kubernetes.io/version: {{ $.root.Chart.AppVersion | quote }}\n',
        "field is immutable",
    ),
    Breakage(
        "install",
        "secrets of the trial that are new at each upgrade",
        f"{_CHART}/templates/_trial.tpl",
        'lookup "v1" "Secret"',
        'lookup "v1" "ConfigMap"',
        "the upgrade changed generated secrets",
    ),
    Breakage(
        "bad",
        "a chart that accepts `latest`",
        f"{_CHART}/templates/_checks.tpl",
        'if has "latest"',
        'if has "newest"',
        "latest.yaml was accepted",
    ),
    Breakage(
        "live",
        "an alert that looks for a service of another name",
        "deploy/prometheus/rules/alerts.yml",
        'absent(deskbus_heartbeat_age_seconds{service="sla"})',
        'absent(deskbus_heartbeat_age_seconds{service="SLA"})',
        "no alert is active while all is well",
    ),
    Breakage(
        "live",
        "a service that is gone no longer silences its other alerts",
        "deploy/alertmanager/alertmanager.yml",
        '[alertname="DeskbusNothingHeard"]\n    target',
        '[alertname="DeskbusNothingHeards"]\n    target',
        "is not inhibited",
    ),
)


def copy_repository(target: Path) -> None:
    """Copy what is committed or would be."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target / name)


def try_breakage(breakage: Breakage, root: Path) -> str:
    """Return what is wrong with the check; nothing if it noticed."""
    (check,) = (check for check in CHECKS if check.name == breakage.check)
    file = root / breakage.file
    text = file.read_text("utf-8")
    if breakage.old not in text:
        return f"{breakage.file} does not hold {breakage.old!r} any more"
    file.write_text(text.replace(breakage.old, breakage.new), encoding="utf-8")
    try:
        with Context(root) as context:
            outcome = run_check(check, context)
    finally:
        file.write_text(text, encoding="utf-8")
    if outcome.verdict != "failed":
        return outcome.verdict
    return "" if breakage.said in outcome.reason else f"failed, but said:\n{outcome.reason}"


def main(names: Sequence[str]) -> int:
    unnoticed = 0
    with Context() as context:
        copy_repository(context.work)
        for breakage in BREAKAGES:
            if names and breakage.check not in names:
                continue
            wrong = try_breakage(breakage, context.work)
            unnoticed += bool(wrong)
            print(f"{breakage.check:<12} {wrong or 'noticed'}: {breakage.what}", flush=True)
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
