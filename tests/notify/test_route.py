"""Where alerts go, and the reasons that are given for it."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.base.errors import InvalidPolicy
from kit.policy.file import load, parse
from services.notify.core.escalation import explain
from services.notify.core.route import REPEAT_INTERVAL, Verdict, route
from services.notify.policy_file import NotifyFile
from tests.notify.examples import policy

TREE: dict[str, Any] = {
    "name": "all",
    "receiver": "mail",
    "routes": [
        {"name": "copy", "match": {"tier": "gold"}, "continue": True, "receiver": "slack"},
        {
            "name": "breached",
            "match": {"kind": "breached"},
            "chain": "breach",
            "repeat_interval": "2h",
            "routes": [
                {"name": "resolution", "match": {"metric": "resolution"}, "receiver": "slack"},
                {"name": "quiet-test", "match": {"brand": ["test", "demo"]}, "silent": True},
                {"name": "korean", "match": {"country": "KR", "priority": ["high", "urgent"]}, "receiver": "oncall"},
            ],
        },
        {"name": "known-queue", "match": {"queue": "*"}, "unless": {"queue": ["returns", "vip"]}, "receiver": "lead"},
    ],
}
ROUTES = policy(route=TREE)


@pytest.mark.parametrize(
    ("labels", "ends"),
    [
        ({}, ["all"]),
        ({"kind": "at_risk"}, ["all"]),
        ({"kind": "breached"}, ["breached"]),
        ({"kind": "breached", "metric": "resolution"}, ["resolution"]),
        ({"kind": "breached", "metric": "resolution", "brand": "test"}, ["resolution"]),
        ({"kind": "breached", "brand": "demo"}, ["quiet-test"]),
        ({"kind": "breached", "country": "KR"}, ["breached"]),
        ({"kind": "breached", "country": "KR", "priority": "high"}, ["korean"]),
        ({"kind": "breached", "tier": "gold"}, ["copy", "breached"]),
        ({"kind": "at_risk", "tier": "gold"}, ["copy"]),
        ({"queue": "thai"}, ["known-queue"]),
        ({"queue": ""}, ["all"]),
        ({"queue": "vip"}, ["all"]),
        ({"kind": "breached", "queue": "thai"}, ["breached"]),
    ],
)
def test_first_match_is_taken_deepest_first_and_continue_goes_on(labels: dict[str, str], ends: list[str]) -> None:
    assert [end.route for end in route(ROUTES, labels).destinations] == ends


def test_a_route_may_ask_for_tags_and_none_after_the_one_that_takes_is_asked() -> None:
    routes = [
        {"name": "any", "match": {"tags": ["vip", "press"]}},
        {"name": "both", "match": {"all_tags": ["a", "b"]}, "unless": {"tags": "c"}},
        {"name": "last"},
        {"name": "never"},
        {"name": "neither"},
    ]
    rules = policy(route={"name": "all", "receiver": "mail", "routes": routes})
    found = {tags: route(rules, {}, tags) for tags in ((), ("press",), ("a",), ("a", "b"), ("a", "b", "c"))}
    assert [[(end.route, end.receiver) for end in routed.destinations] for routed in found.values()] == [
        [("last", "mail")], [("any", "mail")], [("last", "mail")], [("both", "mail")], [("last", "mail")],
    ]  # fmt: skip
    assert explain(rules, {}, ("a", "b", "c")) == [
        "all: entered", "any: label_differs (tags)", "both: excluded (tags)", "last: taken", "never: not_reached",
        "neither: not_reached",
    ]  # fmt: skip


def test_a_route_inherits_what_it_does_not_say() -> None:
    (end,) = route(ROUTES, {"kind": "breached", "metric": "resolution"}).destinations
    assert (end.receiver, end.chain, end.repeat_interval) == ("slack", None, timedelta(hours=2))
    (end,) = route(ROUTES, {}).destinations
    assert (end.receiver, end.repeat_interval) == ("mail", REPEAT_INTERVAL)


def test_silent_tells_nobody_and_does_not_inherit() -> None:
    (end,) = route(ROUTES, {"kind": "breached", "brand": "test"}).destinations
    assert (end.receiver, end.chain) == (None, None)


def test_the_decision_names_every_route_and_the_label_that_decided() -> None:
    looked = route(ROUTES, {"kind": "breached", "country": "KR", "priority": "low"}).visits
    assert [(at.route, at.verdict, at.label) for at in looked] == [
        ("all", Verdict.ENTERED, ""),
        ("copy", Verdict.LABEL_DIFFERS, "tier"),
        ("breached", Verdict.TAKEN, ""),
        ("resolution", Verdict.LABEL_DIFFERS, "metric"),
        ("quiet-test", Verdict.LABEL_DIFFERS, "brand"),
        ("korean", Verdict.LABEL_DIFFERS, "priority"),
        ("known-queue", Verdict.NOT_REACHED, ""),
    ]
    assert "known-queue: excluded (queue)" in explain(ROUTES, {"queue": "vip"})


LABELS = st.dictionaries(
    st.sampled_from(["kind", "metric", "brand", "country", "priority", "tier", "queue"]),
    st.sampled_from(["", "breached", "resolution", "test", "KR", "high", "gold", "vip", "thai"]),
)


@given(LABELS)
def test_routing_is_total_and_a_missing_label_equals_an_empty_one(labels: dict[str, str]) -> None:
    routed = route(ROUTES, labels)
    assert routed.destinations
    assert routed == route(ROUTES, {name: value for name, value in labels.items() if value})
    names = [node.name for _, node in ROUTES.route.walk()]
    assert len({at.route for at in routed.visits}) == len(routed.visits)
    assert {at.route for at in routed.visits} <= set(names)


# --- The policy file. ---

GOOD = b"""receivers:
  desk:
    sink: email
    to: desk@nimbus.example
