"""The compatibility gate: with which commits it compares, and what it says."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from contracts import compat
from contracts.compat import bases, load_commit
from contracts.differences import Contracts

KIND = "deskbus.lamp.lit.v1"
OLD: dict[str, Any] = {
    "type": "object",
    "properties": {"data": {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}},
    "required": ["data"],
}
BROKEN: dict[str, Any] = {**OLD, "required": []}
FURTHER: dict[str, Any] = {**OLD, "properties": {**OLD["properties"], "age": {"type": "integer", "default": 0}}}


class Repository:
    """A small repository with one schema, to be committed in several states."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.package = root / "contracts"
        self.schemas = self.package / "schemas"
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@t.example", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", str(self.root), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, schema: dict[str, Any] | None) -> str:
        if schema is not None:
            self.write(schema)
        self.git("add", ".")
        self.git("commit", "--quiet", "--allow-empty", "--message=change")
        return self.git("rev-parse", "HEAD")

    def write(self, schema: dict[str, Any]) -> None:
        self.put(f"schemas/{KIND}.json", schema)

    def put(self, name: str, document: Any) -> None:
        """Write a file of the package."""
        path = self.package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document))


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):  # set when a commit hook runs us
        monkeypatch.delenv(name, raising=False)
    made = Repository(tmp_path)
    monkeypatch.setattr(compat, "ROOT", made.root)
    monkeypatch.setattr(compat, "CONTRACTS", made.package)
    return made


def test_without_a_commit_there_is_nothing_to_compare_with(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    repository.write(OLD)
    assert bases(repository.root) == {}
    assert compat.main([]) == 0
    assert "no earlier contracts" in capsys.readouterr().out


def test_outside_a_repository_there_is_nothing_to_compare_with(tmp_path: Path) -> None:
    assert bases(tmp_path) == {}


def test_a_commit_without_schemas_is_nothing_to_compare_with(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    commit = repository.commit(None)
    repository.write(OLD)
    assert load_commit(repository.root, commit, repository.package) == Contracts()
    assert compat.main([]) == 0
    assert "no earlier contracts" in capsys.readouterr().out


def test_on_a_branch_the_merge_base_with_main_counts(repository: Repository) -> None:
    base = repository.commit(OLD)
    repository.git("checkout", "--quiet", "-b", "work")
    repository.commit(BROKEN)
    repository.commit(None)
    assert bases(repository.root) == {base: "merge base with main"}
    assert compat.main([]) == 1


def test_on_main_the_last_commit_and_its_parent_count(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    first = repository.commit(OLD)
    assert bases(repository.root) == {first: "HEAD"}
    second = repository.commit(BROKEN)
    assert bases(repository.root) == {second: "HEAD", first: "its parent"}
    assert compat.main([]) == 1
    assert f"not compatible: {KIND}: data: the field is no longer required" in capsys.readouterr().err


def test_a_break_against_only_one_of_several_commits_is_refused(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    repository.commit(OLD)
    repository.commit(FURTHER)
    repository.write(OLD)  # as the parent had it, and a field less than HEAD
    assert compat.main([]) == 1
    assert "age: the field disappears" in capsys.readouterr().err
    repository.write(FURTHER)
    assert compat.main([]) == 0


def test_the_last_release_counts_on_main_and_on_a_branch(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    release = repository.commit(FURTHER)
    assert compat.main([]) == 0
    assert "no release tag to compare with" in capsys.readouterr().out
    repository.git("tag", "--annotate", "--message=first", "v1.0.0")
    repository.commit(OLD)  # this break has passed unseen, long ago
    repository.commit(OLD)
    main = repository.commit(OLD)
    assert bases(repository.root)[release] == "release v1.0.0"
    assert compat.main([]) == 1
    told = capsys.readouterr()
    assert "age: the field disappears" in told.err
    assert "no release tag" not in told.out
    repository.git("checkout", "--quiet", "-b", "work")
    repository.commit(OLD)
    assert bases(repository.root) == {main: "merge base with main", release: "release v1.0.0"}
    assert compat.main([]) == 1


def test_a_release_is_compared_with_the_one_before_it(repository: Repository) -> None:
    first = repository.commit(OLD)
    repository.git("tag", "v1.0.0")
    repository.commit(OLD)
    second = repository.commit(OLD)
    repository.git("tag", "v1.1.0")
    repository.git("tag", "nightly")  # no release
    assert {first: "release v1.0.0", second: "release v1.1.0"}.items() <= bases(repository.root).items()


def test_topics_and_examples_are_read_from_commits_too(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    repository.put("asyncapi/deskbus.json", {"channels": {"lamps": {}}})
    repository.put("examples/a/x.json", {"n": 1})
    repository.commit(OLD)
    repository.put("asyncapi/deskbus.json", {"channels": {}})
    repository.put("examples/a/x.json", {"n": 2})
    assert compat.main([]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "not compatible: lamps: the topic disappears", "not compatible: example a/x is rewritten",
    ]  # fmt: skip


def test_a_change_that_is_accepted_with_its_reason_passes_and_is_told(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    repository.commit(FURTHER)
    repository.write(OLD)
    repository.put("accepted.json", {f"{KIND}: age: the field disappears": "nobody has read it yet"})
    assert compat.main([]) == 0
    assert "accepted: " in capsys.readouterr().out
    repository.write(BROKEN)
    assert compat.main([]) == 1


def test_an_uncommitted_change_is_compared_too(repository: Repository) -> None:
    repository.commit(OLD)
    assert compat.main([]) == 0
    repository.write(BROKEN)
    assert compat.main([]) == 1


def test_a_base_that_does_not_exist_is_an_error(repository: Repository) -> None:
    repository.commit(OLD)
    with pytest.raises(SystemExit) as stop:
        compat.main(["--base", "nowhere"])
    assert stop.value.code == 2
