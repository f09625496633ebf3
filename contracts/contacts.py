"""Events of the contacts topic: who our customers are. Source /deskbus/ingest/contacts, subject is the contact id."""

from typing import ClassVar

from pydantic import Field

from contracts.payload import Payload
from contracts.ticket import Author, ChannelName, CustomerFacts
from contracts.values import Identifier, Instant, Value


class Identity(Value):
    """An id under which a channel knows a person."""

    channel: ChannelName = Field(description="The channel.")
    account: str | None = Field(None, description="Account on the channel, if the id is valid only within it.")
    id: Identifier = Field(description="Mail address, phone number, or the channel's user id.")
    verified: bool = Field(default=False, description="Whether the channel or the person proved it.")


class Contact(Value):
    """A person who writes to us."""

    id: Identifier = Field(description="Contact id.")
    name: str | None = Field(None, description="Display name.")
    language: str | None = Field(None, description="Preferred language, BCP 47.")
    identities: tuple[Identity, ...] = Field((), description="Ids under which channels know this person.")
    customer: CustomerFacts = Field(default=CustomerFacts(), description="What is known about the customer.")
    merged_into: str | None = Field(None, description="Surviving contact. If set, this contact is an alias of it.")
    created_at: Instant = Field(description="When the person first wrote.")
    updated_at: Instant = Field(description="When the contact last changed.")


class ContactUpdated(Payload):
    """A contact was created or changed."""

    type: ClassVar[str] = "deskbus.contact.updated.v1"
    contact: Contact = Field(description="The contact after this event.")
    changed: tuple[str, ...] = Field((), description="Names of the fields that changed; all fields of a new contact.")


class ContactMerged(Payload):
    """Two contacts of the same person were merged."""

    type: ClassVar[str] = "deskbus.contact.merged.v1"
    contact: Contact = Field(description="The contact that became an alias.")
    into: Identifier = Field(description="The surviving contact.")
    actor: Author = Field(description="Who merged them.")


class ContactUnmerged(Payload):
    """A merge was undone."""

    type: ClassVar[str] = "deskbus.contact.unmerged.v1"
    contact: Contact = Field(description="The contact that is separate again.")
    out_of: Identifier = Field(description="The contact that it was merged into.")
    actor: Author = Field(description="Who undid the merge.")


class ContactErased(Payload):
    """A person's data was erased on request; subscribers must erase their copies."""

    type: ClassVar[str] = "deskbus.contact.erased.v1"
    contact_id: Identifier = Field(description="The contact.")
    erased_at: Instant = Field(description="When it was erased.")
    actor: Author = Field(description="Who erased it.")
