"""Which tickets a token may see: those within its limits of brands and accounts. Used by every route that reads."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends

from contracts.ticket import Ticket
from kit.base.tokens import Caller
from kit.doors.http import requires

Reader = Annotated[Caller, Depends(requires("tickets:read", keeps=("brands", "accounts")))]
_PATHS = (("brands", "state.ticket.brand"), ("accounts", "state.ticket.account"))


def reaches(caller: Caller, ticket: Ticket) -> bool:
    """Whether a token may see a ticket. A token that is limited to brands sees no ticket without one."""
    return caller.reaches("brands", ticket.brand) and caller.reaches("accounts", ticket.account)


def within(caller: Caller, query: dict[str, Any]) -> dict[str, Any]:
    """Restrict a query for tickets to those that the token may see."""
    limited = dict(query)
    for kind, path in _PATHS:
        if (limit := caller.limits.get(kind)) is not None:
            limited[path] = {"$in": sorted(limit & {query[path]} if path in query else limit)}
    return limited
