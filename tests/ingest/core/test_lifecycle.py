"""The table of the life cycle, cell by cell: what is not written here is refused."""

import pytest

from contracts.ticket import Status
from services.ingest.core.lifecycle import MOVE_TO, IllegalMove, Move, after, allowed

# One row a status; the columns are the moves in the order of MOVES; "-" is refused.
MOVES = [
    Move.CUSTOMER, Move.REPLY, Move.REPLY_OVERTAKEN, Move.BOT_REPLY, Move.SET_NEW, Move.SET_OPEN, Move.SET_PENDING,
    Move.SET_ON_HOLD, Move.SET_SOLVED, Move.SET_CLOSED, Move.QUIET, Move.MERGE,
]  # fmt: skip
CELLS = """
new      new   pending  open    new      new  open  pending  on_hold  solved  -       -       closed
open     open  pending  open    open     -    open  pending  on_hold  solved  -       -       closed
pending  open  pending  open    pending  -    open  pending  on_hold  solved  -       -       closed
on_hold  open  on_hold  open    on_hold  -    open  pending  on_hold  solved  -       -       closed
solved   open  solved   solved  solved   -    open  -        -        solved  closed  closed  closed
closed   -     closed   closed  closed   -    -     -        -        -       closed  -       -
"""
ROWS = [line.split() for line in CELLS.strip().splitlines()]


def test_the_expected_table_has_every_status_and_every_move() -> None:
    assert [row[0] for row in ROWS] == list(Status)
    assert sorted(MOVES) == sorted(Move)
    assert {len(row) for row in ROWS} == {len(MOVES) + 1}


@pytest.mark.parametrize(
    ("status", "move", "expected"), [(row[0], move, row[1 + n]) for row in ROWS for n, move in enumerate(MOVES)]
)
def test_cell(status: str, move: Move, expected: str) -> None:
    old = Status(status)
    if expected == "-":
        assert not allowed(old, move)
        with pytest.raises(IllegalMove, match=f"status {status} cannot be moved by {move}"):
            after(old, move)
    else:
        assert allowed(old, move)
        assert after(old, move) == Status(expected)


def test_every_status_can_be_asked_for_by_name() -> None:
    assert {MOVE_TO[status] for status in Status} == {move for move in Move if move.startswith("set_")}
