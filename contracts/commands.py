"""What may be asked of Deskbus: the data of commands, in the imperative. `contracts.envelope.Command` wraps them.

The ticket is the command's subject; who asks is `by`. A refused command is answered by command.rejected.
"""

from typing import ClassVar

from pydantic import ConfigDict, Field, model_validator

from contracts.payload import Payload
from contracts.ticket import Attachment, Author, ContactRef, Facts, Message, Priority, Status
from contracts.values import Identifier, SkillLevels


class CommandPayload(Payload):
    """What all commands carry."""

    by: Author = Field(description="Who asks.")


class Reply(CommandPayload):
    """Send a message to the customer."""

    type: ClassVar[str] = "deskbus.command.reply.v1"
    text: str = Field(min_length=1, description="The message as plain text.")
    html: str | None = Field(None, description="The message as HTML, for channels that can show it.")
    attachments: tuple[Attachment, ...] = Field(
        (),
        description="Files to send along: files of the ticket, or uploads of the same token (POST /v1/files), by their "
        "ref, or a url. What the channel cannot carry fails the message; on WhatsApp the text "
        "and each file leave as messages of their own. LINE and SMS take files by https URL only, LINE only pictures.",
    )
    status: Status | None = Field(
        None, description="Status to set once it is sent; nothing leaves the life cycle to it."
    )


class AddNote(CommandPayload):
    """Leave an internal note."""

    type: ClassVar[str] = "deskbus.command.note.v1"
    text: str = Field(min_length=1, description="The note.")


class SetStatus(CommandPayload):
    """Change the status, within the life cycle."""

    type: ClassVar[str] = "deskbus.command.set_status.v1"
    status: Status = Field(description="The status wanted.")
    reason: str | None = Field(None, description="Why.")


class SetPriority(CommandPayload):
    """Change the priority."""

    type: ClassVar[str] = "deskbus.command.set_priority.v1"
    priority: Priority = Field(description="The priority wanted.")
    reason: str | None = Field(None, description="Why.")


class SetTags(CommandPayload):
    """Change the tags: replace them all, or add and remove some."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": {"required": ["replace"], "properties": {"replace": {"type": "array"}}},
            "then": {"properties": {"add": {"maxItems": 0}, "remove": {"maxItems": 0}}},
        }
    )
    type: ClassVar[str] = "deskbus.command.set_tags.v1"
    add: tuple[str, ...] = Field((), description="Tags to add.")
    remove: tuple[str, ...] = Field((), description="Tags to remove.")
    replace: tuple[str, ...] | None = Field(None, description="All tags from now on; excludes add and remove.")

    @model_validator(mode="after")
    def _one_way(self) -> "SetTags":
        if self.replace is not None and (self.add or self.remove):
            raise ValueError("replace excludes add and remove")
        return self


class HandOff(CommandPayload):
    """A bot gives the conversation to people."""

    type: ClassVar[str] = "deskbus.command.hand_off.v1"
    reason: str | None = Field(None, description="Why it gives up.")
    summary: str | None = Field(None, description="What it found out, for the agent.")
    required_skills: SkillLevels | None = Field(None, description="Skills that the bot found to be needed.")


class Transfer(CommandPayload):
    """Give the ticket to a queue or to an agent. Carried out by routing."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": [name], "properties": {name: {"type": "string"}, other: {"type": "null"}}}
                for name, other in (("queue", "agent_id"), ("agent_id", "queue"))
            ]
        }
    )
    type: ClassVar[str] = "deskbus.command.transfer.v1"
    queue: str | None = Field(None, description="Queue to wait in.")
    agent_id: str | None = Field(None, description="Agent to give it to.")
    reason: str | None = Field(None, description="Why.")

    @model_validator(mode="after")
    def _one_target(self) -> "Transfer":
        if (self.queue is None) == (self.agent_id is None):
            raise ValueError("name either a queue or an agent_id")
        return self


class Merge(CommandPayload):
    """Merge this ticket with another of the same account and brand; the older one survives."""

    type: ClassVar[str] = "deskbus.command.merge.v1"
    into: Identifier = Field(description="The other ticket.")


class Split(CommandPayload):
    """Let some messages of this ticket go on as a ticket of their own."""

    type: ClassVar[str] = "deskbus.command.split.v1"
    message_ids: tuple[str, ...] = Field(min_length=1, description="Messages that go.")
    subject: str | None = Field(None, description="Subject of the new ticket.")


class SetFacts(Facts, CommandPayload):
    """Bring facts about the customer or the order. What is not given stays as it is."""

    type: ClassVar[str] = "deskbus.command.set_facts.v1"


class Forward(CommandPayload):
    """Take over a message of a ticket that was merged into this one. Only ingest gives this command."""

    type: ClassVar[str] = "deskbus.command.forward.v1"
    message: Message = Field(description="The message.")
    from_ticket_id: Identifier = Field(description="The ticket that it arrived on.")
    contact: ContactRef | None = Field(None, description="Who wrote it, when it is not this ticket's contact.")
