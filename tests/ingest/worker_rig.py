"""The worker over a store and a broker in memory: records in, events out. Delivery itself is tested on real servers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from itertools import count
from typing import Any

from contracts.commands import CommandPayload
from contracts.envelope import Command, Event
from contracts.inbound import HttpRequest, InboundRecord
from contracts.ticket import Author, AuthorKind, Ticket
from kit.http_client import Answer, Unreached
from kit.policy.secrets import Secrets
from kit.protocol.deadletter import DeadLetters
from kit.protocol.delivery import Delivery
from kit.protocol.outbox import Documents
from kit.protocol.ports import Outgoing
from services.ingest import metrics
from services.ingest.accounts import Accounts
from services.ingest.command_lookups import CommandLookups
from services.ingest.core.contacts import ContactState
from services.ingest.core.state import TicketState
from services.ingest.files import Files
from services.ingest.handlers import IngestHandling, Parsing, policy_of
from services.ingest.people import People
from services.ingest.policy_file import AccountsFile
from services.ingest.signatures import Signatures
from services.ingest.store import CONTACT_KIND, TICKET_KIND
from services.ingest.threads import Threads
from tests.clearing import ClearedAtOnce
from tests.fake_clock import FakeClock
from tests.kit.fake_store import FakeStore
from tests.kit.raw import Raw

START = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
AGENT = Author(kind=AuthorKind.AGENT, id="anna", name="Anna Kowalska")

ACCOUNTS = {
    "accounts": [
        {
            "name": "allegro-pl", "channel": "webhook", "brand": "nimbus", "language": "pl", "signing": "env:S",
            "access": "env:S", "market": {"marketplace": "allegro", "country": "PL"}, "quiet_after": "12h",
            "reopen_window": "7d", "base_url": "http://127.0.0.1:9/",
        },
        {
            "name": "support-nimbus", "channel": "email", "brand": "nimbus", "addresses": ["support@nimbus.example"],
            "signing": "env:S", "reopen_window": "7d",
        },
        {
            "name": "help-korale", "channel": "email", "brand": "korale", "addresses": ["help@korale.example"],
            "aliases": [{"address": "help@azure.example", "brand": "azure"}], "signing": "env:S",
            "authserv_id": "mx.korale.example",
        },
        {
            "name": "first-hop", "channel": "email", "brand": "nimbus", "addresses": ["first@nimbus.example"],
            "signing": "env:S", "check_dkim": True,
        },
        {"name": "coupang-kr", "channel": "webhook", "signing": "env:S", "access": "env:S", "bot": True},
        {
            "name": "wa-th", "channel": "whatsapp", "external_id": "106540352242922", "signing": "env:S",
            "access": "env:S", "base_url": "https://graph.example/v25.0",
        },
    ]
}  # fmt: skip


@dataclass
class Broker:
    """A producer that records what was sent, and confirms nothing while `away`."""

    sent: list[Outgoing] = field(default_factory=list)
    away: bool = False

    async def send_runs(self, runs: Sequence[Sequence[Outgoing]]) -> list[int]:
        if self.away:
            return [0] * len(runs)
        for run in runs:
            self.sent += run
        return [len(run) for run in runs]

    async def send(self, record: Outgoing, *, seconds: float = 1) -> None:
        self.sent.append(record)

    async def partitions(self, topic: str) -> int:
        return 4


class ChannelFiles:
    """Fake HTTP for files that channels store: URL -> status, headers, body. Records requests and their credentials."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.asked: list[tuple[str, str | None]] = []

    async def call(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, *, most: int = 1 << 16
    ) -> Answer:
        self.asked.append((url, headers.get("authorization")))
        if url not in self.kept:
            raise Unreached("no such host")
        status, answered, content = self.kept[url]
        return Answer(status, answered, content[:most], cut=len(content) > most)


