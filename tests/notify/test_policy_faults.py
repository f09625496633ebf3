"""What a policy of notify must not say, and the place that the fault is told with."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from services.notify.policy_file import NotifyFile

MAIL = {"sink": "email", "to": "desk@nimbus.example"}
ROOT = {"name": "all", "receiver": "mail"}


def faults(**document: Any) -> list[tuple[tuple[int | str, ...], str]]:
    """Places and messages, in the order of the file; none where it is valid."""
    try:
        NotifyFile.model_validate({"receivers": {"mail": MAIL}, "route": ROOT, **document})
    except ValidationError as fault:
        return [(error["loc"], error["msg"]) for error in fault.errors()]
    return []


def chain(*targets: str) -> dict[str, Any]:
    return {"steps": [{"targets": target} for target in targets]}


def below(*routes: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**ROOT, "routes": list(routes), **more}


def test_a_policy_of_one_receiver_and_one_route_is_whole() -> None:
    assert faults() == []
    assert faults(chains={"c": chain("mail")}, route=below({"name": "a", "chain": "c"}, {"name": "b"})) == []


def test_each_step_of_a_chain_names_receivers_that_there_are() -> None:
    assert faults(chains={"good": chain("mail"), "bad": chain("mail", "pager", "fax")}) == [
        (("chains", "bad", "steps", 1, "targets"), "unknown receiver 'pager'"),
        (("chains", "bad", "steps", 2, "targets"), "unknown receiver 'fax'"),
    ]


def test_routes_name_receivers_and_chains_that_there_are() -> None:
    deep = {"name": "b", "chain": "nothing"}
    assert faults(route=below({"name": "a", "receiver": "pager", "routes": [deep]})) == [
        (("route", "routes", 0, "receiver"), "unknown receiver 'pager'"),
        (("route", "routes", 0, "routes", 0, "chain"), "unknown chain 'nothing'"),
    ]


def test_no_two_routes_have_one_name_wherever_they_are() -> None:
    inner = {"name": "a", "routes": [{"name": "all"}]}
    assert faults(route=below(inner, {"name": "a"})) == [
        (("route", "routes", 0, "routes", 0, "name"), "two routes are named 'all'"),
        (("route", "routes", 1, "name"), "two routes are named 'a'"),
    ]


@pytest.mark.parametrize("key", ["match", "unless"])
def test_the_root_route_takes_every_alert(key: str) -> None:
    (found,) = faults(route={**ROOT, key: {"brand": "x"}})
    assert found[0] == ("route", "match")


def test_the_root_route_ends_somewhere() -> None:
    assert [place for place, _ in faults(route={"name": "all"})] == [("route",)]
    for end in ({"receiver": "mail"}, {"chain": "c"}, {"silent": True}):
        assert faults(route={"name": "all", **end}, chains={"c": chain("mail")}) == []


@pytest.mark.parametrize(
    "ends",
    [
        {"receiver": "mail", "chain": "c"},
        {"receiver": "mail", "silent": True},
        {"chain": "c", "silent": True},
        {"receiver": "mail", "chain": "c", "silent": True},
    ],
)
def test_a_route_has_one_end(ends: dict[str, Any]) -> None:
    assert [place for place, _ in faults(route={"name": "all", **ends}, chains={"c": chain("mail")})] == [("route",)]


@pytest.mark.parametrize(
    ("ways", "valid"),
    [
        ({"access": "env:T", "channel": "C1"}, True),
        ({"webhook": "env:W"}, True),
        ({"access": "env:T"}, False),
        ({"channel": "C1"}, False),
        ({"webhook": "env:W", "channel": "C1"}, False),
        ({"webhook": "env:W", "access": "env:T", "channel": "C1"}, False),
        ({}, False),
    ],
)
def test_slack_is_reached_by_a_bot_in_a_channel_or_by_a_webhook(ways: dict[str, str], valid: bool) -> None:
    assert (faults(receivers={"mail": MAIL, "slack": {"sink": "slack", **ways}}) == []) is valid


@pytest.mark.parametrize(
    ("times", "valid"),
    [
        ({}, True),
        ({"remind_after": "5m"}, True),
        ({"remind_after": "5m", "undo_after": "5m"}, True),
        ({"undo_after": "5m"}, False),
    ],
)
def test_an_acknowledgement_is_undone_after_a_reminder_only(times: dict[str, str], valid: bool) -> None:
    assert (faults(chains={"c": {**chain("mail"), **times}}) == []) is valid
