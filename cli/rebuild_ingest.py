"""Ingest's database again from Kafka alone: tickets with their messages, claims of threads, contacts. Nothing is sent.

Rule: what tickets published is the truth (`services/ingest/core/restore.py`). Raw messages are parsed again only for
what events leave out: the ancestors of mails, whole texts, files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from heapq import merge

from cli.ingest_documents import (
    claim_row,
    comparable,
    contact_state,
    differ_in_contacts,
    differ_in_tickets,
    ticket_document,
)
from cli.ingest_history import IngestHistory, Place
from cli.reading import TopicRecord, bounds, read
from cli.rebuild import Mute, Report, begin, commit, own_event, pages, untold, write_page
from cli.spool import room
from cli.standstill import Refused, running
from cli.topics import committed
from contracts import inbound, topics
from contracts.commands import Forward
from contracts.contacts import ContactUpdated
from contracts.dlq import DeadLetter
from contracts.inbound import InboundRecord
from contracts.topics import CONSUMES, dlq, group_name, topic_name
from kit.base.clock import SystemClock
from kit.base.errors import Unparsable
from kit.kafka.connection import Kafka
from kit.mongo import MongoStore, Row, as_stored
from kit.policy.secrets import Secrets
from kit.protocol.document import Document
from kit.protocol.outbox import Documents
from kit.protocol.ports import Store
from kit.protocol.restoring import MARKER
from services.ingest import blobs
from services.ingest.accounts import Accounts
from services.ingest.channels import email
from services.ingest.channels.compose import message_id_of
from services.ingest.core.arrivals import ATTACHMENTS, Arrival, blob_id
from services.ingest.core.commands import SOURCE
from services.ingest.core.contacts import ContactState
from services.ingest.core.policy import AccountDefaults, TicketPolicy
from services.ingest.core.restore import Asked, restore
from services.ingest.core.restored import Arrived, Claimed, Detail, Restored
from services.ingest.core.state import MESSAGES, TAKEN, TicketState
from services.ingest.core.threading import placement_anchor, separate_anchor
from services.ingest.handlers import Parsing, defaults_of, policy_of, read_command
from services.ingest.store import CONTACT_KIND, CONTACTS_SOURCE, THREADS, TICKET_KIND

SERVICE = "ingest"
COLLECTIONS = (TICKET_KIND.collection, CONTACT_KIND.collection, THREADS, MESSAGES, TAKEN)


@dataclass
class Known:
    """See `Known` in services/ingest/core/restore.py."""

    history: IngestHistory
    accounts: Accounts

    def policy(self, channel: str, account: str) -> TicketPolicy:
        """Return the policy of an account's tickets as the file has it now."""
        return policy_of(self.accounts.named(channel, account))

    def defaults(self, channel: str, account: str) -> AccountDefaults:
        """Return what an account's messages leave to the account."""
        return defaults_of(self.accounts.named(channel, account))

    def detail(self, message: str, receipt: str | None) -> Detail | None:
        """Return what the raw record tells."""
        return self.history.detail_of(message, receipt)

    def forwarded(self, ticket: str, message: str, into: str) -> bool:
        """Whether the command was written, or the other ticket has the message."""
        return self.history.was_forwarded(f"forward:{ticket}:{message}") or self.history.took(message, into)

    def mail_id(self, message: str, channel: str, account: str) -> str | None:
        """Return the Message-ID of a reply by mail."""
        known = self.accounts.named(channel, account)
        return None if known is None or known.channel != email.CHANNEL else message_id_of(message, known)


async def rebuild_ingest(
    accounts: Accounts,
    store: MongoStore,
    kafka: Kafka,
    *,
    secrets: Secrets,
    prefix: str = "",
    earlier: Sequence[str] = (),
    compare: bool = False,
) -> Report:
    """Rebuild ingest's database; with `compare`, compare it with what is stored. Raises Refused."""
    if not compare:
        await begin(SERVICE, COLLECTIONS, store, kafka, prefix)
    elif reasons := await running(kafka, prefix, [SERVICE]):
        raise Refused(reasons)
    report = Report(compared=compare)
    with room(), IngestHistory() as history:
        offsets = await committed(kafka, group_name(SERVICE, prefix))
        source = Source(history, Parsing(lambda: accounts, secrets), None if compare else store, report)
        for each in (*earlier, prefix):
            await source.collect(kafka, each)
        history.index()
        present = {topic_name(name, prefix) for name in CONSUMES[SERVICE]}
        handled = {(tp.topic, tp.partition): at for tp, at in offsets.items()}
        if not offsets:
            handled = {place: at + 1 for place, at in history.answered().items() if place[0] in present}
        work = IngestRebuild(history, Known(history, accounts), store, report, handled, present)
        await work.run(len(await bounds(kafka, [topics.COMMAND], prefix=prefix)), prefix)
    if not compare:
        if not offsets:
            await commit(kafka, group_name(SERVICE, prefix), handled)
        await store.set_each(MARKER, "state", {MARKER: "done"})
    return report


