"""`POST /v1/commands`: check the type and the token, write the command to Kafka. The core decides what it does."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal

from fastapi import Depends, Header
from pydantic import BaseModel, ConfigDict, Field, create_model

from contracts.commands import CommandPayload, Forward
from contracts.envelope import HEADERS, Command
from contracts.registry import COMMANDS
from contracts.ticket import Author, AuthorKind
from kit.base import tracing
from kit.base.clock import Clock
from kit.base.ids import stable_id
from kit.base.tokens import LIMITS, Caller
from kit.doors.http import Problem, Router, requires
from kit.protocol.ports import Outgoing
from services.ingest import metrics
from services.ingest.core.commands import COMMAND_BYTES
from services.ingest.intake import Intake

SCOPE = "commands:write"
SOURCE = "/deskbus/door/commands"
#: Number of recent idempotency keys that this replica remembers, to refuse a key used with another body. For older keys
#: and other replicas, the core refuses.
MAX_KEYS = 20_000


def idempotency_key(
    key: Annotated[
        str,
        Header(
            alias="Idempotency-Key",
            description="1 to 128 visible characters; requests with the same key take effect once",
        ),
    ],
) -> str:
    """A dependency: the caller's key, with or without the quotes that the standard's draft puts around it."""
    bare = key.strip().removeprefix('"').removesuffix('"')
    if not (0 < len(bare) <= 128 and bare.isascii() and bare.isprintable()):
        raise Problem(400, "Invalid Idempotency-Key", "It must have 1 to 128 visible ASCII characters")
    return bare


IdempotencyKey = Annotated[str, Depends(idempotency_key)]


class Accepted(BaseModel):
    """The command was written to Kafka. Its outcome is an event: of the ticket, or command.rejected."""

    id: str = Field(description="The command's id: the same for the same caller and Idempotency-Key.")


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    ticket_id: str = Field(min_length=1, max_length=100, description="The ticket that it is about.")


def _name(payload: type[CommandPayload]) -> str:
    return payload.type.removeprefix("deskbus.command.").removesuffix(".v1")


def _body(payload: type[CommandPayload]) -> type[_Body]:
    """Return the model of `{type, ticket_id, data}`; in data, `by` is optional and defaults to the caller."""
    data = create_model(
        f"{payload.__name__}Data", __base__=payload, by=(Author | None, Field(None, description="Who asks."))
    )
    kind: Any = Literal[payload.type]
    return create_model(
        f"{payload.__name__}Command", __base__=_Body, __doc__=payload.__doc__, type=(kind, ...), data=data
    )


# Ingest sends Forward to itself after merges; it is not available to callers.
_BODIES = {_body(payload): payload for payload in COMMANDS if payload is not Forward}
for _payload in _BODIES.values():
    metrics.COMMANDS.labels(_name(_payload))
AnyCommand: Any = Annotated[reduce(or_, _BODIES), Field(discriminator="type")]


def _author(caller: Caller, named: Author | None) -> Author:
    """Return the author of a command: as given, else the only one that the token may act as, else the caller.

    Raises Problem 422 if the token may act as several, and 403 if it may not act as the given one.
    """
    allowed = caller.limits.get("authors")
    if allowed is None:
        return named or Author(kind=AuthorKind.SYSTEM, id=caller.name)
    if named is None:
        only = [each.partition("/") for each in allowed if not each.endswith("*")]
        if len(only) != 1 or len(allowed) != 1:
            raise Problem(422, "Missing author", "The token may act as several authors: name one in data.by")
        named = Author(kind=only[0][0], id=only[0][2])
    if not named.id or not allowed & {f"{named.kind}/{named.id}", f"{named.kind}/*"}:
        raise Problem(403, "Author not allowed", f"The token may act as {', '.join(sorted(allowed))}")
    return named


def _limit(caller: Caller, kind: str) -> str | None:
    return ",".join(sorted(caller.limits[kind])) if kind in caller.limits else None


class _Keys:
    """The commands for which recent idempotency keys were used in this process."""

    def __init__(self) -> None:
        self._used: dict[str, str] = {}

    def check(self, command: str, fingerprint: str) -> None:
        """Raise Problem 422 if the key was used for another command."""
        known = self._used.setdefault(command, fingerprint)
        if known != fingerprint:
            raise Problem(
                422, "Idempotency-Key was used for another command", "Use a different key for a different command"
            )
        if len(self._used) > MAX_KEYS:
            self._used.pop(next(iter(self._used)))


def commands_router(intake: Intake, clock: Clock, topic: str) -> Router:
    """Return the route. It needs Kafka only. The command's id is made from the caller and its Idempotency-Key."""
    router = Router(tags=["commands"])
    keys = _Keys()

    async def command(
        body: AnyCommand, key: IdempotencyKey, caller: Annotated[Caller, Depends(requires(SCOPE, keeps=LIMITS))]
    ) -> Accepted:
        payload = _BODIES[type(body)]
        fields = {name: getattr(body.data, name) for name in payload.model_fields}
        fields["by"] = _author(caller, body.data.by)
        wrapped = Command.of(
            payload.model_construct(**fields),
            id=stable_id("command", caller.name, key),
            source=SOURCE,
            subject=body.ticket_id,
            time=clock.now(),
            traceparent=tracing.current(),
            caller=caller.name,
            brands=_limit(caller, "brands"),
            accounts=_limit(caller, "accounts"),
        )
        value = wrapped.encode()
        if len(value) > COMMAND_BYTES:
            raise Problem(413, "The command is too large", f"The maximum is {COMMAND_BYTES} bytes")
        keys.check(wrapped.id, stable_id(body.ticket_id, payload.type, wrapped.data.model_dump_json()))
        await intake.send(Outgoing(topic, body.ticket_id.encode(), value, HEADERS))
        metrics.COMMANDS.labels(_name(payload)).inc()
        return Accepted(id=wrapped.id)

    router.add_api_route(
        "/v1/commands", command, methods=["POST"], status_code=202, response_model=Accepted,
        summary="Send a command for a ticket", description="Accepts the command; it is carried out asynchronously.",
    )  # fmt: skip
    return router
