"""`python -m deploy.dist [DIRECTORY]`: builds the wheel `deskbus-contracts` for subscribers, with pydantic alone.

The wheel's package is `deskbus_contracts`, since `contracts` as a top-level name would collide with other packages. It
holds the models, the inbox for subscribers, schemas, the AsyncAPI document and the examples; not our generators.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = "deskbus_contracts"
LEFT_OUT = ("accepted.json", "compat.py", "differences.py", "documents", "generate.py", "__pycache__")
"""What maintains the contracts and is of no use to their readers."""

_IMPORT = re.compile(r"(?m)^(\s*(?:from|import)) contracts\b")
_NAMED = re.compile(r"`contracts(?=[.`])")
_PROJECT = """[project]
name = "deskbus-contracts"
version = "{version}"
description = "Events and commands of Deskbus as pydantic models, and what a subscriber needs to apply each once"
readme = "README.md"
license = "Apache-2.0"
license-files = ["LICENSE"]
requires-python = "{python}"
dependencies = ["{pydantic}"]

[build-system]
requires = ["uv_build"]
build-backend = "uv_build"
"""


def stage(directory: Path) -> None:
    """Write the sources of the wheel into an empty directory."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (pydantic,) = (name for name in project["dependencies"] if re.match(r"pydantic\W*[<>=]", name))
    text = _PROJECT.format(version=project["version"], python=project["requires-python"], pydantic=pydantic)
    (directory / "pyproject.toml").write_text(text, "utf-8")
    shutil.copy(ROOT / "LICENSE", directory)
    shutil.copy(ROOT / "docs" / "subscribers.md", directory / "README.md")
    package = directory / "src" / PACKAGE
    shutil.copytree(ROOT / "contracts", package, ignore=shutil.ignore_patterns(*LEFT_OUT))
    (package / "py.typed").touch()
    for file in package.rglob("*.py"):
        text = _IMPORT.sub(rf"\1 {PACKAGE}", file.read_text("utf-8"))
        file.write_text(_NAMED.sub(f"`{PACKAGE}", text), "utf-8")


def build(directory: Path) -> Path:
    """Build the wheel into `directory` and return its path. Needs no network: the backend is part of uv."""
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as sources:
        stage(Path(sources))
        uv = Path(sys.executable).with_name("uv")
        command = [str(uv), "build", "--wheel", "--offline", "--quiet", "--out-dir", str(directory.resolve()), sources]
        done = subprocess.run(command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise SystemExit(f"the wheel was not built: {done.stderr.strip()}")
    return max(directory.glob("deskbus_contracts-*.whl"), key=lambda wheel: wheel.stat().st_mtime_ns)


if __name__ == "__main__":
    print(build(Path(sys.argv[1] if len(sys.argv) > 1 else "dist")))
