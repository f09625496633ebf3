"""What the rooms may import, how large files may grow, and what no committed file may name."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

MOST_LINES = 400  # Aim for 300, as CONTRIBUTING.md says.
ROOMS = ("cli", "contracts", "deploy", "kit", "services", "tests")
TIME_AND_IDENTITY = {"kit/base/clock.py", "kit/base/ids.py"}
# Written in pieces, so that this file does not name what it forbids.
REGISTRIES = ["pypi" + ".org", "files.python" + "hosted", "registry.npm" + "js", "repo1." + "maven", "crates" + ".io"]
MACHINE_PATHS = [r"(?<![\w.~$}/])/" + home + r"/\w" for home in ("home", "root", "Users", "work")]
FORBIDDEN = re.compile("|".join([*map(re.escape, REGISTRIES), *MACHINE_PATHS]))
BINARY = {".png", ".gz", ".jpg", ".ico", ".pdf"}


def committed(root: Path) -> list[Path]:
    """Tracked files and those that would be added."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=root,
        capture_output=True,
        check=True,
        text=True,
    ).stdout.split("\0")
    return [root / name for name in listed if name and (root / name).is_file()]


@pytest.fixture(scope="module")
def files(root: Path) -> list[Path]:
    if not (root / ".git").exists():
        pytest.skip("not a git work tree")
    return committed(root)


def sources(files: list[Path], root: Path) -> list[Path]:
    return [file for file in files if file.suffix == ".py" and file.relative_to(root).parts[0] in ROOMS]


@pytest.mark.timeout(120)
def test_imports_go_one_way(root: Path) -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_no_file_outgrows_its_reader(files: list[Path], root: Path) -> None:
    lines = {str(f.relative_to(root)): f.read_text(encoding="utf-8").count("\n") for f in sources(files, root)}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


def test_every_module_says_what_belongs_there(files: list[Path], root: Path) -> None:
    silent = [
        str(file.relative_to(root))
        for file in sources(files, root)
        if (text := file.read_text(encoding="utf-8")).strip() and not text.startswith(('"""', 'r"""'))
    ]
    assert silent == []


def test_no_file_names_a_registry_or_a_place_on_somebody_s_machine(files: list[Path], root: Path) -> None:
    found = [
        f"{file.relative_to(root)}:{number}: {match.group()}"
        for file in files
        if file.suffix not in BINARY
        for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if (match := FORBIDDEN.search(line))
    ]
    assert found == []


@pytest.mark.parametrize("text", ["see /ho" + "me/ann/x", 'p = "/wo' + 'rk/main"', "index pypi" + ".org"])
def test_the_pattern_finds_what_it_forbids(text: str) -> None:
    assert FORBIDDEN.search(text)


@pytest.mark.parametrize(
    "text", ["the path ~/wo" + "rk/x", "https://example.com/home/x", "services/home/a", "/v1/tickets"]
)
def test_the_pattern_lets_the_rest_be(text: str) -> None:
    assert not FORBIDDEN.search(text)


def test_time_and_identity_come_from_kit(files: list[Path], root: Path) -> None:
    """Ruff says it too, but a `noqa` would silence ruff."""
    banned = re.compile(r"\bdatetime\.(now|utcnow|today)\(|\btime\.time(_ns)?\(|\buuid[14]\(")
    rooms = [f for f in sources(files, root) if f.relative_to(root).parts[0] in {"contracts", "kit", "services", "cli"}]
    found = [
        str(file.relative_to(root))
        for file in rooms
        if str(file.relative_to(root)) not in TIME_AND_IDENTITY and banned.search(file.read_text(encoding="utf-8"))
    ]
    assert found == []
