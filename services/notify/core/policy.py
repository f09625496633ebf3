"""The notification policy as people write it: receivers, chains, the route tree. Checked here, followed elsewhere.

Rule: a secret is named, never written (kit/policy/secrets.py).
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
from kit.policy.address import Address, Hosts, Url
from kit.policy.duration import PositiveDuration
from kit.policy.part import Part
from kit.policy.secrets import SecretRef, SecretRefs
from services.notify.core import text

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
"""Name of a receiver, chain or route: also a field name in a document, so no dots."""


def _template(value: str) -> str:
    text.check(value)
    return value


Fault = tuple[tuple[int | str, ...], str]
"""Where, and what is wrong there."""
Template = Annotated[str, Field(max_length=text.MAX_TEMPLATE), AfterValidator(_template)]


# --- Receivers. ---


class _Receiver(Part):
    kind: Literal["person", "schedule", "team", "webhook"] = "team"
    """What it is, for those who read the events."""
    send_resolved: bool = True
    """Whether it is also told that what it was told of is over."""
    retry_for: PositiveDuration = timedelta(days=1)
    """How long a notification is tried before it counts as failed."""


class WebhookReceiver(_Receiver):
    """A system that takes signed webhooks (Standard Webhooks)."""

    sink: Literal["webhook"]
    """webhook."""
    url: Url
    """Where to; `${NAME:-default}` in it is filled in."""
    signing: Annotated[SecretRefs, Field(min_length=1)]
    """What we sign with; several while it is being changed: all sign."""
    retry_for: PositiveDuration = timedelta(days=3)
    """How long a notification is tried before it counts as failed."""


class SlackReceiver(_Receiver):
    """A Slack channel: with `access` messages of one escalation form a thread; an incoming webhook cannot do that."""

    sink: Literal["slack"]
    """slack."""
    access: SecretRef | None = None
    """What we call Slack's API with: the token of a bot that may write to the channel."""
    channel: str | None = None
    """Id of the channel."""
    webhook: SecretRef | None = None
    """The whole URL of an incoming webhook is a secret."""
    base_url: Url = "https://slack.com/api"
    """Slack's API."""
    text: Template = text.LINE
    """Template: facts by name, such as `$summary`, `$ticket`, `$agent`, `$queue`, `$priority`."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.webhook is None) == (self.access is None) or (self.access is None) != (self.channel is None):
            raise ValueError("needs either access and channel, or webhook")
        return self


class EmailReceiver(_Receiver):
    """Mail addresses. The relay is in the service's settings."""

    sink: Literal["email"]
    """email."""
    to: Annotated[OneOrMany[Address], Field(min_length=1, max_length=20)]
    """Up to 20 addresses."""
    subject: Template = text.LINE
    """Template: facts by name, such as `$summary`, `$ticket`, `$agent`, `$queue`, `$priority`."""
    text: Template = text.LONG
    """Template: facts by name, such as `$summary`, `$ticket`, `$agent`, `$queue`, `$priority`."""


Receiver = Annotated[WebhookReceiver | SlackReceiver | EmailReceiver, Field(discriminator="sink")]


# --- Chains. ---


class Step(Part):
    """Who is told, and how long until the next step if nobody acknowledges."""

    targets: Annotated[OneOrMany[Name], Field(min_length=1)]
    """Receivers that are told."""
    wait: PositiveDuration = timedelta(minutes=15)
    """Time to the next step."""


class Chain(Part):
    """Steps taken one after the other until somebody acknowledges or it is over."""

    steps: tuple[Step, ...] = Field(min_length=1, max_length=20)
    """Up to 20."""
    repeat: int = Field(0, ge=0, le=100)
    """How often the whole chain begins again."""
    remind_after: PositiveDuration | None = None
    """After an acknowledgement: those told are reminded."""
    undo_after: PositiveDuration | None = None
    """After that reminder: the acknowledgement is undone and the chain begins again."""

    @model_validator(mode="after")
    def _reminded_first(self) -> Self:
        if self.undo_after is not None and self.remind_after is None:
            raise ValueError("undo_after needs remind_after: nobody loses an acknowledgement unwarned")
        return self


