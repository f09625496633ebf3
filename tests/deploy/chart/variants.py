"""The variants of the chart that its policy tests look at: the committed files of values, and what these leave out."""

from contracts.topics import SERVICES
from tests.deploy.chart.rendering import Variant

_POLICIES = "ConfigMap/deskbus-policies"
_CREDENTIALS = frozenset(f"Secret/deskbus-{name}-credentials" for name in SERVICES)

CERTIFICATES = {
    "kafka": {
        "bootstrap": "b1:9093,b2:9093",
        "topicPrefix": "eu.",
        "security": "ssl",
        "clientCertificate": True,
        "partitions": 6,
    },
    "strimzi": {"cluster": "events", "users": True, "authentication": "tls"},
    "topics": {"by": "strimzi"},
    "ingress": {"enabled": True, "className": "nginx", "tlsSecret": "{service}-hosts"},
    "defaults": {
        "autoscaling": {"by": "hpa"},
        "door": {"hosts": ["desk.example.com"]},
        "settings": {"grace_seconds": 45.5, "log_level": "debug", "batch_bytes": 33_554_432},
    },
    "services": {"notify": {"door": {"enabled": False}, "variables": {"LEADS": "https://leads.example.com"}}},
}
PASSWORDS = {
    "kafka": {"security": "sasl_plaintext", "mechanism": "plain"},
    "secrets": {"source": "external", "external": {"store": "vault"}},
    "defaults": {"autoscaling": {"by": "keda"}, "policy": "{}", "policyConfigMap": ""},
}
PRIVATE_CA = {
    "kafka": {"bootstrap": "kafka.data:9093", "security": "ssl", "ca": {"secret": "kafka-ca"}},
    "defaults": {"autoscaling": {"by": "keda"}},
}
TOKENS = {
    "kafka": {"security": "sasl_ssl", "mechanism": "oauthbearer", "credentials": {"secret": "oauth-{service}"}},
    "defaults": {"enabled": False},
    "services": {"sla": {"enabled": True, "secretVariables": ["A_KEY"]}},
    "networkPolicy": {"enabled": False},
}

VARIANTS = (
    Variant("minimal", "minimal.yaml", {}, _CREDENTIALS | {_POLICIES}),
    Variant(
        "production",
        "production.yaml",
        {},
        frozenset(f"Secret/deskbus-{name}-tls" for name in SERVICES)
        | {_POLICIES, "Secret/registry", "Secret/events-cluster-ca-cert", "Secret/mongo-ca"}
        | {"Secret/mail-example-com-tls", "ConfigMap/internal-ca"},
    ),
    Variant("try", "try.yaml"),
    Variant(
        "certificates",
        "minimal.yaml",
        CERTIFICATES,
        _CREDENTIALS | {_POLICIES} | {f"Secret/{name}-hosts" for name in ("ingest", "routing", "sla")},
    ),
    Variant("passwords", "minimal.yaml", PASSWORDS),
    Variant("private-ca", "minimal.yaml", PRIVATE_CA, _CREDENTIALS | {_POLICIES, "Secret/kafka-ca"}),
    Variant(
        "tokens",
        "minimal.yaml",
        TOKENS,
        frozenset({_POLICIES, "Secret/deskbus-sla-credentials", "Secret/oauth-sla", "Secret/oauth-topics"}),
    ),
)
