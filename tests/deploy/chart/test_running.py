"""What the chart gives to containers is enough: services start with it, and the Job may run twice."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from cli.fleet import ROOT, Replica
from cli.topics import delete_topics
from contracts.topics import SERVICES, TOPICS
from deploy.local import free_port
from tests.conftest import Prefix
from tests.deploy.chart import rendering
from tests.deploy.chart.rendering import (
    Object,
    Variant,
    component,
    container,
    of,
    one,
    pod,
    render,
)


@pytest.fixture(scope="module")
def trial(needs_helm: None, tmp_path_factory: pytest.TempPathFactory) -> list[Object]:
    return render(Variant("try", "try.yaml"), tmp_path_factory.mktemp("trial"))


def mount(objects: list[Object], workload: Object, target: Path) -> None:
    """Write the files of a pod's ConfigMaps and Secrets below a folder, as the kubelet does below the root."""
    volumes = {volume["name"]: volume for volume in pod(workload)["spec"]["volumes"]}
    for each in container(workload)["volumeMounts"]:
        volume = volumes[each["name"]]
        folder = target / each["mountPath"].lstrip("/")
        folder.mkdir(parents=True)
        if "configMap" in volume:
            data = one(objects, "ConfigMap", volume["configMap"]["name"])["data"]
        elif "secret" in volume:
            data = one(objects, "Secret", volume["secret"]["secretName"])["stringData"]
        else:
            data = {}
        for key, text in data.items():
            (folder / key).write_text(text, encoding="utf-8")


def variables(objects: list[Object], workload: Object, root: Path) -> dict[str, str]:
    """All variables of a container, with paths below a folder."""
    found = rendering.environment(objects, workload)
    for each in container(workload).get("env", ()):
        if "valueFrom" in each:
            key = each["valueFrom"]["secretKeyRef"]
            found[each["name"]] = one(objects, "Secret", key["name"])["stringData"][key["key"]]
    return {name: str(root) + value if value.startswith(("/run/", "/etc/")) else value for name, value in found.items()}


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.usefixtures("topics")
@pytest.mark.parametrize("service", SERVICES)
def test_a_service_starts_and_ends_with_what_its_pod_gets(
    service: str, trial: list[Object], tmp_path: Path, environment: dict[str, str]
) -> None:
    (workload,) = (each for each in of(trial, "Deployment") if component(each) == service)
    mount(trial, workload, tmp_path)
    ours = variables(trial, workload, tmp_path)
    Path(ours["DESKBUS_MONGO_FILE"]).write_text(environment["DESKBUS_MONGO"], encoding="utf-8")
    # The servers and the names of topics are this test's, and so are the ports.
    servers = {name: environment[name] for name in ("DESKBUS_KAFKA", "DESKBUS_TOPIC_PREFIX", "DESKBUS_MONGO_PREFIX")}
    ports = {"port": free_port(), "ops_port": free_port()}
    own = {f"DESKBUS_{service.upper()}_{name.upper()}": str(port) for name, port in ports.items()}
    mail = {"DESKBUS_INGEST_SMTP_PORT": str(free_port())} if service == "ingest" else {}
    log = tmp_path / "log"
    replica = Replica(service, 1, ports["port"], ports["ops_port"], {**ours, **servers, **own, **mail}, log)
    replica.start()
    try:
        replica.wait_ready()
        assert replica.stop() == 0
    finally:
        replica.kill()


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_job_may_run_twice(trial: list[Object], kafka: str, prefix: Prefix, tmp_path: Path) -> None:
    (job,) = of(trial, "Job")
    given = {**variables(trial, job, tmp_path), "DESKBUS_KAFKA": kafka, "DESKBUS_TOPIC_PREFIX": prefix.topics}
    command = [sys.executable, "-m", "cli", *container(job)["args"]]
    said = []
    try:
        for _ in range(2):
            done = subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            said.append(done.stdout)
    finally:
        asyncio.run(delete_topics(kafka, prefix.topics))
    assert said == [f"{len(TOPICS)} topics created, 0 reconfigured\n", "0 topics created, 0 reconfigured\n"]
