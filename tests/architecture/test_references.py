"""What documents, docstrings and comments refer to exists: files, links with their anchors, settings, metrics, ADRs."""

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.test_rooms import ROOMS, committed

HISTORY = "CHANGELOG.md"  # speaks of what was; only its links are held to what is
LINES = {".yaml", ".yml", ".toml", ".example"}
#: A path that begins with a room is one from the root; others follow from the words around them.
PATH = re.compile(rf"(?<![\w./<>*{{}}$-])((?:{'|'.join(ROOMS)}|docs)/[\w./<>*{{}}…-]+)")
PATTERN = re.compile(r"[<>*{}…]")
MADE = {"tests/alerts.test.yml"}  # the Makefile's, below deploy/prometheus
#: A setting's whole name: not the start of several, such as DESKBUS_NOTIFY_SMTP_*.
SETTING = re.compile(r"\b(DESKBUS_[A-Z0-9_]*[A-Z0-9])\b(?![_<*])")
METRIC = re.compile(r"\b(deskbus_[a-z0-9_]+_(?:total|seconds|ratio|bytes))\b")
ADR = re.compile(r"\bADR (\d+)\b")
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"(?ms)^```.*?^```")


def paths_in(text: str) -> Iterator[str]:
    for found in PATH.findall(text):
        path = found.rstrip(".,:;/")
        if not PATTERN.search(path) and path not in MADE:
            yield path


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("see `kit/mongo.py`.", ["kit/mongo.py"]),
        ("in services/sla/core/, or docs/adr/0001-x.md:", ["services/sla/core", "docs/adr/0001-x.md"]),
        ("`services/<name>/app.py`, `tests/*/x.py`, `docs/runbooks/{alert}.md`", []),
        ("<https://host/docs/x>, ../kit/x.py, `/kit/x.py`", []),
    ],
)
def test_a_path_is_found_from_the_root_only(text: str, paths: list[str]) -> None:
    assert list(paths_in(text)) == paths


def prose(source: str) -> Iterator[str]:
    """Comments and docstrings of a module."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT or (
            token.type == tokenize.STRING and token.string.lstrip("rR").startswith('"""')
        ):
            yield token.string


@pytest.fixture(scope="module")
def texts(root: Path) -> dict[str, str]:
    """What each committed file says to its readers, by its path."""
    if not (root / ".git").exists():
        pytest.skip("not a git work tree")
    said = {}
    for file in committed(root):
        name = str(file.relative_to(root))
        if file.suffix == ".py" and name != "tests/architecture/test_references.py":
            said[name] = "\n".join(prose(file.read_text("utf-8")))
        elif (file.suffix in LINES | {".md"} or file.name == "Makefile") and name != HISTORY:
            said[name] = file.read_text("utf-8")
    return said


def test_every_path_that_is_named_exists(texts: dict[str, str], root: Path) -> None:
    named = [(name, path) for name, text in texts.items() for path in paths_in(text)]
    assert len(named) > 200
    assert [f"{name}: {path}" for name, path in named if not (root / path).exists()] == []


def test_every_setting_that_a_document_names_exists(texts: dict[str, str], root: Path) -> None:
    """It is in the reference of settings, in the example of `.env`, or a variable that a program reads by its name."""
    sources = "".join(file.read_text("utf-8") for file in committed(root) if file.suffix == ".py")
    known = {
        *SETTING.findall((root / "docs" / "settings.md").read_text("utf-8")),
        *re.findall(r"(?m)^(DESKBUS_\w+)=", texts[".env.example"]),
        *re.findall(r'"(DESKBUS_[A-Z_]+)"', sources),
    }
    named = [
        (name, setting) for name, text in texts.items() if name.endswith(".md") for setting in SETTING.findall(text)
    ]
    assert len(named) > 50
    assert sorted({f"{name}: {setting}" for name, setting in named if setting not in known}) == []


def test_every_metric_that_is_named_is_in_the_reference(texts: dict[str, str], root: Path) -> None:
    known = (root / "docs" / "metrics.md").read_text("utf-8")
    named = [(name, metric) for name, text in texts.items() for metric in METRIC.findall(text)]
    assert len(named) > 50
    assert sorted({f"{name}: {metric}" for name, metric in named if metric not in known}) == []


def test_every_decision_record_that_is_named_exists(texts: dict[str, str], root: Path) -> None:
    known = {int(file.name[:4]) for file in (root / "docs" / "adr").glob("*.md")}
    named = [(name, int(number)) for name, text in texts.items() for number in ADR.findall(text)]
    assert len(named) > 10
    assert [f"{name}: ADR {number}" for name, number in named if number not in known] == []


def anchors(markdown: str) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"(?m)^#+ +(.+)$", FENCE.sub("", markdown))
    words = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower().strip() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in words}


def test_an_anchor_is_its_heading() -> None:
    text = "# A door: `HTTP`\n\n```sh\n# no heading\n```\n\n## [sla](x.md), then_more\n"
    assert anchors(text) == {"a-door-http", "sla-then_more"}


def test_every_link_between_documents_leads_to_a_file_and_a_heading(root: Path) -> None:
    broken = []
    links = 0
    for file in [*root.glob("*.md"), *(root / "docs").rglob("*.md"), *(root / ".github").rglob("*.md")]:
        for link in LINK.findall(file.read_text("utf-8")):
            if re.match(r"[a-z]+:", link):
                continue
            links += 1
            path, _, anchor = link.partition("#")
            target = file.parent / path if path else file
            if not target.exists() or (anchor and anchor not in anchors(target.read_text("utf-8"))):
                broken.append(f"{file.relative_to(root)}: {link}")
    assert links > 100
    assert broken == []
