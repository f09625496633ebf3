"""Output to the terminal. Rule: everything is printed through here, because text from outside is untrusted.

Messages, names, ids and reasons may contain control characters, which could recolour or overwrite the screen, set the
clipboard or inject input; a right-to-left override could make a line read as something else. They are printed as
backslash escapes.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from typing import IO

from rich.console import Console

_CONTROL = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode categories that a terminal acts on: controls, formats, surrogates, line and paragraph separators."""
_JOINERS = {"\u200c", "\u200d"}
"""Format characters that only choose letter forms; Persian and emoji need them."""
_LAYOUT = {"\n", "\t"}
PIPED_WIDTH = 250
"""Columns when the output is no terminal: wide, so that lines can be searched."""


def clean(text: str, *, lines: bool = False) -> str:
    """Return the text with control characters as backslash escapes; `lines` keeps line ends and tabs."""
    if text.isprintable():
        return text
    allowed = _JOINERS | _LAYOUT if lines else _JOINERS
    normalized = text.replace("\r\n", "\n") if lines else text
    return "".join(each if each in allowed or _is_safe(each) else _escaped(each) for each in normalized)


def _is_safe(character: str) -> bool:
    return unicodedata.category(character) not in _CONTROL


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def say(text: str, *, error: bool = False) -> None:
    """Print text and flush; errors go to stderr."""
    print(clean(text, lines=True), file=sys.stderr if error else sys.stdout, flush=True)


def console(file: IO[str] | None = None, *, soft_wrap: bool = False) -> Console:
    """Return a console that prints text literally, without rich's markup or emoji codes."""
    result = Console(file=file, soft_wrap=soft_wrap, markup=False, emoji=False, highlight=False)
    if not result.is_terminal and "COLUMNS" not in os.environ:
        result.width = PIPED_WIDTH
    return result