@dataclass
class Source:
    """Reads ingest's topics into the history."""

    history: IngestHistory
    parsing: Parsing
    files: Store | None
    """Where the files of mails go; None: nowhere."""
    report: Report
    dead: set[Place] = field(default_factory=set)

    async def collect(self, kafka: Kafka, prefix: str) -> None:
        """Read everything under one prefix."""
        async for record in read(kafka, [dlq(SERVICE)], prefix=prefix):
            try:
                letter = DeadLetter.from_kafka(record.key, record.value, record.headers)
            except ValueError:
                continue
            self.dead.add((letter.topic, letter.partition, letter.offset))
        own = {topics.TICKETS: (SOURCE, self.history.say), topics.CONTACTS: (CONTACTS_SOURCE, self.history.contact)}
        for topic, (source, put) in own.items():
            async for record in read(kafka, [topic], prefix=prefix):
                event = own_event(record, prefix, self.report)
                if event is not None and event.source == source:
                    put(event, record.value or b"")
                    self.report.said += 1
        async for record in read(kafka, CONSUMES[SERVICE], prefix=prefix):
            await self.hear(record, (topic_name(record.topic, prefix), record.partition, record.offset))

    async def hear(self, record: TopicRecord, place: Place) -> None:
        """Take a record that ingest consumed."""
        self.report.heard += 1
        if any(name == "ce_type" and value == inbound.TYPE.encode() for name, value in record.headers):
            await self._raw(record, place)
        elif place not in self.dead:
            self._command(record, place)

    def _command(self, record: TopicRecord, place: Place) -> None:
        try:
            command = read_command(record.value or b"").command
        except Unparsable:
            return
        forward = isinstance(command.data, Forward)
        self.history.ask(command, place, record.timestamp_ms, record.value or b"", forward=forward)

    async def _raw(self, record: TopicRecord, place: Place) -> None:
        """Take from a raw message what events leave out. A dead letter may have led to events too, in part."""
        try:
            raw = InboundRecord.from_kafka(record.value, record.headers)
            self.history.hear(raw.receipt, place)
            if raw.claim is not None:
                return  # its body was in the database
            items = self.parsing.items(record, raw)
        except Exception:
            return  # no event came of it, or it is told as a message whose record cannot be read
        for item in items:
            if isinstance(item.value, Arrival) and self.history.took(item.value.id):
                self.history.detail(item.value.id, raw.receipt, Detail.of(item.value))
                await self._keep_files(item.value)

    async def _keep_files(self, arrival: Arrival) -> None:
        for index, part in enumerate(arrival.inbound.parts[:ATTACHMENTS]):
            if part.content is not None and self.files is not None:
                await blobs.put(self.files, blob_id(arrival.id, index), part.content)


