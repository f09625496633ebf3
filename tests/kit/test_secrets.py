"""Secrets and variables: where policies name them, how they are looked up, and that what is not set is never empty."""

import os
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from kit.policy.secrets import SecretRef, Secrets, Unresolved

REFS = ["env:NAME", "env:_a1", "file:/run/secrets/x", "file:/a:b c"]
NO_REFS = ["hunter2", "whsec_c2VjcmV0", "env:", "env:1A", "env:A-B", "env:A ", "file:relative", "file:", "ENV:A", ""]


@pytest.mark.parametrize("text", REFS)
def test_a_secret_is_a_variable_or_a_file_with_its_whole_path(text: str) -> None:
    assert TypeAdapter(SecretRef).validate_python(text) == text


@pytest.mark.parametrize("text", NO_REFS)
def test_a_secret_itself_is_refused_and_its_text_is_not_part_of_the_reason(text: str) -> None:
    with pytest.raises(ValidationError, match="env:NAME or file:/path, never the secret itself") as refusal:
        TypeAdapter(SecretRef).validate_python(text)
    assert not text or f"{text!r}" not in refusal.value.errors()[0]["msg"]


def test_secrets_come_from_the_environment_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "a:secret"
    file.write_text(" one\n")
    secrets = Secrets({"A": " two ", "EMPTY": " "})
    assert secrets.secrets((f"file:{file}", "env:A", "env:NONE", "env:EMPTY")) == ["one", "two"]
    assert secrets.secret((f"file:{file}", "env:A")) == "one"
    assert secrets.secret("env:A") == "two"


def test_the_environment_is_the_process_s_unless_another_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESKBUS_TEST_SECRET", "x")
    assert Secrets().secret("env:DESKBUS_TEST_SECRET") == "x"
    with pytest.raises(Unresolved):
        Secrets({}).secret("env:DESKBUS_TEST_SECRET")


def test_a_file_is_read_anew_when_it_changes(tmp_path: Path) -> None:
    file, secrets = tmp_path / "secret", Secrets({})
    file.write_text("old")
    os.utime(file, ns=(1, 1))
    assert secrets.secret(f"file:{file}") == "old"
    file.write_text("new")
    os.utime(file, ns=(2, 2))
    assert secrets.secret(f"file:{file}") == "new"


def test_a_file_that_another_takes_the_place_of_is_read_anew(tmp_path: Path) -> None:
    file, secrets = tmp_path / "secret", Secrets({})
    for text in ("old", "new"):
        other = tmp_path / text
        other.write_text(text)
        os.utime(other, ns=(1, 1))
        other.rename(file)
        assert secrets.secret(f"file:{file}") == text


def test_a_file_that_has_not_changed_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Door and sinks ask for the same secret again and again."""
    file, read, reads = tmp_path / "key", Path.read_text, list[Path]()

    def counted(path: Path, encoding: str) -> str:
        reads.append(path)
        return read(path, encoding)

    file.write_text("one")
    monkeypatch.setattr(Path, "read_text", counted)
    secrets = Secrets({})
    assert [secrets.secret(f"file:{file}") for _ in range(3)] == ["one"] * 3
    assert reads == [file]


def test_what_is_not_there_is_named_each_with_its_reason(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff")
    empty = tmp_path / "empty"
    empty.write_text("\n")
    refs = ("env:NONE", f"file:{tmp_path}/gone", f"file:{binary}", f"file:{empty}")
    with pytest.raises(Unresolved) as fault:
        Secrets({}).secrets(refs)
    assert str(fault.value) == (
        f"the secret env:NONE is not set; the secret file:{tmp_path}/gone cannot be read: FileNotFoundError; "
        f"the secret file:{binary} cannot be read: UnicodeDecodeError; the secret file:{empty} is not set"
    )
    with pytest.raises(Unresolved, match="no secret is configured"):
        Secrets({}).secret(())


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("${URL:-https://api.line.me}/v2", "https://api.line.me/v2"),
        ("${SET:-https://api.line.me}/v2", "http://127.0.0.1:9/v2"),
        ("${SET}/v2/", "http://127.0.0.1:9/v2/"),
        ("${EMPTY:-x}", "x"),
        ("${NONE:-}", ""),
        ("${SET}${NONE:-/a}", "http://127.0.0.1:9/a"),
        ("plain", "plain"),
        ("$SET", "$SET"),
        ("${1A}", "${1A}"),
    ],
)
def test_variables_are_filled_in(text: str, filled: str) -> None:
    assert Secrets({"SET": "http://127.0.0.1:9", "EMPTY": ""}).expand(text) == filled


@pytest.mark.parametrize("text", ["${NONE}", "https://a.example/${NONE}", "${EMPTY}"])
def test_a_variable_that_is_not_set_is_an_error(text: str) -> None:
    with pytest.raises(Unresolved, match=r"^the variable (NONE|EMPTY) is not set$"):
        Secrets({"EMPTY": ""}).expand(text)
