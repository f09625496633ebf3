"""The wiring of the sla service, and nothing else."""

from functools import partial

from contracts.topics import TICKETS, dlq, retry, topic_name
from kit.clock import SystemClock
from kit.consumer import Consumer
from kit.deadletter import DeadLetters
from kit.delivery import Delivery, Limits
from kit.health import Health
from kit.mongo import MongoStore
from kit.outbox import Documents
from kit.policy.file import PolicyFile
from kit.producer import Producer
from kit.service import Service, every
from kit.service import main as run_main
from services.sla import http, metrics, store
from services.sla.core.policy import Book
from services.sla.handlers import SlaHandling, build_router
from services.sla.settings import SlaSettings
from services.sla.ticker import build_policy_job, build_ticker


def create_app(settings: SlaSettings) -> Service:
    """Wire the service; called inside the event loop."""
    clock = SystemClock()
    health = Health(clock, heartbeat_limit=settings.liveness_seconds)
    prefix = settings.topic_prefix
    policies = PolicyFile(settings.policy_file, Book)
    mongo = MongoStore(settings.mongo.get_secret_value(), settings.database)
    producer = Producer(settings.kafka, client_id="deskbus-sla")
    documents = Documents(
        store.KIND, mongo, producer, clock, prefix=prefix, limit=settings.max_record_bytes, clear_later=True
    )
    archive = store.Archive(mongo, lambda: policies.current, clock)
    documents.watch(partial(metrics.count, archive))
    delivery = Delivery(
        documents,
        SlaHandling(archive),
        DeadLetters(topic_name(dlq("sla"), prefix), "sla", producer),
        clock,
        limits=Limits(settings.retry_attempts, settings.dlq_stop_share, settings.dlq_stop_window),
    )
    topics = [topic_name(topic, prefix) for topic in (TICKETS, retry("sla"))]
    consumer = Consumer(settings, delivery, topics, clock, health)
    return Service(
        settings,
        clock,
        health,
        app=http.build_app(settings, documents, archive, clock),
        producer=producer,
        prepare=[partial(store.prepare, mongo), archive.recall, archive.refresh],
        consumer=consumer,
        router=build_router(consumer),
        documents=[documents],
        background={
            "ticker": build_ticker(documents, consumer, archive, settings, clock).run,
            "policy file": partial(policies.watch, clock),
            "policies": every(clock, 1, build_policy_job(documents, archive, clock), "policies"),
        },
        ready={"mongo": mongo.ping},
        close=[mongo.close],
    )


def main() -> None:
    """Run until asked to stop."""
    settings = SlaSettings()
    run_main(lambda: create_app(settings), settings.service, settings.log_level)
