"""Values that operators set arrive where they are meant to: unusual values, rendered once and looked at by place."""

import re
from pathlib import Path
from typing import Any

import pytest

from contracts.topics import SERVICES
from tests.deploy.chart.rendering import Object, Variant, environment, of, one, render

DIGEST = f"sha256:{'a' * 64}"
ELSEWHERE = [{"to": [{"ipBlock": {"cidr": "10.9.0.0/16"}}], "ports": [{"port": 8080, "protocol": "TCP"}]}]
TAINTED = [{"key": "desk", "operator": "Exists"}]
SIZES = {"requests": {"cpu": "110m", "memory": "201Mi"}, "limits": {"memory": "402Mi"}}


def block(network: str) -> list[dict[str, Any]]:
    return [{"ipBlock": {"cidr": network}}]


UNUSUAL: dict[str, Any] = {
    "commonLabels": {"team": "support"},
    "image": {
        "registry": "r.example.com/",
        "pullPolicy": "Never",
        "pullSecrets": ["registry"],
        "tags": {"sla": "1.2.3", "notify": "1.2.3"},
        "digests": {"notify": DIGEST},
    },
    "kafka": {
        "bootstrap": "k:9093",
        "topicPrefix": "eu.",
        "partitions": 8,
        "replication": 5,
        "security": "sasl_ssl",
        "mechanism": "scram-sha-256",
        "username": "user-{service}",
        "ca": {"secret": "kafka-ca", "key": "kafka.pem"},
        "credentials": {"secret": "kafka-{service}", "passwordKey": "pass"},
    },
    "mongo": {"databasePrefix": "desk", "urlKey": "url", "ca": {"secret": "mongo-ca", "key": "mongo.pem"}},
    "topics": {"job": {"deadlineSeconds": 700, "resources": SIZES}},
    "ingress": {"enabled": True, "className": "nginx", "tlsSecret": "hosts-{service}", "annotations": {"in": "gress"}},
    "networkPolicy": {
        "operatorsFrom": block("10.1.0.0/16"),
        "dnsTo": block("10.2.0.0/16"),
        "kafkaTo": block("10.3.0.0/16"),
        "kafkaPorts": [9093],
        "mongoTo": block("10.4.0.0/16"),
        "mongoPorts": [27018],
        "tracingTo": block("10.5.0.0/16"),
        "tracingPorts": [4319],
        "outsidePorts": [8443],
        "outsideExcept": ["10.0.0.0/8", "172.16.0.0/12"],
        "outsideAlso": ELSEWHERE,
    },
    "monitoring": {
        "podMonitor": {"enabled": True, "labels": {"watched": "pods"}, "interval": "20s"},
        "rules": {"enabled": True, "labels": {"watched": "rules"}},
        "dashboards": {"enabled": True, "labels": {"watched": "dashboards"}},
    },
    "tracing": {
        "enabled": True,
        "endpoint": "http://collector:4319",
        "variables": {"OTEL_TRACES_SAMPLER": "always_on"},
    },
    "defaults": {
        "autoscaling": {"by": "keda", "min": 3, "max": 7, "lag": 77, "scaleDownSeconds": 400},
        "secretVariables": ["A_KEY"],
        "preStopSeconds": 9,
        "startupSeconds": 61,
        "door": {
            "type": "NodePort",
            "annotations": {"a": "door"},
            "hosts": ["a.example.com"],
            "paths": ["/v1/", "/v2/"],
        },
        "resources": SIZES,
        "spread": {"zone": "DoNotSchedule", "host": "ScheduleAnyway"},
        "podLabels": {"a": "label"},
        "podAnnotations": {"an": "annotation"},
        "serviceAccountAnnotations": {"a": "role"},
        "priorityClassName": "urgent",
        "nodeSelector": {"disk": "fast"},
        "tolerations": TAINTED,
    },
    "services": {
        "ingest": {
            "door": {"paths": ["/v1/channels/"]},
            "smtp": {"type": "LoadBalancer", "port": 2525, "annotations": {"a": "mail"}, "tlsSecret": "mail-tls"},
        },
        "routing": {"autoscaling": {"by": "hpa", "cpu": 66, "min": 4}},
    },
}
ENCRYPTED: dict[str, Any] = {
    "kafka": {
        "security": "ssl",
        "clientCertificate": True,
        "credentials": {"secret": "kafka-{service}", "certificateKey": "c.pem", "privateKeyKey": "k.pem"},
    },
    "secrets": {
        "source": "external",
        "external": {"store": "vault", "storeKind": "SecretStore", "remoteKey": "desk/{service}", "refresh": "2h"},
    },
    "tls": {"enabled": True, "secret": "tls-{service}"},
    "gateway": {
        "enabled": True,
        "parents": [{"name": "public"}],
        "caConfigMap": "internal-ca",
        "hostname": "{service}.internal",
    },
    "monitoring": {"podMonitor": {"enabled": True, "tlsConfig": {"serverName": "desk.internal"}}},
    "defaults": {"autoscaling": {"by": "keda"}, "door": {"hosts": ["a.example.com"], "paths": ["/v1/", "/v2/"]}},
    "services": {"routing": {"autoscaling": {"authentication": "mine"}}},
}
CONTAINER = "spec.template.spec.containers.sla"
VOLUMES = "spec.template.spec.volumes"
EGRESS = ("NetworkPolicy", "deskbus-sla-servers", "spec.egress")
ARRIVES: list[tuple[str, str, str, Any]] = [
    ("Deployment", "deskbus-sla", "metadata.labels.team", "support"),
    ("Deployment", "deskbus-sla", "spec.template.metadata.labels.team", "support"),
    ("Deployment", "deskbus-sla", "spec.template.metadata.labels.a", "label"),
    ("Deployment", "deskbus-sla", "spec.template.metadata.annotations.an", "annotation"),
    ("Deployment", "deskbus-sla", "spec.template.spec.imagePullSecrets", [{"name": "registry"}]),
    ("Deployment", "deskbus-sla", "spec.template.spec.priorityClassName", "urgent"),
    ("Deployment", "deskbus-sla", "spec.template.spec.nodeSelector", {"disk": "fast"}),
    ("Deployment", "deskbus-sla", "spec.template.spec.tolerations", TAINTED),
    ("Deployment", "deskbus-sla", "spec.template.spec.terminationGracePeriodSeconds", 20 + 9 + 10),
    ("Deployment", "deskbus-sla", f"{CONTAINER}.image", "r.example.com/deskbus-sla:1.2.3"),
    (
        "Deployment",
        "deskbus-notify",
        "spec.template.spec.containers.notify.image",
        f"r.example.com/deskbus-notify@{DIGEST}",
    ),
    ("Deployment", "deskbus-sla", f"{CONTAINER}.imagePullPolicy", "Never"),
    ("Deployment", "deskbus-sla", f"{CONTAINER}.lifecycle.preStop.sleep.seconds", 9),
    ("Deployment", "deskbus-sla", f"{CONTAINER}.env.A_KEY.valueFrom.secretKeyRef.key", "A_KEY"),
    ("Deployment", "deskbus-sla", f"{VOLUMES}.kafka.secret.secretName", "kafka-sla"),
    ("Deployment", "deskbus-sla", f"{VOLUMES}.kafka.secret.items", [{"key": "pass", "path": "password"}]),
    ("Deployment", "deskbus-sla", f"{VOLUMES}.kafka-ca.secret.secretName", "kafka-ca"),
    ("Deployment", "deskbus-sla", f"{VOLUMES}.kafka-ca.secret.items", [{"key": "kafka.pem", "path": "ca.crt"}]),
    ("Deployment", "deskbus-sla", f"{VOLUMES}.mongo-ca.secret.items", [{"key": "mongo.pem", "path": "ca.crt"}]),
    ("Deployment", "deskbus-sla", f"{CONTAINER}.volumeMounts.mongo-ca.mountPath", "/run/deskbus/mongo-ca"),
    ("Job", "deskbus-topics", "spec.activeDeadlineSeconds", 700),
    ("Job", "deskbus-topics", "spec.template.spec.imagePullSecrets", [{"name": "registry"}]),
    ("Job", "deskbus-topics", "spec.template.spec.containers.topics.args.3", "--replication"),
    ("Job", "deskbus-topics", "spec.template.spec.containers.topics.args.4", "5"),
    ("Job", "deskbus-topics", f"{VOLUMES}.kafka.secret.secretName", "kafka-topics"),
    ("ServiceAccount", "deskbus-sla", "metadata.annotations", {"a": "role"}),
    ("Service", "deskbus-sla", "spec.type", "NodePort"),
    ("Service", "deskbus-sla", "metadata.annotations", {"a": "door"}),
    ("Service", "deskbus-sla", "spec.ports.0.port", 8083),
    ("Service", "deskbus-ingest-smtp", "spec.type", "LoadBalancer"),
    ("Service", "deskbus-ingest-smtp", "spec.externalTrafficPolicy", "Local"),  # or SPF would see a node's address
    ("Service", "deskbus-ingest-smtp", "metadata.annotations", {"a": "mail"}),
    ("Service", "deskbus-ingest-smtp", "spec.ports.0.port", 2525),
    ("Service", "deskbus-ingest-smtp", "spec.ports.0.targetPort", "smtp"),
    ("Ingress", "deskbus-sla", "spec.ingressClassName", "nginx"),
    ("Ingress", "deskbus-sla", "metadata.annotations", {"in": "gress"}),
    ("Ingress", "deskbus-sla", "spec.tls", [{"secretName": "hosts-sla", "hosts": ["a.example.com"]}]),
    ("Ingress", "deskbus-sla", "spec.rules.0.host", "a.example.com"),
    ("Ingress", "deskbus-sla", "spec.rules.0.http.paths.1.path", "/v2/"),
    ("Ingress", "deskbus-sla", "spec.rules.0.http.paths.1.pathType", "Prefix"),
    (*EGRESS[:2], f"{EGRESS[2]}.0.to", block("10.2.0.0/16")),
    (*EGRESS[:2], f"{EGRESS[2]}.0.ports", [{"port": 53, "protocol": each} for each in ("UDP", "TCP")]),
    (*EGRESS[:2], f"{EGRESS[2]}.1", {"to": block("10.3.0.0/16"), "ports": [{"port": 9093, "protocol": "TCP"}]}),
    (*EGRESS[:2], f"{EGRESS[2]}.2", {"to": block("10.4.0.0/16"), "ports": [{"port": 27018, "protocol": "TCP"}]}),
    (*EGRESS[:2], f"{EGRESS[2]}.3", {"to": block("10.5.0.0/16"), "ports": [{"port": 4319, "protocol": "TCP"}]}),
    ("NetworkPolicy", "deskbus-sla-operators", "spec.ingress.0.from", block("10.1.0.0/16")),
    ("NetworkPolicy", "deskbus-notify-outside", "spec.egress.0.to.0.ipBlock.except", ["10.0.0.0/8", "172.16.0.0/12"]),
    ("NetworkPolicy", "deskbus-notify-outside", "spec.egress.0.ports", [{"port": 8443, "protocol": "TCP"}]),
    ("NetworkPolicy", "deskbus-notify-outside", "spec.egress.1", ELSEWHERE[0]),
    ("PodMonitor", "deskbus", "metadata.labels.watched", "pods"),
    ("PodMonitor", "deskbus", "spec.podMetricsEndpoints.0.interval", "20s"),
    ("PodMonitor", "deskbus", "spec.podMetricsEndpoints.0.path", "/metrics"),
    ("PrometheusRule", "deskbus", "metadata.labels.watched", "rules"),
    ("ConfigMap", "deskbus-dashboard-sla", "metadata.labels.watched", "dashboards"),
    ("HorizontalPodAutoscaler", "deskbus-routing", "spec.metrics.0.resource.target.averageUtilization", 66),
    ("HorizontalPodAutoscaler", "deskbus-routing", "spec.minReplicas", 4),
    ("ScaledObject", "deskbus-sla", "spec.minReplicaCount", 3),
    ("ScaledObject", "deskbus-sla", "spec.maxReplicaCount", 7),
    ("ScaledObject", "deskbus-sla", "spec.fallback.replicas", 3),
    ("ScaledObject", "deskbus-sla", "spec.triggers.0.metadata.consumerGroup", "eu.deskbus.sla"),
    ("ScaledObject", "deskbus-sla", "spec.triggers.0.metadata.topic", "eu.deskbus.tickets.v1"),
    ("ScaledObject", "deskbus-sla", "spec.triggers.0.metadata.lagThreshold", "77"),
    ("ScaledObject", "deskbus-sla", "spec.triggers.0.metadata.offsetResetPolicy", "earliest"),  # as the services do
    ("ScaledObject", "deskbus-sla", "spec.triggers.0.metadata.sasl", "scram_sha256"),
    (
        "TriggerAuthentication",
        "deskbus-sla",
        "spec.secretTargetRef.0",
        {"parameter": "password", "name": "kafka-sla", "key": "pass"},
    ),
]
ENCRYPTED_ARRIVES: list[tuple[str, str, str, Any]] = [
    ("ExternalSecret", "deskbus-routing-credentials", "spec.refreshInterval", "2h"),
    ("ExternalSecret", "deskbus-routing-credentials", "spec.secretStoreRef", {"name": "vault", "kind": "SecretStore"}),
    ("ExternalSecret", "deskbus-routing-credentials", "spec.target.creationPolicy", "Owner"),
    ("ExternalSecret", "deskbus-routing-credentials", "spec.dataFrom.0.extract.key", "desk/routing"),
    ("HTTPRoute", "deskbus-sla", "spec.parentRefs", [{"name": "public"}]),
    ("HTTPRoute", "deskbus-sla", "spec.hostnames", ["a.example.com"]),
    ("HTTPRoute", "deskbus-sla", "spec.rules.0.matches.1.path", {"type": "PathPrefix", "value": "/v2/"}),
    ("BackendTLSPolicy", "deskbus-sla", "spec.validation.hostname", "sla.internal"),
    ("BackendTLSPolicy", "deskbus-sla", "spec.validation.caCertificateRefs.0.name", "internal-ca"),
    ("PodMonitor", "deskbus", "spec.podMetricsEndpoints.0.scheme", "https"),
    ("PodMonitor", "deskbus", "spec.podMetricsEndpoints.0.tlsConfig", {"serverName": "desk.internal"}),
    ("PodMonitor", "deskbus", "spec.selector.matchExpressions.0.operator", "In"),
    ("PodMonitor", "deskbus", "spec.selector.matchExpressions.0.values", sorted(SERVICES)),
    ("Service", "deskbus-sla", "spec.ports.0.appProtocol", "https"),
    ("Deployment", "deskbus-sla", f"{VOLUMES}.tls.secret.secretName", "tls-sla"),
    (
        "Deployment",
        "deskbus-sla",
        f"{VOLUMES}.kafka.secret.items",
        [{"key": "c.pem", "path": "user.crt"}, {"key": "k.pem", "path": "user.key"}],
    ),
    (
        "TriggerAuthentication",
        "deskbus-sla",
        "spec.secretTargetRef",
        [
            {"parameter": "cert", "name": "kafka-sla", "key": "c.pem"},
            {"parameter": "key", "name": "kafka-sla", "key": "k.pem"},
        ],
    ),
    ("ScaledObject", "deskbus-routing", "spec.triggers.0.authenticationRef.name", "mine"),
]
SETTINGS = {
    "DESKBUS_KAFKA": "k:9093",
    "DESKBUS_TOPIC_PREFIX": "eu.",
    "DESKBUS_KAFKA_SECURITY": "sasl_ssl",
    "DESKBUS_KAFKA_MECHANISM": "scram-sha-256",
    "DESKBUS_KAFKA_USERNAME": "user-sla",
    "DESKBUS_KAFKA_CA": "/run/deskbus/kafka-ca/ca.crt",
    "DESKBUS_HOST": "0.0.0.0",
    "DESKBUS_MONGO_FILE": "/run/deskbus/secret/url",
    "DESKBUS_MONGO_PREFIX": "desk",
    "DESKBUS_TOKENS": "/run/deskbus/secret/tokens",
    "DESKBUS_SECRETS_DIR": "/run/deskbus/secret",
    "DESKBUS_TRACING": "true",
    "OTEL_SERVICE_NAME": "deskbus-sla",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4319",
    "OTEL_TRACES_SAMPLER": "always_on",
}


