"""Processes of the services are asked to leave once, in good order, and none is left."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cli import fleet
from cli.fleet import Fleet, FleetError, Replica

#: Leaves half a second after the first SIGTERM, with the number of them as its exit code.
_COUNTS = """
import signal, sys, time
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
print("up", flush=True)
while not asked: time.sleep(0.01)
time.sleep(0.5)
sys.exit(len(asked))
"""
_DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


def _fleet(tmp_path: Path, script: str) -> Fleet:
    whole = Fleet({}, logs=tmp_path)
    for service in ("routing", "sla"):
        replica = whole.add(service)
        replica.process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
        assert replica.process.stdout is not None
        replica.process.stdout.readline()
    return whole


def _codes(replicas: list[Replica]) -> list[int | None]:
    return [replica.process.returncode for replica in replicas if replica.process is not None]


def test_a_fleet_asks_each_process_once_to_leave(tmp_path: Path) -> None:
    whole = _fleet(tmp_path, _COUNTS)
    whole.stop()
    assert _codes(whole.replicas) == [1, 1]


def test_who_does_not_leave_is_killed_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "STOP_SECONDS", 0.2)
    whole = _fleet(tmp_path, _DEAF)
    with pytest.raises(FleetError, match=r"routing-1 did not stop(.|\n)*sla-1 did not stop"):
        whole.stop()
    assert _codes(whole.replicas) == [-9, -9]


def test_replicas_have_ports_of_their_own_and_know_them(tmp_path: Path) -> None:
    whole = Fleet({"DESKBUS_KAFKA": "k"}, logs=tmp_path, own={"ingest": {"X": "1"}})
    first, second = whole.add("ingest"), whole.add("ingest", port=8081, ops_port=9081, smtp_port=8025)
    ports = [first.port, first.ops_port, first.extra_ports["smtp"]]
    assert len(set(ports)) == 3
    assert (second.port, second.ops_port, second.extra_ports) == (8081, 9081, {"smtp": 8025})
    assert second.environment["DESKBUS_INGEST_OPS_PORT"] == "9081"
    assert (second.environment["DESKBUS_KAFKA"], second.environment["X"], second.name) == ("k", "1", "ingest-2")
