"""Servers that the environment names: whether they answer, and what is shown of them."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local import Stack


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that accepts connections and says nothing, as a server with TLS does to those who speak plaintext."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture(autouse=True)
def _kafka(monkeypatch: pytest.MonkeyPatch, silent: int) -> None:
    monkeypatch.setenv("DESKBUS_KAFKA", f"127.0.0.1:{silent}")
    monkeypatch.setenv("DESKBUS_KAFKA_SECURITY", "sasl_ssl")


def status(monkeypatch: pytest.MonkeyPatch, folder: Path, mongo: str) -> list[str]:
    monkeypatch.setenv("DESKBUS_MONGO", mongo)
    return Stack(folder, 1, 1).status()


def test_no_password_is_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, silent: int) -> None:
    shown = status(monkeypatch, tmp_path, f"mongodb://sla:pa%40ss@127.0.0.1:{silent}/?tls=true")
    assert shown == [
        f"kafka   ready   127.0.0.1:{silent} (given)",
        f"mongo   ready   mongodb://127.0.0.1:{silent}/?tls=true (given)",
    ]


def test_a_server_with_tls_that_does_not_listen_is_absent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, silent: int
) -> None:
    monkeypatch.setenv("DESKBUS_KAFKA", "127.0.0.1:1")
    shown = status(monkeypatch, tmp_path, "mongodb://127.0.0.1:1/?tls=true")
    assert [line.split()[1] for line in shown] == ["absent", "absent"]


def test_a_plaintext_server_must_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, silent: int) -> None:
    monkeypatch.delenv("DESKBUS_KAFKA_SECURITY")
    shown = status(monkeypatch, tmp_path, f"mongodb://127.0.0.1:{silent}/")
    assert [line.split()[1] for line in shown] == ["absent", "absent"]
