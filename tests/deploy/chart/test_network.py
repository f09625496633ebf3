"""Who may reach what: Services, routes and network policies fit the pods, and the doors are apart."""

from typing import Any

import yaml

from deploy.chart import CHART
from tests.deploy.chart.rendering import (
    Object,
    Variant,
    component,
    container,
    name,
    of,
    one,
    pod,
    selects,
    workloads,
)

CALLS_OUTSIDE = {"ingest", "notify"}


def rules(objects: list[Object], suffix: str) -> dict[str, Object]:
    """Network policies by component, of those whose names end so."""
    found = (each for each in of(objects, "NetworkPolicy") if name(each).endswith(suffix))
    return {component(each): each["spec"] for each in found}


def peers(policies: list[Object], direction: str) -> list[dict[str, Any]]:
    key = "from" if direction == "ingress" else "to"
    return [peer for policy in policies for rule in policy["spec"].get(direction, ()) for peer in rule.get(key, ())]


def test_every_selector_finds_pods(objects: list[Object]) -> None:
    selectors = [(name(each), each["spec"]["selector"]) for each in of(objects, "Service")]
    for each in of(objects, "PodDisruptionBudget", "PodMonitor", "NetworkPolicy"):
        spec = each["spec"]
        selectors += [(name(each), spec.get("podSelector", spec.get("selector"))["matchLabels"])]
    for workload in workloads(objects):
        if "selector" in workload["spec"]:
            assert selects(workload["spec"]["selector"]["matchLabels"], workload)
        for spread in pod(workload)["spec"].get("topologySpreadConstraints", ()):
            assert selects(spread["labelSelector"]["matchLabels"], workload)
    assert [where for where, found in selectors if not any(selects(found, each) for each in workloads(objects))] == []


def test_a_service_leads_to_a_named_port_of_one_workload(objects: list[Object]) -> None:
    for service in of(objects, "Service"):
        (behind,) = (each for each in workloads(objects) if selects(service["spec"]["selector"], each))
        ports = {port["name"] for port in container(behind)["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
        assert "operators" not in {port["targetPort"] for port in service["spec"]["ports"]}


def test_two_deployments_never_share_pods(objects: list[Object]) -> None:
    kept = [each for each in workloads(objects) if "selector" in each["spec"]]
    for each in kept:
        assert [other for other in workloads(objects) if selects(each["spec"]["selector"]["matchLabels"], other)] == [
            each
        ]


def test_routes_lead_to_public_ports_of_services(objects: list[Object]) -> None:
    for ingress in of(objects, "Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                backend = path["backend"]["service"]
                service = one(objects, "Service", backend["name"])
                assert backend["port"]["name"] in {port["name"] for port in service["spec"]["ports"]}
    for route in of(objects, "HTTPRoute"):
        for rule in route["spec"]["rules"]:
            for backend in rule["backendRefs"]:
                service = one(objects, "Service", backend["name"])
                assert backend["port"] in {port["port"] for port in service["spec"]["ports"]}


def test_a_gateway_speaks_tls_to_doors_that_do(objects: list[Object]) -> None:
    """Doors with a certificate refuse plain HTTP."""
    routed = {name(route) for route in of(objects, "HTTPRoute")}
    spoken = {each["spec"]["targetRefs"][0]["name"] for each in of(objects, "BackendTLSPolicy")}
    with_tls = {
        name(each)
        for each in of(objects, "Service")
        if each["spec"]["ports"][0].get("appProtocol") == "https" and name(each) in routed
    }
    assert spoken == with_tls


def test_only_webhooks_of_ingest_are_routed_from_outside(objects: list[Object]) -> None:
    for route in of(objects, "HTTPRoute", "Ingress"):
        if component(route) == "ingest":
            assert "/v1/channels/" in str(route["spec"])
            assert "'/v1/'" not in str(route["spec"])


def test_nothing_is_allowed_that_no_policy_allows(objects: list[Object], variant: Variant) -> None:
    policies = of(objects, "NetworkPolicy")
    if variant.name == "tokens":
        assert policies == []
        return
    deny = one(objects, "NetworkPolicy", "deskbus-deny")["spec"]
    assert deny.keys() == {"podSelector", "policyTypes"}
    assert set(deny["policyTypes"]) == {"Ingress", "Egress"}
    assert all(selects(deny["podSelector"]["matchLabels"], workload) for workload in workloads(objects))


def test_the_door_and_the_operators_port_are_opened_apart(objects: list[Object]) -> None:
    doors, operators = rules(objects, "-door"), rules(objects, "-operators")
    for spec in doors.values():
        assert {port["port"] for rule in spec["ingress"] for port in rule["ports"]} <= {"public", "smtp"}
    for spec in operators.values():
        assert [[port["port"] for port in rule["ports"]] for rule in spec["ingress"]] == [["operators"]]
        assert all(rule["from"] for rule in spec["ingress"])  # an empty list would be anybody


def test_mail_and_http_are_let_in_apart(objects: list[Object], variant: Variant) -> None:
    """Providers' webhooks come by a gateway, mail from any server of the internet."""
    given = {"public": "doorFrom", "smtp": "mailFrom"}
    values = yaml.safe_load((CHART / "ci" / variant.file).read_text("utf-8")) | variant.over
    for spec in rules(objects, "-door").values():
        for rule in spec["ingress"]:
            (port,) = rule["ports"]
            assert rule.get("from", []) == values.get("networkPolicy", {}).get(given[port["port"]], [])


def test_a_closed_door_is_not_opened_by_a_policy(objects: list[Object], variant: Variant) -> None:
    if variant.name == "certificates":  # notify has no door there
        assert "notify" not in rules(objects, "-door")
        assert "deskbus-notify" not in {name(service) for service in of(objects, "Service")}


def test_only_ingest_and_notify_reach_the_outside_and_no_private_address(objects: list[Object]) -> None:
    blocks = [
        (component(policy), peer["ipBlock"])
        for policy in of(objects, "NetworkPolicy")
        for peer in peers([policy], "egress")
        if peer.get("ipBlock", {}).get("cidr") == "0.0.0.0/0"
    ]
    assert {who for who, _ in blocks} <= CALLS_OUTSIDE
    for _, block in blocks:
        assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"} <= set(block["except"])


def test_egress_is_bound_to_ports(objects: list[Object]) -> None:
    for policy in of(objects, "NetworkPolicy"):
        for rule in policy["spec"].get("egress", ()):
            assert rule["ports"], name(policy)


def test_the_servers_of_a_trial_are_reached_by_the_release_only(objects: list[Object], variant: Variant) -> None:
    if variant.name != "try":
        return
    for server, port in (("kafka", 9092), ("mongo", 27017)):
        spec = one(objects, "NetworkPolicy", f"deskbus-{server}")["spec"]
        assert {peer["podSelector"]["matchLabels"]["app.kubernetes.io/instance"] for peer in spec["ingress"][0]["from"]}
        assert "egress" not in spec
        allowed = rules(objects, "-servers")["sla"]["egress"]
        assert {"port": port, "protocol": "TCP"} in [each for rule in allowed for each in rule["ports"]]
