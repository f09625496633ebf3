"""The wheel for subscribers holds the contracts, needs pydantic alone and says so."""

import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from contracts import corpus
from contracts.registry import REGISTRY
from deploy import dist

_PYDANTIC = ("pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dist.build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's files and pydantic, and nothing else that is not Python's own."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    for name in _PYDANTIC:
        spec = find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        origin = Path(spec.origin)
        source = origin.parent if origin.name == "__init__.py" else origin
        (folder / source.name).symlink_to(source)
    return folder


def run(site: Path, code: str) -> str:
    start = f"import sys; sys.path.insert(0, {str(site)!r}); "
    done = subprocess.run([sys.executable, "-I", "-S", "-c", start + code], check=True, capture_output=True, text=True)
    return done.stdout


def names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_every_module_of_the_wheel_works_with_pydantic_alone(wheel: Path, site: Path) -> None:
    modules = [
        n.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for n in names(wheel) if n.endswith(".py")
    ]
    assert "deskbus_contracts.subscribing" in modules
    run(site, f"import importlib; [importlib.import_module(name) for name in {modules!r}]")


def test_every_example_is_read_by_the_models_of_the_wheel(site: Path) -> None:
    code = (
        "from deskbus_contracts import corpus; from deskbus_contracts.envelope import Command, Event; "
        "kind = lambda e: Event if e.type in Event.known_types else Command; "
        "print(sum(kind(e).parse(e.value).known for e in corpus.examples()))"
    )
    assert int(run(site, code)) == len(corpus.examples())


def test_the_wheel_has_every_schema_and_none_of_our_generators(wheel: Path) -> None:
    held = names(wheel)
    assert {f"deskbus_contracts/schemas/{kind}.json" for kind in REGISTRY} <= set(held)
    assert {"deskbus_contracts/py.typed", "deskbus_contracts/asyncapi/deskbus.json"} <= set(held)
    assert [name for name in held for left in dist.LEFT_OUT if left in name] == []
    assert {name.split("/")[0].split("-")[0] for name in held} == {"deskbus_contracts"}


def test_no_module_of_the_wheel_imports_the_name_that_only_our_repository_has(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        code = {name: archive.read(name).decode() for name in archive.namelist() if name.endswith(".py")}
    assert [name for name, text in code.items() if "from contracts" in text or "import contracts" in text] == []


def test_the_metadata_names_pydantic_and_the_guide(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
        metadata = archive.read(name).decode()
    assert [line for line in metadata.splitlines() if line.startswith("Requires-Dist")] == [
        "Requires-Dist: pydantic>=2.10"
    ]
    assert "License-Expression: Apache-2.0" in metadata
    assert "# Subscribe to Deskbus" in metadata


def test_two_builds_are_the_same_to_the_byte(wheel: Path, tmp_path: Path) -> None:
    assert dist.build(tmp_path).read_bytes() == wheel.read_bytes()
