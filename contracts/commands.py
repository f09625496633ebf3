"""Commands: what may be asked of Deskbus, in the imperative. `contracts.envelope.Command` wraps them.

A command's subject is the ticket, its sender is `by`. A refused command is answered by command.rejected.
"""

from typing import ClassVar

from pydantic import ConfigDict, Field, model_validator

from contracts.payload import Payload
from contracts.ticket import Attachment, Author, ContactRef, Facts, Message, Priority, Status
from contracts.values import Identifier, SkillLevels, Value


class Template(Value):
    """A message that the channel's provider has approved in advance, which may be sent at any time."""

    name: Identifier = Field(description="Name of the template at the provider.")
    language: str = Field(min_length=2, description="Its language as the provider writes it, e.g. en or pt_BR.")
    parameters: tuple[str, ...] = Field((), description="Values of the placeholders of its body, in their order.")


class CommandPayload(Payload):
    """Base of all commands."""

    by: Author = Field(description="Who sends the command.")


class Reply(CommandPayload):
    """Send a message to the customer."""

    type: ClassVar[str] = "deskbus.command.reply.v1"
    text: str = Field(min_length=1, description="The message as plain text.")
    html: str | None = Field(None, description="The message as HTML, for channels that can show it.")
    attachments: tuple[Attachment, ...] = Field(
        (),
        description="Files to send: files of the ticket or uploads by the same token (POST /v1/files), by their ref, "
        "or by url. If the channel cannot carry a file, the message fails. WhatsApp sends the text and each file as "
        "separate messages. LINE and SMS accept files by https URL only, LINE only pictures.",
    )
    status: Status | None = Field(None, description="Status to set once it is sent; if absent, the life cycle decides.")
    template: Template | None = Field(
        None,
        description="Template to send instead of text, html and attachments, on channels with templates (WhatsApp); "
        "text is then what it says, for agents and events. More than 24 hours after the customer's last message, such "
        "a channel takes nothing else.",
    )


class AddNote(CommandPayload):
    """Add an internal note."""

    type: ClassVar[str] = "deskbus.command.note.v1"
    text: str = Field(min_length=1, description="Text of the note.")


class SetStatus(CommandPayload):
    """Change the status, as far as the life cycle allows."""

    type: ClassVar[str] = "deskbus.command.set_status.v1"
    status: Status = Field(description="New status.")
    reason: str | None = Field(None, description="Reason.")


class SetPriority(CommandPayload):
    """Change the priority."""

    type: ClassVar[str] = "deskbus.command.set_priority.v1"
    priority: Priority = Field(description="New priority.")
    reason: str | None = Field(None, description="Reason.")


class SetTags(CommandPayload):
    """Change the tags: replace all of them, or add and remove some."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": {"required": ["replace"], "properties": {"replace": {"type": "array"}}},
            "then": {"properties": {"add": {"maxItems": 0}, "remove": {"maxItems": 0}}},
        }
    )
    type: ClassVar[str] = "deskbus.command.set_tags.v1"
    add: tuple[str, ...] = Field((), description="Tags to add.")
    remove: tuple[str, ...] = Field((), description="Tags to remove.")
    replace: tuple[str, ...] | None = Field(None, description="All tags from now on; not together with add or remove.")

    @model_validator(mode="after")
    def _one_way(self) -> "SetTags":
        if self.replace is not None and (self.add or self.remove):
            raise ValueError("replace excludes add and remove")
        return self


class HandOff(CommandPayload):
    """Hand a conversation off from a bot to people."""

    type: ClassVar[str] = "deskbus.command.hand_off.v1"
    reason: str | None = Field(None, description="Why the bot hands it off.")
    summary: str | None = Field(None, description="What the bot found out, for the agent.")
    required_skills: SkillLevels | None = Field(None, description="Skills that an agent needs, according to the bot.")


class Transfer(CommandPayload):
    """Transfer the ticket to a queue or to an agent. Routing carries it out."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": [name], "properties": {name: {"type": "string"}, other: {"type": "null"}}}
                for name, other in (("queue", "agent_id"), ("agent_id", "queue"))
            ]
        }
    )
    type: ClassVar[str] = "deskbus.command.transfer.v1"
    queue: str | None = Field(None, description="Queue to transfer to.")
    agent_id: str | None = Field(None, description="Agent to transfer to.")
    reason: str | None = Field(None, description="Reason.")

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
    """Split some messages of this ticket off into a new ticket."""

    type: ClassVar[str] = "deskbus.command.split.v1"
    message_ids: tuple[str, ...] = Field(min_length=1, description="Messages to split off.")
    subject: str | None = Field(None, description="Subject of the new ticket.")


class SetFacts(Facts, CommandPayload):
    """Set facts about the customer or the order. Absent fields stay as they are."""

    type: ClassVar[str] = "deskbus.command.set_facts.v1"


class Forward(CommandPayload):
    """Take over a message of a ticket that was merged into this one. Only ingest may send this command."""

    type: ClassVar[str] = "deskbus.command.forward.v1"
    message: Message = Field(description="The message.")
    from_ticket_id: Identifier = Field(description="The ticket that it arrived on.")
    contact: ContactRef | None = Field(None, description="Author, if it is not this ticket's contact.")
