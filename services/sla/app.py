"""The wiring of sla, and nothing else."""

from functools import partial

from kit.base.clock import Clock
from kit.base.turns import every
from kit.process.service import Service
from kit.process.worker import Worker
from services.sla import http, metrics, store
from services.sla.core.policy import Book
from services.sla.handlers import SlaHandling
from services.sla.settings import SlaSettings
from services.sla.ticker import build_policy_job, build_ticker, count


def create_service(settings: SlaSettings, clock: Clock | None = None) -> Service:
    """Build the service; call it inside the event loop. Raises InvalidPolicy for an unreadable policy file."""
    worker = Worker(settings, clock)
    clock = worker.clock
    archive = store.Archive(worker.mongo, worker.policy(Book), clock)
    documents = worker.documents(store.KIND)
    documents.watch(partial(metrics.count, archive))
    consumer = worker.consume(documents, SlaHandling(archive))
    return worker.service(
        http.build_app(settings, documents, archive, clock),
        prepare=[partial(store.prepare, worker.mongo), archive.load_latest, archive.refresh],
        background={
            "ticker": build_ticker(documents, consumer, archive, settings, clock).run,
            "gauges": every(clock, 15, partial(count, documents, clock), "gauges"),
            "policies": every(clock, 1, build_policy_job(documents, archive, clock), "policies"),
        },
    )
