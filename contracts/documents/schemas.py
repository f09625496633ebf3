"""JSON Schemas (2020-12), one self-contained schema per type, of the whole Kafka value."""

from functools import cache
from typing import Any, Literal

from pydantic import BaseModel, Field, create_model
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode

from contracts import inbound
from contracts.envelope import Command, Event
from contracts.registry import COMMAND_TYPES, REGISTRY

Schema = dict[str, Any]


class _Generator(GenerateJsonSchema):
    def generate(self, schema: Any, mode: JsonSchemaMode = "validation") -> Schema:
        return {"$schema": self.schema_dialect, **super().generate(schema, mode)}


def schema_of(model: type[BaseModel]) -> Schema:
    """Return a model's schema as readers need it: `required` lists the fields that are always present."""
    return model.model_json_schema(schema_generator=_Generator)


@cache
def all_schemas() -> dict[str, Schema]:
    """Return the schema of every type, in the order of the registry."""
    schemas = {}
    for kind, payload in REGISTRY.items():
        envelope: type[BaseModel] = Command if kind in COMMAND_TYPES else Event
        fields: dict[str, Any] = {
            "type": (Literal[kind], ...),
            "data": (payload, Field(description="The payload.")),
        }
        whole: type[BaseModel] = create_model(f"{payload.__name__}Envelope", __base__=envelope, **fields)
        schemas[kind] = {**schema_of(whole), "title": kind, "description": (payload.__doc__ or "").strip()}
    schemas[inbound.TYPE] = inbound_headers()
    return schemas


def inbound_headers() -> Schema:
    """Return the schema of a raw message's Kafka headers, as text. The value is the body and has no schema."""
    fields = inbound.InboundRecord.model_fields
    fixed = {"ce_specversion": "1.0", "ce_source": inbound.SOURCE, "ce_type": inbound.TYPE}
    return {
        "$schema": GenerateJsonSchema.schema_dialect,
        "title": inbound.TYPE,
        "description": "Kafka headers of a raw message (CloudEvents binary mode). The value is the unchanged body.",
        "type": "object",
        "properties": {
            **{header: {"type": "string", "const": text} for header, text in fixed.items()},
            **{
                header: {"type": "string", "description": fields[field].description}
                for header, field in inbound.HEADERS.items()
            },
        },
        "required": [*fixed, *(header for header, field in inbound.HEADERS.items() if fields[field].is_required())],
    }
