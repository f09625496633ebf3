"""References in policy files: to secrets (`env:NAME`, `file:/path`) and variables (`${NAME}`, `${NAME:-default}`).

Rule: a policy refers to a secret and never contains it; only `Secrets` reads it. A missing value is an error, never an
empty string: a URL without its host, or a signature with an empty key, would go unnoticed.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from contracts.values import OneOrMany
from kit.base.files import UTF8, state

VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_REF = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:/.+")


def _ref(text: str) -> str:
    if not _REF.fullmatch(text):  # the message does not quote the text, which may be the secret itself
        raise ValueError("must be a reference to a secret, env:NAME or file:/path, never the secret itself")
    return text


SecretRef = Annotated[str, AfterValidator(_ref)]
"""A reference to a secret."""
SecretRefs = OneOrMany[SecretRef]
"""One reference, or several while a secret is rotated."""


class Unresolved(Exception):
    """A secret or variable is not set, or cannot be read. It may be set later."""


class Secrets:
    """Reads secrets and expands variables. A file that changed is read again, so a rotated secret is used at once."""

    def __init__(self, environ: Mapping[str, str] | None = None, given: Mapping[str, str] | None = None) -> None:
        """`given`: values of references that no policy file contains."""
        self._environ = (
            dict(os.environ) if environ is None else environ
        )  # a copy, as os.environ decodes at every access
        self._files: dict[str, tuple[tuple[int, ...] | None, str]] = {}
        self._given = given or {}

    def having(self, values: Mapping[str, str]) -> "Secrets":
        """Return the same secrets with more values, for references that no policy file contains."""
        return Secrets(self._environ, {**self._given, **values})

    def secret(self, refs: str | tuple[str, ...]) -> str:
        """Return the first secret that is set, the one to sign and log in with. Raises Unresolved if none is."""
        return self.secrets((refs,) if isinstance(refs, str) else refs)[0]

    def secrets(self, refs: tuple[str, ...]) -> list[str]:
        """Return all secrets that are set. Raises Unresolved if none is."""
        found, missing = [], []
        for ref in refs:
            try:
                found.append(self._read_ref(ref))
            except Unresolved as fault:
                missing.append(str(fault))
        if not found:
            raise Unresolved("; ".join(missing) or "no secret is configured")
        return found

    def expand(self, text: str) -> str:
        """Expand variables; an empty one counts as not set. Raises Unresolved if one is not set and has no default."""

        def fill(match: re.Match[str]) -> str:
            value = self._environ.get(match[1]) or match[2]
            if value is None:
                raise Unresolved(f"the variable {match[1]} is not set")
            return value

        return VARIABLE.sub(fill, text)

    def _read_ref(self, ref: str) -> str:
        if ref in self._given:
            return self._given[ref]
        kind, _, name = ref.partition(":")
        if kind not in {"env", "file"}:
            raise Unresolved(f"there is no {ref}")
        try:
            value = self._environ.get(name, "").strip() if kind == "env" else self._read(name)
        except (OSError, UnicodeDecodeError) as error:
            raise Unresolved(f"the secret {ref} cannot be read: {type(error).__name__}") from error
        if not value:
            raise Unresolved(f"the secret {ref} is not set")
        return value

    def _read(self, path: str) -> str:
        now = state(path)
        if now is None or path not in self._files or self._files[path][0] != now:
            self._files[path] = now, Path(path).read_text(encoding=UTF8).strip()
        return self._files[path][1]