@pytest.fixture
def unusual(needs_helm: None, tmp_path_factory: pytest.TempPathFactory) -> list[Object]:
    return render(Variant("unusual", "minimal.yaml", UNUSUAL), tmp_path_factory.getbasetemp())


@pytest.fixture
def encrypted(needs_helm: None, tmp_path_factory: pytest.TempPathFactory) -> list[Object]:
    return render(Variant("encrypted", "minimal.yaml", ENCRYPTED), tmp_path_factory.getbasetemp())


def found(part: Any, path: str) -> Any:
    """What stands at a path; items of a list are found by their name or number."""
    for key in re.split(r"\.(?=[\w-]+)", path):
        if isinstance(part, list):
            part = part[int(key)] if key.isdigit() else next((each for each in part if each["name"] == key), {})
        else:
            part = part.get(key, {})
    return part


@pytest.mark.parametrize(
    ("kind", "name", "path", "value"), ARRIVES, ids=lambda each: each if isinstance(each, str) else ""
)
def test_a_value_arrives(unusual: list[Object], kind: str, name: str, path: str, value: Any) -> None:
    assert found(one(unusual, kind, name), path) == value


@pytest.mark.parametrize(
    ("kind", "name", "path", "value"), ENCRYPTED_ARRIVES, ids=lambda each: each if isinstance(each, str) else ""
)
def test_a_value_arrives_where_everything_is_encrypted(
    encrypted: list[Object], kind: str, name: str, path: str, value: Any
) -> None:
    assert found(one(encrypted, kind, name), path) == value


