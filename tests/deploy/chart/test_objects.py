"""Objects as a whole: what is referred to is there, names are valid, files of the repository arrive unchanged."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from contracts.topics import SERVICES
from deploy.chart import CHART
from tests.deploy.chart.rendering import (
    Object,
    Variant,
    name,
    of,
    one,
    pod,
    render,
    workloads,
)
from tests.deploy.chart.variants import VARIANTS

_REFERENCES = {
    "configMapRef": ("ConfigMap", "name"), "secretKeyRef": ("Secret", "name"), "configMap": ("ConfigMap", "name"),
    "secret": ("Secret", "secretName"), "imagePullSecrets": ("Secret", "name"),
}  # fmt: skip


def references(part: Any) -> set[str]:
    """The ConfigMaps and Secrets that a part of a pod names."""
    found: set[str] = set()
    if isinstance(part, list):
        return found.union(*(references(each) for each in part))
    if isinstance(part, dict):
        for key, value in part.items():
            kind, field = _REFERENCES.get(key, ("", ""))
            for each in (value if isinstance(value, list) else [value]) if kind else ():
                found.add(f"{kind}/{each[field]}")
            found |= references(value)
    return found


def test_everything_that_is_referred_to_is_made_or_said_to_exist(objects: list[Object], variant: Variant) -> None:
    made = {f"{each['kind']}/{name(each)}" for each in objects}
    # Operators make Secrets under these names.
    made |= {f"Secret/{name(each)}" for each in of(objects, "KafkaUser")}
    made |= {f"Secret/{each['spec']['target']['name']}" for each in of(objects, "ExternalSecret")}
    needed = set().union(*(references(pod(each)["spec"]) for each in workloads(objects)))
    needed |= {f"ServiceAccount/{pod(each)['spec']['serviceAccountName']}" for each in workloads(objects)}
    for each in of(objects, "Ingress"):
        needed |= {f"Secret/{tls['secretName']}" for tls in each["spec"].get("tls", ())}
    for each in of(objects, "BackendTLSPolicy"):
        needed |= {f"ConfigMap/{ca['name']}" for ca in each["spec"]["validation"]["caCertificateRefs"]}
    for each in of(objects, "TriggerAuthentication"):
        needed |= {f"Secret/{target['name']}" for target in each["spec"]["secretTargetRef"]}
    assert needed - made == variant.existing


def test_two_operators_never_write_one_secret(objects: list[Object]) -> None:
    written = [name(each) for each in of(objects, "KafkaUser", "Secret")]
    written += [each["spec"]["target"]["name"] for each in of(objects, "ExternalSecret")]
    assert len(written) == len(set(written))


def test_what_a_hook_needs_before_the_install_is_a_hook_too(objects: list[Object]) -> None:
    def hook(thing: Object) -> Any:
        return thing["metadata"].get("annotations", {}).get("helm.sh/hook")

    for job in of(objects, "Job"):
        if hook(job) is None:
            continue
        needed = references(pod(job)["spec"]) | {f"ServiceAccount/{pod(job)['spec']['serviceAccountName']}"}
        for each in objects:
            kind = "Secret" if each["kind"] == "ExternalSecret" else each["kind"]
            if f"{kind}/{name(each)}" in needed:
                assert hook(each) == hook(job)
                assert int(each["metadata"]["annotations"]["helm.sh/hook-weight"]) < 0


@pytest.mark.usefixtures("needs_helm")
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_names_are_valid_and_unique_with_the_longest_name_of_a_release(variant: Variant, tmp_path: Path) -> None:
    objects = render(variant, tmp_path, release="r" * 53)
    seen = [(each["kind"], name(each)) for each in objects]
    assert len(seen) == len(set(seen))
    for kind, each in seen:
        if not kind.startswith("Kafka"):  # topics are named by the contracts
            assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", each), each
    for thing in objects:
        for value in thing["metadata"]["labels"].values():
            assert re.fullmatch(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?", value)


def test_two_releases_in_one_namespace_share_nothing(objects: list[Object], variant: Variant, tmp_path: Path) -> None:
    other = render(variant, tmp_path, release="second")
    shared = {(each["kind"], name(each)) for each in objects} & {(each["kind"], name(each)) for each in other}
    assert {kind for kind, _ in shared} <= {"KafkaTopic"}  # topics are told apart by kafka.topicPrefix


def test_every_object_is_in_the_namespace_and_labelled(objects: list[Object]) -> None:
    for each in objects:
        assert each["metadata"]["namespace"] == "deskbus"
        assert {"app.kubernetes.io/name", "app.kubernetes.io/instance"} <= each["metadata"]["labels"].keys()


def test_dashboards_arrive_as_they_are(objects: list[Object], variant: Variant, root: Path) -> None:
    if variant.name != "production":
        assert of(objects, "PrometheusRule", "PodMonitor") == []
        return
    dashboards = sorted((root / "deploy" / "grafana" / "dashboards").glob("*.json"))
    maps = [each for each in of(objects, "ConfigMap") if "-dashboard-" in name(each)]
    assert [json.loads(text) for each in maps for text in each["data"].values()] == [
        json.loads(file.read_text("utf-8")) for file in dashboards
    ]


def rules(objects: list[Object]) -> list[Object]:
    groups: list[Object] = one(objects, "PrometheusRule", "deskbus")["spec"]["groups"]
    return groups


@pytest.mark.usefixtures("needs_helm")
def test_rules_arrive_as_they_are_or_look_at_their_own_namespace(root: Path, tmp_path: Path) -> None:
    files = sorted((root / "deploy" / "prometheus" / "rules").glob("*.yml"))
    groups = [group for file in files for group in yaml.safe_load(file.read_text("utf-8"))["groups"]]
    anywhere = {"monitoring": {"rules": {"ownNamespace": False}}}
    assert rules(render(Variant("anywhere", "production.yaml", anywhere), tmp_path)) == groups

    own = rules(render(Variant("own", "production.yaml"), tmp_path))
    for group, mine in zip(groups, own, strict=True):
        for rule, narrowed in zip(group["rules"], mine["rules"], strict=True):
            series = re.findall(r"\b(?:(?:slo:)?deskbus_[a-z0-9_:]+|up)(?![a-z0-9_:])", rule["expr"])
            assert narrowed["expr"].count('{namespace="deskbus"') == len(series)
            bare = re.sub(r'namespace="deskbus",?', "", narrowed["expr"])
            assert bare.replace("{}", "") == rule["expr"]
            assert narrowed["labels"] == {**rule.get("labels", {}), "namespace": "deskbus"}


@pytest.mark.usefixtures("needs_helm")
def test_another_release_does_not_hide_that_a_service_is_gone(tmp_path: Path) -> None:
    if (promtool := shutil.which("promtool")) is None:
        pytest.skip("needs promtool (Debian: prometheus)")
    own = rules(render(Variant("gone", "production.yaml"), tmp_path))
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": own}))
    there = [(other, "other") for other in SERVICES] + [(other, "deskbus") for other in SERVICES if other != "sla"]
    series = [
        {"series": f'deskbus_heartbeat_age_seconds{{service="{service}",namespace="{namespace}"}}', "values": "1x10"}
        for service, namespace in there
    ]
    wanted = {
        "exp_labels": {"severity": "page", "service": "sla", "namespace": "deskbus"},
        "exp_annotations": next(
            each["annotations"]
            for group in own
            for each in group["rules"]
            if each.get("alert") == "DeskbusNothingHeard"
        ),
    }
    wanted["exp_annotations"] = {**wanted["exp_annotations"], "summary": "No metrics from sla"}
    alerts = [{"alertname": "DeskbusNothingHeard", "eval_time": "5m", "exp_alerts": [wanted]}]
    test = {
        "rule_files": ["rules.yml"],
        "tests": [{"interval": "1m", "input_series": series, "alert_rule_test": alerts}],
    }
    (tmp_path / "test.yml").write_text(yaml.safe_dump(test))
    done = subprocess.run(
        [promtool, "test", "rules", "test.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.usefixtures("needs_helm")
@pytest.mark.parametrize("stopped", [("notify",), ("ingest",), ("ingest", "routing", "sla")], ids=str)
def test_no_alert_waits_for_a_service_that_is_not_to_run(stopped: tuple[str, ...], tmp_path: Path) -> None:
    over = {"services": {each: {"enabled": False} for each in stopped}}
    objects = render(Variant(f"without-{'-'.join(stopped)}", "production.yaml", over), tmp_path)
    groups = one(objects, "PrometheusRule", "deskbus")["spec"]["groups"]
    (rule,) = (each for group in groups for each in group["rules"] if each.get("alert") == "DeskbusNothingHeard")
    heard = [
        f'absent(deskbus_heartbeat_age_seconds{{namespace="deskbus",service="{each}"}})'
        for each in SERVICES
        if each not in stopped
    ]
    assert re.sub(r"\s+", " ", rule["expr"]).strip() == " or ".join(heard)
    other = [each["expr"] for group in groups for each in group["rules"] if each is not rule]
    assert [expr for expr in other if "absent(" in expr] == []


def test_the_scrape_has_the_job_that_alerts_select(objects: list[Object], root: Path) -> None:
    alerts = (root / "deploy" / "prometheus" / "rules" / "alerts.yml").read_text("utf-8")
    (job,) = set(re.findall(r'\bjob="([^"]+)"', alerts))
    for monitor in of(objects, "PodMonitor"):
        label = monitor["spec"]["jobLabel"]
        watched = [each for each in workloads(objects) if each["kind"] == "Deployment"]
        assert {pod(each)["metadata"]["labels"][label] for each in watched} == {job}
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        assert (endpoint["port"], endpoint["honorLabels"]) == ("operators", True)
        # A pod that is down is known by the labels of its target only.
        (relabeling,) = (each for each in endpoint["relabelings"] if each["targetLabel"] == "service")
        source = relabeling["sourceLabels"][0].removeprefix("__meta_kubernetes_pod_label_")
        labels = [{re.sub(r"\W", "_", k): v for k, v in pod(each)["metadata"]["labels"].items()} for each in watched]
        assert {each[source] for each in labels} <= set(SERVICES)


@pytest.mark.usefixtures("needs_helm")
def test_a_trial_has_the_user_of_a_service_that_is_enabled_later(tmp_path: Path) -> None:
    """MongoDB makes users when its database is empty, and not on an upgrade."""
    later = Variant("later", "try.yaml", {"services": {"notify": {"enabled": False}}})
    objects = render(later, tmp_path)
    password = one(objects, "Secret", "deskbus-notify-credentials")["stringData"]["mongo-password"]
    made = one(objects, "Secret", "deskbus-mongo")["stringData"]["users.js"]
    assert f'createUser({{user: "notify", pwd: "{password}"' in made
    assert [each for each in of(objects, "Deployment") if each["metadata"]["name"] == "deskbus-notify"] == []


@pytest.mark.usefixtures("needs_helm")
@pytest.mark.parametrize(("values", "least"), [("try.yaml", 7200), ("minimal.yaml", 600)])
def test_the_topics_of_a_trial_wait_for_the_image_of_its_kafka(tmp_path: Path, values: str, least: int) -> None:
    (job,) = of(render(Variant("patient", values), tmp_path), "Job")
    assert job["spec"]["activeDeadlineSeconds"] == least
    # Kubernetes doubles the pause from 10 seconds to 5 minutes: the attempts last as long as the deadline.
    pauses = [min(10 * 2**attempt, 300) for attempt in range(job["spec"]["backoffLimit"])]
    assert sum(pauses) > least


@pytest.mark.usefixtures("needs_helm")
def test_a_trial_with_a_seed_is_the_same_every_time(tmp_path: Path) -> None:
    twice = []
    for number in range(2):
        seeded = Variant(f"seeded-{number}", "try.yaml", {"trial": {"seed": "s"}})
        twice.append([each["stringData"] for each in of(render(seeded, tmp_path), "Secret")])
    assert twice[0] == twice[1]
    passwords = [data["mongo-password"] for data in twice[0] if "mongo-password" in data]
    assert len(set(passwords)) == 4


def test_every_value_is_used_by_a_template() -> None:
    templates = "".join(file.read_text("utf-8") for file in (CHART / "templates").iterdir())
    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))

    def keys(part: Any) -> set[str]:
        if not isinstance(part, dict):
            return set()
        return set(part).union(*(keys(each) for each in part.values()))

    taken_whole = {"requests", "limits", "cpu", "memory", "ephemeral-storage", "grafana_dashboard"}
    assert {
        key for key in keys(values) - taken_whole - set(SERVICES) if not re.search(rf"\b{key}\b", templates)
    } == set()
