"""What reaches the terminal. Rule: text from outside is shown and never obeyed, so everything is printed through here.

Messages, names, ids and reasons were written by strangers. A control character among them could recolour the screen,
rewrite what stands there, set the clipboard or answer as if the operator had typed; a right-to-left override could make
a line read as something else. They are shown as backslash escapes instead.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from typing import IO

from rich.console import Console

_OBEYED = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode categories that a terminal acts on instead of showing: controls, formats, halves of pairs, line ends."""
_JOINERS = {"\u200c", "\u200d"}
"""Formats that only choose letter forms, as Persian and emoji need them."""
_LAYOUT = {"\n", "\t"}
PIPED_WIDTH = 250
"""Columns where nobody looks at a terminal: what is searched or kept is not broken over lines."""


def clean(text: str, *, lines: bool = False) -> str:
    """Return the text with control characters as backslash escapes; `lines` lets line ends and tabs be."""
    if text.isprintable():
        return text
    kept = _JOINERS | _LAYOUT if lines else _JOINERS
    whole = text.replace("\r\n", "\n") if lines else text
    return "".join(each if each in kept or _shown(each) else _escaped(each) for each in whole)


def _shown(character: str) -> bool:
    return unicodedata.category(character) not in _OBEYED


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def say(text: str, *, error: bool = False) -> None:
    """Print lines at once, to stderr if they are about an error."""
    print(clean(text, lines=True), file=sys.stderr if error else sys.stdout, flush=True)


def console(file: IO[str] | None = None, *, soft_wrap: bool = False) -> Console:
    """Return a console that takes square brackets and `:names:` in what it prints for text."""
    made = Console(file=file, soft_wrap=soft_wrap, markup=False, emoji=False, highlight=False)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made.width = PIPED_WIDTH
    return made
