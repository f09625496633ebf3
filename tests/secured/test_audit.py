"""What a user may not see is not taken for what is not there: the audit would pass over it."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner, Result

from cli.__main__ import app
from contracts import topics as table
from contracts.access import OPERATOR
from tests.secured.broker import Secured
from tests.secured.conftest import PREFIX

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]  # the first test waits for the broker


def audit(broker: Secured, user: str) -> Result:
    return CliRunner().invoke(app, ["audit", "--prefix", PREFIX], env=broker.scram(user))


def test_audit_names_the_topics_that_its_user_may_not_see_and_fails(broker: Secured) -> None:
    result = audit(broker, "sla")
    assert result.exit_code == 2
    reason = " ".join(result.stderr.split())
    assert "Kafka does not allow that to this user" in reason
    hidden = {topic.name for topic in table.TOPICS} - {*table.CONSUMES["sla"], *table.PRODUCES["sla"]}
    assert hidden
    for name in hidden:
        assert PREFIX + name in reason


def test_audit_reads_everything_as_the_operator(broker: Secured) -> None:
    result = audit(broker, OPERATOR)
    assert result.exit_code == 0, result.output
