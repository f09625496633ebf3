"""The base class of everything that travels as `data` of an event or a command. The concrete ones live by topic."""

from typing import Any, ClassVar

from contracts.values import Value


class Payload(Value):
    """The `data` of an event. A subclass names its CloudEvents type, major version included."""

    type: ClassVar[str] = ""


class UnknownPayload(Payload):
    """The `data` of a type that this release does not know: kept as it came, to be counted and skipped."""

    raw: Any = None
