"""Checks of files as they are committed: the Dockerfile, compose.yaml, generated documents, rules and alert routes."""

import sys
from pathlib import Path

import yaml

from deploy.check.context import Context, Failed

#: Receivers of the sample configuration, by severity.
RECEIVERS = {"page": "pager", "ticket": "tickets", "heartbeat": "heartbeat"}


def check_hadolint(context: Context) -> None:
    """Hadolint finds nothing in the Dockerfiles."""
    files = sorted((context.root / "deploy").glob("**/*Dockerfile*"))
    context.run([context.tool("hadolint"), "--no-color", *files])


def check_compose(context: Context) -> None:
    """compose.yaml is valid by the schema of the Compose specification."""
    validator = context.tool("check-jsonschema")
    context.run([validator, "--builtin-schema", "vendor.compose-spec", context.root / "compose.yaml"])


def check_docs(context: Context) -> None:
    """Generated documents, schemas and files of the chart are those that the code makes."""
    for generator in ("contracts.generate", "deploy.reference"):
        context.run([sys.executable, "-m", generator, "--check"])


def check_promtool(context: Context) -> None:
    """The rules are valid, and every alert fires and stays quiet when its tests say so."""
    promtool, folder = context.tool("promtool"), context.root / "deploy" / "prometheus"
    context.run([promtool, "check", "config", "prometheus.yml"], cwd=folder)
    context.run([promtool, "test", "rules", *sorted((folder / "tests").glob("*.test.yml"))], cwd=folder)


def check_amtool(context: Context) -> None:
    """The sample configuration of Alertmanager is valid, and sends each alert where its severity belongs."""
    amtool, configuration = context.tool("amtool"), context.root / "deploy" / "alertmanager" / "alertmanager.yml"
    context.run([amtool, "check-config", configuration])
    for labels in alert_labels(context.root / "deploy" / "prometheus" / "rules"):
        expected = RECEIVERS[labels["severity"]]
        words = [f"{name}={value}" for name, value in labels.items()]
        found = context.run([amtool, "config", "routes", "test", f"--config.file={configuration}", *words]).strip()
        if found != expected:
            raise Failed(f"{labels['alertname']} ({labels['severity']}) goes to {found}, not to {expected}")


def alert_labels(rules: Path) -> list[dict[str, str]]:
    """Return the labels of every alert, as far as the rules set them."""
    groups = [group for file in sorted(rules.glob("*.yml")) for group in yaml.safe_load(file.read_text())["groups"]]
    alerts = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    return [{"alertname": rule["alert"], **rule["labels"]} for rule in alerts]
