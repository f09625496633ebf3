"""The reference in docs/ is what the code says now."""

import json
from pathlib import Path

import pytest

from contracts.topics import SERVICES
from deploy import policies, reference
from deploy.settings import settings_class
from kit.base.settings import ServiceSettings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def outputs() -> dict[Path, str]:
    return reference.outputs()


def test_the_committed_reference_is_what_the_code_says(outputs: dict[Path, str]) -> None:
    assert reference.drift(outputs) == []


def test_drift_names_what_is_missing_and_what_differs(outputs: dict[Path, str]) -> None:
    changed = {**outputs, reference.DOCS / "metrics.md": "other", reference.DOCS / "absent.md": "new"}
    assert reference.drift(changed) == ["docs/metrics.md: differs", "docs/absent.md: is missing"]


def test_every_metric_and_every_door_is_in_it(outputs: dict[Path, str]) -> None:
    table = outputs[reference.DOCS / "metrics.md"]
    assert [row.name for row in reference.metric_rows() if f"`{row.name}`" not in table] == []
    for service in SERVICES:
        document = json.loads(outputs[reference.DOCS / "openapi" / f"{service}.json"])
        assert document["paths"], service


def test_a_metric_says_its_unit_and_what_it_counts() -> None:
    rows = {row.name: row for row in reference.metric_rows()}
    assert rows["deskbus_events_total"].labels == ("group", "outcome")
    assert rows["deskbus_batch_seconds"].kind == "histogram"
    assert [name for name, row in rows.items() if not row.help.endswith(".")] == []
    units = ("_total", "_seconds", "_records", "_stopped", "_paused", "_assigned", "_refused", "_differ")
    ours = [name for name in rows if name.split("_")[1] not in SERVICES]
    assert [name for name in ours if not name.endswith(units)] == []


def test_a_secret_s_variable_is_in_it_and_never_a_value(outputs: dict[Path, str]) -> None:
    table = outputs[reference.DOCS / "settings.md"]
    assert "| `DESKBUS_TOKENS` |  |" in table
    assert "SecretStr" not in table


@pytest.mark.parametrize("service", SERVICES)
def test_a_default_that_a_service_has_of_its_own_is_in_its_table(service: str, outputs: dict[Path, str]) -> None:
    table = outputs[reference.DOCS / "settings.md"]
    fields, common = settings_class(service).model_fields, ServiceSettings.model_fields
    mine = {name: field for name, field in fields.items() if name in common}
    own = {name: field.default for name, field in mine.items() if name not in reference.PER_SERVICE}
    changed = {name: default for name, default in own.items() if default != common[name].default}
    lines = [f"| `DESKBUS_{service.upper()}_{name.upper()}` | `{default}` |" for name, default in changed.items()]
    assert [line for line in lines if line not in table] == []
    assert lines or service != "notify"  # it gathers longer and takes larger batches than the others


@pytest.mark.parametrize("service", policies.FILES)
def test_every_key_of_a_policy_file_is_in_its_reference_with_its_meaning(
    service: str, outputs: dict[Path, str]
) -> None:
    chapter = outputs[reference.DOCS / "policies.md"].split(f"## {service}.yaml")[1].split("\n## ")[0]
    for place, part in policies.parts(policies.FILES[service]):
        assert not place or f"`{place}`" in chapter
        for name, field in part.model_fields.items():
            assert field.description, f"{part.__name__}.{name} has no description"
            assert f"| `{field.alias or name}` |" in chapter


def test_the_reference_of_policies_reaches_what_stands_deep_in_a_file() -> None:
    places = {place for model in policies.FILES.values() for place, _ in policies.parts(model)}
    deep = {"accounts[].aliases[]", "queues.*.overflow", "rules[].match", "holidays.*.*", "chains.*.steps[]"}
    assert deep <= places