class Worker:
    """One replica; several may share a store."""

    def __init__(
        self,
        store: FakeStore | None = None,
        clock: FakeClock | None = None,
        broker: Broker | None = None,
        signatures: Signatures | None = None,
        accounts: Accounts | None = None,
        secrets: Secrets | None = None,
        *,
        beside: bool = True,
    ) -> None:
        """`beside`: publish contacts beside their tickets, as a task; the simulation has no event loop for one."""
        self.store = store or FakeStore()
        self.clock = clock or FakeClock(START)
        self.broker = broker or Broker()
        accounts = accounts or AccountsFile.model_validate(ACCOUNTS)
        secrets = secrets or Secrets({"S": "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQ="})
        self.accounts, self.secrets = accounts, secrets
        self.tickets: Documents[TicketState] = ClearedAtOnce(TICKET_KIND, self.store, self.broker, self.clock)
        self.contacts: Documents[ContactState] = ClearedAtOnce(CONTACT_KIND, self.store, self.broker, self.clock)
        self.people = People(self.store, self.contacts, self.clock)
        self.tickets.watch(metrics.count)
        if beside:
            self.tickets.watch(lambda _: self.people.begin_to_publish())
        self.threads = Threads(self.store, self.tickets, lambda c, a: policy_of(accounts.named(c, a)))
        self.woken = 0
        self.channel = ChannelFiles()
        self.files = Files(
            self.store,
            self.clock,
            self.channel,
            lambda: accounts,
            secrets,
            max_bytes=1000,
        )
        self.handling = IngestHandling(
            self.store,
            Parsing(lambda: accounts, secrets),
            self.people,
            self.threads,
            CommandLookups(self.store, self.tickets, self.threads, self.files),
            self._wake,
            signatures,
        )
        self.delivery = Delivery(self.tickets, self.handling, DeadLetters("dlq", "ingest", self.broker))
        self._offsets = count()

    def _wake(self) -> None:
        self.woken += 1

    async def take(self, *rows: Raw) -> set[int]:
        """Handle a batch, and return the offsets of unhandled records."""
        return {place[2] for place in await self.delivery.handle(rows)}

    def events(self, topic: str = TICKET_KIND.topic) -> list[Event]:
        return [Event.parse(record.value or b"") for record in self.broker.sent if record.topic == topic]

    def types(self) -> list[str]:
        return [event.type.removeprefix("deskbus.").removesuffix(".v1") for event in self.events()]

    def ticket(self) -> Ticket:
        """Return the ticket in the last event."""
        ticket: Ticket = self.events()[-1].data.ticket
        return ticket

    def opened(self) -> list[Ticket]:
        return [event.data.ticket for event in self.events() if event.type == "deskbus.ticket.opened.v1"]

    def dead(self) -> list[Outgoing]:
        return [record for record in self.broker.sent if record.topic == "dlq"]

    # -- records -------------------------------------------------------------------------------------------------

    def raw(
        self, body: bytes, account: str = "allegro-pl", channel: str = "webhook", after: float = 0, **more: Any
    ) -> Raw:
        """Return the record of a raw message received `after` seconds after the start."""
        record = InboundRecord(
            receipt=f"r{next(self._offsets)}", channel=channel, account=account, key="k",
            received_at=START + timedelta(seconds=after), body=body, size=len(body), http=HttpRequest(), **more,
        )  # fmt: skip
        return Raw("inbound", 0, next(self._offsets), record.body, headers=record.to_headers())

    def says(self, text: str, number: str, person: str = "jan", after: float = 0, **more: Any) -> Raw:
        """Return the record of a message over the generic webhook."""
        account = more.pop("account", "allegro-pl")
        body = {"type": "message", "id": number, "from": {"id": person, "name": person.title()}, "text": text, **more}
        return self.raw(json.dumps(body).encode(), account=account, after=after)

    def mails(
        self,
        text: str,
        message_id: str,
        sender: str = "jan@example.org",
        after: float = 0,
        to: str = "",
        account: str = "support-nimbus",
        said: str | None = None,
        **headers: str,
    ) -> Raw:
        """Return the record of a mail. `said`: the DMARC result that Korale's own mail server adds."""
        mail = EmailMessage()
        if said is not None:
            domain = sender.rpartition("@")[2]
            mail["Authentication-Results"] = f"mx.korale.example; dmarc={said} header.from={domain}"
        own = self.accounts.named("email", account)
        assert own is not None
        mail["From"], mail["To"] = sender, to or own.addresses[0]
        mail["Message-ID"], mail["Subject"] = message_id, headers.pop("subject", "Parcel")
        for name, value in headers.items():
            mail[name.replace("_", "-")] = value
        mail.set_content(text)
        return self.raw(mail.as_bytes(), account=account, channel="email", after=after)

    def asks(self, data: CommandPayload, ticket: str, number: str = "c1", source: str = "/crm", **limits: str) -> Raw:
        """Return the record of a command. `limits`: name (`caller`), `brands` and `accounts` of the caller's token."""
        command = Command.of(data, id=number, source=source, subject=ticket, time=self.clock.now())
        command = command.model_copy(update=limits)
        return Raw("commands", 0, next(self._offsets), command.encode(), ticket.encode())
