"""Wires ingest together, and does nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from contracts import topics
from kit.base.clock import Clock
from kit.doors import http as kit_http
from kit.process.service import Service
from kit.process.worker import Worker
from kit.protocol.timers import Ticker
from services.ingest import metrics, store
from services.ingest.access_tokens import AccessTokens
from services.ingest.accounts import Accounts
from services.ingest.command_lookups import CommandLookups
from services.ingest.commands_http import commands_router
from services.ingest.core.policy import TicketPolicy
from services.ingest.core.ticket import fire
from services.ingest.files import Files
from services.ingest.files_http import files_router
from services.ingest.handlers import IngestHandling, Parsing, policy_of, weigh
from services.ingest.http import with_webhooks
from services.ingest.intake import Intake
from services.ingest.keys import ProviderKeys
from services.ingest.people import People
from services.ingest.policy_file import AccountsFile
from services.ingest.polling import Polling
from services.ingest.reply_delivery import ReplyDelivery
from services.ingest.sender import ReplySender
from services.ingest.settings import IngestSettings
from services.ingest.smtp import MailDoor
from services.ingest.threads import Threads
from services.ingest.tickets_http import tickets_router
from services.ingest.transport import Smtp, Transport

#: Closing tickets is not urgent.
CLOSING_PERIOD = 1.0


def create_service(settings: IngestSettings, clock: Clock | None = None) -> Service:
    """Build the service, inside a running event loop. Raises InvalidPolicy if the accounts cannot be read."""
    worker = Worker(settings, clock)
    clock, mongo, producer, secrets = worker.clock, worker.mongo, worker.producer, worker.secrets
    accounts: Callable[[], Accounts] = worker.policy(AccountsFile, lambda: metrics.expect_arrivals(accounts()))
    metrics.expect_arrivals(accounts())
    http_client = worker.http_client(
        lambda: {*accounts().allow_hosts, *settings.allow_hosts}, seconds=settings.send_seconds
    )

    def policy(channel: str, account: str) -> TicketPolicy:
        return policy_of(accounts().named(channel, account))

    tickets, contacts = worker.documents(store.TICKET_KIND), worker.documents(store.CONTACT_KIND)
    threads, people = Threads(mongo, tickets, policy), People(mongo, contacts, clock)
    tickets.watch(metrics.count)
    tickets.watch(lambda _: people.begin_to_publish())  # beside the tickets of the batch, which are published next
    keys, tokens = ProviderKeys(http_client, accounts, secrets, clock), AccessTokens(http_client, mongo, secrets, clock)
    files = Files(
        mongo,
        clock,
        http_client,
        accounts,
        secrets,
        max_bytes=settings.max_body,
        upload_for=settings.upload_for,
        tokens=tokens,
    )
    reply_queued = asyncio.Event()
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
    commands = worker.topic(topics.COMMAND)
    transport = Transport(Smtp.from_settings(settings), http_client, seconds=settings.send_seconds)
    sender = ReplySender(
        tickets,
        mongo,
        consumer,
        ReplyDelivery(files, threads, producer, transport, accounts, secrets, clock, commands=commands, tokens=tokens),
        policy,
        clock,
        prefix=worker.prefix,
        reply_queued=reply_queued,
        drain_seconds=settings.drain_seconds,
    )
    closing = Ticker(tickets, consumer, fire, period=CLOSING_PERIOD)
    intake = Intake.from_settings(settings, producer, mongo, clock)
    polling = Polling(mongo, intake, http_client, tokens, accounts, clock)
    door = kit_http.door("Deskbus ingest", settings, max_body=settings.max_body)
    door.include_router(commands_router(intake, clock, commands))
    door.include_router(tickets_router(tickets, mongo))
    door.include_router(files_router(files, tickets))
    mail_doors = []
    if settings.smtp_enabled:
        certificate = worker.certificate("smtp", settings.smtp_certificate, settings.smtp_key)
        mail_doors = [MailDoor.from_settings(settings, intake, accounts, certificate)]
    return worker.service(
        with_webhooks(door, intake, accounts, secrets, clock, max_body=settings.max_body, keys=keys),
        doors=mail_doors,
        prepare=[partial(store.ensure_indexes, mongo)],
        background={"sender": sender.run, "provider keys": keys.run, "polling": polling.run, "closing": closing.run},
        door_first=True,
    )
