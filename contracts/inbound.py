"""A raw message as accepted by ingest: the value is the unchanged body, the rest is in Kafka headers.

The headers are CloudEvents' binary mode (`ce_…`) plus a few of our own (`deskbus_…`). Nothing is parsed here.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, ClassVar, Self

from pydantic import Field, ValidationError

from contracts.values import Count, Identifier, Instant, Value

TYPE = "deskbus.inbound.received.v1"
SOURCE = "/deskbus/door"
MAX_INLINE_BYTES = 512 * 1024
"""Larger bodies are replaced by a claim check."""

HEADERS = {
    "ce_id": "receipt",
    "ce_subject": "key",
    "ce_time": "received_at",
    "ce_traceparent": "traceparent",
    "content-type": "content_type",
    "deskbus_channel": "channel",
    "deskbus_account": "account",
    "deskbus_size": "size",
    "deskbus_claim": "claim",
    "deskbus_verified": "verified",
    "deskbus_http": "http",
}
"""Kafka header -> field of InboundRecord."""

Headers = list[tuple[str, bytes]]

_FIXED_HEADERS: Headers = [("ce_specversion", b"1.0"), ("ce_source", SOURCE.encode()), ("ce_type", TYPE.encode())]


class HttpRequest(Value):
    """What a parser needs from the HTTP request besides its body."""

    method: str = Field("POST", description="Method.")
    url: str | None = Field(None, description="Public URL that the provider called.")
    query: dict[str, str] = Field(default_factory=dict, description="Query parameters.")
    headers: dict[str, str] = Field(default_factory=dict, description="Stored headers, with names in lower case.")

    def encode(self) -> bytes:
        """Return JSON of the fields that differ from their defaults."""
        if not self.headers and not self.query and self.url is None and self.method == "POST":
            return b"{}"  # the usual case, without the cost of the serializer
        return self.model_dump_json(exclude_defaults=True).encode()


class InboundRecord(Value):
    """A message that was accepted and acknowledged to the channel."""

    type: ClassVar[str] = TYPE

    receipt: Identifier = Field(description="Id that ingest answered with.")
    channel: Identifier = Field(description="Name of the channel.")
    account: Identifier = Field(description="Account on the channel, as configured.")
    key: Identifier = Field(
        description="Partition key: account and contact, or the thread, as far as known without parsing."
    )
    received_at: Instant = Field(description="When ingest accepted it.")
    content_type: str = Field("application/octet-stream", description="Media type of the body.")
    body: bytes = Field(b"", description="The body; empty if there is a claim check.")
    size: Count = Field(description="Size of the body in bytes, also if there is a claim check.")
    claim: str | None = Field(None, description="Claim check: where the body is stored.")
    verified: bool = Field(default=False, description="Whether the channel's signature was checked and is valid.")
    http: HttpRequest | None = Field(None, description="The request, for channels that use HTTP.")
    traceparent: str | None = Field(None, description="W3C trace context.")

    def to_headers(self) -> Headers:
        """Return the Kafka headers; `body` is the value."""
        return to_headers(**{field: getattr(self, field) for field in HEADERS.values()})

    @classmethod
    def from_kafka(cls, value: bytes | None, headers: Iterable[tuple[str, bytes | None]]) -> Self:
        """Read a record. Raises ValueError that names field and reason."""
        texts = {
            name: (raw or b"").decode("utf-8", "replace") for name, raw in headers
        }  # Kafka allows null as a header's value
        if texts.get("ce_type") != TYPE:
            raise ValueError(f"ce_type: expected {TYPE}")
        body = value or b""
        fields: dict[str, Any] = {field: texts[header] for header, field in HEADERS.items() if header in texts}
        fields.setdefault("size", len(body))
        try:
            if "http" in fields:
                fields["http"] = HttpRequest.model_validate_json(fields["http"])
            return cls.model_validate({**fields, "body": body})
        except ValidationError as error:
            fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
            raise ValueError(f"{'.'.join(map(str, fault['loc'])) or 'deskbus_http'}: {fault['msg']}") from None


def to_headers(
    *,
    receipt: str,
    channel: str,
    account: str,
    key: str,
    received_at: datetime,
    content_type: str,
    size: int,
    claim: str | None,
    verified: bool,
    http: HttpRequest | None,
    traceparent: str | None,
) -> Headers:
    """Return the Kafka headers of a record. For ingest's hot path: its values are valid, so no model is built."""
    at = received_at.isoformat(timespec="milliseconds")
    headers = [
        *_FIXED_HEADERS,
        ("ce_id", receipt.encode()),
        ("ce_subject", key.encode()),
        ("ce_time", (at[:-6] + "Z" if at.endswith("+00:00") else at).encode()),
        ("content-type", content_type.encode()),
        ("deskbus_channel", channel.encode()),
        ("deskbus_account", account.encode()),
        ("deskbus_size", b"%d" % size),
        ("deskbus_verified", b"true" if verified else b"false"),
    ]
    if traceparent is not None:
        headers.append(("ce_traceparent", traceparent.encode()))
    if claim is not None:
        headers.append(("deskbus_claim", claim.encode()))
    if http is not None:
        headers.append(("deskbus_http", http.encode()))
    return headers
