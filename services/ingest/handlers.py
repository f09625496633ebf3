"""Ingest's batch handling: parse records of inbound, commands and retry topics, find their tickets, ask the core.

No business rules. A command to an unknown ticket is answered by command.rejected and does not become a dead letter: too
many dead letters stop the consumer, and a caller's mistakes must not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from contracts import inbound as inbound_contract
from contracts.envelope import Command
from contracts.inbound import InboundRecord
from contracts.values import trace_context
from kit.base.errors import Unparsable
from kit.policy.secrets import Secrets
from kit.protocol.document import Cause, Decision, Document
from kit.protocol.handling import Handling, Incoming
from kit.protocol.ports import Store
from kit.protocol.record import Record
from services.ingest import blobs, metrics
from services.ingest.accounts import Account, Accounts
from services.ingest.channels import CHANNELS, MAILS, WINDOWS
from services.ingest.command_lookups import CommandLookups
from services.ingest.core.arrivals import ATTACHMENTS, Arrival, StatusReport, blob_id, without_content
from services.ingest.core.commands import CommandContext
from services.ingest.core.messages import DeliveryStatus, Faulty, InboundMessage, Unreadable
from services.ingest.core.policy import AccountDefaults, TicketPolicy
from services.ingest.core.state import MESSAGES, TicketState
from services.ingest.core.threading import chat_anchor, message_anchor
from services.ingest.core.ticket import decide
from services.ingest.people import People
from services.ingest.reports import EarlyReports
from services.ingest.signatures import Checks, Signatures
from services.ingest.store import THREADS
from services.ingest.threads import Threads

#: Maximum characters of a command's ids and type; the answer repeats them.
MAX_ID = 10_000
#: Maximum digits of the body size in a record's header; a door never writes more.
MAX_DIGITS = 12
#: A watermark is a time of the provider's, which takes a message before its response reaches us.
WATERMARK_MARGIN = timedelta(seconds=5)
log = structlog.get_logger(__name__)


def policy_of(account: Account | None) -> TicketPolicy:
    """Return the policy for an account's tickets; the default policy if the account was removed."""
    if account is None:
        return TicketPolicy()
    return TicketPolicy(
        quiet=account.quiet_after,
        reopen_window=account.reopen_window,
        send_for=account.retry_for,
        one_file_per_message=CHANNELS[account.channel].ONE_FILE_PER_MESSAGE,
        window=WINDOWS.get(account.channel),
        rate=account.rate,
    )


def defaults_of(account: Account | None) -> AccountDefaults:
    """Return an account's defaults for values that a message does not set."""
    if account is None:
        return AccountDefaults()
    return AccountDefaults(account.brand, account.market.market(), account.language, account.tags, account.bot)


@dataclass(slots=True)
class Parsing:
    """Parses records with their channel's parser and the current accounts."""

    accounts: Callable[[], Accounts]
    secrets: Secrets

    def items(self, record: Record, raw: InboundRecord) -> list[Incoming]:
        """Parse a record that has its body. Raises Unparsable with the reason."""
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
        """Return an item that dead-letters the record for one faulty element; its other elements are handled.

        An element of a foreign account does not count towards stopping the consumer.
        """
        if fault.bug is not None:
            log.error("an inbound record cannot be read", receipt=raw.receipt, channel=raw.channel, exc_info=fault.bug)
            return Incoming(record, fault=fault.reason, unforeseen=True)
        if fault.foreign:
            metrics.REFUSED.labels(raw.channel, "foreign").inc()
        else:
            metrics.UNREADABLE.labels(raw.channel).inc()
        return Incoming(record, fault=f"{raw.channel}: {fault.reason}", exempt=fault.foreign)

    def checks_dkim(self, raw: InboundRecord) -> bool:
        """Whether the record is a mail whose DKIM signatures Deskbus checks itself."""
        account = self.accounts().named(raw.channel, raw.account)
        return account is not None and account.check_dkim and account.channel in MAILS

    def _value(self, parsed: InboundMessage | DeliveryStatus, raw: InboundRecord) -> Arrival | StatusReport:
        metrics.PARSED.labels(parsed.channel, "status" if isinstance(parsed, DeliveryStatus) else "message").inc()
        if isinstance(parsed, DeliveryStatus):
            return StatusReport(parsed, raw.received_at)
        account = self.accounts().named(parsed.channel, parsed.account)
        return Arrival(parsed, raw.received_at, defaults_of(account))


async def _check_signatures(items: Sequence[Incoming], checks: Checks) -> None:
    """Check inline mails concurrently: while DNS does not respond, a batch waits no longer than one mail does."""
    here = [(item, item.value) for item in items if isinstance(item.value, InboundRecord)]
    mails = [(item, raw) for item, raw in here if raw.claim is None]
    for (item, _), checked in zip(mails, await checks.check([raw for _, raw in mails]), strict=True):
        item.value = checked


