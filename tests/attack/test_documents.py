"""Every door against its own OpenAPI document: whatever is asked, the answer is one that the document has.

Schemathesis makes the requests. `DESKBUS_ATTACK_EXAMPLES` says how many for each operation; `make fuzz` asks for more.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import response_schema_conformance

from kit.doors.http import PROBLEM
from tests.attack.doors import BEARER, DOORS, SCOPES, tokens

EXAMPLES = int(os.environ.get("DESKBUS_ATTACK_EXAMPLES", "15"))
CHECKS = [not_a_server_error, response_schema_conformance]


def schema_of(service: str) -> Any:
    app = DOORS[service](tokens(*SCOPES[service].split(",")))
    return schemathesis.openapi.from_asgi("/openapi.json", app)


def answered_rightly(case: Any, response: Any) -> None:
    assert response.status_code < 500, (case.as_curl_command(), response.text)
    if response.status_code >= 400:
        assert response.headers["content-type"] == [PROBLEM], case.as_curl_command()
        document = response.json()
        assert document["status"] == response.status_code
        assert document["title"]
    else:
        named = case.operation.definition.raw["responses"]  # `default` is for problems
        assert str(response.status_code) in named, (case.as_curl_command(), response.status_code)
    case.validate_response(response, checks=CHECKS)


def ask_all(strategy: st.SearchStrategy[Any], bearer: str = BEARER, most: int = EXAMPLES) -> int:
    """Make the requests of one operation; says how many there were."""
    asked = 0

    @given(case=strategy)
    @settings(
        max_examples=most,
        phases=[Phase.generate],
        database=None,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
    )
    def ask(case: Any) -> None:
        nonlocal asked
        asked += 1
        answered_rightly(case, case.call(headers={"Authorization": f"Bearer {bearer}"}))

    with contextlib.suppress(Unsatisfiable):  # an operation that takes nothing has no wrong requests
        ask()
    return asked


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("service", DOORS)
def test_every_answer_is_one_of_the_document(service: str, mode: GenerationMode) -> None:
    operations = [result.ok() for result in schema_of(service).get_all_operations()]
    assert sum(ask_all(operation.as_strategy(generation_mode=mode)) for operation in operations)
