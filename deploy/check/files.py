"""Checks of files as they are committed: the Dockerfile, compose.yaml, generated documents, rules and alert routes."""

import sys

import yaml

from deploy.check.context import Context, Failed


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
    """The sample configuration of Alertmanager is valid, and sends alerts where it says."""
    amtool, folder = context.tool("amtool"), context.root / "deploy" / "alertmanager"
    configuration = folder / "alertmanager.yml"
    if not configuration.exists():
        raise Failed("there is no deploy/alertmanager/alertmanager.yml")
    context.run([amtool, "check-config", configuration])
    routes = folder / "routes.test.yml"
    for case in yaml.safe_load(routes.read_text("utf-8")) if routes.exists() else []:
        labels = [f"{name}={value}" for name, value in case["labels"].items()]
        expected = ",".join(case["receivers"])
        options = [f"--config.file={configuration}", f"--verify.receivers={expected}"]
        context.run([amtool, "config", "routes", "test", *options, *labels])