# --- Routes. ---


class AlertMatch(Match):
    """What an alert must be: of the ticket, and of what is the matter.

    One value or a list of which any will do; `*` is any value, `""` is none.
    """

    kind: Values = ()
    """breached, at_risk, due_soon, unroutable."""
    metric: Values = ()
    """Any of these metrics of the clock."""
    reason: Values = ()
    """Any of these reasons, such as those of unroutable."""
    policy: Values = ()
    """Any of these policies of sla."""
    queue: Values = ()
    """Any of these queues."""


class Route(Part):
    """A node of the tree. What it does not say is its parent's."""

    name: Name
    """A name of its own."""
    match: AlertMatch = AlertMatch()
    """Conditions that must all hold."""
    unless: AlertMatch = AlertMatch()
    """Conditions of which none may hold."""
    go_on: bool = Field(False, alias="continue")
    """Also look at the routes beside it that follow."""
    receiver: Name | None = None
    """Who is told: once, and again after `repeat_interval`."""
    chain: Name | None = None
    """The chain that is begun."""
    silent: bool = False
    """Nobody is told."""
    repeat_interval: PositiveDuration | None = None
    """A route with a receiver says again after it what still holds. What was over and holds again is told at once."""
    routes: tuple["Route", ...] = ()
    """Asked in order; where none matches, this route takes the alert."""

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        if sum((self.receiver is not None, self.chain is not None, self.silent)) > 1:
            raise ValueError("may have only one of receiver, chain and silent")
        return self

    def walk(self, at: tuple[int | str, ...] = ()) -> Iterator[tuple[tuple[int | str, ...], "Route"]]:
        """The node and all below it, with their places."""
        yield at, self
        for number, route in enumerate(self.routes):
            yield from route.walk((*at, "routes", number))


class Backoff(Part):
    """Waits between the tries of one notification: doubling, with jitter."""

    first: PositiveDuration = timedelta(seconds=5)
    """First wait."""
    most: PositiveDuration = timedelta(hours=1)
    """Longest wait."""


class Policy(Part):
    """The whole file."""

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
    """The first route; it takes every alert."""
    backoff: Backoff = Backoff()
    """Waits between the tries of a notification."""
    allow_hosts: Hosts = ()
    """Hosts that may be called although private or without TLS: `host` or `host:port`, as in the URL."""

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        faults = [*self._chain_faults(), *self._route_faults()]
        if faults:
            # With their places, so that the file's lines can be named.
            details = [
                InitErrorDetails(type=PydanticCustomError("policy", "{why}", {"why": why}), loc=at, input=None)
                for at, why in faults
            ]
            raise ValidationError.from_exception_data("Policy", details)
        return self

    def _chain_faults(self) -> Iterator[Fault]:
        for name, chain in self.chains.items():
            for number, step in enumerate(chain.steps):
                for target in step.targets:
                    if target not in self.receivers:
                        yield ("chains", name, "steps", number, "targets"), f"there is no receiver {target!r}"

    def _route_faults(self) -> Iterator[Fault]:
        top = self.route
        if (top.match, top.unless) != (AlertMatch(), AlertMatch()):
            yield ("route", "match"), "the first route takes every alert: it has no match and no unless"
        if top.receiver is None and top.chain is None and not top.silent:
            yield ("route",), "the first route needs a receiver or a chain, or must say silent"
        names: set[str] = set()
        for at, route in top.walk(("route",)):
            if route.name in names:
                yield (*at, "name"), f"two routes are named {route.name!r}"
            names.add(route.name)
            if route.receiver is not None and route.receiver not in self.receivers:
                yield (*at, "receiver"), f"there is no receiver {route.receiver!r}"
            if route.chain is not None and route.chain not in self.chains:
                yield (*at, "chain"), f"there is no chain {route.chain!r}"
