"""The worker: records of inbound, commands and retries become items, find their ticket, are decided by the core.

No rule of tickets is here. A command to a ticket that does not exist is answered by command.rejected like any refusal:
a caller's slip must not fill the dead letter queue, whose growth stops the service.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from contracts import inbound as inbound_contract
from contracts.envelope import Command
from contracts.inbound import InboundRecord
from contracts.values import trace_context
from kit.base.errors import Unparsable
from kit.policy.secrets import Secrets
from kit.protocol.document import Cause, Decision, Document
from kit.protocol.handling import Incoming
from kit.protocol.record import Record
from services.ingest import metrics
from services.ingest.accounts import Account, Accounts
from services.ingest.channels import CHANNELS, email
from services.ingest.command_lookups import CommandLookups
from services.ingest.core.arrivals import ATTACHMENTS, Arrival, StatusReport, blob_id, kept
from services.ingest.core.commands import CommandContext
from services.ingest.core.messages import DeliveryStatus, Faulty, InboundMessage, Unreadable
from services.ingest.core.policy import AccountDefaults, TicketPolicy
from services.ingest.core.state import MESSAGES, TicketState
from services.ingest.core.threading import message_anchor
from services.ingest.core.ticket import decide
from services.ingest.people import People
from services.ingest.reports import EarlyReports
from services.ingest.signatures import Checks, Signatures
from services.ingest.store import THREADS, Keeping
from services.ingest.threads import Threads

#: Characters of a command's ids and of its type, all of which its answer has to name.
MAX_ID = 10_000
#: Digits of the largest size that a record may announce: what is longer was not written by our door.
MAX_DIGITS = 12
log = structlog.get_logger(__name__)


def policy_of(account: Account | None) -> TicketPolicy:
    """Return what holds for an account's tickets; an account that is gone leaves the defaults."""
    if account is None:
        return TicketPolicy()
    return TicketPolicy(
        quiet=account.quiet_after,
        reopen_window=account.reopen_window,
        send_for=account.retry_for,
        one_file_per_message=CHANNELS[account.channel].ONE_FILE_PER_MESSAGE,
    )


def defaults_of(account: Account | None) -> AccountDefaults:
    """Return what an account says about messages that do not say it themselves."""
    if account is None:
        return AccountDefaults()
    return AccountDefaults(account.brand, account.market.market(), account.language, account.tags, account.bot)


@dataclass(slots=True)
class Parsing:
    """Bytes to messages, by the channel's own parser and the accounts in force."""

    accounts: Callable[[], Accounts]
    secrets: Secrets

    def items(self, record: Record, raw: InboundRecord) -> list[Incoming]:
        """Read a record whose body is here; raises Unparsable with the reason."""
        accounts = self.accounts()
        account = accounts.named(raw.channel, raw.account)
        channel = CHANNELS.get(raw.channel)
        if account is None or channel is None:
            raise Unparsable(f"unknown account {raw.account} on {raw.channel}")
        try:
            parsed = channel.parse(raw, account, accounts, self.secrets)
        except Unreadable as fault:
            metrics.UNREADABLE.labels(raw.channel).inc()
            raise Unparsable(f"{raw.channel}: {fault}") from fault
        cause = Cause(raw.receipt, raw.receipt, trace_context(raw.traceparent))
        return [self._item(record, raw, each, cause) for each in parsed]

    def _item(
        self, record: Record, raw: InboundRecord, parsed: InboundMessage | DeliveryStatus | Faulty, cause: Cause
    ) -> Incoming:
        if isinstance(parsed, Faulty):
            return self._fault(record, raw, parsed)
        try:
            return Incoming(record, value=self._value(parsed, raw), cause=cause)
        except Exception as bug:
            return self._fault(record, raw, Faulty.failed(bug))

    def _fault(self, record: Record, raw: InboundRecord, fault: Faulty) -> Incoming:
        """Put the record aside for one element of it; the others are taken. What is foreign counts as no fault."""
        if fault.bug is not None:
            log.error("an inbound record cannot be read", receipt=raw.receipt, channel=raw.channel, exc_info=fault.bug)
            return Incoming(record, fault=fault.reason, unforeseen=True)
        if fault.foreign:
            metrics.REFUSED.labels(raw.channel, "foreign").inc()
        else:
            metrics.UNREADABLE.labels(raw.channel).inc()
        told = f"{raw.channel}: {fault.reason}"
        return Incoming(record, fault=told, exempt=fault.foreign)

    def checks_dkim(self, raw: InboundRecord) -> bool:
        """Whether the record is a mail whose signatures are to be checked here."""
        account = self.accounts().named(raw.channel, raw.account)
        return account is not None and account.check_dkim and account.channel == email.CHANNEL

    def _value(self, parsed: InboundMessage | DeliveryStatus, raw: InboundRecord) -> Arrival | StatusReport:
        metrics.PARSED.labels(parsed.channel, "status" if isinstance(parsed, DeliveryStatus) else "message").inc()
        if isinstance(parsed, DeliveryStatus):
            return StatusReport(parsed, raw.received_at)
        account = self.accounts().named(parsed.channel, parsed.account)
        return Arrival(parsed, raw.received_at, defaults_of(account))


