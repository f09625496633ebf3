"""What checks are given: the repository, a scratch directory, tools, and a way to run a program and judge it."""

import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self, TypeVar, cast

from deploy.check import tools

ROOT = Path(__file__).resolve().parents[2]
_LINES = 40
_Made = TypeVar("_Made")


class Failed(Exception):
    """What the check found; the message says where, and what is wrong."""


class Context:
    """Lives for one check, within the one of the run. What is started is registered in `stack`, unwound at its end."""

    def __init__(self, root: Path = ROOT, *, quick: bool = False, run: Self | None = None) -> None:
        self.root = root
        self.quick = quick
        self.stack = ExitStack()
        self.work = Path()
        self._run = run or self
        self.made: dict[str, Any] = run.made if run else {}

    def __enter__(self) -> Self:
        self.work = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="deploy-check-")))
        return self

    def __exit__(self, *exception: object) -> None:
        self.stack.close()

    def for_check(self) -> Self:
        """Return a context for one check: a directory of its own, and nothing that it started outlives it."""
        return type(self)(self.root, quick=self.quick, run=self)

    @property
    def chart(self) -> Path:
        return self.root / "deploy" / "helm" / "deskbus"

    @property
    def values_files(self) -> list[Path]:
        """The ways to install the chart; its own values alone name no Kafka and no MongoDB."""
        return sorted((self.chart / "ci").glob("*.yaml"))

    def once(self, name: str, make: Callable[[Self], _Made]) -> _Made:
        """Return what `make` makes of the run's context, once for all checks. If it fails, it fails for all."""
        if name not in self.made:
            try:
                self.made[name] = make(self._run)
            except Exception as error:
                self.made[name] = error
        if isinstance(self.made[name], Exception):
            raise self.made[name]
        return cast("_Made", self.made[name])

    def tool(self, name: str) -> Path:
        """Return a program's path. In a quick run only if it is at hand or cheap to get; else raises MissingTool."""
        return tools.find(name, build=not self.quick)

    def run(
        self,
        command: Sequence[str | Path],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        text: str | None = None,
        timeout: float = 300,
    ) -> str:
        """Run a program; return its output. Raises Failed, with the end of what it said, if it fails."""
        done = self.attempt(command, cwd=cwd, env=env, text=text, timeout=timeout)
        if done.returncode != 0:
            said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-_LINES:])
            raise Failed(f"{Path(command[0]).name} failed ({done.returncode}):\n{said}")
        return done.stdout

    def attempt(
        self,
        command: Sequence[str | Path],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        text: str | None = None,
        timeout: float = 300,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program, and leave the verdict to the caller."""
        try:
            return subprocess.run(
                [str(word) for word in command],
                cwd=cwd or self.root,
                env={**os.environ, **(env or {})},
                input=text or "",  # never this process's own
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            raise Failed(f"{Path(command[0]).name} has not ended after {timeout:.0f} s") from late
