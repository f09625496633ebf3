"""`deskbus check config` says file, line and reason, and is right about the examples."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.__main__ import app
from cli.checking import faults


@pytest.mark.parametrize("folder", ["deploy/config", "deploy/config/demo"])
def test_the_examples_are_in_order(root: Path, folder: str) -> None:
    result = CliRunner().invoke(app, ["check", "config", str(root / folder)])
    assert (result.exit_code, result.output.endswith("OK\n")) == (0, True)


def test_without_a_directory_the_examples_are_checked(root: Path) -> None:
    result = CliRunner().invoke(app, ["check", "config"])
    assert (result.exit_code, result.output.replace("\n", "")) == (0, f"{root / 'deploy' / 'config'}: OK")


@pytest.mark.parametrize("service", ["ingest", "routing", "sla", "notify"])
def test_a_fault_is_named_with_file_line_and_reason(root: Path, tmp_path: Path, service: str) -> None:
    shutil.copytree(root / "deploy" / "config", tmp_path / "config", symlinks=True)
    path = tmp_path / "config" / f"{service}.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text + "\nbogus: 1\n", encoding="utf-8")
    result = CliRunner().invoke(app, ["check", "config", str(tmp_path / "config")])
    assert result.exit_code == 1
    place, _, reason = result.output.strip().partition(": ")
    assert place == f"{path}:{text.count(chr(10)) + 2}"
    assert "bogus" in reason


def test_an_old_key_is_told_what_it_is_called_today(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "deploy" / "config", tmp_path / "config", symlinks=True)
    path = tmp_path / "config" / "sla.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("match: {tier: gold}", "when: {tier: gold}"), encoding="utf-8")
    result = CliRunner().invoke(app, ["check", "config", str(tmp_path / "config")])
    line = text[: text.index("match: {tier: gold}")].count("\n") + 1
    assert (result.exit_code, "was renamed to match" in result.output) == (1, True)
    assert f"{path}:{line}: policies.0.when: " in result.output.replace("\n", "")


def test_a_file_that_is_not_yaml_is_called_that(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "deploy" / "config", tmp_path / "config", symlinks=True)
    path = tmp_path / "config" / "sla.yaml"
    path.write_text("policies: [", encoding="utf-8")
    assert list(faults(tmp_path / "config")) == [
        f"{path}:1: not valid YAML: expected the node content, but found '<stream end>'"
    ]


def test_a_file_that_is_missing_is_a_fault(tmp_path: Path) -> None:
    assert len(list(faults(tmp_path))) == 4
