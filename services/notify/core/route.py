"""The route tree: from labels to destinations, with a named reason for every route visited. Nothing is sent here.

Grouping (group_by, group_wait, group_interval) would belong here: routes are where it would be configured.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from contracts.matching import ValuesOf
from services.notify.core.policy import NotifyPolicy, Route

REPEAT_INTERVAL = timedelta(hours=4)
"""Default, if neither the route nor one above it sets another."""


class Verdict(StrEnum):
    """Why a route was taken or not."""

    TAKEN = "taken"
    """It matches, and none of its children does."""
    ENTERED = "entered"
    """It matches, and so does one of its children."""
    LABEL_DIFFERS = "label_differs"
    EXCLUDED = "excluded"
    """A label has a value that `unless` excludes."""
    NOT_REACHED = "not_reached"
    """A sibling before it matched and has no `continue`."""


@dataclass(frozen=True, slots=True)
class Visit:
    """A route and its verdict; `label` names the label that decided."""

    route: str
    verdict: Verdict
    label: str = ""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where an alert goes. Neither receiver nor chain: nobody is notified."""

    route: str
    receiver: str | None
    chain: str | None
    repeat_interval: timedelta


@dataclass(frozen=True, slots=True)
class Routed:
    """The destinations of an alert, and the routes visited to find them."""

    destinations: tuple[Destination, ...]
    visits: tuple[Visit, ...]


def route(policy: NotifyPolicy, labels: Mapping[str, str], tags: tuple[str, ...] = ()) -> Routed:
    """Walk the tree. Every alert reaches at least one destination: the root route's if no other."""

    def values_of(key: str) -> tuple[str, ...]:
        value = labels.get(key, "")
        return tags if key in {"tags", "all_tags"} else (value,) if value else ()

    visits: list[Visit] = []
    destinations = _enter(policy.route, values_of, Destination("", None, None, REPEAT_INTERVAL), visits)
    return Routed(tuple(destinations), tuple(visits))


def _enter(node: Route, values_of: ValuesOf, parent: Destination, visits: list[Visit]) -> list[Destination]:
    """Return the destinations that a matching node leads to; append the routes visited to `visits`."""
    own = _inherit(node, parent)
    place = len(visits)
    destinations: list[Destination] = []
    done = False
    for child in node.routes:
        if done:
            visits.append(Visit(child.name, Verdict.NOT_REACHED))
            continue
        mismatch = _mismatch(child, values_of)
        if mismatch is not None:
            visits.append(mismatch)
            continue
        destinations += _enter(child, values_of, own, visits)
        done = not child.go_on
    visits.insert(place, Visit(node.name, Verdict.ENTERED if destinations else Verdict.TAKEN))
    return destinations or [own]


def _inherit(node: Route, parent: Destination) -> Destination:
    receiver, chain = node.receiver, node.chain
    if receiver is None and chain is None and not node.silent:
        receiver, chain = parent.receiver, parent.chain
    return Destination(node.name, receiver, chain, node.repeat_interval or parent.repeat_interval)


def _mismatch(node: Route, values_of: ValuesOf) -> Visit | None:
    failing, excluded = node.match.failing(values_of), node.unless.holding(values_of)
    if failing is not None:
        return Visit(node.name, Verdict.LABEL_DIFFERS, failing)
    return None if excluded is None else Visit(node.name, Verdict.EXCLUDED, excluded)
