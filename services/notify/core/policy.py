"""The notification policy: receivers as the rules see them, chains, the route tree. Validated here, applied elsewhere.

Each sink defines the keys of its receivers; the whole file is in `policy_file.py`.
"""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from contracts.matching import Match, Values
from contracts.values import OneOrMany
from kit.policy.address import Hosts
from kit.policy.duration import PositiveDuration
from kit.policy.part import Part
from services.notify.core import text

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
"""Name of a receiver, chain or route. No dots: it is also a field name in MongoDB."""


def _template(value: str) -> str:
    text.check(value)
    return value


Fault = tuple[tuple[int | str, ...], str]
"""Location, and what is wrong there."""
Template = Annotated[str, Field(max_length=text.MAX_TEMPLATE), AfterValidator(_template)]


# --- Receivers. ---


class Receiver(Part):
    """The keys that all receivers have. Each file in `sinks/` adds those of its sink."""

    kind: Literal["person", "schedule", "team", "webhook"] = "team"
    """Kind of receiver, as shown in events."""
    send_resolved: bool = True
    """Whether to notify the receiver when the alert is resolved."""
    retry_for: PositiveDuration = timedelta(days=1)
    """How long to retry a notification before it counts as failed."""
    sink: str
    """Name of the sink that sends to it."""


# --- Chains. ---


class Step(Part):
    """Whom to notify, and how long to wait for an acknowledgement before the next step."""

    targets: Annotated[OneOrMany[Name], Field(min_length=1)]
    """Receivers to notify."""
    wait: PositiveDuration = timedelta(minutes=15)
    """Time until the next step."""


class Chain(Part):
    """Steps taken in order until someone acknowledges or the alert is resolved."""

    steps: tuple[Step, ...] = Field(min_length=1, max_length=20)
    """Up to 20 steps."""
    repeat: int = Field(0, ge=0, le=100)
    """How often to repeat the whole chain."""
    remind_after: PositiveDuration | None = None
    """Time after an acknowledgement until those notified get a reminder."""
    undo_after: PositiveDuration | None = None
    """Time after the reminder until the acknowledgement is undone and the chain starts again."""

    @model_validator(mode="after")
    def _reminded_first(self) -> Self:
        if self.undo_after is not None and self.remind_after is None:
            raise ValueError("undo_after requires remind_after: an acknowledgement is never undone without a reminder")
        return self


# --- Routes. ---


class AlertMatch(Match):
    """Conditions on the alert and its ticket, which must all hold.

    One value, or a list of which any matches; `*` matches any value, `""` matches if there is none.
    """

    kind: Values = ()
    """Any of these kinds of alert: breached, at_risk, due_soon, unroutable."""
    metric: Values = ()
    """Any of these clock metrics, such as first_reply."""
    reason: Values = ()
    """Any of these reasons, such as why a ticket is unroutable."""
    policy: Values = ()
    """Any of these SLA policies."""
    queue: Values = ()
    """Any of these queues."""


class Route(Part):
    """A node of the route tree. An omitted receiver, chain, silent or repeat_interval is the parent's."""

    name: Name
    """Unique name."""
    match: AlertMatch = AlertMatch()
    """Conditions that must all hold."""
    unless: AlertMatch = AlertMatch()
    """Conditions of which none may hold."""
    go_on: bool = Field(False, alias="continue")
    """Whether to try the following sibling routes after a match."""
    receiver: Name | None = None
    """Receiver to notify: once, and again after each `repeat_interval`."""
    chain: Name | None = None
    """Chain to start."""
    silent: bool = False
    """Whether to notify nobody."""
    repeat_interval: PositiveDuration | None = None
    """With a receiver: time after which an unresolved alert is sent again. One that recurs is sent immediately."""
    routes: tuple["Route", ...] = ()
    """Child routes, tried in order; if none matches, this route applies."""

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        if sum((self.receiver is not None, self.chain is not None, self.silent)) > 1:
            raise ValueError("must have at most one of receiver, chain and silent")
        return self

    def walk(self, at: tuple[int | str, ...] = ()) -> Iterator[tuple[tuple[int | str, ...], "Route"]]:
        """Yield this node and all nodes below it, with their locations."""
        yield at, self
        for number, route in enumerate(self.routes):
            yield from route.walk((*at, "routes", number))


class Backoff(Part):
    """Delays between attempts to send a notification: doubling, with jitter."""

    first: PositiveDuration = timedelta(seconds=5)
    """First delay."""
    most: PositiveDuration = timedelta(hours=1)
    """Maximum delay."""


class NotifyPolicy(Part):
    """Receivers, chains and routes. Every name that they refer to must exist."""

    renamed_keys: ClassVar[Mapping[str, str]] = {
        "market": "marketplace",
        "secret": "signing",
        "token": "access",
        "api": "base_url",
    }

    receivers: Mapping[Name, Receiver] = Field(min_length=1)
    """Receivers by name."""
    chains: Mapping[Name, Chain] = Field(default_factory=dict)
    """Chains by name."""
    route: Route
    """The root route; it applies to every alert."""
    backoff: Backoff = Backoff()
    """Delays between attempts to send a notification."""
    allow_hosts: Hosts = ()
    """Hosts that may be called even if private or without TLS: `host` or `host:port`, as in the URL."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        faults = [*self._chain_faults(), *self._route_faults()]
        if faults:
            details = [  # with locations, so that messages can name lines of the file
                InitErrorDetails(type=PydanticCustomError("policy", "{why}", {"why": why}), loc=at, input=None)
                for at, why in faults
            ]
            raise ValidationError.from_exception_data("NotifyPolicy", details)
        return self

    def _chain_faults(self) -> Iterator[Fault]:
        for name, chain in self.chains.items():
            for number, step in enumerate(chain.steps):
                for target in step.targets:
                    if target not in self.receivers:
                        yield ("chains", name, "steps", number, "targets"), f"unknown receiver {target!r}"

    def _route_faults(self) -> Iterator[Fault]:
        top = self.route
        if (top.match, top.unless) != (AlertMatch(), AlertMatch()):
            yield ("route", "match"), "the root route applies to every alert: it must not have match or unless"
        if top.receiver is None and top.chain is None and not top.silent:
            yield ("route",), "the root route requires a receiver, a chain or silent"
        names: set[str] = set()
        for at, route in top.walk(("route",)):
            if route.name in names:
                yield (*at, "name"), f"two routes are named {route.name!r}"
            names.add(route.name)
            if route.receiver is not None and route.receiver not in self.receivers:
                yield (*at, "receiver"), f"unknown receiver {route.receiver!r}"
            if route.chain is not None and route.chain not in self.chains:
                yield (*at, "chain"), f"unknown chain {route.chain!r}"
