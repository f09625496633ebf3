"""`python -m contracts.generate [--check]`: writes or checks the schemas, the AsyncAPI document and the catalogue.

Examples are written by hand; a type without one is reported in both cases.
"""

import argparse
import json
import sys
from pathlib import Path

from contracts import corpus
from contracts.documents.asyncapi import asyncapi
from contracts.documents.catalogue import catalogue
from contracts.documents.schemas import all_schemas
from contracts.inbound import TYPE as INBOUND_TYPE
from contracts.registry import REGISTRY

PACKAGE = Path(__file__).parent
SCHEMAS = PACKAGE / "schemas"
ASYNCAPI = PACKAGE / "asyncapi" / "deskbus.json"
CATALOGUE = PACKAGE.parent / "docs" / "events.md"


def outputs() -> dict[Path, str]:
    """Return every generated file with its text."""
    schemas = all_schemas()
    return {
        **{SCHEMAS / f"{kind}.json": _json(schema) for kind, schema in schemas.items()},
        ASYNCAPI: _json(asyncapi(schemas)),
        CATALOGUE: catalogue(schemas),
    }


def drift() -> list[str]:
    """Return a line for each file that is out of date or missing, or belongs to no type, and each missing example."""
    wanted = outputs()
    faults = [
        f"{_show(path)}: {'differs' if path.exists() else 'is missing'}"
        for path, text in wanted.items()
        if not path.exists() or path.read_text("utf-8") != text
    ]
    faults += [f"{_show(path)}: belongs to no type" for path in sorted(SCHEMAS.glob("*")) if path not in wanted]
    faults += [
        f"{_show(corpus.DIRECTORY / kind)}: has no example: write NAME.json, as for a similar type"
        for kind in (*REGISTRY, INBOUND_TYPE)
        if not list((corpus.DIRECTORY / kind).glob("*.json"))
    ]
    return faults


def write() -> None:
    """Write all generated files, and remove schemas of former types."""
    wanted = outputs()
    for path in SCHEMAS.glob("*"):
        if path not in wanted:
            path.unlink()
    for path, text in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Return the exit code: 0 if all files are up to date and every type has an example."""
    parser = argparse.ArgumentParser(prog="python -m contracts.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if something differs")
    check = parser.parse_args(arguments).check
    if not check:
        write()
    faults = drift()
    if faults:
        print("\n".join(faults), file=sys.stderr)
        if check:
            print("run: python -m contracts.generate", file=sys.stderr)
    return 1 if faults else 0


def _json(document: object) -> str:
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def _show(path: Path) -> str:
    return str(path.relative_to(PACKAGE.parent))


if __name__ == "__main__":
    sys.exit(main())