def test_settings_arrive(unusual: list[Object]) -> None:
    variables = environment(unusual, one(unusual, "Deployment", "deskbus-sla"))
    assert {name: variables.get(name) for name in SETTINGS} == SETTINGS
    job = environment(unusual, one(unusual, "Job", "deskbus-topics"))
    assert job["DESKBUS_TOPIC_PREFIX"] == "eu."
    assert job["DESKBUS_KAFKA_USERNAME"] == "user-topics"


def test_resources_arrive(unusual: list[Object]) -> None:
    for kind, name, path in (
        ("Deployment", "deskbus-sla", CONTAINER),
        ("Job", "deskbus-topics", "spec.template.spec.containers.topics"),
    ):
        given = found(one(unusual, kind, name), path)["resources"]
        assert {which: SIZES[which].items() <= given[which].items() for which in SIZES} == dict.fromkeys(SIZES, True)


def test_replicas_are_spread_as_asked(unusual: list[Object]) -> None:
    spread = found(one(unusual, "Deployment", "deskbus-sla"), "spec.template.spec.topologySpreadConstraints")
    assert {each["topologyKey"]: (each["whenUnsatisfiable"], each["maxSkew"]) for each in spread} == {
        "topology.kubernetes.io/zone": ("DoNotSchedule", 1),
        "kubernetes.io/hostname": ("ScheduleAnyway", 1),
    }
    # Pods of the former revision do not count, or a rollout would leave the new ones unevenly spread.
    assert all(each["matchLabelKeys"] == ["pod-template-hash"] for each in spread)


def test_a_service_has_the_time_to_start_that_it_is_given(unusual: list[Object]) -> None:
    probe = found(one(unusual, "Deployment", "deskbus-sla"), CONTAINER)["startupProbe"]
    assert 61 <= probe["periodSeconds"] * probe["failureThreshold"] <= 65


def test_an_image_without_a_tag_of_its_own_has_the_common_one(needs_helm: None, tmp_path: Path) -> None:
    objects = render(Variant("tagged", "minimal.yaml", {"image": {"tag": "2.0.0", "tags": {"sla": "1.2.3"}}}), tmp_path)
    tags = {
        container["image"].rpartition("-")[2]
        for each in of(objects, "Deployment")
        for container in each["spec"]["template"]["spec"]["containers"]
    }
    assert tags == {"ingest:2.0.0", "routing:2.0.0", "sla:1.2.3", "notify:2.0.0"}
