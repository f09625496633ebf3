"""The wiring of notify, and nothing else."""

from collections.abc import Callable
from functools import partial

from kit.base.clock import Clock
from kit.process.service import Service
from kit.process.worker import Worker
from services.notify import metrics, store
from services.notify.core.policy import NotifyPolicy
from services.notify.handlers import FOLLOWED, NotifyHandling, is_urgent
from services.notify.http import build_app
from services.notify.policy_file import NotifyFile
from services.notify.settings import NotifySettings
from services.notify.sinks import Relay, Transports, build_sinks
from services.notify.ticker import Deliverer, build_ticker


def create_service(settings: NotifySettings, clock: Clock | None = None) -> Service:
    """Build the service; call it inside the event loop. Raises InvalidPolicy for an unreadable policy file."""
    worker = Worker(settings, clock)
    clock, prefix = worker.clock, worker.prefix
    policy: Callable[[], NotifyPolicy] = worker.policy(NotifyFile)
    http_client = worker.http_client(
        lambda: {*policy().allow_hosts, *settings.allow_hosts},
        seconds=settings.send_seconds,
        connections=settings.send_at_once * 2,
    )
    sinks = build_sinks(Transports(http_client, Relay.from_settings(settings), worker.secrets))
    documents = worker.documents(store.ESCALATIONS)
    documents.watch(metrics.count)
    consumer = worker.consume(documents, NotifyHandling(policy), urgent=is_urgent)
    ticker = build_ticker(documents, consumer, policy, follow=FOLLOWED, period=settings.timer_ms / 1000)
    deliverer = Deliverer(
        documents,
        consumer,
        sinks,
        policy,
        clock,
        prefix=prefix,
        period=settings.send_ms / 1000,
        at_once=settings.send_at_once,
    )
    return worker.service(
        build_app(settings, documents, policy, clock),
        prepare=[partial(store.prepare, worker.mongo)],
        background={"chains": ticker.run, "deliveries": deliverer.run},
    )
