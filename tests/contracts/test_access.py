"""What each user may do in Kafka: what the table of topics says, and nothing else."""

from pathlib import Path

import pytest

from contracts.access import CREATOR, OPERATOR, USERS, access
from contracts.topics import CONSUMES, PRODUCES, SERVICES, TOPICS, retry


def _allowed(user: str, operation: str, resource: str = "topic", prefix: str = "") -> set[str]:
    return {a.name for a in access(user, prefix) if a.resource == resource and operation in a.operations}


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_reads_and_writes_what_the_table_of_topics_says(service: str) -> None:
    assert _allowed(service, "Read") == set(CONSUMES[service])
    assert _allowed(service, "Write") == set(PRODUCES[service])
    assert _allowed(service, "Describe") == {*CONSUMES[service], *PRODUCES[service]}


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_uses_its_own_group_only(service: str) -> None:
    assert _allowed(service, "Read", "group") == {f"deskbus.{service}"} == _allowed(service, "Describe", "group")


@pytest.mark.parametrize("user", [*SERVICES, OPERATOR])
def test_nobody_but_the_creator_changes_topics(user: str) -> None:
    assert {op for each in access(user) for op in each.operations} <= {"Read", "Write", "Describe"}


def test_the_creator_configures_topics_and_reads_nothing() -> None:
    allowed = {op for each in access(CREATOR) for op in each.operations}
    assert allowed == {"Create", "Describe", "DescribeConfigs", "AlterConfigs"}
    assert _allowed(CREATOR, "Create") == {topic.name for topic in TOPICS}


def test_the_operator_reads_everything_and_writes_retries_only() -> None:
    assert _allowed(OPERATOR, "Read") == {topic.name for topic in TOPICS}
    assert _allowed(OPERATOR, "Write") == {retry(service) for service in SERVICES}
    assert _allowed(OPERATOR, "Read", "group") == set()  # it must not commit for a service


@pytest.mark.parametrize("user", USERS)
def test_every_name_is_in_full_and_appears_once(user: str) -> None:
    names = [(each.resource, each.name) for each in access(user, "shop-eu.")]
    assert len(names) == len(set(names)) > 0
    assert all(name.startswith("shop-eu.deskbus.") for _, name in names)


def test_the_documented_table_is_what_is_listed(root: Path) -> None:
    text = (root / "docs" / "connections.md").read_text("utf-8").partition("### Who may do what")[2]
    heads, _, *rows = [line for line in text.partition("\n###")[0].splitlines() if line.startswith("|")]
    documented: dict[str, set[tuple[str, str, str]]] = {user: set() for user in (*SERVICES, OPERATOR)}
    users = [cell.strip() for cell in heads.strip("|").split("|")][1:]
    for row in rows:
        first, *cells = [cell.strip() for cell in row.strip("|").split("|")]
        resource = "group" if first.startswith("group ") else "topic"
        for user, cell in zip(users, cells, strict=True):
            for operation in {*cell.split(", "), "Describe"} if cell else ():
                documented[user].add((resource, first.removeprefix("group ").strip("`"), operation))
    for user, found in documented.items():
        assert found == {(each.resource, each.name, op) for each in access(user) for op in each.operations}, user


def test_an_unknown_user_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown user: billing"):
        access("billing")
