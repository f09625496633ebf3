"""Makes values.schema.json: the keys and types of values.yaml, with the rules below; settings come from their models.

What a schema cannot say (one value against another) is in the chart's templates/_checks.tpl.
"""

from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import SecretStr

from contracts.topics import SERVICES
from deploy.chart.comments import entries
from deploy.settings import settings_class
from kit.base.settings import ServiceSettings

Schema = dict[str, Any]

NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
NAMED = r"^([a-z0-9{]([-a-z0-9.{}]*[a-z0-9}])?)?$"
VARIABLE = "^[A-Z][A-Z0-9_]*$"
_STRINGS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
_ANY_OBJECT: Schema = {"type": "object"}
_OBJECTS: Schema = {"type": "array", "items": _ANY_OBJECT}
_PORTS: Schema = {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": 1, "maximum": 65535}}
_SERVICE_TYPE: Schema = {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]}
_UNSATISFIABLE: Schema = {"enum": ["ScheduleAnyway", "DoNotSchedule"]}
_RESOURCES: Schema = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        kind: {"type": "object", "additionalProperties": {"type": ["string", "number"]}}
        for kind in ("requests", "limits")
    },
}


def _closed(properties: Mapping[str, Schema]) -> Schema:
    return {"type": "object", "additionalProperties": False, "properties": dict(properties)}


def _one_of(*names: str) -> Schema:
    return {"enum": list(names)}


def _number(least: int, most: int) -> Schema:
    return {"type": "integer", "minimum": least, "maximum": most}


def _text(pattern: str) -> Schema:
    return {"type": "string", "pattern": pattern}


def _strings(names: str) -> Schema:
    """Strings under names that fit a pattern. Helm reports a fault of `propertyNames` at a wrong key."""
    return {"type": "object", "additionalProperties": False, "patternProperties": {names: {"type": "string"}}}


def _by_image(pattern: str) -> Schema:
    return _closed({name: _text(pattern) for name in (*SERVICES, "tools")})


RULES: Mapping[str, Schema] = {
    "fullnameOverride": _text(NAMED),
    **dict.fromkeys((f"podSecurity.{name}" for name in ("runAsUser", "runAsGroup", "fsGroup")), _number(1, 2**31)),
    "image.tags": _by_image(r"^[\w][\w.-]{0,127}$"),
    "image.digests": _by_image("^sha256:[0-9a-f]{64}$"),
    "image.pullPolicy": _one_of("Always", "IfNotPresent", "Never"),
    "image.pullSecrets": {"type": "array", "items": _text(NAME)},
    "kafka.bootstrap": _text(r"^([A-Za-z0-9.-]+:[0-9]+(,[A-Za-z0-9.-]+:[0-9]+)*)?$"),
    "kafka.topicPrefix": _text("^[A-Za-z0-9._-]*$"),
    "kafka.partitions": _number(1, 10_000),
    "kafka.replication": _number(1, 10),
    "kafka.security": _one_of("plaintext", "ssl", "sasl_plaintext", "sasl_ssl"),
    "kafka.mechanism": _one_of("scram-sha-512", "scram-sha-256", "plain", "oauthbearer"),
    "mongo.databasePrefix": _text("^[A-Za-z0-9_-]+$"),
    "secrets.source": _one_of("existing", "external"),
    "secrets.name": _text(NAMED),
    "secrets.external.storeKind": _one_of("SecretStore", "ClusterSecretStore"),
    "topics.by": _one_of("job", "strimzi", "nobody"),
    "topics.job.deadlineSeconds": _number(60, 86_400),
    "strimzi.authentication": _one_of("scram-sha-512", "tls"),
    "gateway.parents": {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["name"],
            "additionalProperties": False,
            "properties": {
                **{key: {"type": "string"} for key in ("name", "namespace", "sectionName")},
                "port": {"type": "integer"},
            },
        },
    },
    **dict.fromkeys(
        (
            f"networkPolicy.{name}"
            for name in ("doorFrom", "mailFrom", "kafkaTo", "mongoTo", "tracingTo", "outsideAlso")
        ),
        _OBJECTS,
    ),
    # Empty would mean anybody.
    **dict.fromkeys(("networkPolicy.operatorsFrom", "networkPolicy.dnsTo"), _OBJECTS | {"minItems": 1}),
    **dict.fromkeys((f"networkPolicy.{name}Ports" for name in ("dns", "kafka", "mongo", "outside", "tracing")), _PORTS),
    "networkPolicy.outsideExcept": {"type": "array", "items": _text(r"^[0-9.]+/[0-9]+$")},
    "monitoring.podMonitor.interval": _text("^[0-9]+(ms|s|m)$"),
    "monitoring.podMonitor.tlsConfig": _ANY_OBJECT,
    "tracing.variables": _strings("^OTEL_[A-Z0-9_]+$"),
    "defaults.replicas": _number(0, 10_000),
    "defaults.autoscaling.by": _one_of("none", "keda", "hpa"),
    "defaults.autoscaling.min": _number(2, 10_000),
    "defaults.autoscaling.max": _number(0, 10_000),
    "defaults.autoscaling.lag": _number(1, 1_000_000),
    "defaults.autoscaling.cpu": _number(10, 100),
    "defaults.autoscaling.scaleDownSeconds": _number(300, 3600),
    "defaults.variables": _strings(VARIABLE),
    "defaults.secretVariables": {"type": "array", "items": _text(VARIABLE), "uniqueItems": True},
    "defaults.preStopSeconds": _number(0, 60),
    "defaults.startupSeconds": _number(10, 3600),
    "defaults.door.type": _SERVICE_TYPE,
    "defaults.door.hosts": {"type": "array", "items": _text(r"^(\*\.)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")},
    "defaults.door.paths": {"type": "array", "minItems": 1, "items": _text("^/")},
    "defaults.resources": _RESOURCES,
    "defaults.spread.zone": _UNSATISFIABLE,
    "defaults.spread.host": _UNSATISFIABLE,
    "defaults.tolerations": _OBJECTS,
    "services.ingest.smtp.type": _SERVICE_TYPE,
    "services.ingest.smtp.port": _number(1, 65535),
    "topics.job.resources": _RESOURCES,
    "trial.kafka.resources": _RESOURCES,
    "trial.mongo.resources": _RESOURCES,
}
"""Rules by key, in place of the type of the default. All keys below `defaults` hold below each service as well."""

