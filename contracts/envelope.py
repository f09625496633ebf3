"""The CloudEvents 1.0 envelope of events and commands, to and from bytes (structured JSON). No event lives here."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, ValidationError
from pydantic_core import from_json, to_json

from contracts.payload import Payload, UnknownPayload
from contracts.registry import COMMAND_TYPES, EVENT_TYPES
from contracts.values import MAX_INTEGER, Identifier, Instant, Value

__all__ = ["CONTENT_TYPE", "HEADERS", "Command", "Event", "Head", "Payload", "UnknownPayload", "event_id"]

CONTENT_TYPE = "application/cloudevents+json"
HEADERS = (("content-type", CONTENT_TYPE.encode()),)
"""Kafka headers of every event and command, which mark the value as structured mode."""
Sequence = Annotated[int, Field(strict=True, ge=1, le=MAX_INTEGER)]


def event_id(source: str, subject: str, sequence: int) -> str:
    """Return the id of an event. It follows from its position, so that a resent event has the same id."""
    return f"{source.removeprefix('/deskbus/')}:{subject}:{sequence}"


class Head(Value):
    """Position of an event: enough to record it as missing if the rest cannot be read."""

    source: Identifier
    subject: Identifier
    sequence: Sequence
    id: Any = None
    type: Any = None


class _Envelope(Value):
    """CloudEvents attributes that events and commands share."""

    known_types: ClassVar[Mapping[str, type[Payload]]] = {}

    specversion: Literal["1.0"] = Field(description="Version of CloudEvents.")
    id: Identifier = Field(description="Id, unique within the source.")
    source: Identifier = Field(description="Service that published it, e.g. /deskbus/ingest.")
    type: Identifier = Field(description="Type with its major version, e.g. deskbus.ticket.opened.v1.")
    subject: Identifier = Field(description="Id of what it is about: a ticket, contact, agent, queue or escalation.")
    time: Instant = Field(description="When it happened.")
    datacontenttype: str = Field("application/json", description="Media type of data.")
    causationid: str | None = Field(None, description="Id of the event or command that caused this one.")
    traceparent: str | None = Field(None, description="W3C trace context.")
    data: Any = Field(description="The payload; its class follows from type.")

    @property
    def known(self) -> bool:
        """Whether the type is known; if not, `data` is an UnknownPayload."""
        return not isinstance(self.data, UnknownPayload)

    @classmethod
    def parse(cls, value: bytes | str) -> Self:
        """Read bytes from Kafka. Raises ValueError, with field and reason, and no other error."""
        return cls._of_document(_json_object(value))

    @classmethod
    def _of_document(cls, document: dict[str, Any]) -> Self:
        kind = document.get("type")
        payload = cls.known_types.get(kind) if isinstance(kind, str) else None
        try:
            raw = document.get("data")
            document["data"] = UnknownPayload(raw=raw) if payload is None else payload.model_validate(raw)
        except ValidationError as error:
            raise ValueError(f"{kind}: {_first_faults(error, 'data')}") from None
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            raise ValueError(f"envelope: {_first_faults(error)}") from None

    def encode(self) -> bytes:
        """Return the bytes for Kafka. Fields that are None are left out."""
        if isinstance(self.data, UnknownPayload):
            return to_json(self.model_copy(update={"data": self.data.raw}), exclude_none=True)
        return to_json(self, exclude_none=True)


class Event(_Envelope):
    """Something that happened. Sequences have no gaps per source and subject; consumers skip what they have seen."""

    known_types: ClassVar[Mapping[str, type[Payload]]] = EVENT_TYPES

    sequence: Sequence = Field(
        description="Position among the events of this source about this subject, from 1; a number, not a string."
    )
    correlationid: Identifier = Field(description="Id shared by everything that follows from the same first cause.")

    @classmethod
    def of(
        cls,
        data: Payload,
        *,
        source: str,
        subject: str,
        sequence: int,
        time: datetime,
        cause: "Event | Command | None" = None,
        correlationid: str | None = None,
        causationid: str | None = None,
        traceparent: str | None = None,
    ) -> Self:
        """Wrap a payload. Correlation, causation and trace are taken from the cause unless given."""
        own = event_id(source, subject, sequence)
        if cause is not None:
            correlationid = correlationid or cause.correlationid or cause.id
            causationid = causationid or cause.id
            traceparent = traceparent or cause.traceparent
        return cls(
            specversion="1.0",
            id=own,
            source=source,
            type=data.type,
            subject=subject,
            sequence=sequence,
            time=time,
            correlationid=correlationid or own,
            causationid=causationid,
            traceparent=traceparent,
            data=data,
        )

    @classmethod
    def envelope_only(cls, value: bytes | str) -> Head:
        """Return the position of an event that `parse` refused. Raises ValueError if that cannot be read either."""
        return cls._head(_json_object(value))

    @classmethod
    def parse_only(cls, value: bytes | str, types: Collection[str]) -> "Event | Head":
        """Read an event of these types; of other known types only its position, which is much faster.

        Raises ValueError like `parse`. An event of an unknown type is read as a whole.
        """
        document = _json_object(value)
        kind = document.get("type")
        if isinstance(kind, str) and kind in cls.known_types and kind not in types:
            return cls._head(document)
        return cls._of_document(document)

    @classmethod
    def _head(cls, document: dict[str, Any]) -> Head:
        try:
            return Head.model_validate(document)
        except ValidationError as error:
            raise ValueError(f"envelope: {_first_faults(error)}") from None


class Command(_Envelope):
    """A request to change a ticket, whose id is the subject. Commands have no sequence; their id identifies them."""

    known_types: ClassVar[Mapping[str, type[Payload]]] = COMMAND_TYPES

    correlationid: str | None = Field(
        None, description="Id shared by everything that follows from the same first cause."
    )
    caller: str | None = Field(None, description="Name of the API token that sent the command.")
    brands: str | None = Field(
        None, description="Brands that the caller is limited to, separated by commas; absent if not limited."
    )
    accounts: str | None = Field(
        None, description="Accounts that the caller is limited to, separated by commas; absent if not limited."
    )

    @classmethod
    def envelope_only(cls, value: bytes | str) -> Self:
        """Read a command whose data `parse` refused, so that it can be answered; `data` is an UnknownPayload.

        Raises ValueError if that cannot be read either.
        """
        try:
            return cls.model_validate(_json_object(value) | {"data": UnknownPayload(raw=None)})
        except ValidationError as error:
            raise ValueError(f"envelope: {_first_faults(error)}") from None

    def reaches(self, brand: str | None, account: str | None) -> bool:
        """Return whether the caller may change tickets of this brand and account."""
        limits = ((self.brands, brand), (self.accounts, account))
        return all(limit is None or value in limit.split(",") for limit, value in limits)

    @classmethod
    def of(
        cls,
        data: Payload,
        *,
        id: str,  # noqa: A002 what CloudEvents calls it
        source: str,
        subject: str,
        time: datetime,
        cause: "Event | Command | None" = None,
        correlationid: str | None = None,
        traceparent: str | None = None,
        caller: str | None = None,
        brands: str | None = None,
        accounts: str | None = None,
    ) -> Self:
        """Wrap a command's data. The id is the Idempotency-Key, or one that the caller can reproduce."""
        causationid = None
        if cause is not None:
            correlationid = correlationid or cause.correlationid or cause.id
            causationid = cause.id
            traceparent = traceparent or cause.traceparent
        return cls(
            specversion="1.0",
            id=id,
            source=source,
            type=data.type,
            subject=subject,
            time=time,
            correlationid=correlationid or id,
            causationid=causationid,
            traceparent=traceparent,
            caller=caller,
            brands=brands,
            accounts=accounts,
            data=data,
        )


def _json_object(value: bytes | str) -> dict[str, Any]:
    document = from_json(value, allow_inf_nan=False)
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 callers are promised ValueError
    return document


def _first_faults(error: ValidationError, *prefix: str, limit: int = 3) -> str:
    """Return field and reason of the first faults, without the input, which may be long or personal."""
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    texts = [f"{'.'.join([*prefix, *map(str, fault['loc'])])}: {fault['msg']}" for fault in faults[:limit]]
    more = [f"and {len(faults) - limit} more"] if len(faults) > limit else []
    return "; ".join(texts + more)
