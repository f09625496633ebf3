"""Texts for people: facts, templates, and what is cut or taken out."""

import re
from datetime import timedelta

import pytest

from contracts.notifications import (
    Alert,
)
from services.notify.core import text
from tests.notify.examples import START


@pytest.mark.parametrize(
    ("value", "most", "shown"),
    [
        ("a\nb\tc\u2028d\x1b[2Ke", 50, "a b c d [2Ke"),
        ("  a   b ", 50, "a b"),
        ("abcd", 4, "abcd"),
        ("abcde", 4, "abc…"),
        ("", 4, ""),
    ],
)
def test_a_line_has_nothing_that_ends_it_or_moves_a_cursor_and_is_cut(value: str, most: int, shown: str) -> None:
    assert text.one_line(value, most) == shown


@pytest.mark.parametrize(("agent", "shown"), [("Ana", "Ana"), (None, "nobody"), ("", "nobody")])
def test_every_fact_is_there_and_labels_cannot_take_the_place_of_ours(agent: str | None, shown: str) -> None:
    labels = {"brand": "nim\nbus", "ticket": "forged", "summary": "forged", "other": "x", "queue": "q" * 501}
    alert = Alert(name="A", labels=labels, summary="Too\nlate", started_at=START + timedelta(microseconds=5000))
    assert text.facts("T1", "esc-T1", "breach", alert, agent) == {
        **dict.fromkeys(text.FACTS, ""),
        "ticket": "T1", "escalation": "esc-T1", "what": "breach", "summary": "Too late", "alert": "A",
        "brand": "nim bus", "queue": "q" * 499 + "…", "agent": shown, "since": "2026-11-21T09:00:00Z",
    }  # fmt: skip


def test_a_text_is_its_template_with_the_facts_put_in_up_to_its_limit() -> None:
    assert text.render("[$what] ${summary}: $$5 $unknown", {"what": "x", "summary": "$what"}) == (
        "[x] $what: $5 $unknown"
    )
    assert text.render("$a" * 2, {"a": "x" * text.MAX_TEXT}) == "x" * text.MAX_TEXT


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("5 $ or more", "a single $ is not allowed; write $$ for a dollar sign"),
        ("$zebra $apple $ticket", f"unknown fact $apple; known facts: {', '.join(text.FACTS)}"),
    ],
)
def test_a_template_that_names_no_fact_is_refused(template: str, reason: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(reason) + "$"):
        text.check(template)


@pytest.mark.parametrize(
    "template", [text.LINE, text.LONG, "no facts, 5 $$", " ".join(f"${{{n}}}" for n in text.FACTS)]
)
def test_a_template_of_facts_is_fine(template: str) -> None:
    text.check(template)