@dataclass
class IngestRebuild:
    """Writes or compares what the history tells."""

    history: IngestHistory
    known: Known
    store: MongoStore
    report: Report
    handled: Mapping[tuple[str, int], int]
    present: set[str]
    lost: int = 0
    guessed: int = 0
    guesses: set[str] = field(default_factory=set)
    """Tickets of which something was guessed."""

    async def run(self, partitions: int, prefix: str) -> None:
        """Rebuild everything: tickets, then what follows from them."""
        clock, sender = SystemClock(), Mute(partitions)
        await self._tickets(Documents(TICKET_KIND, self.store, sender, clock, prefix=prefix))
        await self._claims()
        await self._contacts(Documents(CONTACT_KIND, self.store, sender, clock, prefix=prefix))
        if self.report.compared:
            await self._find_others()
        self.report.remarks += self._remarks()

    def _remarks(self) -> Iterator[str]:
        if self.lost:
            yield (
                f"{self.lost} replies have no outcome in Kafka: it is unknown whether they were sent. Ingest will"
                " report each as failed (deskbus.message.failed.v1) and send none of them"
            )
        if self.guessed:
            yield (
                f"{self.guessed} messages without their raw record or command: only the nearest and the oldest of the"
                " mails that they answer are known, and only the part of their text that events carry"
            )
        if count := self.history.strangers():
            yield f"{count} people wrote whose contact has no event left: it starts over with their next message"

    # -- tickets -------------------------------------------------------------------------------------------------

    async def _tickets(self, documents: Documents[TicketState]) -> None:
        differ = partial(differ_in_tickets, guesses=self.guesses, since=self.history.first_asked())
        every = ((ticket, self._restored(ticket)) for ticket in self.history.tickets())
        for page in pages(ticket_document(ticket, each) for ticket, each in every if each.state is not None):
            await self._write_tickets(differ, documents, page)

    def _restored(self, ticket: str) -> Restored:
        commands = [
            Asked(read_command(value).command, at, handled=self._is_handled(place))
            for place, at, value in self.history.commands(ticket)
        ]
        restored = restore(ticket, self.history.events(ticket), commands, self.history.links(ticket), self.known)
        self.history.leave(restored.arrived, restored.claims)
        self.lost += restored.lost
        self.guessed += restored.guessed
        if restored.guessed:
            self.guesses.add(ticket)
        if restored.cut:
            self.report.cut.append(ticket)
        return restored

    def _is_handled(self, place: Place) -> bool:
        topic, partition, offset = place
        return topic not in self.present or offset < self.handled.get((topic, partition), 0)

    async def _write_tickets(
        self,
        differ: Callable[[Row, Row], list[str]],
        documents: Documents[TicketState],
        page: list[Document[TicketState]],
    ) -> None:
        if self.report.compared:
            rows = [i.document for doc in page for i in doc.inserts if i.collection == MESSAGES]
            await self._compare(MESSAGES, [dict(row) for row in rows], ("kind", "at", "body", "whole"), comparable)
        await write_page(differ, documents, page, self.report)

    # -- claims --------------------------------------------------------------------------------------------------

    async def _claims(self) -> None:
        """Claim anchors in the order in which they were claimed then, as `services/ingest/threads.py` does."""
        both: Iterable[Claimed | Arrived] = merge(
            self.history.sent(), self.history.arrivals(), key=lambda each: each.at
        )
        for each in both:
            if isinstance(each, Claimed):
                self.history.claim(each.anchor, each.ticket, each.message, tried=each.tried)
            elif each.mail:
                self._claim_mail(each)
            elif each.opens:
                self.history.claim_anew(each.detail.anchors[0], each.ticket)
            else:
                self.history.claim(each.detail.anchors[0], each.ticket)
        rows = (row for row in self.history.claims() if row.tried or not self.report.compared)
        await self._write_claims(map(claim_row, rows), ("ticket", "message", "places"))
        people = ({"_id": claim, "version": 1, "contact": contact} for claim, contact in self.history.identities())
        await self._write_claims(people, ("contact",))

    def _claim_mail(self, mail: Arrived) -> None:
        own, *ancestors = mail.detail.anchors
        if mail.opens and not mail.linked:
            found = (self.history.claimed(anchor) for anchor in mail.detail.anchors)
            refused = next((row.ticket for row in found if row is not None and row.ticket != mail.ticket), None)
            if refused is not None:  # a ticket of another brand, which its sender could not join
                self.history.claim(separate_anchor(refused, mail.detail.brand, mail.contact), mail.ticket)
        if self.history.claim(own, mail.ticket, places=mail.message).places != mail.message:
            self.history.claim_anew(placement_anchor(mail.message), mail.ticket, mail.message)
        for anchor in ancestors:
            self.history.claim(anchor, mail.ticket)

    async def _write_claims(self, rows: Iterable[Row], fields: Sequence[str]) -> None:
        for page in pages(rows):
            if self.report.compared:
                await self._compare(THREADS, page, fields)
            else:
                await self.store.insert(THREADS, page)

    async def _compare(
        self,
        collection: str,
        rows: Sequence[Row],
        fields: Sequence[str],
        compared: Callable[[Row], Row] = lambda row: row,
    ) -> None:
        stored = {row["_id"]: row for row in await self.store.fetch(collection, [row["_id"] for row in rows])}
        for row in rows:
            mine, theirs = compared(as_stored(row)), compared(stored.get(row["_id"], {}))
            if "ticket" in theirs and not self.history.is_ticket(theirs["ticket"]):
                continue  # Kafka knows nothing of this ticket any more
            changed = [name for name in fields if mine.get(name) != theirs.get(name)]
            about = f"{collection}/{row['_id']} ({row.get('ticket') or row.get('contact')})"
            self.report.differences += [f"{about}: {', '.join(changed)}"] if changed else []

    # -- contacts ------------------------------------------------------------------------------------------------

    async def _contacts(self, documents: Documents[ContactState]) -> None:
        differ = partial(differ_in_contacts, is_ticket=self.history.is_ticket, guesses=self.guesses)
        for page in pages(self._known_contacts()):
            await write_page(differ, documents, page, self.report)

    def _known_contacts(self) -> Iterator[Document[ContactState]]:
        for contact, event, messages in self.history.people():
            if not isinstance(event.data, ContactUpdated):
                continue
            document: Document[ContactState] = Document(contact, emitted=event.sequence, changed=True)
            document.state = contact_state(ContactState(event.data.contact), messages)
            yield document

    async def _find_others(self) -> None:
        """Tell of stored documents that Kafka knows nothing of any more."""
        for collection, is_known in (
            (TICKET_KIND.collection, self.history.is_ticket),
            (CONTACT_KIND.collection, self.history.is_contact),
        ):
            self.report.remarks += await untold(self.store, collection, is_known)
