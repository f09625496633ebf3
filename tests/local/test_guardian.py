"""What a process has started ends with it, however it ends; what was told to outlive it goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from deploy.local import free_port
from deploy.local.guardian import GRACE_SECONDS

#: Starts a server as tests do, and says its process id.
_SERVER = """
import sys
import time
from pathlib import Path
from tests.local.test_servers import Listener
server = Listener(Path({directory!r}), {port})
server.outlives = {outlives}
server.start()
server.wait_ready(10)
print(server.pid(), flush=True)
sys.stdin.read()
"""
#: Starts a service as `deskbus run` and the system tests do. It finds no Kafka, and waits for one.
_SERVICE = """
import sys
import time
from cli.fleet import Fleet
fleet = Fleet({{"DESKBUS_KAFKA": "127.0.0.1:{port}"}}, logs=None)
replica = fleet.add("sla")
replica.start()
print(replica.process.pid, flush=True)
sys.stdin.read()
"""
#: Ignores SIGTERM.
_STUBBORN = """
import subprocess, sys
from deploy.local import guardian
code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(300)"
child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True)
child.stdout.readline()
guardian.adopt(child.pid)
print(child.pid, flush=True)
sys.stdin.read()
"""


def _starter(root: Path, script: str) -> tuple[subprocess.Popen[str], psutil.Process]:
    starter = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert starter.stdout is not None
    while line := starter.stdout.readline():
        if line.strip().isdigit():  # a service's own log goes the same way
            return starter, psutil.Process(int(line))
    raise AssertionError("the starter ended before it had started anything")


def _ends(process: psutil.Process, seconds: float = 10) -> bool:
    return bool(psutil.wait_procs([process], timeout=seconds)[0])


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("script", [_SERVER, _SERVICE], ids=["server", "service"])
def test_what_was_started_ends_with_its_starter(root: Path, tmp_path: Path, how: signal.Signals, script: str) -> None:
    text = script.format(directory=str(tmp_path / "listener"), port=free_port(), outlives=False)
    starter, started = _starter(root, text)
    starter.send_signal(how)
    starter.wait(10)
    assert _ends(started)


def test_a_suspended_process_ends_too(root: Path, tmp_path: Path) -> None:
    starter, started = _starter(root, _SERVER.format(directory=str(tmp_path / "l"), port=free_port(), outlives=False))
    started.suspend()
    starter.kill()
    starter.wait(10)
    assert _ends(started)


def test_a_process_that_ignores_the_request_is_killed(root: Path) -> None:
    starter, started = _starter(root, _STUBBORN)
    starter.kill()
    starter.wait(10)
    assert _ends(started, GRACE_SECONDS + 10)


def test_what_is_to_outlive_its_starter_does(root: Path, tmp_path: Path) -> None:
    text = _SERVER.format(directory=str(tmp_path / "listener"), port=free_port(), outlives=True)
    starter, started = _starter(root, text)
    starter.kill()
    starter.wait(10)
    try:
        assert not _ends(started, 1)
    finally:
        started.kill()


@pytest.mark.parametrize("target", ["test", "test-unit", "simulate", "crash"])
def test_a_make_that_is_ended_ends_its_tests(root: Path, target: str) -> None:
    environment = Path(sys.prefix)
    sleeper = f"{sys.executable} -c 'import os, time; print(os.getpid(), flush=True); time.sleep(300)'"
    command = ["make", f"VENV={environment}", "-o", f"{environment}/.ready", f"PYTEST={sleeper}", target]
    make = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)
    assert make.stdout is not None
    tests = next(psutil.Process(int(line)) for line in make.stdout if line.strip().isdigit())
    try:
        make.terminate()
        make.wait(10)
        assert _ends(tests)
    finally:
        if tests.is_running():
            tests.kill()


#: Mounts a disk as a campaign does, and says whether it could.
_DISK = """
import sys
import time
from pathlib import Path
from tests.crash.disk import Disk
print(int(Disk(Path({place!r})).there), flush=True)
sys.stdin.read()
"""


def test_a_campaign_s_disk_is_unmounted_although_it_was_killed(root: Path, tmp_path: Path) -> None:
    place = tmp_path / "a disk"
    starter = subprocess.Popen(
        [sys.executable, "-c", _DISK.format(place=str(place))],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with starter:
        assert starter.stdout is not None
        if starter.stdout.readline() != "1\n":
            starter.kill()
            pytest.skip("mounting a tmpfs needs root and Linux")
        assert place.is_mount()
        starter.kill()
    end = time.monotonic() + 2 * GRACE_SECONDS
    while place.is_mount():
        assert time.monotonic() < end, "it is mounted still"
        time.sleep(0.05)
