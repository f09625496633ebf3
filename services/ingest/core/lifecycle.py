"""A ticket's life as a table: what moves it, from where to where. Anything that is not in the table is refused.

Rule: no other module decides what status follows; what a move means for clocks and replies is not here.
"""

from enum import StrEnum

from contracts.ticket import Status


class Move(StrEnum):
    """What may move a ticket."""

    CUSTOMER = "customer"
    """The customer wrote; an automated message is no move."""
    REPLY = "reply"
    """A person's reply was sent."""
    REPLY_OVERTAKEN = "reply_overtaken"
    """A person's reply was sent, but the customer had written again meanwhile; or it never arrived."""
    BOT_REPLY = "bot_reply"
    """A bot's or the system's message was sent."""
    SET_NEW = "set_new"
    SET_OPEN = "set_open"
    SET_PENDING = "set_pending"
    SET_ON_HOLD = "set_on_hold"
    SET_SOLVED = "set_solved"
    SET_CLOSED = "set_closed"
    QUIET = "quiet"
    """Solved, and nobody wrote for as long as the reopen window."""
    MERGE = "merge"


SET: dict[Status, Move] = {status: Move(f"set_{status.value}") for status in Status}
"""The move that a command asks for which names a status."""

_NEW, _OPEN, _PENDING, _ON_HOLD, _SOLVED, _CLOSED = Status

TABLE: dict[Status, dict[Move, Status]] = {
    _NEW: {
        Move.CUSTOMER: _NEW,
        Move.REPLY: _PENDING,
        Move.REPLY_OVERTAKEN: _OPEN,
        Move.BOT_REPLY: _NEW,
        Move.SET_NEW: _NEW,
        Move.SET_OPEN: _OPEN,
        Move.SET_PENDING: _PENDING,
        Move.SET_ON_HOLD: _ON_HOLD,
        Move.SET_SOLVED: _SOLVED,
        Move.MERGE: _CLOSED,
    },
    _OPEN: {
        Move.CUSTOMER: _OPEN,
        Move.REPLY: _PENDING,
        Move.REPLY_OVERTAKEN: _OPEN,
        Move.BOT_REPLY: _OPEN,
        Move.SET_OPEN: _OPEN,
        Move.SET_PENDING: _PENDING,
        Move.SET_ON_HOLD: _ON_HOLD,
        Move.SET_SOLVED: _SOLVED,
        Move.MERGE: _CLOSED,
    },
    _PENDING: {
        Move.CUSTOMER: _OPEN,
        Move.REPLY: _PENDING,
        Move.REPLY_OVERTAKEN: _OPEN,
        Move.BOT_REPLY: _PENDING,
        Move.SET_OPEN: _OPEN,
        Move.SET_PENDING: _PENDING,
        Move.SET_ON_HOLD: _ON_HOLD,
        Move.SET_SOLVED: _SOLVED,
        Move.MERGE: _CLOSED,
    },
    # A third party owes us: telling the customer so does not make it the customer's turn.
    _ON_HOLD: {
        Move.CUSTOMER: _OPEN,
        Move.REPLY: _ON_HOLD,
        Move.REPLY_OVERTAKEN: _OPEN,
        Move.BOT_REPLY: _ON_HOLD,
        Move.SET_OPEN: _OPEN,
        Move.SET_PENDING: _PENDING,
        Move.SET_ON_HOLD: _ON_HOLD,
        Move.SET_SOLVED: _SOLVED,
        Move.MERGE: _CLOSED,
    },
    _SOLVED: {
        Move.CUSTOMER: _OPEN,
        Move.REPLY: _SOLVED,
        Move.REPLY_OVERTAKEN: _SOLVED,
        Move.BOT_REPLY: _SOLVED,
        Move.SET_OPEN: _OPEN,
        Move.SET_SOLVED: _SOLVED,
        Move.SET_CLOSED: _CLOSED,
        Move.QUIET: _CLOSED,
        Move.MERGE: _CLOSED,
    },
    # Frozen. A message that was on its way when it closed is still told (BOT_REPLY and REPLY change nothing).
    _CLOSED: {
        Move.REPLY: _CLOSED,
        Move.REPLY_OVERTAKEN: _CLOSED,
        Move.BOT_REPLY: _CLOSED,
        Move.SET_CLOSED: _CLOSED,
    },
}


class Illegal(Exception):
    """The table has no such move."""


def after(status: Status, move: Move) -> Status:
    """Return the status that follows; raises Illegal."""
    try:
        return TABLE[status][move]
    except KeyError:
        raise Illegal(f"a ticket in status {status.value} cannot be moved by {move.value}") from None


def allowed(status: Status, move: Move) -> bool:
    """Say whether the table has the move."""
    return move in TABLE[status]