route:
  name: all
  receiver: desk
"""


def test_the_example_policy_is_valid(root: Path) -> None:
    example = load(root / "deploy/config/notify.yaml", NotifyFile)
    ends = {
        kind: [(end.chain, end.receiver) for end in route(example, {"kind": kind}).destinations]
        for kind in ("breached", "at_risk", "unroutable")
    }
    assert ends == {
        "breached": [("breach", None)],
        "at_risk": [(None, "sla-channel")],
        "unroutable": [(None, "workforce")],
    }


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        (b"receiver: desk", b"receiver: dask", 7, "unknown receiver 'dask'"),
        (b"receiver: desk", b"silent: false", 5, "requires a receiver"),
        (b"  receiver: desk", b"  receiver: desk\n  match: {brand: x}", 8, "not have match"),
        (b"  receiver: desk", b"  receiver: desk\n  routes: [{name: a, match: {brnd: x}}]", 8, "brnd"),
        (b"  receiver: desk", b"  receiver: desk\n  routes: [{name: all}]", 8, "two routes"),
        (b"  receiver: desk", b"  receiver: desk\n  repeat_interval: 5 parsecs", 8, "not a duration"),
        (b"to: desk@nimbus.example", b"to: desk", 4, "not a mail address"),
        (b"to: desk@nimbus.example", b"to: a@b.example\n    subject: $nonsense", 5, "unknown fact $nonsense"),
        (b"sink: email", b"sink: pigeon", 2, "pigeon"),
        (
            b"sink: email\n    to: desk@nimbus.example",
            b"sink: webhook\n    url: ftp://x\n    signing: env:S",
            4,
            "http",
        ),
        (
            b"sink: email\n    to: desk@nimbus.example",
            b"sink: webhook\n    url: https://x\n    signing: geheim",
            5,
            "signing",
        ),
        (b"sink: email\n    to: desk@nimbus.example", b"sink: slack\n    access: env:T", 2, "access and channel"),
    ],
)
def test_a_fault_is_named_with_its_line(old: bytes, new: bytes, line: int, words: str) -> None:
    parse("notify.yaml", GOOD, NotifyFile)
    assert old in GOOD
    with pytest.raises(InvalidPolicy) as fault:
        parse("notify.yaml", GOOD.replace(old, new), NotifyFile)
    assert fault.value.line == line
    assert words in str(fault.value)
