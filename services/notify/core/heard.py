"""What was heard last about each clock of a ticket, who has it and whether anybody can: to tell late news by.

Rule: what a source says about a ticket is numbered, and comes in order but for what is replayed from the dead letters.
A replayed event changes only what nothing later was said about. Words are kept only while something is missing.
"""

from __future__ import annotations

from datetime import datetime

from contracts.values import Value

AGENT = "agent"
"""What a word about who has the ticket is about."""
KEPT = 30
"""Last words that are kept, the latest ones."""


class Word(Value):
    """The last that was heard about a clock, about who has the ticket, or (`about` empty) whether anybody can."""

    about: str
    sequence: int
    """Its number among the events of its source about the ticket."""
    paused: bool = False
    ended_at: datetime | None = None
    """Time of the event that said it is over; None while it is not."""
    reason: str | None = None
    """Why it is over."""
    untrue: int = 0
    """Number of the latest event that said it never was so."""


Words = tuple[Word, ...]


def last(words: Words, about: str) -> Word:
    """Return the last word about it; number 0 where none is known."""
    return next((word for word in words if word.about == about), Word(about=about, sequence=0))


def hear(words: Words, word: Word) -> Words:
    """Return them with a word in the place of the one before it, unless that one is later."""
    before = last(words, word.about)
    if word.sequence < before.sequence:
        return words
    word = word.model_copy(update={"untrue": max(word.untrue, before.untrue)})
    return (*(each for each in words if each.about != word.about), word)[-KEPT:]
