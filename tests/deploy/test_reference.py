"""The reference in docs/ is what the code says now."""

import json

from contracts.topics import SERVICES
from deploy import reference
from kit import metrics


def test_the_committed_reference_is_what_the_code_says() -> None:
    assert reference.drift() == []


def test_every_metric_and_every_door_is_in_it() -> None:
    outputs = reference.outputs()
    table = outputs[reference.DOCS / "metrics.md"]
    assert [row.name for row in metrics.describe() if f"`{row.name}`" not in table] == []
    for service in SERVICES:
        document = json.loads(outputs[reference.DOCS / "openapi" / f"{service}.json"])
        assert document["paths"], service


def test_a_secret_s_variable_is_in_it_and_never_a_value() -> None:
    table = reference.outputs()[reference.DOCS / "settings.md"]
    assert "| `DESKBUS_TOKENS` |  |" in table
    assert "SecretStr" not in table
