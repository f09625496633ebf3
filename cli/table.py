"""Tables of the audit's findings and of dead letters. Layout only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table

from cli.collector import Report
from cli.letters import Found, receipt
from cli.screen import clean

_EXAMPLES = 5
_CHECKS = (
    "gaps", "messages without effect", "messages taken twice", "replies sent twice", "two different events with one id",
    "events out of order", "tickets with two agents", "agents above capacity", "breaches announced twice",
    "deadlines that passed in silence", "escalation steps reached twice", "notifications sent twice",
    "unreadable records",
)  # fmt: skip


def audit_table(report: Report, *, settled: bool) -> Table:
    """Return the counts, then every check with its findings, then unfinished work."""
    table = Table(title="audit: " + ("clean" if report.holds(settled=settled) else "NOT CLEAN"), title_justify="left")
    table.add_column("what")
    table.add_column("number", justify="right")
    table.add_column("which", overflow="fold")
    for name, count in report.counts.items():
        table.add_row(name, str(count), "")
    table.add_section()
    for name in dict.fromkeys((*_CHECKS, *report.faults)):
        found = report.faults.get(name, [])
        table.add_row(name, str(len(found)), _examples(found), style="bold red" if found else "green")
    table.add_section()
    for name, found in report.open.items():
        table.add_row(name, str(len(found)), _examples(found), style="bold red" if settled else "yellow")
    return table


def _examples(found: Sequence[str]) -> str:
    more = [f"and {len(found) - _EXAMPLES} more"] if len(found) > _EXAMPLES else []
    return "\n".join([*map(clean, found[:_EXAMPLES]), *more])


def letters_table(found: Sequence[Found]) -> Table:
    """Return dead letters, one per row."""
    table = Table(title=f"{len(found)} dead letters", title_justify="left")
    for name in ("letter", "at", "from", "receipt", "reason", "replayed"):
        table.add_column(name, overflow="fold", no_wrap=name in {"letter", "receipt"})  # can be copied into a command
    for each in found:
        letter = each.letter
        table.add_row(
            each.place,
            f"{letter.at:%F %T}",
            clean(f"{letter.topic}/{letter.partition}/{letter.offset}"),
            clean(receipt(letter) or ""),
            clean(letter.error[:200]),
            "yes" if each.replayed else "",
        )
    return table


def letter_lines(found: Found) -> Iterator[str]:
    """Yield everything about one letter: its fields, the original headers, and the value as text."""
    letter = found.letter
    for name, value in letter.model_dump(exclude={"value", "original_headers"}).items():
        yield f"{name}: {clean(str(value))}"
    yield f"receipt: {clean(receipt(letter) or '')}"
    yield f"replayed: {'yes' if found.replayed else 'no'}"
    if found.copies:
        yield f"copies: {', '.join(found.copies)}"
    for name, raw in letter.original_headers:
        yield clean(f"  {name}: {raw.decode('utf-8', 'replace')}")
    yield clean((letter.value or b"").decode("utf-8", "replace"), lines=True)