def weigh(record: Record) -> int:
    """Return the bytes that a record needs while it is handled, including a body that it refers to by claim check."""
    here = len(record.value or b"")
    for name, value in record.headers:
        announced = value or b""  # Kafka: a value may be null
        if name == "deskbus_size" and announced.isdigit() and len(announced) <= MAX_DIGITS:
            return max(here, int(announced))
    return here


class IngestHandling(Handling[TicketState]):
    """Ingest's side of the batch loop in `kit/protocol/delivery.py`."""

    def __init__(
        self,
        store: Store,
        parsing: Parsing,
        people: People,
        threads: Threads,
        lookups: CommandLookups,
        wake_sender: Callable[[], None],
        signatures: Signatures | None = None,
        beat: Callable[[], object] = lambda: None,
    ) -> None:
        """`beat` reports liveness after each body read, since a batch of large bodies takes long."""
        self._beat = beat
        self._lookups, self._signatures = lookups, signatures or Signatures()
        self._store, self._parsing, self._people, self._threads = store, parsing, people, threads
        self._wake_sender, self._early = wake_sender, EarlyReports(store)

    def expand(self, record: Record) -> Sequence[Incoming]:
        """Parse a record. Raw messages have their metadata in headers; commands are structured events."""
        if any(name == "ce_type" and value == inbound_contract.TYPE.encode() for name, value in record.headers):
            try:
                raw = InboundRecord.from_kafka(record.value, record.headers)
            except ValueError as fault:
                raise Unparsable(f"inbound record: {fault}") from fault
            later = raw.claim is not None or self._parsing.checks_dkim(raw)
            return [Incoming(record, value=raw)] if later else self._parsing.items(record, raw)
        context = read_command(record.value or b"")
        command = context.command
        cause = Cause(command.id, command.correlationid or command.id, trace_context(command.traceparent))
        return [Incoming(record, doc_id=command.subject, value=context, cause=cause)]

    def is_exempt(self, record: Record, *, unforeseen: bool) -> bool:
        """Whether a dead letter must not count towards stopping the consumer, because anybody could cause it.

        True for unsigned raw messages, since anybody may send a mail, and for signed ones on which our code fails
        unexpectedly: the provider guarantees their form, but customers write their text.
        """
        headers = dict(record.headers)
        is_raw = headers.get("ce_type") == inbound_contract.TYPE.encode()
        return is_raw and (unforeseen or headers.get("deskbus_verified") != b"true")

    async def locate(self, items: list[Incoming]) -> Mapping[str, Document[TicketState]]:
        """Load bodies left by claim check, then find the tickets that messages, reports and commands are about."""
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
        docs = await self._threads.assign_tickets(arrivals, found, holders)
        await asyncio.gather(
            self._people.learn([(arrival, item.cause) for item, arrival in arriving]), self._keep_files(arrivals)
        )
        for item, arrival in arriving:
            item.doc_id = arrival.ticket_id
        await self._find_reported(items)
        await self._lookups.look_up(items)
        return await self._lookups.look_up_taken(items, docs)

    def decide(self, state: TicketState | None, item: Incoming, now: datetime) -> Decision[TicketState]:
        """Decide an item with the policy of the ticket's account."""
        if isinstance(item.value, Arrival):
            channel, account = item.value.inbound.channel, item.value.inbound.account
        elif state is not None and state.ticket is not None:
            channel, account = state.ticket.channel, state.ticket.account
        else:
            return decide(state, item.value, TicketPolicy(), now)
        return decide(state, item.value, policy_of(self._parsing.accounts().named(channel, account)), now)

    def count(self, item: Incoming, decision: Decision[TicketState]) -> None:
        """Count arrivals, and duplicates, which are the messages that do not change their ticket."""
        if not isinstance(item.value, Arrival):
            return
        if decision.state is None or decision.state.ticket is None:
            metrics.DUPLICATES.labels(item.value.inbound.channel).inc()
        else:
            metrics.count_arrival(decision.state.ticket)

    async def before_write(self, docs: Sequence[Document[TicketState]]) -> None:
        """Make the uploads permanent that replies attach. Claims were written by `locate`."""
        await self._lookups.keep_named(docs)

    async def after_write(
        self,
        won: Sequence[Document[TicketState]],
        lost: Sequence[Document[TicketState]],  # noqa: ARG002 - claims stay: the retried message finds its ticket by them
    ) -> None:
        """Wake the sender for queued replies, and publish the contacts' events."""
        if any(doc.state is not None and doc.state.pending for doc in won):
            self._wake_sender()
        await self._people.publish()

    async def _redeem(self, items: list[Incoming]) -> None:
        checks = self._signatures.batch()
        await _check_signatures(items, checks)
        expanded: list[Incoming] = []
        for item in items:
            if not isinstance(item.value, InboundRecord):
                expanded.append(item)
                continue
            raw = item.value
            body = raw.body if raw.claim is None else await blobs.get(self._store, raw.claim)
            try:
                if body is None:
                    raise Unparsable(f"the body {raw.claim} is missing or was deleted")
                if raw.claim is not None:
                    raw = raw.model_copy(update={"body": body})
                    raw = (await checks.check([raw]))[0] if self._parsing.checks_dkim(raw) else raw
                found = self._parsing.items(item.record, raw)
                # Store files before loading the next body, so that not all large mails of a batch are in memory.
                await self._keep_files([each.value for each in found if isinstance(each.value, Arrival)])
                expanded += found
            except Unparsable as fault:
                expanded.append(Incoming(item.record, fault=str(fault), exempt=fault.exempt))
            self._beat()
        items[:] = expanded

    async def _keep_files(self, arrivals: Sequence[Arrival]) -> None:
        for arrival in arrivals:
            for index, part in enumerate(arrival.inbound.parts[:ATTACHMENTS]):
                if part.content is not None:
                    await blobs.put(self._store, blob_id(arrival.id, index), part.content)
            arrival.inbound = replace(arrival.inbound, parts=without_content(arrival.id, arrival.inbound.parts))

    async def _find_reported(self, items: Sequence[Incoming]) -> None:
        """Find the tickets that delivery reports are about.

        Reports about messages that another system sent on the same account match none, and are ignored.
        """
        reports = [(item, item.value) for item in items if isinstance(item.value, StatusReport)]
        if not reports:
            return
        await self._match(reports)
        unnamed = [(item, report) for item, report in reports if report.status.conversation is not None]
        await self._match_watermarks(unnamed)
        early = [
            (item, report) for item, report in reports if item.doc_id is None and report.status.conversation is None
        ]
        if early:
            await self._early.keep([report for _, report in early])
            await self._match(early)

    async def _match(self, reports: Sequence[tuple[Incoming, StatusReport]]) -> None:
        claims = await self._threads.known(anchor for _, report in reports for anchor in _report_anchors(report))
        for item, report in reports:
            for claim in (claims.get(anchor) for anchor in _report_anchors(report)):
                if claim is not None and claim.message is not None:
                    item.doc_id, report.message_id = claim.ticket, claim.message
                    break
            if not report.status.channel_message_id and report.status.ticket is not None:
                item.doc_id, report.message_id = report.status.ticket, await self._last_sent(report.status.ticket)

    async def _match_watermarks(self, reports: Sequence[tuple[Incoming, StatusReport]]) -> None:
        """Find the last message that was sent in the conversation until the report's instant."""
        anchors = {id(item): chat_anchor(r.status.channel, r.status.account, r.status.conversation or "")
                   for item, r in reports}  # fmt: skip
        claims = await self._threads.known(anchors.values())
        for item, report in reports:
            if (claim := claims.get(anchors[id(item)])) is not None:
                until = report.status.at + WATERMARK_MARGIN
                item.doc_id, report.message_id = claim.ticket, await self._last_sent(claim.ticket, until)

    async def _last_sent(self, ticket: str, until: datetime | None = None) -> str | None:
        query: dict[str, object] = {"ticket": ticket, "kind": "message", "body.direction": "out"}
        if until is not None:
            query["at"] = {"$lte": until}
        rows = await self._store.find(MESSAGES, query, sort=[("at", -1)], limit=1)
        return rows[0]["message"] if rows else None


def read_command(value: bytes) -> CommandContext:
    """Parse a command. If only its data is invalid, set `fault`, so that the core refuses the command.

    Raises Unparsable if it cannot even be answered; such a dead letter does not count towards stopping the consumer.
    """
    try:
        context = CommandContext(Command.parse(value))
    except ValueError as fault:
        try:
            context = CommandContext(Command.envelope_only(value), fault=str(fault))
        except ValueError:
            raise Unparsable(f"command: {fault}", exempt=True) from fault
    command = context.command
    if max(map(len, (command.id, command.source, command.type, command.subject, command.correlationid or ""))) > MAX_ID:
        raise Unparsable(f"command: the id has more than {MAX_ID} characters", exempt=True)
    return context


def _report_anchors(report: StatusReport) -> list[str]:
    """Return the anchors that a report's message may have: of the channel's id, and of ours."""
    status = report.status
    ids = dict.fromkeys((status.channel_message_id, status.our_message_id))
    return [message_anchor(status.channel, status.account, each) for each in ids if each]
