"""Events of the queues topic: how queues are doing. Source /deskbus/routing/queues, subject is the queue."""

from typing import Annotated, ClassVar

from pydantic import Field

from contracts.payload import Payload
from contracts.values import Count, Identifier, Instant, Seconds


class QueueReported(Payload):
    """How a queue did in a period (a quarter of an hour) and how it stands at its end."""

    type: ClassVar[str] = "deskbus.queue.reported.v1"
    queue: Identifier = Field(description="Name of the queue.")
    period_start: Instant = Field(description="Begin of the period, included.")
    period_end: Instant = Field(description="End of the period, excluded.")
    depth: Count = Field(description="Tickets waiting at the end of the period.")
    oldest_wait_seconds: Seconds = Field(description="Wait of the oldest of them; 0 when none waits.")
    arrivals: Count = Field(description="Tickets that were queued in the period.")
    handled: Count = Field(description="Tickets that were assigned in the period.")
    agents_online: Count = Field(0, description="Agents of the queue that were online at the end.")
    occupancy: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        description="Load over capacity of the agents online, 0 to 1; above 1 after a limit was lowered."
    )
