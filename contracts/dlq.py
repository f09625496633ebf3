"""A dead letter: a record that a service could not handle, unchanged, with headers that say why."""

from collections.abc import Iterable
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, ValidationError

from contracts.values import Count, Instant, Value

PREFIX = "deskbus_dlq_"
"""Prefix of the headers that we add; all others belong to the original record."""
REPLAY_OF = "deskbus_replay_of"
"""Header of a replayed record: partition and offset of its dead letter."""
REFUSED = "floor"
"""Reason for refusing a replayed record that is below the floor of its document."""
FIELDS = (
    "service", "handler", "error_type", "error", "attempts", "at", "topic", "partition", "offset",
    "source", "subject", "sequence", "doc_id",
)  # fmt: skip
"""Fields of a DeadLetter that are stored in headers. The others are the record itself."""
MAX_ERROR_BYTES = 8 * 1024
MAX_FIELD_BYTES = 2 * 1024
"""Limits for one header. All our headers together fit into what dead letter topics allow beyond other topics."""

Headers = list[tuple[str, bytes]]


def _encodable(text: Any) -> Any:
    """Replace characters that UTF-8 cannot encode, as every record must fit into the dead letter topic."""
    return text.encode("utf-8", "replace").decode() if isinstance(text, str) else text


Text = Annotated[str, BeforeValidator(_encodable)]


class DeadLetter(Value):
    """A record in a dead-letter topic, and why it is there. Key and value are those of the record."""

    service: Text = Field(description="Service that could not handle it.")
    handler: Text = Field(description="Part of the service that could not handle it, e.g. tickets.")
    error_type: Text = Field(description="Class of the error, for grouping.")
    error: Text = Field(description="The error in words, at most 8 KiB.")
    attempts: Count = Field(1, description="Number of attempts.")
    at: Instant = Field(description="When it became a dead letter.")
    topic: Text = Field(description="Topic that the record came from.")
    partition: Count = Field(description="Partition that it came from.")
    offset: Count = Field(description="Offset that it came from.")
    source: Text | None = Field(None, description="The event's source, if readable.")
    subject: Text | None = Field(None, description="The event's subject, if readable.")
    sequence: Count | None = Field(None, description="The event's sequence, if readable; it explains a gap.")
    doc_id: Text | None = Field(None, description="Document that the event would have changed.")
    key: bytes | None = Field(None, description="The record's key.")
    value: bytes | None = Field(None, description="The record's value.")
    original_headers: tuple[tuple[str, bytes], ...] = Field((), description="The record's own headers.")

    def to_headers(self) -> Headers:
        """Return the original headers, then ours."""
        texts = {name: getattr(self, name) for name in FIELDS} | {
            "at": self.at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        }
        ours = [
            (PREFIX + name, str(text).encode()[: MAX_ERROR_BYTES if name == "error" else MAX_FIELD_BYTES])
            for name, text in texts.items()
            if text is not None
        ]
        return [*original_headers(self.original_headers), *ours]

    @classmethod
    def from_kafka(cls, key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes | None]]) -> Self:
        """Read a record of a dead-letter topic. Raises ValueError if it is not a dead letter."""
        present = [(name, raw or b"") for name, raw in headers]  # Kafka allows null as a header's value
        texts = {
            name.removeprefix(PREFIX): raw.decode("utf-8", "replace")
            for name, raw in present
            if name.startswith(PREFIX)
        }
        rest = {"key": key, "value": value, "original_headers": tuple(original_headers(present))}
        try:
            return cls.model_validate({**texts, **rest})
        except ValidationError as error:
            fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
            raise ValueError(f"{PREFIX}{'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None


def is_replay(headers: Iterable[tuple[str, bytes | None]]) -> bool:
    """Return whether a record is a replayed dead letter."""
    return any(name == REPLAY_OF for name, _ in headers)


def original_headers(headers: Iterable[tuple[str, bytes]]) -> Headers:
    """Return the headers without ours, as a replay sends them."""
    return [(name, raw) for name, raw in headers if not name.startswith(PREFIX)]
