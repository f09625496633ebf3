"""The consumer's side of Kafka: FastStream's batch subscriber with safe settings, positions, pauses and rebalances.

Rule: offsets are committed explicitly, per partition, up to the first record that is not handled, and never otherwise.
What is done with the records is in `kit/protocol/delivery.py`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import KafkaConnectionError, KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker, KafkaMessage, KafkaRouter

from contracts.envelope import Event
from kit.base import metrics
from kit.base.clock import Clock
from kit.base.errors import TransientError
from kit.base.health import Health
from kit.base.settings import ServiceSettings
from kit.kafka import private
from kit.kafka.barrier import Barrier, Elsewhere
from kit.kafka.batch_size import BatchSize
from kit.kafka.commits import Commits
from kit.kafka.connection import Connection
from kit.kafka.flow import Flow
from kit.kafka.lag import Lag
from kit.kafka.reading import METADATA_MS, Ends, PollingConsumer, PollLoop, firsts, in_time, lane
from kit.kafka.starts import Starts
from kit.protocol.delivery import Delivery
from kit.protocol.record import Record, place, weight

log = structlog.get_logger(__name__)


class Consumer(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """One consumer of one service, in its group, over all topics that it follows."""

    def __init__(
        self,
        settings: ServiceSettings,
        delivery: Delivery[Any],
        topics: Sequence[str],
        clock: Clock,
        health: Health,
        *,
        urgent: Callable[[Record], bool] = lambda _: True,
        weigh: Callable[[Record], int] = weight,
        connection: Connection | None = None,
    ) -> None:
        """`urgent` returns whether a record must not wait for others, where the settings let any wait.

        `weigh` returns how many bytes a record takes while it is handled; by default those of its value.
        `connection` is that of the process; without one, the consumer makes its own.
        """
        self.delivery, self.topics = delivery, list(topics)
        self._settings, self._clock, self._health = settings, clock, health
        self._urgent, self._weigh = urgent, weigh
        self._running = asyncio.Lock()
        self._batch_task: asyncio.Task[object] | None = None
        self._in_hand: dict[TopicPartition, int] = {}
        self._failures: dict[TopicPartition, int] = {}
        self._resumes: dict[TopicPartition, asyncio.Task[None]] = {}
        self._subscriber: Any = None
        self._broker: KafkaBroker | None = None
        self._connection = connection or Connection(settings, clock)
        self._ends = Ends(self._connection, f"deskbus-{settings.service}-ends")
        self._lag = Lag(clock, self._ends)
        self._counts: dict[str, int] = {}
        """Partitions of each followed topic when they were last compared."""
        self._barrier = Barrier(clock, self._assignment, self._handled, self._ends.of)
        self._elsewhere = Elsewhere(self._assignment, self._handled_so_far, lambda tp: self._client().highwater(tp))
        self._starts = Starts(self._client)
        self._flow = Flow(self._client, self._assignment)
        self._commits = Commits(self._client, self._assignment, clock, settings.commit_ms / 1000)
        delivery.is_early, delivery.beat = self._elsewhere.is_behind, health.beat
        self._size = BatchSize(settings.batch_records, settings.session_timeout_ms / 1000 / 4, settings.batch_bytes)

    # -- wiring --------------------------------------------------------------------------------------------------

    def subscribe(self, router: KafkaRouter) -> None:
        """Declare the subscriber on a service's router. FastStream's defaults would acknowledge before handling."""
        subscriber = router.subscriber(
            *self.topics,
            group_id=self._settings.group,
            batch=True,
            max_records=self._settings.batch_records,
            batch_timeout_ms=10,  # its sleep after an empty poll; `PollLoop` returns none
            ack_policy=AckPolicy.MANUAL,
            auto_offset_reset="earliest",
            session_timeout_ms=self._settings.session_timeout_ms,
            heartbeat_interval_ms=self._settings.heartbeat_ms,
            max_partition_fetch_bytes=4 * 1024 * 1024,
            fetch_max_wait_ms=200,
            # Partitions of one number go to one replica: they change the same documents, and timers wait for them all.
            partition_assignment_strategy=(RangePartitionAssignor,),
            listener=self,
            no_reply=True,
            parser=_parse,
            decoder=_decode,
        )

        @subscriber
        async def records(batch: list[Event]) -> None:
            await self._take(batch)  # type: ignore[arg-type]  # the annotation is for AsyncAPI; raw records come

        self._subscriber = subscriber

    async def start(self, router: KafkaRouter) -> None:
        """Join the group; raises TransientError, KafkaError or OSError while no broker answers."""
        broker = KafkaBroker(
            self._settings.kafka.split(","),  # FastStream takes a string for one server
            apply_types=False,
            allow_auto_create_topics=False,
            consumer_only=True,
            client_id=f"deskbus-{self._settings.service}",
            # A broker may vanish without a word. The longest answer is that to a join, which waits for all members.
            request_timeout_ms=self._settings.session_timeout_ms + 2000,
            metadata_max_age_ms=METADATA_MS,
            logger=None,
        )
        broker.include_router(router)
        self._broker = broker
        try:
            await self._ends.start()
            await broker.connect()
            private.build_consumers_of(broker, PollingConsumer, self._connection.options())
            await broker.start()
        except BaseException as error:
            await self._ends.stop()
            await broker.stop()
            if isinstance(error, KafkaConnectionError):
                raise self._connection.unreachable(error) from error
            raise
        client = self._client()
        client.polls = PollLoop(
            client,
            self._clock,
            running=lambda: bool(self._subscriber.running),
            beat=self._health.beat,
            in_hand=self._take_in_hand,
            size=self._size,
            weigh=self._weigh,
            before=self._before_poll,
            after=self._flow.hold,
            poll=partial(AIOKafkaConsumer.getmany, client),
            gather=self._settings.gather_ms / 1000,
            urgent=self._urgent,
        )

    async def _before_poll(self) -> None:
        self._flow.release()
        await self._commits.flush_due()

    def _take_in_hand(self, firsts: Mapping[TopicPartition, int]) -> None:
        self._in_hand = dict(firsts)

    async def stop(self) -> None:
        """Finish the batch in hand and leave the group, each within a share of the grace: servers may be away.

        A batch that is not finished by then is cancelled, as by a crash, and comes again to the next owner. If it went
        on, it would find the stores closed and blame its records.
        """
        for resume in self._resumes.values():
            resume.cancel()
        if self._broker is None:
            return
        share = self._settings.grace_seconds * 0.25
        try:
            async with asyncio.timeout(share):
                async with self._running:
                    pass
        except TimeoutError:
            log.warning("stopped before the current batch was handled")
            if self._batch_task is not None:
                self._batch_task.cancel()
        try:
            async with asyncio.timeout(share):
                await self._commits.flush()
                await self._starts.forget()
        except TimeoutError:
            log.warning("could not commit offsets before leaving the group")
        try:
            async with asyncio.timeout(share):
                await self._ends.stop()
                await self._broker.stop()
        except TimeoutError:
            log.warning("could not leave the consumer group in time")

    def fault(self) -> str | None:
        """Return what has died behind the consumer, for liveness; None while all is well."""
        ended = self._is_connected() and private.coordination_has_ended(self._client())
        return "the group coordination task has exited" if ended else None

    # -- positions, for timers and metrics -----------------------------------------------------------------------

    def owned(self, topic: str) -> list[int]:
        """Return the partitions of a topic that this process owns now."""
        return sorted(tp.partition for tp in self._assignment() if tp.topic == topic)

    async def handled_until(self, topics: Iterable[str], partitions: Iterable[int]) -> dict[int, datetime]:
        """Return for each partition an instant before which these topics have been handled: see `Barrier`."""
        return await self._barrier.handled_until(topics, partitions)

    async def measure_lag(self) -> None:
        """Set the gauges of partitions and lag; raises TransientError while the broker is away."""
        here = self._assignment()
        metrics.ASSIGNED.set(len(here))
        self._compare_partitions()
        await self._lag.measure({tp: await self._handled(tp) for tp in here}, self._flow.resting)

    def _compare_partitions(self) -> None:
        """Report followed topics with different numbers of partitions: the records of one ticket are apart then."""
        client = self._client()
        counts = {topic: len(client.partitions_for_topic(topic) or ()) for topic in self.topics}
        differ = len(set(counts.values())) > 1
        metrics.PARTITIONS_DIFFER.set(differ)
        if differ and counts != self._counts:
            log.critical("followed topics have different numbers of partitions", partitions=counts)
        self._counts = counts

    async def _handled(self, tp: TopicPartition) -> int:
        in_hand = self._in_hand.get(tp)
        if in_hand is not None:
            return in_hand
        try:
            async with in_time():
                at: int = await self._client().position(tp)
        except KafkaError as error:
            raise TransientError(f"the handled position is unknown: {error!r}") from error
        # A batch may have begun while we waited for the answer.
        return self._in_hand.get(tp, at)

    def _handled_so_far(self, tp: TopicPartition) -> int | None:
        in_hand = self._in_hand.get(tp)
        return private.position(self._client(), tp) if in_hand is None else in_hand

    # -- batches -------------------------------------------------------------------------------------------------

    async def _take(self, records: Sequence[Record]) -> None:
        self._batch_task = asyncio.current_task()
        try:
            await self._batch(records)
        finally:
            self._batch_task = None

    async def _batch(self, records: Sequence[Record]) -> None:
        async with self._running:
            begins = {tp: record.offset for tp, record in firsts(records).items()}
            self._in_hand = begins
            self._lag.begin(records)
            try:
                metrics.BATCH_RECORDS.observe(len(records))
                started = self._clock.monotonic()
                back: set[TopicPartition] = set()
                for part in await self._starts.divide(records):
                    back |= await self._handle_and_settle([r for r in part if lane(r) not in back])
                seconds = self._clock.monotonic() - started
                metrics.BATCH_SECONDS.observe(seconds)
                self._size.note(len(records), seconds)
            except Exception:
                log.exception("unexpected error in a batch")
                self._rewind(begins)
            finally:
                self._in_hand = {}

    async def _handle_and_settle(self, records: Sequence[Record]) -> set[TopicPartition]:
        """Handle records and commit the positions reached; returns the partitions that go back to unhandled records."""
        async with self._starts.watched(records) as watched:
            noted = self._starts.noted
            unhandled = await self.delivery.handle(watched)
        back = {tp: r.offset for tp, r in firsts(r for r in records if place(r) in unhandled).items()}
        ends = {lane(record): record.offset + 1 for record in records}
        mine = self._assignment()
        done = {tp: back.get(tp, end) for tp, end in ends.items() if tp in mine}
        self._commits.note(self._starts.positions(done))
        await (self._commits.flush() if noted else self._commits.flush_due())
        for tp in ends.keys() - back.keys():
            self._failures.pop(tp, None)
        self._elsewhere.forget({place(record) for record in records} - unhandled)
        self._rewind(back)
        return set(back)

    def _rewind(self, places: dict[TopicPartition, int]) -> None:
        """Seek back to what is not handled, and let these partitions rest for a while."""
        if not places:
            return
        client, here = self._client(), self._assignment() & places.keys()
        for tp in here:
            client.seek(tp, places[tp])
            self._failures[tp] = failures = self._failures.get(tp, 0) + 1
            if self.delivery.stopped is None:
                self._resume_later(tp, failures)
        self._flow.rest(here)
        if self.delivery.stopped is not None:
            self._flow.stop()

    def _resume_later(self, tp: TopicPartition, failures: int) -> None:
        least, most = self._settings.retry_backoff_ms / 1000, self._settings.retry_backoff_max_ms / 1000
        seconds = min(most, least * 2 ** min(failures - 1, 16)) * random.uniform(0.5, 1)

        async def resume() -> None:
            await self._clock.sleep(seconds)
            self._flow.wake(tp)

        if (old := self._resumes.get(tp)) is not None:
            old.cancel()
        self._resumes[tp] = asyncio.create_task(resume())

    # -- rebalances ----------------------------------------------------------------------------------------------

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:  # noqa: ARG002 - aiokafka's signature
        """Finish the batch in hand before the partitions move, so that their next owner sees its positions."""
        try:
            async with asyncio.timeout(self._settings.session_timeout_ms / 1000 / 2):
                async with self._running:
                    await self._commits.flush()
        except TimeoutError:
            log.warning("partitions were revoked during a batch; its effects will be deduplicated")

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Start over with the partitions that this process owns now."""
        metrics.REBALANCES.inc()
        metrics.ASSIGNED.set(len(assigned))
        self._failures.clear()
        self._elsewhere.clear()
        self._starts.clear()
        self._commits.clear()
        self._compare_partitions()
        self._flow.assigned()
        self._health.assigned = True

    def _client(self) -> AIOKafkaConsumer:
        return self._subscriber.consumer

    def _is_connected(self) -> bool:
        return getattr(self._subscriber, "consumer", None) is not None

    def _assignment(self) -> frozenset[TopicPartition]:
        return frozenset(self._client().assignment()) if self._is_connected() else frozenset()


async def _parse(message: tuple[Any, ...]) -> KafkaMessage:
    """Wrap a batch without its headers: FastStream's own parser drops a batch whose headers do not decode."""
    from faststream.kafka.message import FAKE_CONSUMER, KafkaAckableMessage

    return KafkaAckableMessage(
        body=b"", headers={}, batch_headers=[], raw_message=message, consumer=FAKE_CONSUMER, message_id="batch"
    )


async def _decode(message: KafkaMessage) -> Any:
    return list(message.raw_message)
