"""The wiring of notify, and nothing else."""

from functools import partial

from kit.base import metrics as kit_metrics
from kit.base.clock import Clock
from kit.http_client import HttpClient
from kit.policy.file import PolicyFile
from kit.policy.secrets import Secrets
from kit.process.service import Service
from kit.process.worker import Worker
from kit.relay import tls_options
from services.notify import metrics, store
from services.notify.core.policy import NotifyPolicy
from services.notify.handlers import FOLLOWED, NotifyHandling, is_urgent
from services.notify.http import build_app
from services.notify.policy_file import NotifyFile
from services.notify.settings import NotifySettings
from services.notify.sinks import Relay, Transports, build_sinks
from services.notify.ticker import Deliverer, build_ticker


def build_transports(settings: NotifySettings, policy: PolicyFile[NotifyFile]) -> Transports:
    """Build what the sinks share: the HTTP client, the mail relay and the secrets."""
    http_client = HttpClient(
        lambda: {*policy.current.allow_hosts, *settings.hosts},
        agent="deskbus-notify",
        seconds=settings.send_seconds,
        connections=settings.send_at_once * 2,
    )
    relay = Relay(
        settings.smtp_host,
        settings.smtp_port,
        settings.smtp_from,
        settings.smtp_user,
        settings.smtp_password,
        tls_options(settings.smtp_tls, settings.smtp_ca),
    )
    return Transports(http_client, relay, Secrets())


def create_service(settings: NotifySettings, clock: Clock | None = None) -> Service:
    """Build the service; call it inside the event loop. Raises InvalidPolicy for an unreadable policy file."""
    worker = Worker(settings, clock)
    clock, prefix = worker.clock, worker.prefix
    file = PolicyFile(settings.policy_file, NotifyFile)
    transports = build_transports(settings, file)
    documents = worker.documents(store.ESCALATIONS)
    documents.watch(metrics.count)

    def policy() -> NotifyPolicy:
        return file.current

    consumer = worker.consume(documents, NotifyHandling(policy), urgent=is_urgent)
    ticker = build_ticker(documents, consumer, policy, follow=FOLLOWED, period=settings.timer_ms / 1000)
    deliverer = Deliverer(
        documents,
        consumer,
        build_sinks(transports),
        policy,
        clock,
        prefix=prefix,
        period=settings.send_ms / 1000,
        at_once=settings.send_at_once,
    )
    kit_metrics.declare_groups(("sla", "ticket", "message", "note", "command"))
    return worker.service(
        build_app(settings, documents, policy, clock),
        prepare=[partial(store.prepare, worker.mongo)],
        background={
            "chains": ticker.run,
            "deliveries": deliverer.run,
            "policy": partial(file.watch, clock),
        },
        close=[transports.http_client.close],
    )