async def _check_signatures(items: Sequence[Incoming], checks: Checks) -> None:
    """Check those that are here at once: while DNS does not answer, a batch waits as long as one mail does."""
    here = [(item, item.value) for item in items if isinstance(item.value, InboundRecord)]
    mails = [(item, raw) for item, raw in here if raw.claim is None]
    for (item, _), checked in zip(mails, await checks.check([raw for _, raw in mails]), strict=True):
        item.value = checked


def weigh(record: Record) -> int:
    """Return how many bytes a record takes while it is handled: a claim check announces the body that it stands for."""
    here = len(record.value or b"")
    for name, value in record.headers:
        announced = value or b""  # Kafka: a value may be null
        if name == "deskbus_size" and announced.isdigit() and len(announced) <= MAX_DIGITS:
            return max(here, int(announced))
    return here


class IngestHandling:
    """What ingest brings to the batch loop."""

    begins: str | None = None

    def __init__(
        self,
        store: Keeping,
        parsing: Parsing,
        people: People,
        threads: Threads,
        lookups: CommandLookups,
        wake_sender: Callable[[], None],
        signatures: Signatures | None = None,
        beat: Callable[[], object] = lambda: None,
    ) -> None:
        """`beat` is called with each body that is read: many large ones take their time."""
        self._beat = beat
        self._lookups, self._signatures = lookups, signatures or Signatures()
        self._store, self._parsing, self._people, self._threads = store, parsing, people, threads
        self._wake_sender, self._early = wake_sender, EarlyReports(store)

    def expand(self, record: Record) -> Sequence[Incoming]:
        """Read a record: raw messages say what they are in their headers, commands are structured events."""
        if any(name == "ce_type" and value == inbound_contract.TYPE.encode() for name, value in record.headers):
            try:
                raw = InboundRecord.from_kafka(record.value, record.headers)
            except ValueError as fault:
                raise Unparsable(f"inbound record: {fault}") from fault
            later = raw.claim is not None or self._parsing.checks_dkim(raw)
            return [Incoming(record, value=raw)] if later else self._parsing.items(record, raw)
        asked = _asked(record.value or b"")
        command = asked.command
        cause = Cause(command.id, command.correlationid or command.id, trace_context(command.traceparent))
        return [Incoming(record, doc_id=command.subject, value=asked, cause=cause)]

    def is_exempt(self, record: Record, *, unforeseen: bool) -> bool:
        """Whether it is a raw message that nobody signed, or a signed one that our own code fails on.

        Anybody may send a mail. Of a signed webhook its provider vouches for the form, but customers write the text.
        """
        told = dict(record.headers)
        raw = told.get("ce_type") == inbound_contract.TYPE.encode()
        return raw and (unforeseen or told.get("deskbus_verified") != b"true")

    async def locate(self, items: list[Incoming]) -> Mapping[str, Document[TicketState]]:
        """Fetch what was left by claim check, then find the tickets that messages and reports are about."""
        await self._redeem(items)
        arriving = [(item, item.value) for item in items if isinstance(item.value, Arrival)]
        arrivals = [arrival for _, arrival in arriving]
        claims = self._people.claims(arrivals) | {each for arrival in arrivals for each in arrival.claims}
        rows, holders, _ = await asyncio.gather(
            self._store.fetch(THREADS, sorted(claims)),
            self._threads.find_holders(arrivals),
            self._people.load(arrivals),
        )
        found = {row["_id"]: row for row in rows}
        await self._people.identify(arrivals, found)
        docs = await self._threads.place(arrivals, found, holders)
        await asyncio.gather(
            self._people.learn([(arrival, item.cause) for item, arrival in arriving]), self._keep_files(arrivals)
        )
        for item, arrival in arriving:
            item.doc_id = arrival.ticket_id
        await self._find_reported(items)
        await self._lookups.look_up(items)
        return await self._lookups.look_up_taken(items, docs)

    def decide(self, state: TicketState | None, item: Incoming, now: datetime) -> Decision[TicketState]:
        """Ask the core, with what holds for the ticket's account."""
        if isinstance(item.value, Arrival):
            channel, account = item.value.inbound.channel, item.value.inbound.account
        elif state is not None and state.ticket is not None:
            channel, account = state.ticket.channel, state.ticket.account
        else:
            return decide(state, item.value, TicketPolicy(), now)
        return decide(state, item.value, policy_of(self._parsing.accounts().named(channel, account)), now)

    def count(self, item: Incoming, decision: Decision[TicketState]) -> None:
        """Count messages that were there already: of any other, the ticket changes."""
        if isinstance(item.value, Arrival) and decision.state is None:
            metrics.DUPLICATES.labels(item.value.inbound.channel).inc()

    async def before_decide(self, docs: Sequence[Document[TicketState]]) -> None:
        """Need to know nothing else: messages brought it when they were placed."""

    async def before_write(self, docs: Sequence[Document[TicketState]]) -> None:
        """Keep the uploads that replies name; claims were made when the messages were placed."""
        await self._lookups.keep_named(docs)

    async def after_write(
        self,
        won: Sequence[Document[TicketState]],
        lost: Sequence[Document[TicketState]],  # noqa: ARG002 - a loser's claims stay: they are where it comes again
    ) -> None:
        """Let what was stored leave."""
        if any(doc.state is not None and doc.state.pending for doc in won):
            self._wake_sender()
        await self._people.publish()

    async def _redeem(self, items: list[Incoming]) -> None:
        checks = self._signatures.batch()
        await _check_signatures(items, checks)
        whole: list[Incoming] = []
        for item in items:
            if not isinstance(item.value, InboundRecord):
                whole.append(item)
                continue
            raw = item.value
            body = raw.body if raw.claim is None else await self._store.get_blob(raw.claim)
            try:
                if body is None:
                    raise Unparsable(f"the body {raw.claim} is missing or was deleted")
                if raw.claim is not None:
                    raw = raw.model_copy(update={"body": body})
                    raw = (await checks.check([raw]))[0] if self._parsing.checks_dkim(raw) else raw
                found = self._parsing.items(item.record, raw)
                # Before the next body comes: a batch of large mails must not be held all at once.
                await self._keep_files([each.value for each in found if isinstance(each.value, Arrival)])
                whole += found
            except Unparsable as fault:
                whole.append(Incoming(item.record, fault=str(fault), exempt=fault.exempt))
            self._beat()
        items[:] = whole

    async def _keep_files(self, arrivals: Sequence[Arrival]) -> None:
        for arrival in arrivals:
            for index, part in enumerate(arrival.inbound.parts[:ATTACHMENTS]):
                if part.content is not None:
                    await self._store.put_blob(blob_id(arrival.id, index), part.content)
            arrival.inbound = replace(arrival.inbound, parts=kept(arrival.id, arrival.inbound.parts))

    async def _find_reported(self, items: Sequence[Incoming]) -> None:
        """A report about a message that is not ours is nobody's: other systems may write through the same account."""
        reports = [(item, item.value) for item in items if isinstance(item.value, StatusReport)]
        if not reports:
            return
        await self._match(reports)
        early = [(item, report) for item, report in reports if item.doc_id is None]
        if early:
            await self._early.keep([report for _, report in early])
            await self._match(early)

    async def _match(self, reports: Sequence[tuple[Incoming, StatusReport]]) -> None:
        claims = await self._threads.known(anchor for _, report in reports for anchor in _reported(report))
        for item, report in reports:
            for claim in (claims.get(anchor) for anchor in _reported(report)):
                if claim is not None and claim.message is not None:
                    item.doc_id, report.message_id = claim.ticket, claim.message
                    break
            if not report.status.channel_message_id and report.status.ticket is not None:
                item.doc_id, report.message_id = report.status.ticket, await self._last_sent(report.status.ticket)

    async def _last_sent(self, ticket: str) -> str | None:
        rows = await self._store.find(
            MESSAGES, {"ticket": ticket, "kind": "message", "body.direction": "out"}, sort=[("at", -1)], limit=1
        )
        return rows[0]["message"] if rows else None


def _asked(value: bytes) -> CommandContext:
    """Read a command; one whose data is wrong is answered.

    What cannot even be answered is a dead letter, and no fault of ours.
    """
    try:
        asked = CommandContext(Command.parse(value))
    except ValueError as fault:
        try:
            asked = CommandContext(Command.envelope_only(value), fault=str(fault))
        except ValueError:
            raise Unparsable(f"command: {fault}", exempt=True) from fault
    command = asked.command
    if max(map(len, (command.id, command.source, command.type, command.subject, command.correlationid or ""))) > MAX_ID:
        raise Unparsable(f"command: the id has more than {MAX_ID} characters", exempt=True)
    return asked


def _reported(report: StatusReport) -> list[str]:
    """Return where the message that a report is about may be claimed: under the channel's id of it, or under ours."""
    status = report.status
    ids = dict.fromkeys((status.channel_message_id, status.our_message_id))
    return [message_anchor(status.channel, status.account, each) for each in ids if each]
