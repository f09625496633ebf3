"""The state machine of a ticket's status, as a table. A move that is not in the table is refused.

Rule: no other module decides which status follows. What a move does to replies and timers is in moves.py.
"""

from enum import StrEnum

from contracts.ticket import Status


class Move(StrEnum):
    """What can change a ticket's status."""

    CUSTOMER = "customer"
    """The customer wrote; automated messages do not count."""
    REPLY = "reply"
    """A person's reply was sent."""
    REPLY_OVERTAKEN = "reply_overtaken"
    """A person's reply was sent, but the customer had written again before; or the reply bounced."""
    BOT_REPLY = "bot_reply"
    """A bot's or the system's message was sent."""
    SET_NEW = "set_new"
    SET_OPEN = "set_open"
    SET_PENDING = "set_pending"
    SET_ON_HOLD = "set_on_hold"
    SET_SOLVED = "set_solved"
    SET_CLOSED = "set_closed"
    QUIET = "quiet"
    """The ticket is solved, and the reopen window has passed without a message."""
    MERGE = "merge"


MOVE_TO: dict[Status, Move] = {status: Move(f"set_{status.value}") for status in Status}
"""Status that a command sets -> the move."""

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
    # A third party has to act: replying to the customer does not make it the customer's turn.
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
    # Final. Replies that were in transit when the ticket closed are still recorded, and change nothing.
    _CLOSED: {
        Move.REPLY: _CLOSED,
        Move.REPLY_OVERTAKEN: _CLOSED,
        Move.BOT_REPLY: _CLOSED,
        Move.SET_CLOSED: _CLOSED,
    },
}


class IllegalMove(Exception):
    """The table does not contain the move."""


def after(status: Status, move: Move) -> Status:
    """Return the status after a move. Raises IllegalMove."""
    try:
        return TABLE[status][move]
    except KeyError:
        raise IllegalMove(f"a ticket in status {status.value} cannot be moved by {move.value}") from None


def allowed(status: Status, move: Move) -> bool:
    """Whether the table contains the move."""
    return move in TABLE[status]
