"""The route tree: labels in, the ends that they reach out, each with a named reason. Nothing is sent here.

Grouping (group_by, group_wait, group_interval) has its place here when it comes: a route is where it is configured.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from contracts.matching import Given
from services.notify.core.policy import NotifyPolicy, Route

REPEAT_INTERVAL = timedelta(hours=4)
"""Where no route on the way says otherwise."""


class Verdict(StrEnum):
    """What became of a route."""

    TAKEN = "taken"
    """It matches, and none below it does."""
    ENTERED = "entered"
    """It matches, and one below it does too."""
    LABEL_DIFFERS = "label_differs"
    EXCLUDED = "excluded"
    """A label has a value that `unless` names."""
    NOT_REACHED = "not_reached"
    """One before it matched and did not say continue."""


@dataclass(frozen=True, slots=True)
class Looked:
    """A route and why it was taken or not; `label` names the one that decided."""

    route: str
    verdict: Verdict
    label: str = ""


@dataclass(frozen=True, slots=True)
class End:
    """Where an alert goes. Neither receiver nor chain: nobody is told."""

    route: str
    receiver: str | None
    chain: str | None
    repeat_interval: timedelta


@dataclass(frozen=True, slots=True)
class Routed:
    """The answer, and how it came about."""

    ends: tuple[End, ...]
    looked: tuple[Looked, ...]


def route(policy: NotifyPolicy, labels: Mapping[str, str], tags: tuple[str, ...] = ()) -> Routed:
    """Walk the tree. Total: every alert reaches at least one end, the first route's if no other."""

    def given(key: str) -> tuple[str, ...]:
        value = labels.get(key, "")
        return tags if key in {"tags", "all_tags"} else (value,) if value else ()

    looked: list[Looked] = []
    ends = _enter(policy.route, given, End("", None, None, REPEAT_INTERVAL), looked)
    return Routed(tuple(ends), tuple(looked))


def _enter(node: Route, given: Given, above: End, looked: list[Looked]) -> list[End]:
    here = _inherit(node, above)
    place = len(looked)
    ends: list[End] = []
    closed = False
    for child in node.routes:
        if closed:
            looked.append(Looked(child.name, Verdict.NOT_REACHED))
            continue
        refused = _refuse(child, given)
        if refused is not None:
            looked.append(refused)
            continue
        ends += _enter(child, given, here, looked)
        closed = not child.go_on
    looked.insert(place, Looked(node.name, Verdict.ENTERED if ends else Verdict.TAKEN))
    return ends or [here]


def _inherit(node: Route, above: End) -> End:
    receiver, chain = node.receiver, node.chain
    if receiver is None and chain is None and not node.silent:
        receiver, chain = above.receiver, above.chain
    return End(node.name, receiver, chain, node.repeat_interval or above.repeat_interval)


def _refuse(node: Route, given: Given) -> Looked | None:
    failing, excluded = node.match.failing(given), node.unless.holding(given)
    if failing is not None:
        return Looked(node.name, Verdict.LABEL_DIFFERS, failing)
    return None if excluded is None else Looked(node.name, Verdict.EXCLUDED, excluded)
