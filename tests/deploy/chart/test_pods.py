"""What every pod of the chart promises: restricted, no token, time to end, probes, and variables that exist."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from cli.running import PORTS, SMTP_PORT
from contracts.topics import SERVICES
from deploy.chart import CHART
from deploy.settings import settings_class
from kit.base.settings import ServiceSettings
from tests.deploy.chart.rendering import (
    Object,
    Variant,
    attempt,
    component,
    container,
    environment,
    name,
    of,
    parse,
    pod,
    render,
    selects,
    workloads,
)

WRITES_ROOT = {"kafka"}  # the trial's broker
NOT_FIELDS = {"DESKBUS_SECRETS_DIR"}


def services(objects: list[Object]) -> list[Object]:
    return [found for found in of(objects, "Deployment") if component(found) in SERVICES]


def test_every_pod_is_restricted_and_has_no_token(objects: list[Object]) -> None:
    assert workloads(objects)
    for workload in workloads(objects):
        spec, security = pod(workload)["spec"], container(workload)["securityContext"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & spec.keys()
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["readOnlyRootFilesystem"] is (component(workload) not in WRITES_ROOT)
        kinds = {kind for volume in spec["volumes"] for kind in volume if kind != "name"}
        assert kinds <= {"configMap", "secret", "emptyDir"}
    for account in of(objects, "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False


def test_a_service_has_more_time_to_end_than_it_takes(objects: list[Object]) -> None:
    for workload in services(objects):
        variables, service = environment(objects, workload), component(workload)
        default = ServiceSettings.model_fields["grace_seconds"].default
        grace = float(variables.get(f"DESKBUS_{service.upper()}_GRACE_SECONDS", default))
        pause = container(workload).get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        assert pod(workload)["spec"]["terminationGracePeriodSeconds"] >= grace + pause + 5


def test_only_pods_behind_a_service_wait_before_sigterm(objects: list[Object]) -> None:
    doors = [
        each["spec"]["selector"] for each in of(objects, "Service") if each["spec"]["ports"][0]["name"] == "public"
    ]
    for workload in services(objects):
        assert ("lifecycle" in container(workload)) is any(selects(door, workload) for door in doors)


def test_probes_ask_the_operators_port_and_liveness_never_readiness(objects: list[Object]) -> None:
    for workload in services(objects):
        inside = container(workload)
        scheme = "HTTPS" if "DESKBUS_TLS_CERTIFICATE" in environment(objects, workload) else "HTTP"
        asked = {kind: inside[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
        assert {kind: probe["path"] for kind, probe in asked.items()} == {
            "startup": "/livez", "liveness": "/livez", "readiness": "/readyz"
        }  # fmt: skip
        assert {(probe["port"], probe["scheme"]) for probe in asked.values()} == {("operators", scheme)}


def test_ports_are_those_of_the_services(objects: list[Object]) -> None:
    for workload in services(objects):
        service, variables = component(workload), environment(objects, workload)
        ports = {port["name"]: port["containerPort"] for port in container(workload)["ports"]}
        public = PORTS[service]
        wanted = {"public": public, "operators": public + 1000}
        assert ports == wanted | ({"smtp": SMTP_PORT} if service == "ingest" else {})
        prefix = f"DESKBUS_{service.upper()}_"
        assert (variables[f"{prefix}PORT"], variables[f"{prefix}OPS_PORT"]) == (str(public), str(public + 1000))


def known(service: str) -> set[str]:
    shared = {f"DESKBUS_{field.upper()}" for field in ServiceSettings.model_fields}
    return shared | {f"DESKBUS_{service.upper()}_{field.upper()}" for field in settings_class(service).model_fields}


def test_every_variable_is_a_setting_that_exists(objects: list[Object]) -> None:
    for workload in workloads(objects):
        service = component(workload)
        wanted = known(service if service in SERVICES else "sla") | NOT_FIELDS
        named = {variable for variable in environment(objects, workload) if variable.startswith("DESKBUS_")}
        assert named - wanted == set(), name(workload)


def test_settings_are_accepted_by_their_service(
    objects: list[Object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Files below /run/deskbus are made, empty; what is in them is not the chart's."""
    for workload in services(objects):
        for variable, value in environment(objects, workload).items():
            monkeypatch.setenv(variable, value.replace("/run/deskbus", str(tmp_path)))
            if value.startswith("/run/deskbus/") and value != "/run/deskbus/secret":
                file = Path(value.replace("/run/deskbus", str(tmp_path)))
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text("mongodb://m/" if variable == "DESKBUS_MONGO_FILE" else "", encoding="utf-8")
        found = settings_class(component(workload))()
        assert found.policy_file.name == f"{component(workload)}.yaml"


