"""Values that are refused, each with a message that names the key; and the schema, which needs no Helm."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from deploy.chart import CHART
from deploy.chart.comments import entries
from tests.deploy.chart.rendering import attempt, component, container, parse, workloads

TYPOS: list[tuple[dict[str, Any], str]] = [
    ({"replicas": 3}, "'replicas'"),
    ({"kafka": {"bootstrapServers": "k:9092"}}, "'bootstrapServers'"),
    ({"services": {"ingest": {"door": {"host": ["a.b"]}}}}, "'host'"),
    ({"services": {"billing": {}}}, "'billing'"),
    ({"services": {"sla": {"smtp": {"port": 25}}}}, "'smtp'"),
    ({"defaults": {"settings": {"grace_second": 5}}}, "'grace_second'"),
    ({"services": {"routing": {"settings": {"tick_ms": 500}}}}, "'tick_ms'"),  # a setting of sla
    ({"services": {"sla": {"settings": {"kafka": "k:9092"}}}}, "'kafka'"),  # the chart sets it
    ({"services": {"ingest": {"settings": {"relay_password": "secret"}}}}, "'relay_password'"),  # belongs into a Secret
]
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"kafka": {"security": "tls"}}, "/kafka/security"),
    ({"kafka": {"partitions": "12"}}, "/kafka/partitions"),
    ({"kafka": {"bootstrap": "kafka://k:9092"}}, "/kafka/bootstrap"),
    ({"image": {"digests": {"sla": "sha256:abc"}}}, "/image/digests/sla"),
    ({"defaults": {"autoscaling": {"by": "both"}}}, "/defaults/autoscaling/by"),
    ({"defaults": {"autoscaling": {"min": 1}}}, "/defaults/autoscaling/min"),
    ({"defaults": {"autoscaling": {"scaleDownSeconds": 60}}}, "/defaults/autoscaling/scaleDownSeconds"),
    ({"services": {"notify": {"settings": {"grace_seconds": 0}}}}, "/services/notify/settings/grace_seconds"),
    ({"services": {"sla": {"variables": {"lower": "x"}}}}, "/services/sla/variables"),
    ({"networkPolicy": {"operatorsFrom": []}}, "/networkPolicy/operatorsFrom"),
    ({"tracing": {"variables": {"PATH": "/"}}}, "/tracing/variables"),
]
AGAINST_EACH_OTHER: list[tuple[dict[str, Any], str]] = [
    ({"kafka": {"bootstrap": ""}}, "kafka.bootstrap is empty"),
    ({"image": {"tag": "latest"}}, "image.tag is latest"),
    ({"image": {"tags": {"sla": "latest"}}}, "image.tag is latest"),
    ({"services": {"sla": {"replicas": 5}}}, "services.sla.replicas is 5, more than kafka.partitions (4)"),
    ({"services": {"sla": {"autoscaling": {"by": "hpa", "max": 5}}}}, "services.sla.autoscaling.max is 5, more than"),
    ({"defaults": {"autoscaling": {"by": "keda", "min": 4, "max": 3}}}, "autoscaling.min is 4, more than its max (3)"),
    ({"services": {"notify": {"policyConfigMap": ""}}}, "--set-file services.notify.policy=notify.yaml"),
    ({"trial": {"enabled": True}}, "leave kafka.bootstrap empty"),
    ({"trial": {"enabled": True}, "kafka": {"bootstrap": "", "security": "ssl"}}, "must be plaintext"),
    ({"trial": {"enabled": True}, "kafka": {"bootstrap": ""}, "topics": {"by": "nobody"}}, "needs topics.by=job"),
    ({"kafka": {"clientCertificate": True}}, "kafka.clientCertificate needs kafka.security"),
    ({"secrets": {"source": "external"}}, "needs secrets.external.store"),
    ({"topics": {"by": "strimzi"}}, "strimzi.cluster is empty"),
    ({"strimzi": {"cluster": "c", "users": True}}, "strimzi.authentication=scram-sha-512 does not fit"),
    (
        {"strimzi": {"cluster": "c", "users": True}, "kafka": {"security": "sasl_ssl"}},
        "the hook would wait for a user that is not made yet",
    ),
    (
        {
            "strimzi": {"cluster": "c", "users": True},
            "topics": {"by": "strimzi"},
            "kafka": {"security": "sasl_ssl", "credentials": {"secret": "s"}},
        },
        "leave kafka.credentials.secret empty",
    ),
    (
        {
            "strimzi": {"cluster": "c", "users": True},
            "topics": {"by": "strimzi"},
            "kafka": {"security": "sasl_ssl"},
            "secrets": {"name": "deskbus-{service}"},
        },
        "have the same name",
    ),
    (
        {"kafka": {"security": "sasl_ssl", "mechanism": "oauthbearer"}, "defaults": {"autoscaling": {"by": "keda"}}},
        "autoscaling.authentication is empty",
    ),
    ({"networkPolicy": {"operatorsFrom": None}}, "networkPolicy.operatorsFrom is empty, which would mean anybody"),
    ({"networkPolicy": {"dnsTo": None}}, "networkPolicy.dnsTo is empty, which would mean anybody"),
    ({"commonLabels": {"app.kubernetes.io/instance": "x"}}, "commonLabels: the chart sets app.kubernetes.io/instance"),
    ({"defaults": {"podLabels": {"app.kubernetes.io/name": "x"}}}, "the chart sets app.kubernetes.io/name itself"),
    ({"tls": {"enabled": True}}, "tls.enabled needs tls.secret"),
    ({"gateway": {"enabled": True}}, "gateway.enabled needs gateway.parents"),
    (
        {"gateway": {"enabled": True, "parents": [{"name": "g"}]}, "tls": {"enabled": True, "secret": "t"}},
        "needs gateway.caConfigMap and gateway.hostname",
    ),
    ({"tracing": {"enabled": True}}, "tracing.enabled needs tracing.endpoint"),
    ({"kafka": {"bootstrap": "a:9092,b:9096"}}, "kafka.bootstrap has the port 9096, which networkPolicy.kafkaPorts"),
    ({"tracing": {"enabled": True, "endpoint": "http://c:4317"}}, "tracing.endpoint has the port 4317, which"),
    ({"tracing": {"enabled": True, "endpoint": "https://c/otlp"}}, "tracing.endpoint has the port 443, which"),
]


@pytest.mark.usefixtures("needs_helm")
@pytest.mark.parametrize(("over", "words"), [*TYPOS, *WRONG, *AGAINST_EACH_OTHER], ids=lambda part: str(part)[:60])
def test_values_are_refused_with_a_reason(over: dict[str, Any], words: str, tmp_path: Path) -> None:
    (tmp_path / "over.yaml").write_text(yaml.safe_dump(over), encoding="utf-8")
    done = attempt(CHART / "ci" / "minimal.yaml", "--values", str(tmp_path / "over.yaml"))
    assert done.returncode != 0
    assert words in done.stderr


@pytest.mark.usefixtures("needs_helm")
@pytest.mark.parametrize(
    "over",
    [
        {"kafka": {"bootstrap": "a:9096"}, "networkPolicy": {"kafkaPorts": [9096]}},
        {"kafka": {"bootstrap": "a:9096"}, "networkPolicy": {"enabled": False}},
        {"tracing": {"enabled": True, "endpoint": "https://c"}, "networkPolicy": {"tracingPorts": [443]}},
    ],
    ids=str,
)
def test_a_port_that_is_allowed_or_not_restricted_is_accepted(over: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "over.yaml").write_text(yaml.safe_dump(over), encoding="utf-8")
    done = attempt(CHART / "ci" / "minimal.yaml", "--values", str(tmp_path / "over.yaml"))
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    return found


@pytest.mark.parametrize("file", ["values.yaml", "ci/minimal.yaml", "ci/production.yaml", "ci/try.yaml"])
def test_the_schema_takes_the_committed_values(file: str, schema: dict[str, Any]) -> None:
    jsonschema.validate(yaml.safe_load((CHART / file).read_text("utf-8")), schema)


@pytest.mark.parametrize("over", [over for over, _ in TYPOS + WRONG], ids=lambda part: str(part)[:60])
def test_the_schema_refuses_typos_and_wrong_values(over: dict[str, Any], schema: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(over, schema)


def test_no_object_of_the_schema_takes_unknown_keys_unless_all_are_the_operators(schema: dict[str, Any]) -> None:
    def is_open(part: Any, path: str) -> list[str]:
        if not isinstance(part, dict):
            return []
        mine = [path] if "properties" in part and part.get("additionalProperties") is not False else []
        return mine + [found for key, each in part.items() for found in is_open(each, f"{path}/{key}")]

    assert is_open(schema, "") == []


def test_comments_belong_to_their_keys() -> None:
    text = "# head\n\n# -- First.\na: 1\ngroup:\n  # -- Second,\n  # in two lines.\n  b: [x]\n  # plain\n  c: {}\n"
    text += "d:\n  - k: 1\n"
    found = [(".".join(each.path), each.default, each.description) for each in entries(text)]
    assert found == [
        ("a", 1, "First."),
        ("group", {"b": ["x"], "c": {}}, ""),
        ("group.b", ["x"], "Second, in two lines."),
        ("group.c", {}, ""),
        ("d", [{"k": 1}], ""),
    ]


def test_every_key_of_the_values_is_in_the_readme() -> None:
    text, readme = (CHART / "values.yaml").read_text("utf-8"), (CHART / "README.md").read_text("utf-8")
    keys = [".".join(each.path) for each in entries(text)]
    rows = re.findall(r"(?m)^\| `([\w.]+)` \|", readme)
    assert len(rows) > 100
    # A group is listed by what is in it, or as a whole.
    assert [
        key
        for key in keys
        if not any(f"{row}.".startswith(f"{key}.") or f"{key}.".startswith(f"{row}.") for row in rows)
    ] == []


def test_helm_waits_longer_than_the_hook_may_take(root: Path) -> None:
    """Else Helm gives up first, and does not say why the Job fails."""
    deadline = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))["topics"]["job"]["deadlineSeconds"]
    commands = [
        line
        for file in sorted((root / "docs").glob("*.md"))
        for line in file.read_text("utf-8").splitlines()
        if re.search(r"\bhelm (install|upgrade) deskbus deploy/", line)
        and "ci/try.yaml" not in line  # the trial has no hook
    ]
    assert len(commands) > 1
    waits = [re.search(r"--timeout (\d+)m\b", line) for line in commands]
    assert [
        line for line, found in zip(commands, waits, strict=True) if not found or int(found[1]) * 60 <= deadline
    ] == []


@pytest.mark.usefixtures("needs_helm")
def test_one_image_may_have_another_tag_and_a_digest_wins(tmp_path: Path) -> None:
    digest = "sha256:" + "0" * 64
    over = {"image": {"tag": "2.0.0", "tags": {"ingest": "1.9.0"}, "digests": {"notify": digest}, "registry": "r/d/"}}
    (tmp_path / "over.yaml").write_text(yaml.safe_dump(over), encoding="utf-8")
    done = attempt(CHART / "ci" / "minimal.yaml", "--values", str(tmp_path / "over.yaml"))
    images = {component(each): container(each)["image"] for each in workloads(parse(done.stdout))}
    assert images == {
        "ingest": "r/d/deskbus-ingest:1.9.0",
        "routing": "r/d/deskbus-routing:2.0.0",
        "sla": "r/d/deskbus-sla:2.0.0",
        "notify": f"r/d/deskbus-notify@{digest}",
        "topics": "r/d/deskbus-tools:2.0.0",
    }
