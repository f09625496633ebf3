"""What a policy names and does not hold: secrets (`env:NAME`, `file:/path`), variables (`${NAME}`, `${NAME:-default}`).

Rule: a policy names a secret, never holds it; `Secrets` alone looks it up. What is not set is an error, never an empty
text: a URL without its host, or a signature with an empty key, would look as if all were well.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from contracts.values import OneOrMany

VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_REF = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:/.+")


def _ref(text: str) -> str:
    if not _REF.fullmatch(text):  # the text may be the secret itself: it is not shown
        raise ValueError("must be a reference to a secret, env:NAME or file:/path, never the secret itself")
    return text


SecretRef = Annotated[str, AfterValidator(_ref)]
"""Where a secret is; never the secret."""
SecretRefs = OneOrMany[SecretRef]
"""One, or several while a secret is being changed."""


class Unresolved(Exception):
    """A secret or variable that the policy names is not there, or not usable. It may come: not the caller's fault."""


class Secrets:
    """Looks up what policies name. Files are read anew when they change, so a rotated secret counts at once."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = dict(os.environ) if environ is None else environ  # os.environ decodes at every look
        self._files: dict[str, tuple[tuple[int, int], str]] = {}

    def secret(self, refs: str | tuple[str, ...]) -> str:
        """The first secret that is there: the one to sign and to log in with. Raises Unresolved."""
        return self.secrets((refs,) if isinstance(refs, str) else refs)[0]

    def secrets(self, refs: tuple[str, ...]) -> list[str]:
        """All secrets that are there; raises Unresolved if none is."""
        found, missing = [], []
        for ref in refs:
            try:
                found.append(self._look_up(ref))
            except Unresolved as fault:
                missing.append(str(fault))
        if not found:
            raise Unresolved("; ".join(missing) or "no secret is configured")
        return found

    def expand(self, text: str) -> str:
        """Fill in variables; one that is empty counts as not set. Raises Unresolved for one that has no default."""

        def fill(match: re.Match[str]) -> str:
            value = self._environ.get(match[1]) or match[2]
            if value is None:
                raise Unresolved(f"the variable {match[1]} is not set")
            return value

        return VARIABLE.sub(fill, text)

    def _look_up(self, ref: str) -> str:
        kind, _, name = ref.partition(":")
        try:
            value = self._environ.get(name, "").strip() if kind == "env" else self._read(name)
        except (OSError, UnicodeDecodeError) as error:
            raise Unresolved(f"the secret {ref} cannot be read: {type(error).__name__}") from error
        if not value:
            raise Unresolved(f"the secret {ref} is not set")
        return value

    def _read(self, path: str) -> str:
        stat = os.stat(path)  # noqa: PTH116 - once for every signature: no objects
        changed = stat.st_ino, stat.st_mtime_ns
        if path not in self._files or self._files[path][0] != changed:
            self._files[path] = changed, Path(path).read_text(encoding="utf-8").strip()
        return self._files[path][1]
