"""Look up what the core needs to decide commands: other tickets, files, messages that were taken long ago."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from contracts.commands import Merge, Reply
from contracts.ticket import Direction, Message, Ticket
from kit.protocol.document import Document
from kit.protocol.handling import Incoming
from kit.protocol.outbox import Documents
from kit.protocol.ports import Store
from services.ingest.core.asked import message_of
from services.ingest.core.commands import CommandContext
from services.ingest.core.state import MESSAGES, TAKEN, TAKEN_CAP, TicketState, taken_id
from services.ingest.files import Files
from services.ingest.store import only_taken, public_message
from services.ingest.threads import Threads

MERGED_MESSAGES = 500


class CommandLookups:
    """Completes the CommandContext of commands."""

    def __init__(self, store: Store, tickets: Documents[TicketState], threads: Threads, files: Files) -> None:
        self._store, self._tickets, self._threads, self._files = store, tickets, threads, files
        self._named = set[str]()
        """Ids of the files that replies of this batch attach."""

    async def look_up(self, items: Sequence[Incoming]) -> None:
        """Look up the other ticket and the messages of merges, and the usable files of replies."""
        self._named = set()
        for item in items:
            if isinstance(item.value, CommandContext):
                item.value = await self._filled(item.value)

    async def look_up_taken(
        self, items: Sequence[Incoming], docs: Mapping[str, Document[TicketState]]
    ) -> dict[str, Document[TicketState]]:
        """Set `taken` of replies and forwards whose message TAKEN lists. Return the tickets read, including `docs`.

        Tickets are read before TAKEN: an id is added to TAKEN before the ticket drops it, so this order misses none.
        """
        asked = [
            (item, item.value, message_of(item.value.command))
            for item in items
            if isinstance(item.value, CommandContext)
        ]
        bringing = [
            (item, value, taken_id(value.command.subject, id_)) for item, value, id_ in asked if id_ is not None
        ]
        found = dict(docs)
        found |= await self._tickets.load({value.command.subject for _, value, _ in bringing} - docs.keys())
        # Most tickets still list all messages that they took.
        unsure = [each for each in bringing if _drops_ids(found[each[1].command.subject])]
        if unsure:
            known = {row["_id"] for row in await self._store.fetch(TAKEN, sorted({key for _, _, key in unsure}))}
            for item, value, key in unsure:
                item.value = replace(value, taken=key in known)
        return found

    async def keep_named(self, docs: Sequence[Document[TicketState]]) -> None:
        """Make the uploads permanent that replies in these tickets attach."""
        if self._named:
            waiting = [each.message for doc in docs if doc.state is not None for each in doc.state.pending]
            await self._files.keep(
                {file.ref for each in waiting for file in each.attachments if file.ref in self._named}
            )

    async def _filled(self, asked: CommandContext) -> CommandContext:
        command = asked.command
        if isinstance(command.data, Merge):
            own, into = command.subject, command.data.into
            tickets = await self._threads.tickets([own, into])
            return replace(asked, other=tickets[into], messages=await self._unanswered(tickets[own]))
        if isinstance(command.data, Reply):
            refs = {file.ref for file in command.data.attachments if file.ref is not None}
            if refs:
                self._named |= refs
                return replace(asked, files=await self._files.usable(command.subject, refs, command.caller))
        return asked

    async def _unanswered(self, ticket: Ticket | None) -> tuple[Message, ...]:
        """Return up to `MERGED_MESSAGES` messages of the customer, starting with the oldest unanswered one."""
        if ticket is None or ticket.oldest_unanswered_at is None:
            return ()
        rows = await self._store.find(
            MESSAGES,
            {
                "ticket": ticket.id, "kind": "message", "at": {"$gte": ticket.oldest_unanswered_at},
                "body.direction": Direction.IN.value, "body.automated": False,
            },
            sort=[("at", 1)],
            limit=MERGED_MESSAGES,
        )  # fmt: skip
        return tuple(public_message(row) for row in await only_taken(self._store, rows))


def _drops_ids(doc: Document[TicketState]) -> bool:
    return doc.fault is None and doc.state is not None and len(doc.state.taken) >= TAKEN_CAP