WIRED = {
    "kafka", "mongo", "mongo_file", "mongo_prefix", "topic_prefix", "host", "port", "ops_port", "policy", "tokens",
    "smtp_enabled", "smtp_certificate", "smtp_key", "tls_certificate", "tls_key", "tracing",
}  # fmt: skip
"""Settings that the chart sets itself, from keys of their own, besides those that begin with `kafka_`."""


def build(text: str) -> Schema:
    """Return the schema for the text of values.yaml."""
    values, said = yaml.safe_load(text), {".".join(e.path): e.description for e in entries(text) if e.description}
    top = {key: _of(value, key, said) for key, value in values.items() if key != "services"}
    services = {name: _service(name, values, top["defaults"], said) for name in SERVICES}
    top["defaults"]["properties"]["settings"] = _settings(ServiceSettings)
    top["services"] = _closed(services)
    top["global"] = _ANY_OBJECT | {"description": "Helm's values for all charts of a release; not used."}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the Deskbus chart",
        **_closed(top),
    }


def _service(name: str, values: Mapping[str, Any], defaults: Schema, said: Mapping[str, str]) -> Schema:
    own = {
        key: _of(value, f"services.{name}.{key}", said)
        for key, value in values["services"][name].items()
        if key not in defaults["properties"]
    }
    return _closed({**defaults["properties"], **own, "settings": _settings(settings_class(name))})


def _settings(model: type[ServiceSettings]) -> Schema:
    """Return the schema of a service's settings, from its model: types, limits, descriptions."""
    secret = {name for name, field in model.model_fields.items() if _is_secret(field.annotation)}
    described = model.model_json_schema()["properties"]
    properties = {
        name: {key: part for key, part in field.items() if key not in {"title", "default", "format"}}
        for name, field in described.items()
        if name not in WIRED | secret and not name.startswith("kafka_")
    }
    return _closed(properties)


def _is_secret(annotation: Any) -> bool:
    return annotation is SecretStr or SecretStr in getattr(annotation, "__args__", ())


def _of(value: Any, path: str, said: Mapping[str, str]) -> Schema:
    """Return the schema of a key, by its rule, else by the type of its default."""
    description = {"description": said[path]} if path in said else {}
    if path in RULES:
        return description | RULES[path]
    if value == {} or path.endswith(("labels", "Labels")):
        return description | _STRINGS
    if isinstance(value, dict):
        return description | _closed({key: _of(each, f"{path}.{key}", said) for key, each in value.items()})
    kinds = {bool: "boolean", int: "integer", str: "string"}
    if type(value) in kinds:
        return description | {"type": kinds[type(value)]}
    raise ValueError(f"{path}: give it a rule in RULES, its default does not say what it may hold")
