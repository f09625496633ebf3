"""How checks of the chart read what programs say: warnings fail, refusals have their reason, exemptions are used."""

from pathlib import Path
from subprocess import CompletedProcess

import pytest
import yaml

from deploy.check.context import Failed
from deploy.check.rendered import UNHEEDED, closed, heeded
from deploy.check.server import judge, refuse

BAD = Path(__file__).resolve().parents[2] / "deploy" / "check" / "bad"
POD_SECURITY = 'would violate PodSecurity "restricted:latest": runAsNonRoot != true'


def said(stderr: str, code: int = 0) -> CompletedProcess[str]:
    return CompletedProcess([], code, stdout="", stderr=stderr)


@pytest.mark.parametrize(
    "stderr",
    [
        f"Warning: {POD_SECURITY}\n",
        f"W1126 13:05:01.000001   4711 warnings.go:107] {POD_SECURITY}\n",
        f'level=WARN msg="{POD_SECURITY}"\n',
    ],
)
def test_a_warning_of_the_server_fails_although_the_program_does_not(stderr: str) -> None:
    with pytest.raises(Failed, match="runAsNonRoot"):
        judge(said(stderr), "minimal.yaml")


def test_a_refusal_fails_with_the_words_of_the_server() -> None:
    with pytest.raises(Failed, match=r"minimal.yaml:\nError from server \(Invalid\)"):
        judge(said("Error from server (Invalid): no such field\n", 1), "minimal.yaml")


def test_what_is_accepted_without_a_warning_passes() -> None:
    judge(said("deployment.apps/deskbus-sla created (server dry run)\n"), "minimal.yaml")


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    file = tmp_path / "root.yaml"
    file.write_text("# refused: would violate PodSecurity\nkind: Deployment\n", encoding="utf-8")
    return file


def test_a_bad_object_that_is_accepted_fails_the_check(bad: Path) -> None:
    with pytest.raises(Failed, match=r"root\.yaml was accepted"):
        refuse(bad, said(""), warned=False)


def test_a_bad_object_that_is_refused_for_another_reason_fails_the_check(bad: Path) -> None:
    with pytest.raises(Failed, match="for another reason:\nconnection refused"):
        refuse(bad, said("connection refused\n", 1), warned=False)


def test_a_bad_object_that_is_refused_or_warned_of_for_its_reason_passes(bad: Path) -> None:
    refuse(bad, said(POD_SECURITY, 1), warned=False)
    refuse(bad, said(f"Warning: {POD_SECURITY}"), warned=True)


def test_every_bad_fixture_is_yaml_and_says_why_it_is_refused() -> None:
    files = sorted(BAD.glob("*/*.yaml"))
    assert len(files) >= 10
    for file in files:
        assert isinstance(yaml.safe_load(file.read_text("utf-8")), dict), file.name
        with pytest.raises(Failed, match="was accepted"):  # and not that it gives no reason
            refuse(file, said(""), warned=False)


def test_criticism_is_heeded_unless_there_is_a_reason_not_to() -> None:
    line = "minimal.yaml: [CRITICAL] {}/deskbus apps/v1/Deployment: (sla) {}"
    exempt = line.format("deskbus-sla", "CPU limit is not set")
    left, unused = heeded([exempt, line.format("deskbus-sla", "Memory limit is not set")])
    assert left == [line.format("deskbus-sla", "Memory limit is not set")]
    assert len(unused) == len(UNHEEDED) - 1


def test_an_exemption_is_for_its_objects_only() -> None:
    line = (
        "try.yaml: [CRITICAL] deskbus-sla/deskbus apps/v1/Deployment: (sla) The container is running with a low user ID"
    )
    assert heeded([line])[0] == [line]


def test_a_closed_schema_refuses_names_it_does_not_know_at_every_depth() -> None:
    inner = {"type": "object", "properties": {"topic": {"type": "string"}}}
    free = {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {}}
    either = {"type": "integer", "x-kubernetes-int-or-string": True}
    properties = {"list": {"type": "array", "items": inner}, "free": free, "port": either}
    made = closed({"type": "object", "properties": properties})
    assert made["additionalProperties"] is False
    assert made["properties"]["list"]["items"]["additionalProperties"] is False
    assert made["properties"]["free"]["additionalProperties"] is True
    assert "type" not in made["properties"]["port"]
