"""The base class of the `data` of events and commands. The concrete classes are in a module per topic."""

from typing import Any, ClassVar

from contracts.values import Value


class Payload(Value):
    """The `data` of an event or command. A subclass names its CloudEvents type, with the major version."""

    type: ClassVar[str] = ""


class UnknownPayload(Payload):
    """The unparsed `data` of an unknown type, which services count and skip."""

    raw: Any = None
