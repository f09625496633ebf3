"""Values that platform teams write: their own labels, taints, a mesh, a platform that chooses users, emptied keys."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.chart import CHART
from tests.deploy.chart.rendering import Object, attempt, component, environment, name, of, parse, pod, workloads

Render = Callable[[dict[str, Any]], list[Object]]


class OneOfEachKey(yaml.SafeLoader):
    """Refuses what Kustomize and the API server refuse, and Helm lets pass: a key that is written twice."""


def _mapping(loader: OneOfEachKey, node: yaml.MappingNode) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        assert key not in found, f"{key} is there twice, in line {key_node.start_mark.line}"
        found[key] = loader.construct_object(value_node, deep=True)
    return found


OneOfEachKey.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


@pytest.fixture
def rendered(needs_helm: None, tmp_path: Path) -> Render:
    def render(over: dict[str, Any]) -> list[Object]:
        (tmp_path / "over.yaml").write_text(yaml.safe_dump(over), encoding="utf-8")
        done = attempt(CHART / "ci" / "minimal.yaml", "--values", str(tmp_path / "over.yaml"))
        assert done.returncode == 0, done.stderr
        assert list(yaml.load_all(done.stdout, OneOfEachKey))
        return parse(done.stdout)

    return render


def test_labels_of_the_operators_replace_those_of_the_chart(rendered: Render) -> None:
    objects = rendered(
        {
            "commonLabels": {"app.kubernetes.io/part-of": "shop", "team": "support", "release": "x"},
            "defaults": {"podLabels": {"team": "desk"}, "podAnnotations": {"checksum/settings": "mine", "a": "b"}},
            "monitoring": {
                "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
                "rules": {"enabled": True, "labels": {"release": "prometheus"}},
                "dashboards": {"enabled": True, "labels": {"release": "grafana"}},
            },
        }
    )
    assert {each["metadata"]["labels"]["app.kubernetes.io/part-of"] for each in objects} == {"shop"}
    for deployment in of(objects, "Deployment"):
        assert pod(deployment)["metadata"]["labels"]["team"] == "desk"
        assert pod(deployment)["metadata"]["annotations"]["a"] == "b"
        assert len(pod(deployment)["metadata"]["annotations"]["checksum/settings"]) == 64
    watched = of(objects, "PodMonitor", "PrometheusRule")
    assert [each["metadata"]["labels"]["release"] for each in watched] == ["prometheus"] * 2
    assert {
        each["metadata"]["labels"]["release"] for each in of(objects, "ConfigMap") if "dashboard" in name(each)
    } == {"grafana"}


def test_variables_replace_those_of_the_chart_and_are_text(rendered: Render) -> None:
    objects = rendered(
        {
            "kafka": {"security": "sasl_plaintext", "username": "1234"},
            "mongo": {"databasePrefix": "on"},
            "services": {"sla": {"variables": {"DESKBUS_KAFKA": "other:9092"}}},
        }
    )
    for deployment in of(objects, "Deployment"):
        found = environment(objects, deployment)
        assert found["DESKBUS_KAFKA_USERNAME"] == "1234"
        assert found["DESKBUS_MONGO_PREFIX"] == "on"
        assert (found["DESKBUS_KAFKA"] == "other:9092") == (component(deployment) == "sla")


def test_the_job_finds_a_node_where_the_services_do_and_ends_without_a_sidecar(rendered: Render) -> None:
    taint = {"key": "dedicated", "operator": "Exists"}
    objects = rendered(
        {
            "defaults": {
                "tolerations": [taint],
                "nodeSelector": {"pool": "support"},
                "priorityClassName": "high",
                "podLabels": {"sidecar.istio.io/inject": "true"},
            },
            "topics": {
                "job": {
                    "podLabels": {"sidecar.istio.io/inject": "false"},
                    "podAnnotations": {"linkerd.io/inject": "no"},
                }
            },
        }
    )
    for workload in workloads(objects):
        spec, labels = pod(workload)["spec"], pod(workload)["metadata"]["labels"]
        assert (spec["tolerations"], spec["nodeSelector"], spec["priorityClassName"]) == (
            [taint],
            {"pool": "support"},
            "high",
        )
        assert labels["sidecar.istio.io/inject"] == ("false" if component(workload) == "topics" else "true")
    (job,) = of(objects, "Job")
    assert pod(job)["metadata"]["annotations"] == {"linkerd.io/inject": "no"}


def test_a_platform_may_choose_the_users(rendered: Render) -> None:
    objects = rendered({"podSecurity": {"runAsUser": None, "runAsGroup": None, "fsGroup": None}})
    for workload in workloads(objects):
        security = pod(workload)["spec"]["securityContext"]
        assert security["runAsNonRoot"] is True
        assert not {"runAsUser", "runAsGroup", "fsGroup"} & security.keys()


def test_dns_is_reached_at_the_ports_of_the_platform(rendered: Render) -> None:
    dns = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "openshift-dns"}}}
    objects = rendered({"networkPolicy": {"dnsTo": [dns], "dnsPorts": [5353]}})
    asked = [
        (port["port"], port["protocol"])
        for policy in of(objects, "NetworkPolicy")
        for rule in policy["spec"].get("egress", ())
        if rule.get("to") == [dns]
        for port in rule["ports"]
    ]
    assert set(asked) == {(5353, "UDP"), (5353, "TCP")}
    assert len(asked) == 2 * 5  # four services and the Job for the topics


@pytest.mark.parametrize(
    "over",
    [{"services": {"sla": None}}, {"commonLabels": None}, {"defaults": {"variables": None, "podAnnotations": None}}],
    ids=str,
)
def test_a_key_whose_lines_are_all_commented_out_changes_nothing(over: dict[str, Any], rendered: Render) -> None:
    assert rendered(over) == rendered({})
