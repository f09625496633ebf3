"""The image and the compose file: what is copied is enough for a service and is nobody else's; what is named exists."""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from dotenv import dotenv_values

from cli.topics import delete_topics
from contracts.topics import SERVICES, TOPICS
from deploy.check.context import Failed
from deploy.check.images import SBOM, inspect
from deploy.local import free_port, guardian
from deploy.local.jars import VERSION as KAFKA_VERSION
from deploy.settings import settings_class
from tests.conftest import Prefix

_LOAD = """
import importlib, pkgutil, sys, services.{service}
for found in pkgutil.walk_packages(services.{service}.__path__, "services.{service}."):
    if not found.name.endswith(".__main__"):
        importlib.import_module(found.name)
for name in sys.modules:
    print(name)
"""


def stage(dockerfile: str, name: str) -> str:
    """The lines of one stage; the last stage, which is built by default, has no name."""
    stages = re.split(r"(?m)^(?=FROM )", dockerfile)
    (found,) = [each for each in stages if re.match(rf"FROM \S+ AS {name}\n", each)] if name else [stages[-1]]
    return found


def copied(dockerfile: str, service: str) -> list[str]:
    """What the build of a service, or of the tools, takes from the repository as code."""
    lines = [
        line.split() for line in stage(dockerfile, "tools-code" if service == "tools" else "service-code").splitlines()
    ]
    return [line[1].replace("${SERVICE}", service) for line in lines if line[:1] == ["COPY"]]


def copy_as_the_build_does(root: Path, dockerfile: str, service: str, target: Path) -> None:
    """Put into a folder what the build would put into /app."""
    unwanted = shutil.ignore_patterns("__pycache__", "asyncapi", "examples", "schemas")  # as .dockerignore has it
    for path in copied(dockerfile, service):
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        if (root / path).is_dir():
            shutil.copytree(root / path, target / path, ignore=unwanted)
        else:
            shutil.copy(root / path, target / path)