def test_files_of_settings_are_mounted(objects: list[Object]) -> None:
    """A path in a variable lies in a mounted volume, and a volume with chosen keys has that file."""
    for workload in workloads(objects):
        spec = pod(workload)["spec"]
        claimed = [each["metadata"] for each in workload["spec"].get("volumeClaimTemplates", ())]
        volumes = {volume["name"]: volume for volume in [*spec["volumes"], *claimed]}
        mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container(workload)["volumeMounts"]}
        for value in environment(objects, workload).values():
            if not value.startswith(("/run/deskbus/", "/etc/deskbus/")) or value in mounts:
                continue
            folder, _, file = value.rpartition("/")
            items = mounts[folder].get("secret", {}).get("items")
            assert items is None or file in {item["path"] for item in items}, value


def test_nothing_is_mounted_as_a_single_file(objects: list[Object]) -> None:
    """A file mounted by subPath never changes: neither a policy nor a rotated password would arrive."""
    mounts = [mount for workload in workloads(objects) for mount in container(workload)["volumeMounts"]]
    assert [mount for mount in mounts if "subPath" in mount] == []


def test_every_image_has_a_version(objects: list[Object], root: Path) -> None:
    (version,) = re.findall(r'(?m)^version = "(.*)"$', (root / "pyproject.toml").read_text("utf-8"))
    for workload in workloads(objects):
        image = container(workload)["image"]
        tag = image.rpartition(":")[2]
        assert re.fullmatch(r"v?\d[\w.-]*", tag), image
        if component(workload) in SERVICES:
            assert image.endswith(f"deskbus-{component(workload)}:{version}")


@pytest.mark.usefixtures("needs_helm")
@pytest.mark.parametrize("file", ["minimal.yaml", "production.yaml"])
def test_a_new_release_of_the_chart_restarts_only_services_that_get_its_image(file: str, tmp_path: Path) -> None:
    """Services are upgraded one after another (docs/upgrade.md): the others keep their pods."""
    newer = tmp_path / "deskbus"
    shutil.copytree(CHART, newer)
    about = (newer / "Chart.yaml").read_text("utf-8")
    (newer / "Chart.yaml").write_text(re.sub(r"(?m)^(version|appVersion): .*$", r'\1: "99.0.0"', about), "utf-8")
    pinned = [f"--set-string=image.tags.{service}=1.2.3" for service in SERVICES if service != "notify"]
    values, renders = CHART / "ci" / file, []
    for chart in (CHART, newer):
        done = attempt(values, *pinned, chart=chart)
        assert done.returncode == 0, done.stderr
        renders.append({name(each): pod(each) for each in of(parse(done.stdout), "Deployment")})
    before, after = renders
    assert before.keys() == after.keys()
    assert {each for each, made in after.items() if made != before[each]} == {"deskbus-notify"}


@pytest.mark.usefixtures("needs_helm")
@pytest.mark.parametrize(
    ("over", "restarted"),
    [
        ({"services": {"sla": {"settings": {"log_level": "debug"}}}}, {"deskbus-sla"}),
        ({"services": {"sla": {"variables": {"LEADS": "https://leads.example.com"}}}}, {"deskbus-sla"}),
        ({"services": {"sla": {"policy": "policies: []"}}}, set()),
        ({"services": {"sla": {"replicas": 3}}}, set()),
    ],
    ids=["setting", "variable", "policy", "replicas"],
)
def test_a_changed_setting_restarts_pods_and_a_changed_policy_does_not(
    over: dict[str, Any], restarted: set[str], tmp_path: Path
) -> None:
    base = {"defaults": {"policyConfigMap": "", "policy": "{}"}}
    renders = [
        {name(each): pod(each) for each in of(render(Variant(title, "minimal.yaml", values), tmp_path), "Deployment")}
        for title, values in (("before", base), ("after", base | over))
    ]
    before, after = renders
    assert {each for each in before if before[each] != after[each]} == restarted


