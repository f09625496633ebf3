"""Events of the queues topic: figures of queues. Source /deskbus/routing/queues, subject is the queue."""

from typing import Annotated, ClassVar

from pydantic import Field

from contracts.payload import Payload
from contracts.values import Count, Identifier, Instant, Seconds


class QueueReported(Payload):
    """Figures of a queue for a period of 15 minutes, and its state at the end of the period."""

    type: ClassVar[str] = "deskbus.queue.reported.v1"
    queue: Identifier = Field(description="Name of the queue.")
    period_start: Instant = Field(description="Start of the period, inclusive.")
    period_end: Instant = Field(description="End of the period, exclusive.")
    depth: Count = Field(description="Tickets waiting at the end of the period.")
    oldest_wait_seconds: Seconds = Field(description="How long the oldest of them has waited; 0 if none is waiting.")
    arrivals: Count = Field(description="Tickets that were queued in the period.")
    handled: Count = Field(description="Tickets that were assigned in the period.")
    agents_online: Count = Field(0, description="Agents of the queue who were online at the end of the period.")
    occupancy: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        description="Load divided by capacity of the agents online, 0 to 1; above 1 after a capacity was lowered."
    )
