"""A dead letter: a record that a service could not handle, byte for byte as it came, with headers that say why."""

from collections.abc import Iterable
from typing import Self

from pydantic import Field, ValidationError

from contracts.values import Count, Identifier, Instant, Value

PREFIX = "deskbus_dlq_"
"""All headers that we add begin like this; the others are the original record's."""
MAX_ERROR_BYTES = 8 * 1024

Headers = list[tuple[str, bytes]]


class DeadLetter(Value):
    """What is known about a record that went to the dead-letter topic. Key and value are those of the record."""

    service: Identifier = Field(description="Service that gave up.")
    handler: str = Field(description="Part of the service that gave up, e.g. tickets.")
    error_type: str = Field(description="Class of the error, for grouping.")
    error: str = Field(description="The error in words, cut to 8 KiB.")
    attempts: Count = Field(1, description="Tries that were made.")
    at: Instant = Field(description="When it was given up.")
    topic: Identifier = Field(description="Topic that the record came from.")
    partition: Count = Field(description="Partition that it came from.")
    offset: Count = Field(description="Offset that it came from.")
    source: str | None = Field(None, description="The event's source, when it could be read.")
    subject: str | None = Field(None, description="The event's subject, when it could be read.")
    sequence: Count | None = Field(None, description="The event's sequence, when it could be read: it explains a gap.")
    doc_id: str | None = Field(None, description="Document that the event would have changed.")
    key: bytes | None = Field(None, description="The record's key.")
    value: bytes | None = Field(None, description="The record's value.")
    original_headers: tuple[tuple[str, bytes], ...] = Field((), description="The record's own headers.")

    def to_headers(self) -> Headers:
        """The original headers, then ours."""
        texts = {
            "service": self.service,
            "handler": self.handler,
            "error_type": self.error_type,
            "error": self.error,
            "attempts": str(self.attempts),
            "at": self.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "topic": self.topic,
            "partition": str(self.partition),
            "offset": str(self.offset),
            "source": self.source,
            "subject": self.subject,
            "sequence": None if self.sequence is None else str(self.sequence),
            "doc_id": self.doc_id,
        }
        ours = [
            (PREFIX + name, text.encode("utf-8", "surrogateescape")[:MAX_ERROR_BYTES])
            for name, text in texts.items()
            if text is not None
        ]
        return [*original_headers(self.original_headers), *ours]

    @classmethod
    def from_kafka(cls, key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes]]) -> Self:
        """Read a record of a dead-letter topic. Raises ValueError when it is none."""
        headers = list(headers)
        texts = {
            name.removeprefix(PREFIX): raw.decode("utf-8", "replace")
            for name, raw in headers
            if name.startswith(PREFIX)
        }
        rest = {"key": key, "value": value, "original_headers": tuple(original_headers(headers))}
        try:
            return cls.model_validate({**texts, **rest})
        except ValidationError as error:
            fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
            raise ValueError(f"{PREFIX}{'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None


def original_headers(headers: Iterable[tuple[str, bytes]]) -> Headers:
    """The headers without ours: what a replay sends."""
    return [(name, raw) for name, raw in headers if not name.startswith(PREFIX)]