def bare_environment() -> dict[str, str]:
    """Without what would let the interpreter see the repository, or the service somebody's settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "DESKBUS"))}


@pytest.fixture(scope="session")
def dockerfile(root: Path) -> str:
    return (root / "deploy" / "Dockerfile").read_text("utf-8")


@pytest.fixture(scope="session")
def compose(root: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((root / "compose.yaml").read_text("utf-8"))
    return loaded


def test_the_build_copies_nothing_but_the_rooms_of_one_service(dockerfile: str) -> None:
    assert set(copied(dockerfile, "sla")) == {"contracts", "kit", "services/__init__.py", "services/sla"}
    assert set(copied(dockerfile, "tools")) == {"contracts", "kit", "services", "cli"}


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("service", SERVICES)
def test_what_the_build_copies_is_enough_for_the_service(
    service: str, root: Path, tmp_path: Path, dockerfile: str
) -> None:
    """Every module of it is imported from a copy, by an interpreter that cannot see the repository."""
    copy_as_the_build_does(root, dockerfile, service, tmp_path)
    assert (tmp_path / "services" / service / "__main__.py").exists()
    result = subprocess.run(
        [sys.executable, "-c", _LOAD.format(service=service)],
        cwd=tmp_path,
        env=bare_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    loaded = set(result.stdout.split())
    assert f"services.{service}.app" in loaded
    others = {f"services.{other}" for other in SERVICES if other != service}
    assert loaded & (others | {"cli", "deploy", "tests"}) == set()


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.usefixtures("topics")
def test_the_entrypoint_runs_the_service_and_takes_sigterm_itself(
    root: Path, tmp_path: Path, dockerfile: str, environment: dict[str, str]
) -> None:
    copy_as_the_build_does(root, dockerfile, "sla", tmp_path)
    (entrypoint,) = re.findall(r"(?m)^ENTRYPOINT (.*)$", stage(dockerfile, ""))
    settings = {
        "DESKBUS_SERVICE": "sla",
        "DESKBUS_SLA_PORT": str(free_port()),
        "DESKBUS_SLA_OPS_PORT": str(free_port()),
        "DESKBUS_SLA_POLICY": str(root / "deploy" / "config" / "sla.yaml"),
    }
    process = subprocess.Popen(
        [sys.executable, *json.loads(entrypoint)[1:]],
        cwd=tmp_path,
        env={**bare_environment(), **environment, **settings},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    guardian.adopt(process.pid)
    try:
        assert process.stdout is not None
        assert any('"service started"' in line for line in process.stdout)
        process.send_signal(signal.SIGTERM)
        assert "service stopped" in process.stdout.read()
        assert process.wait() == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_tools_create_the_topics_and_check_policies_without_the_repository(
    root: Path, tmp_path: Path, dockerfile: str, kafka: str, prefix: Prefix
) -> None:
    copy_as_the_build_does(root, dockerfile, "tools", tmp_path)
    (entrypoint,) = re.findall(r"(?m)^ENTRYPOINT (.*)$", stage(dockerfile, "tools"))
    given = {"DESKBUS_KAFKA": kafka, "DESKBUS_TOPIC_PREFIX": prefix.topics, "DESKBUS_PARTITIONS": "1"}

    def started(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *json.loads(entrypoint)[1:], *arguments]
        environment = {**bare_environment(), **given}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    def run(*arguments: str) -> str:
        done = started(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    try:
        assert run("topics") == f"{len(TOPICS)} topics created, 0 reconfigured\n"
        run("check", "config", str(root / "deploy" / "config"))
        run("audit")
        run("dlq", "list", "sla")
        for command in ("run", "demo"):
            done = started(command)
            assert done.returncode == 2
            assert f"{command} starts the services, which needs the repository" in done.stderr
            assert "Traceback" not in done.stderr
    finally:
        asyncio.run(delete_topics(kafka, prefix.topics))


def test_the_ignore_file_lets_through_what_the_build_copies(root: Path, dockerfile: str) -> None:
    allowed = {line[1:] for line in (root / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")}
    lines = [line.split()[1:-1] for line in dockerfile.splitlines() if re.match(r"COPY (?!--from)", line)]
    taken = {path for line in lines for path in line}
    assert {path.split("/")[0] for path in taken} == {path.split("/")[0] for path in allowed}
    assert {path for path in taken if path.startswith("deploy/")} == {path for path in allowed if "deploy/" in path}


def test_the_image_is_unprivileged_and_gets_signals_itself(dockerfile: str) -> None:
    runtime, last = stage(dockerfile, "runtime"), stage(dockerfile, "")
    assert "\nUSER 10001:10001\n" in runtime
    assert "\nSTOPSIGNAL SIGTERM\n" in runtime
    assert last.startswith("FROM runtime\n")
    assert '\nENTRYPOINT ["python", "-c", ' in last
    assert stage(dockerfile, "tools").endswith('\nENTRYPOINT ["python", "-m", "cli"]\n\n')
    assert "runpy.run_module('services.' + os.environ['DESKBUS_SERVICE'], run_name='__main__')" in last


def test_the_image_names_the_version_of_the_project(root: Path, dockerfile: str) -> None:
    version = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert f"\nARG VERSION={version}\n" in dockerfile


def image(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """The root of an image of sla that has no fault, and its configuration."""
    for folder in ("app/contracts", "app/kit", "app/services/sla/__pycache__", "usr/share/deskbus", "usr/bin"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "app/services/sla/app.py").touch()
    (tmp_path / "app/services/sla/__pycache__/app.cpython-311.pyc").touch()
    site = tmp_path / "opt/venv/lib/python3.11/site-packages"
    (site / "typing_extensions-4.1.dist-info").mkdir(parents=True)
    bill = {"bomFormat": "CycloneDX", "components": [{"name": "typing-extensions"}]}
    (tmp_path / SBOM).write_text(json.dumps(bill), "utf-8")
    labels = dict.fromkeys(("title", "description", "version", "revision", "licenses", "base.name"), "x")
    config = {"User": "10001:10001", "Entrypoint": ["python", "-m", "x"], "StopSignal": "SIGTERM"}
    return tmp_path, {**config, "Labels": {f"org.opencontainers.image.{name}": x for name, x in labels.items()}}


FAULTS: dict[str, Callable[[Path, dict[str, Any]], object]] = {
    r"/app/services holds \['routing', 'sla'\]": lambda root, _: (root / "app/services/routing").mkdir(),
    r"/app holds .*'tests'": lambda root, _: (root / "app/tests").mkdir(),
    r"late\.py is not compiled": lambda root, _: (root / "app/kit/late.py").touch(),
    r"usr/bin/pip3 installs": lambda root, _: (root / "usr/bin/pip3").touch(),
    r"do not run: \['pip'\]": lambda root, _: (root / "opt/venv/lib/python3.11/site-packages/pip-1.dist-info").mkdir(),
    r"the SBOM lacks \['typing-extensions'\]": lambda root, _: (root / SBOM).write_text('{"components": []}'),
    "runs as root": lambda _, config: config.update(User="root"),
    "entrypoint": lambda _, config: config.update(Entrypoint=["/bin/sh", "-c", "python"]),
    r"labels are missing: \['version'\]": lambda _, config: config["Labels"].pop("org.opencontainers.image.version"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_check_of_images_finds_a_fault(fault: str, tmp_path: Path) -> None:
    root, config = image(tmp_path)
    inspect("sla", root, config)
    FAULTS[fault](root, config)
    with pytest.raises(Failed, match=fault):
        inspect("sla", root, config)


def test_compose_starts_what_make_up_asks_for_and_every_service(compose: dict[str, Any]) -> None:
    others = {"kafka", "mongo", "access", "topics", "prometheus", "alertmanager", "grafana"}
    assert {*others, *SERVICES} == set(compose["services"])


def test_no_container_may_gain_rights_or_grow_without_bound(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert {"mem_limit", "cpus", "pids_limit"} <= set(service), name
        assert service.get("read_only") or name == "kafka", name
        assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", ())), name


def test_docker_and_the_native_stack_run_the_same_kafka(compose: dict[str, Any]) -> None:
    assert compose["services"]["kafka"]["image"] == f"apache/kafka:{KAFKA_VERSION}"


@pytest.mark.parametrize("service", SERVICES)
def test_compose_names_every_variable_that_the_example_policy_asks_for(
    service: str, root: Path, compose: dict[str, Any]
) -> None:
    text = re.sub(r"(?m)^\s*#.*$", "", (root / "deploy" / "config" / f"{service}.yaml").read_text("utf-8"))
    secrets = set(re.findall(r"\benv:([A-Z][A-Z0-9_]+)", text))
    given = set(compose["services"][service]["environment"])
    assert secrets <= given
    example = (root / ".env.example").read_text("utf-8")
    assert {name for name in secrets if f"\n{name}=" not in example} == set()


@pytest.mark.parametrize("service", SERVICES)
def test_compose_gives_settings_that_exist_and_asks_at_the_right_port(
    service: str, root: Path, compose: dict[str, Any]
) -> None:
    described = compose["services"][service]
    fields = settings_class(service).model_fields
    prefix = f"DESKBUS_{service.upper()}_"
    example = (root / "deploy" / "config" / f"{service}.yaml").read_text("utf-8")
    of_the_policy = {*re.findall(r"(?:\benv:|\$\{)(\w+)", example), "DESKBUS_NOTIFY_SMTP_SECRET"}
    named = {name for name in described["environment"] if name.startswith(prefix)} - of_the_policy
    assert {name for name in named if name.removeprefix(prefix).lower() not in fields} == set()
    port = fields["port"].default
    assert f"http://127.0.0.1:{port + 1000}/readyz" in described["healthcheck"]["test"][-1]
    assert {f"127.0.0.1:{number}:{number}" for number in (port, port + 1000)} <= set(described["ports"])


@pytest.mark.parametrize("service", SERVICES)
def test_the_example_env_file_as_it_is_stops_no_start(
    service: str, root: Path, compose: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compose hands a variable without a value on as an empty one."""
    example = dotenv_values(root / ".env.example")
    assert {"DESKBUS_INGEST_RELAY_PASSWORD", "DESKBUS_NOTIFY_SMTP_CA"} <= example.keys()
    for name in example.keys() & compose["services"][service]["environment"].keys():
        monkeypatch.setenv(name, example[name] or "")
    assert settings_class(service)().service == service
