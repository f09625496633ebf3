"""Report how many interleavings a test run has executed: `pytest -p tests.kit.simulation.counting`."""

from __future__ import annotations

from _pytest.terminal import TerminalReporter

from tests.kit.simulation.world import RUN


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    terminalreporter.section("simulation")
    terminalreporter.line(f"{RUN[0]:,} interleavings were run")