def test_a_pod_gets_no_variables_of_services_around_it(objects: list[Object]) -> None:
    """Kubernetes would set DESKBUS_SLA_PORT for a Service deskbus-sla, to an URL."""
    assert {pod(each)["spec"]["enableServiceLinks"] for each in workloads(objects)} == {False}


def test_secrets_are_read_by_the_group_of_the_pod_only(objects: list[Object]) -> None:
    for workload in workloads(objects):
        spec = pod(workload)["spec"]
        modes = {each["secret"]["defaultMode"] for each in spec["volumes"] if "secret" in each}
        assert modes <= {0o440}
        assert spec["securityContext"]["fsGroup"] == spec["securityContext"]["runAsGroup"]


def test_a_process_may_write_to_tmp_and_fills_no_node(objects: list[Object]) -> None:
    for workload in workloads(objects):
        mounts = {mount["mountPath"]: mount["name"] for mount in container(workload)["volumeMounts"]}
        assert "/tmp" in mounts
        for volume in pod(workload)["spec"]["volumes"]:
            assert "emptyDir" not in volume or volume["emptyDir"]["sizeLimit"], name(workload)


def test_a_hanging_process_is_restarted_a_slow_one_is_not(objects: list[Object]) -> None:
    for workload in services(objects):
        probe = container(workload)["livenessProbe"]
        assert 30 <= probe["periodSeconds"] * probe["failureThreshold"] <= 60
        assert probe["timeoutSeconds"] >= 5
        ready = container(workload)["readinessProbe"]
        assert ready["periodSeconds"] * ready["failureThreshold"] <= 10
        assert workload["spec"]["minReadySeconds"] >= ready["periodSeconds"], "a rollout waits for it to stay ready"


def test_the_job_tries_again_until_its_time_is_over(objects: list[Object]) -> None:
    for job in of(objects, "Job"):
        assert pod(job)["spec"]["restartPolicy"] == "OnFailure"
        assert job["spec"]["backoffLimit"] >= 10
        # Helm replaces a hook; any other Job has to go before a changed one of this name can be made.
        is_hook = "helm.sh/hook" in job["metadata"].get("annotations", {})
        assert job["spec"]["ttlSecondsAfterFinished"] == (86_400 if is_hook else 600)


def test_examples_have_their_secrets(objects: list[Object]) -> None:
    """Each `env:NAME` of the trial's policies is a variable of the container."""
    for workload in services(objects):
        service = component(workload)
        volume = next(each for each in pod(workload)["spec"]["volumes"] if each["name"] == "policy")
        made: dict[str, Any] = {name(each): each["data"] for each in of(objects, "ConfigMap")}
        policy = made.get(volume["configMap"]["name"], {}).get(f"{service}.yaml", "")
        used = set(re.findall(r"(?m)^[^#\n]*\benv:(\w+)", policy))
        given = {each["name"] for each in container(workload).get("env", ()) if "valueFrom" in each}
        assert used <= given
        for each in container(workload).get("env", ()):
            key = each["valueFrom"]["secretKeyRef"]
            if name_of_made := [secret for secret in of(objects, "Secret") if name(secret) == key["name"]]:
                assert key["key"] in name_of_made[0]["stringData"]


def test_the_chart_names_the_version_of_the_project(root: Path) -> None:
    (version,) = re.findall(r'(?m)^version = "(.*)"$', (root / "pyproject.toml").read_text("utf-8"))
    assert f'appVersion: "{version}"' in (CHART / "Chart.yaml").read_text("utf-8")
