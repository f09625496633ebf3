"""Wires ingest together, and does nothing else."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from starlette.types import ASGIApp

from contracts import topics
from contracts.topics import topic_name
from kit.base.clock import Clock
from kit.doors import http as kit_http
from kit.http_client import HttpClient
from kit.mongo import MongoStore
from kit.policy.file import PolicyFile
from kit.policy.secrets import Secrets
from kit.process.service import Service
from kit.process.worker import Worker
from kit.protocol.outbox import Documents
from kit.protocol.timers import Ticker
from kit.relay import tls_options
from services.ingest import store
from services.ingest.accounts import Accounts
from services.ingest.command_lookups import CommandLookups
from services.ingest.commands_http import commands_router
from services.ingest.core.policy import TicketPolicy
from services.ingest.core.state import TicketState
from services.ingest.core.ticket import fire
from services.ingest.files import Files
from services.ingest.files_http import files_router
from services.ingest.handlers import IngestHandling, Parsing, policy_of, weigh
from services.ingest.http import with_webhooks
from services.ingest.intake import Intake
from services.ingest.people import People
from services.ingest.policy_file import AccountsFile
from services.ingest.reply_delivery import ReplyDelivery
from services.ingest.sender import ReplySender
from services.ingest.settings import IngestSettings
from services.ingest.smtp import MailDoor, MailLimits
from services.ingest.threads import Threads
from services.ingest.tickets_http import tickets_router
from services.ingest.transport import Smtp, Transport

#: Closing tickets is not urgent.
CLOSING_PERIOD = 1.0


@dataclass
class _MailPart:
    """Adapts the mail door to the doors that the service starts and stops."""

    door: MailDoor
    host: str
    port: int

    async def start(self) -> None:
        self.port = await self.door.start(self.host, self.port)

    async def stop(self) -> None:
        await self.door.stop()


def create_service(settings: IngestSettings, clock: Clock | None = None) -> Service:
    """Build the service, inside a running event loop. Raises InvalidPolicy if the accounts cannot be read."""
    worker = Worker(settings, clock)
    clock, mongo, producer, prefix = worker.clock, worker.mongo, worker.producer, worker.prefix
    file, secrets = PolicyFile(settings.policy_file, AccountsFile), Secrets()
    intake = Intake(
        producer,
        mongo,
        clock,
        topic=topic_name(topics.INBOUND, prefix),
        seconds=settings.door_seconds,
        claim_seconds=settings.claim_seconds,
        claim_for=timedelta(days=settings.claim_days),
    )

    def accounts() -> Accounts:
        return file.current

    def policy(channel: str, account: str) -> TicketPolicy:
        return policy_of(accounts().named(channel, account))

    tickets, contacts = worker.documents(store.TICKET_KIND), worker.documents(store.CONTACT_KIND)
    threads, people = Threads(mongo, tickets, policy), People(mongo, contacts, clock)
    tickets.watch(lambda _: people.begin_to_publish())  # beside the tickets of the batch, which are published next
    reply_queued = asyncio.Event()
    http_client = HttpClient(
        lambda: {*accounts().allow_hosts, *settings.hosts}, agent="deskbus-ingest", seconds=settings.send_seconds
    )
    files = Files(
        mongo,
        clock,
        http_client,
        accounts,
        secrets,
        max_bytes=settings.max_body,
        upload_for=timedelta(hours=settings.upload_hours),
    )
    handling = IngestHandling(
        mongo,
        Parsing(accounts, secrets),
        people,
        threads,
        CommandLookups(mongo, tickets, threads, files),
        reply_queued.set,
        beat=worker.health.beat,
    )
    consumer = worker.consume(tickets, handling, weigh=weigh)
    reply_delivery = ReplyDelivery(
        files,
        threads,
        producer,
        Transport(_relay(settings), http_client, seconds=settings.send_seconds),
        accounts,
        secrets,
        clock,
        commands=topic_name(topics.COMMAND, prefix),
    )
    drain_seconds = min(settings.send_seconds + 1, settings.grace_seconds / 2)
    sender = ReplySender(
        tickets,
        mongo,
        consumer,
        reply_delivery,
        policy,
        clock,
        prefix=prefix,
        reply_queued=reply_queued,
        drain_seconds=drain_seconds,
    )
    closing = Ticker(tickets, consumer, fire, period=CLOSING_PERIOD)
    return worker.service(
        _public_door(settings, intake, accounts, secrets, tickets, mongo, files, clock),
        doors=_mail_door(settings, intake, accounts),
        prepare=[partial(store.ensure_indexes, mongo)],
        background={"sender": sender.run, "closing": closing.run, "accounts": partial(file.watch, clock)},
        door_first=True,
        close=[http_client.close],
    )


def _public_door(
    settings: IngestSettings,
    intake: Intake,
    accounts: Callable[[], Accounts],
    secrets: Secrets,
    tickets: Documents[TicketState],
    mongo: MongoStore,
    files: Files,
    clock: Clock,
) -> ASGIApp:
    app = kit_http.door("Deskbus ingest", settings, max_body=settings.max_body)
    app.include_router(commands_router(intake, clock, topic_name(topics.COMMAND, settings.topic_prefix)))
    app.include_router(tickets_router(tickets, mongo))
    app.include_router(files_router(files, tickets))
    return with_webhooks(app, intake, accounts, secrets, clock, max_body=settings.max_body)


def _mail_door(settings: IngestSettings, intake: Intake, accounts: Callable[[], Accounts]) -> list[_MailPart]:
    if not settings.smtp_enabled:
        return []
    limits = MailLimits(
        settings.max_body,
        settings.smtp_sessions,
        settings.smtp_session_seconds,
        settings.smtp_idle_seconds,
        settings.smtp_hostname,
    )
    tls = None
    if settings.smtp_certificate is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(settings.smtp_certificate, settings.smtp_key)
    door = MailDoor(intake, accounts, limits, tls)
    return [_MailPart(door, settings.host, settings.smtp_port)]


def _relay(settings: IngestSettings) -> Smtp:
    password = settings.relay_password
    return Smtp(
        settings.relay_host,
        settings.relay_port,
        settings.relay_username,
        None if password is None else password.get_secret_value(),
        tls_options(settings.relay_tls, settings.relay_ca),
    )
