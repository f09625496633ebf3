"""The AsyncAPI 3.0 document: topics, messages, and which service sends and receives what."""

import tomllib
from pathlib import Path
from typing import Any

from contracts import topics
from contracts.documents.schemas import Schema
from contracts.envelope import CONTENT_TYPE
from contracts.inbound import TYPE as INBOUND_TYPE
from contracts.registry import RESERVED
from contracts.topics import CONSUMES, PRODUCES, TOPICS, Topic


def asyncapi(schemas: dict[str, Schema]) -> dict[str, Any]:
    """Return the document. Payloads refer to the files of the schemas."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Deskbus",
            "version": _version(),
            "description": (
                "Customer service on an event bus. Topic names may have a prefix, set per installation. Source, "
                "subject and sequence identify an event: skip those you have seen, and types you do not know."
            ),
        },
        "defaultContentType": CONTENT_TYPE,
        "channels": {_channel_id(topic): _channel(topic) for topic in TOPICS},
        "operations": {
            **{
                f"{service}.sends.{_channel_id(topics.BY_NAME[name])}": _operation("send", topics.BY_NAME[name])
                for service, names in PRODUCES.items()
                for name in names
            },
            **{
                f"{service}.receives.{_channel_id(topics.BY_NAME[name])}": _operation("receive", topics.BY_NAME[name])
                for service, names in CONSUMES.items()
                for name in names
            },
        },
        "components": {
            "messages": {
                **{kind: _message(kind, schema) for kind, schema in schemas.items()},
                "asItCame": {
                    "name": "asItCame",
                    "title": "A record of another topic",
                    "summary": "The original key, value and headers; dead letters also have deskbus_dlq_ headers.",
                    "contentType": "application/octet-stream",
                },
            }
        },
    }


def _version() -> str:
    """Return the project's version from pyproject.toml."""
    project = Path(__file__).parents[2] / "pyproject.toml"
    return str(tomllib.loads(project.read_text("utf-8"))["project"]["version"])


def _channel_id(topic: Topic) -> str:
    return topic.name.removeprefix("deskbus.").removesuffix(".v1")


def _channel(topic: Topic) -> dict[str, Any]:
    policy = ["compact"] if topic.compacted else ["delete"]
    retention = {} if topic.compacted else {"retention.ms": topic.retention_ms}
    return {
        "address": topic.name,
        "x-key": topic.key,
        "x-sources": list(topic.sources),
        "x-sequenced": topic.sequenced,
        **({"x-reserved": True} if topic.reserved else {}),
        "description": f"{topic.carries}. Owner: {topic.owner}. Key: {topic.key}.",
        "messages": {kind: {"$ref": f"#/components/messages/{kind}"} for kind in topic.types or ("asItCame",)},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "topicConfiguration": {
                    "cleanup.policy": policy,
                    **retention,
                    "max.message.bytes": topic.max_message_bytes,
                },
                "bindingVersion": "0.5.0",
            }
        },
    }


def _operation(action: str, topic: Topic) -> dict[str, Any]:
    return {"action": action, "channel": {"$ref": f"#/channels/{_channel_id(topic)}"}}


def _message(kind: str, schema: Schema) -> dict[str, Any]:
    reference = {"$ref": f"../schemas/{kind}.json"}
    about: dict[str, Any] = {"name": kind, "title": kind, "summary": schema["description"].splitlines()[0]}
    if kind in RESERVED:
        about |= {"x-reserved": True, "description": "Reserved: defined, but not in use yet."}
    if kind == INBOUND_TYPE:
        return {**about, "contentType": "application/octet-stream", "headers": reference}
    key = {"kafka": {"key": {"type": "string"}, "bindingVersion": "0.5.0"}}
    return {**about, "contentType": CONTENT_TYPE, "payload": reference, "bindings": key}
