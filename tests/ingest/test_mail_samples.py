"""Mails that other projects collected become what the committed table says (mail_samples/table.md)."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.ingest.mail_samples.sources import CPYTHON, PATTERNS, Missing, mails
from tests.ingest.mail_samples.verdicts import read_table, verdict

KINDS = {"message", "bounce", "automatic", "dead letter"}


def _mails(source: str) -> dict[str, bytes]:
    try:
        return mails(source)
    except Missing as missing:
        pytest.skip(str(missing))


@pytest.mark.timeout(240)  # the first time, pip downloads
@pytest.mark.parametrize("source", PATTERNS)
async def test_each_mail_of_a_source_distribution_becomes_what_the_table_says(source: str) -> None:
    found = {name: await verdict(raw) for name, raw in _mails(source).items()}
    assert found == read_table()[source]


async def test_each_mail_of_cpython_becomes_what_the_table_says() -> None:
    """Another version of Python may have mails that the table lacks, and lack some of it."""
    found = {name: await verdict(raw) for name, raw in _mails(CPYTHON).items()}
    assert {kind for kind, _ in found.values()} <= KINDS
    listed = read_table()[CPYTHON]
    assert {name: found[name] for name in listed if name in found} == {n: v for n, v in listed.items() if n in found}
    assert len(set(listed) & set(found)) > 40


def test_the_table_has_mails_of_every_kind_and_a_reason_for_each_that_is_no_message() -> None:
    rows = [row for rows in read_table().values() for row in rows.values()]
    assert set(Counter(kind for kind, _ in rows)) == KINDS
    assert [row for row in rows if (row[0] == "message") == bool(row[1])] == []
