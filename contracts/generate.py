"""`python -m contracts.generate [--check]`: writes, or compares, everything that is made from the models.

Missing examples are written too; examples that exist are never touched.
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
    """File -> text as it should be."""
    schemas = all_schemas()
    return {
        **{SCHEMAS / f"{kind}.json": _json(schema) for kind, schema in schemas.items()},
        ASYNCAPI: _json(asyncapi(schemas)),
        CATALOGUE: catalogue(schemas),
    }


def drift() -> list[str]:
    """What is not as it should be, one line each."""
    wanted = outputs()
    faults = [
        f"{_show(path)}: {'differs' if path.exists() else 'is missing'}"
        for path, text in wanted.items()
        if not path.exists() or path.read_text("utf-8") != text
    ]
    faults += [f"{_show(path)}: belongs to no type" for path in sorted(SCHEMAS.glob("*")) if path not in wanted]
    faults += [
        f"{_show(corpus.DIRECTORY / kind)}: has no example"
        for kind in (*REGISTRY, INBOUND_TYPE)
        if not list((corpus.DIRECTORY / kind).glob("*.json"))
    ]
    return faults


def write() -> None:
    """Bring all files up to date."""
    corpus.write_missing()
    wanted = outputs()
    for path in SCHEMAS.glob("*"):
        if path not in wanted:
            path.unlink()
    for path, text in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 when all is as it should be."""
    parser = argparse.ArgumentParser(prog="python -m contracts.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, fail when something differs")
    if not parser.parse_args(arguments).check:
        write()
        return 0
    faults = drift()
    if faults:
        print("\n".join(faults), file=sys.stderr)
        print("run: python -m contracts.generate", file=sys.stderr)
    return 1 if faults else 0


def _json(document: object) -> str:
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def _show(path: Path) -> str:
    return str(path.relative_to(PACKAGE.parent))


if __name__ == "__main__":
    sys.exit(main())
