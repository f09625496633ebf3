"""The demo, as a person runs it: all that it checks holds, and nothing of it is left, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from cli.audit import audit
from cli.demo.checks import checks, received
from cli.demo.receivers import Inbox

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def _start(root: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "cli", "demo", "--plain"],
        cwd=root, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def _services(demo: subprocess.Popen[str]) -> list[psutil.Process]:
    return [child for child in psutil.Process(demo.pid).children(recursive=True) if "-m" in child.cmdline()]


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_demo_holds_what_it_promises(root: Path, environment: dict[str, str]) -> None:
    demo = _start(root, environment)
    output, _ = demo.communicate(timeout=170)
    assert demo.returncode == 0, output[-6000:]
    assert "the demo passed" in output
    assert "did not exit cleanly" not in output


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_an_interrupted_demo_leaves_no_process(root: Path, environment: dict[str, str]) -> None:
    demo = _start(root, environment)
    assert demo.stdout is not None
    for line in demo.stdout:
        if "services started" in line:
            break
    services = _services(demo)
    demo.send_signal(signal.SIGTERM)
    output, _ = demo.communicate(timeout=60)
    assert demo.returncode == 130, output[-3000:]
    assert len(services) == 4
    assert [child for child in services if child.is_running()] == []


def test_a_demo_in_which_nothing_happened_has_not_held() -> None:
    kept = dict(checks([], Inbox({}), audit([], NOW), sent=0, twice=0, retries=0, settled=False))
    assert [promise for promise, held in kept.items() if held] == [
        "nothing was refused by the receivers",
        "audit: clean, every message accounted for, gaps 0, duplicates in effect 0",
    ]


@pytest.mark.parametrize(
    ("came", "taken", "retries", "held"),
    [
        (61, 60, 0, True),  # one was sent twice
        (62, 60, 1, True),  # one more was retried after its confirmation came too late
        (61, 60, 3, True),  # what was retried had not been accepted
        (62, 60, 0, False),  # accepted again, and nobody had sent it again
        (63, 60, 1, False),
        (60, 60, 0, False),  # the second delivery is missing
        (62, 61, 1, False),  # a retry took effect
        (61, 59, 0, False),
    ],
)
def test_a_retry_may_be_received_again_and_not_handled_again(came: int, taken: int, retries: int, held: bool) -> None:
    assert received(came, taken, sent=60, twice=1, retries=retries) is held
