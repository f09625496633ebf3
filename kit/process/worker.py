"""What every service is made of, put together once: clients, documents, dead letters, delivery, consumer, life.

A service's `app.py` names its documents, its handling and its doors; the rest is the same everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from faststream.kafka import KafkaRouter
from pydantic import BaseModel
from starlette.types import ASGIApp

from contracts.topics import BY_NAME, CONSUMES, dlq, topic_name
from kit.base import metrics
from kit.base.clock import Clock, SystemClock
from kit.base.errors import TransientError
from kit.base.health import Health
from kit.base.settings import ServiceSettings
from kit.base.turns import Job, every
from kit.doors.tls import DoorCertificate
from kit.http_client import HttpClient
from kit.kafka.connection import Connection
from kit.kafka.consumer import Consumer
from kit.kafka.producer import Producer
from kit.mongo import MongoStore
from kit.policy.file import PolicyFile
from kit.policy.secrets import Secrets
from kit.process.service import Part, Service
from kit.protocol.deadletter import DeadLetters
from kit.protocol.delivery import Delivery
from kit.protocol.document import Kind
from kit.protocol.handling import Handling
from kit.protocol.outbox import Documents
from kit.protocol.record import Record, weight
from kit.protocol.restoring import MARKER

S = TypeVar("S")
P = TypeVar("P", bound=BaseModel)


class Worker:
    """The parts of one service. Made inside the event loop; nothing connects before the service is run."""

    def __init__(self, settings: ServiceSettings, clock: Clock | None = None) -> None:
        self.settings, self.clock = settings, clock or SystemClock()
        self.prefix = settings.topic_prefix
        self.health = Health(self.clock, heartbeat_limit=settings.liveness_seconds)
        self.mongo = MongoStore(settings.mongo_file or settings.mongo.get_secret_value(), settings.database)
        self.kafka = Connection(settings, self.clock)
        self.health.check("Kafka", self.kafka.check)
        self.producer = Producer(self.kafka, client_id=f"deskbus-{settings.service}")
        self.secrets = Secrets()
        self._documents: list[Documents[Any]] = []
        self._consumer: Consumer | None = None
        self._background: dict[str, Job] = {"expiry": every(self.clock, 30, self.kafka.note_expiry, "expiry")}
        self._close: list[Callable[[], object]] = []
        self._certificates: list[DoorCertificate] = []

    def topic(self, name: str) -> str:
        """Return the full name of a topic in this installation."""
        return topic_name(name, self.prefix)

    def policy(self, model: type[P], changed: Callable[[], object] = lambda: None) -> Callable[[], P]:
        """Read the service's policy file; return what gives the policy in force. Raises InvalidPolicy.

        The file is read again when it changes; `changed` is called after another policy came into force.
        """
        file = PolicyFile(self.settings.policy_file, model)
        self._background["policy file"] = partial(file.watch, self.clock, changed)
        return lambda: file.current

    def http_client(
        self, allowed: Callable[[], Collection[str]], *, seconds: float, connections: int = 100
    ) -> HttpClient:
        """Return the service's HTTP client, which is closed with it. The arguments are those of `HttpClient`."""
        agent = f"deskbus-{self.settings.service}"
        client = HttpClient(allowed, agent=agent, seconds=seconds, connections=connections)
        self._close.append(client.close)
        return client

    def certificate(self, name: str, certificate: Path | None, key: Path | None) -> DoorCertificate | None:
        """Return the certificate of another door, if it is set. Raises InvalidCertificate if it cannot be used."""
        if certificate is None or key is None:
            return None
        self._certificates.append(DoorCertificate(name, certificate, key, self.clock))
        return self._certificates[-1]

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
        """Return the consumer of all topics that the contracts list for this service; its records change `documents`.

        `urgent` and `weigh` are those of `Consumer`.
        """
        settings, name = self.settings, self.settings.service
        metrics.declare_groups(metrics.type_group(kind) for topic in CONSUMES[name] for kind in BY_NAME[topic].types)
        letters = DeadLetters(
            self.topic(dlq(name)),
            name,
            self.producer,
            stop_share=settings.dlq_stop_share,
            stop_window=settings.dlq_stop_window,
        )
        delivery = Delivery(documents, handling, letters, attempts=settings.retry_attempts)
        read = [self.topic(topic) for topic in CONSUMES[name]]
        consumer = self._consumer = Consumer(
            settings, delivery, read, self.clock, self.health, urgent=urgent, weigh=weigh, connection=self.kafka
        )
        for each in self._documents:
            if each.home_topic:
                each.owned = partial(consumer.owned, each.home_topic)
        return consumer

    async def _await_rebuild(self) -> None:
        """Raise TransientError while the database is half rebuilt: what is missing would be taken for new."""
        rows = await self.mongo.fetch(MARKER, [MARKER])
        if rows and rows[0]["state"] != "done":
            raise TransientError("this database is being rebuilt: let `deskbus rebuild` end, or run it again")

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

        The arguments are those of `Service`; `close` is called before clients and the store are closed. With
        `door_first` it is ready as soon as its door and producer are.
        """
        if self._consumer is None:
            raise ValueError("a service consumes")
        others = tuple(self._certificates)
        router = KafkaRouter()
        self._consumer.subscribe(router)
        return Service(
            self.settings,
            self.clock,
            self.health,
            app=app,
            doors=doors,
            certificate=self.certificate("door", self.settings.tls_certificate, self.settings.tls_key),
            certificates=others,
            producer=self.producer,
            prepare=[self._await_rebuild, *prepare],
            consumer=self._consumer,
            router=router,
            documents=self._documents,
            background={**self._background, **background},
            ready=None if door_first else {"MongoDB": self.mongo.ping},
            close=[*close, *self._close, self.mongo.close],
        )
