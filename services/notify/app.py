"""The only wiring of notify: what stands where, and what it is given. No rules here."""

import asyncio

from contracts import topics
from kit import metrics as kit_metrics
from kit import service
from kit.clock import Clock, SystemClock
from kit.consumer import Consumer
from kit.deadletter import DeadLetters
from kit.delivery import Delivery, Limits
from kit.health import Health
from kit.mongo import MongoStore
from kit.outbox import Documents
from kit.outward import Outward
from kit.policy.file import PolicyFile
from kit.producer import Producer
from kit.relay import tls_options
from kit.service import Service
from services.notify import metrics, store
from services.notify.channels.base import Outside, Sink
from services.notify.channels.email import EmailSink, Relay
from services.notify.channels.slack import SlackSink
from services.notify.channels.webhook import WebhookSink
from services.notify.core.policy import Policy
from services.notify.handlers import CONSUMED, FOLLOWED, NotifyHandling, build_router, is_urgent
from services.notify.http import build_app
from services.notify.settings import NotifySettings
from services.notify.ticker import Deliverer, build_ticker


def build_sinks(settings: NotifySettings, policy: PolicyFile[Policy]) -> tuple[dict[str, Sink], Outward]:
    """The sinks by name, and their common way out."""
    outside = Outside()
    way_out = Outward(
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
    sinks: dict[str, Sink] = {
        "webhook": WebhookSink(way_out, outside),
        "slack": SlackSink(way_out, outside),
        "email": EmailSink(relay, outside),
    }
    return sinks, way_out


def create_app(settings: NotifySettings, clock: Clock | None = None) -> Service:
    """Build the service; raises InvalidPolicy for a policy that cannot be read."""
    clock = clock or SystemClock()
    prefix = settings.topic_prefix
    policy = PolicyFile(settings.policy_file, Policy)
    health = Health(clock, heartbeat_limit=settings.liveness_seconds)
    mongo = MongoStore(settings.mongo.get_secret_value(), settings.database)
    producer = Producer(settings.kafka, client_id="deskbus-notify")
    documents = Documents(
        store.ESCALATIONS, mongo, producer, clock, prefix=prefix, limit=settings.max_record_bytes, clear_later=True
    )
    documents.watch(metrics.count)
    delivery = Delivery(
        documents,
        NotifyHandling(lambda: policy.current),
        DeadLetters(topics.topic_name(topics.dlq("notify"), prefix), "notify", producer),
        clock,
        limits=Limits(settings.retry_attempts, settings.dlq_stop_share, settings.dlq_stop_window),
    )
    names = [topics.topic_name(name, prefix) for name in CONSUMED]
    consumer = Consumer(settings, delivery, names, clock, health, urgent=is_urgent)
    sinks, way_out = build_sinks(settings, policy)
    period = settings.timer_ms / 1000
    ticker = build_ticker(
        documents, consumer, lambda: policy.current, clock, follow=FOLLOWED, prefix=prefix, period=period
    )
    deliverer = Deliverer(
        documents,
        consumer,
        sinks,
        lambda: policy.current,
        clock,
        prefix=prefix,
        period=settings.send_ms / 1000,
        at_once=settings.send_at_once,
    )
    kit_metrics.declare_groups(("sla", "ticket", "message", "note", "command"))

    async def deliver() -> None:
        try:
            await deliverer.run()
        finally:
            await asyncio.shield(way_out.close())

    return Service(
        settings,
        clock,
        health,
        app=build_app(settings, documents, lambda: policy.current, clock),
        producer=producer,
        prepare=[lambda: store.prepare(mongo)],
        consumer=consumer,
        router=build_router(consumer),
        documents=[documents],
        background={
            "chains": ticker.run,
            "deliveries": deliver,
            "policy": lambda: policy.watch(clock),
        },
        ready={"MongoDB": mongo.ping},
        close=[mongo.close],
    )


def main() -> None:
    """Run notify as this process."""
    settings = NotifySettings()
    service.main(lambda: create_app(settings), "notify", settings.log_level)
