"""What every service is made of, put together once: clients, documents, dead letters, delivery, consumer, life.

A service's `app.py` names its documents, its handling and its doors; the rest is the same everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from faststream.kafka import KafkaRouter
from starlette.types import ASGIApp

from contracts.topics import CONSUMES, dlq, topic_name
from kit.base.clock import Clock, SystemClock
from kit.base.health import Health
from kit.base.settings import ServiceSettings
from kit.base.turns import Job
from kit.kafka.consumer import Consumer
from kit.kafka.producer import Producer
from kit.mongo import MongoStore
from kit.process.service import Part, Service
from kit.protocol.deadletter import DeadLetters
from kit.protocol.delivery import Delivery, Limits
from kit.protocol.document import Kind
from kit.protocol.handling import Handling
from kit.protocol.outbox import Documents
from kit.protocol.record import Record, weight

S = TypeVar("S")


class Worker:
    """The parts of one service. Made inside the event loop; nothing connects before the service is run."""

    def __init__(self, settings: ServiceSettings, clock: Clock | None = None) -> None:
        self.settings, self.clock = settings, clock or SystemClock()
        self.prefix = settings.topic_prefix
        self.health = Health(self.clock, heartbeat_limit=settings.liveness_seconds)
        self.mongo = MongoStore(settings.mongo.get_secret_value(), settings.database)
        self.producer = Producer(settings.kafka, client_id=f"deskbus-{settings.service}")
        self._documents: list[Documents[Any]] = []
        self._consumer: Consumer | None = None

    def documents(self, kind: Kind[S]) -> Documents[S]:
        """Return the documents of a kind. Their outboxes are swept and cleared while the service runs."""
        limit = self.settings.max_record_bytes
        made = Documents(kind, self.mongo, self.producer, self.clock, prefix=self.prefix, limit=limit)
        self._documents.append(made)
        return made

    def consume(
        self,
        documents: Documents[S],
        handling: Handling[S],
        *,
        urgent: Callable[[Record], bool] = lambda _: True,
        weigh: Callable[[Record], int] = weight,
    ) -> Consumer:
        """Return the consumer of all topics that contracts say this service reads; its records change these documents.

        `urgent` and `weigh` are the consumer's.
        """
        settings, name = self.settings, self.settings.service
        letters = DeadLetters(topic_name(dlq(name), self.prefix), name, self.producer)
        limits = Limits(settings.retry_attempts, settings.dlq_stop_share, settings.dlq_stop_window)
        delivery = Delivery(documents, handling, letters, limits=limits)
        read = [topic_name(topic, self.prefix) for topic in CONSUMES[name]]
        consumer = self._consumer = Consumer(
            settings, delivery, read, self.clock, self.health, urgent=urgent, weigh=weigh
        )
        for each in self._documents:
            if each.home_topic:
                each.owned = partial(consumer.owned, each.home_topic)
        return consumer

    def service(
        self,
        app: ASGIApp,
        *,
        prepare: Sequence[Job],
        background: Mapping[str, Job],
        doors: Sequence[Part] = (),
        door_first: bool = False,
        close: Sequence[Callable[[], object]] = (),
    ) -> Service:
        """Return the service that is made of these parts. Raises ValueError where nothing consumes.

        The arguments are those of `Service`; what `close` names is closed before the store.
        """
        if self._consumer is None:
            raise ValueError("a service consumes")
        router = KafkaRouter()
        self._consumer.subscribe(router)
        return Service(
            self.settings,
            self.clock,
            self.health,
            app=app,
            doors=doors,
            producer=self.producer,
            prepare=prepare,
            consumer=self._consumer,
            router=router,
            documents=self._documents,
            background=background,
            ready={} if door_first else {"MongoDB": self.mongo.ping},
            door_first=door_first,
            close=[*close, self.mongo.close],
        )
