"""All use of private interfaces of aiokafka and FastStream, each with its reason. No other file uses any.

Rule: one function for each use; its docstring names what the public interface lacks. `tests/kit/test_private.py` runs
each against the real library, so that an upgrade that renames something fails there and not in a service.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial
from typing import Any, cast

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka import client as library
from aiokafka.abc import AbstractTokenProvider
from aiokafka.conn import AIOKafkaConnection, create_conn
from aiokafka.errors import IllegalSaslStateError, KafkaConnectionError, SaslAuthenticationFailed, for_code
from aiokafka.protocol.commit import OffsetFetchRequest
from faststream.kafka import KafkaBroker

Connect = Callable[[Callable[..., Awaitable[Any]], dict[str, Any]], Awaitable[Any]]


def build_consumers_of(
    broker: KafkaBroker, kind: Callable[..., AIOKafkaConsumer], options: Mapping[str, Any] | None = None
) -> None:
    """Make a connected broker create its clients from this class, with these options over its own.

    FastStream has no setting for the class. `builder` is what its own test broker replaces; connecting sets it.
    """
    config = broker.config.broker_config
    own = cast("partial[Any]", config.builder).keywords
    config.builder = partial(kind, **{**own, **(options or {})})


def coordination_has_ended(client: AIOKafkaConsumer) -> bool:
    """Whether the task that keeps a client in its group has ended.

    aiokafka raises its error from every poll, where it looks transient. There is no coordinator while a client starts,
    which takes until its topics exist.
    """
    coordinator = client._coordinator  # noqa: SLF001
    task = coordinator and coordinator._coordination_task  # noqa: SLF001
    return task is not None and bool(task.done())


async def committed_with_metadata(
    client: AIOKafkaConsumer, partitions: Collection[TopicPartition]
) -> dict[TopicPartition, tuple[int, str]]:
    """Return the committed offsets, where there are any, with their metadata; raises KafkaError.

    `AIOKafkaConsumer.committed` drops the metadata. The admin client returns it, but over connections of its own, and
    takes an error of the whole group (its coordinator is loading) for "nothing is committed".
    """
    coordinator = client._coordinator  # noqa: SLF001
    found: dict[TopicPartition, tuple[int, str]] = await coordinator.fetch_committed_offsets(list(partitions))
    return found


def raise_group_errors(client: AIOKafkaConsumer) -> None:
    """Let a client that is not started yet raise what a coordinator answers for a group as a whole.

    aiokafka looks at the errors of single partitions only. A coordinator that has lost the group to another broker, or
    has not loaded it yet, would look like one without commits: the group would read its topics from their beginning.
    """
    send = client._client.send  # noqa: SLF001

    async def checked(node: int, request: Any, **options: Any) -> Any:
        answer = await send(node, request, **options)
        if isinstance(request, OffsetFetchRequest) and (code := getattr(answer, "error_code", 0)):
            raise for_code(code)
        return answer

    client._client.send = checked  # noqa: SLF001


def position(client: AIOKafkaConsumer, tp: TopicPartition) -> int | None:
    """Return the offset of the next record of a partition without waiting; None while it is unknown.

    `AIOKafkaConsumer.position` waits until it is known; this is needed while deciding, which cannot wait.
    """
    subscribed = client._subscription.subscription  # noqa: SLF001
    assignment = subscribed.assignment if subscribed is not None else None
    if assignment is None or tp not in assignment.tps:
        return None
    state = assignment.state_value(tp)
    return state.position if state.has_valid_position else None


def unreadable(client: AIOKafkaConsumer) -> tuple[TopicPartition, int] | None:
    """Return the place of the record at which the client has just failed to read what it has fetched; None if nowhere.

    A poll that cannot decode a record's headers raises the bare UnicodeDecodeError, without the record's place.
    """
    for tp, fetched in client._fetcher._records.items():  # noqa: SLF001
        unpacked = getattr(fetched, "_partition_records", None)  # a fetch that failed as a whole has none
        reading = getattr(unpacked, "_records_iterator", None)
        if unpacked is not None and reading is not None and reading.gi_frame is None:
            return tp, unpacked.next_fetch_offset
    return None


def sender_has_ended(producer: AIOKafkaProducer) -> bool:
    """Whether the task that sends a producer's batches has ended.

    aiokafka has no public way to ask, and a send fails just as it does while the broker is away.
    """
    task = producer._sender.sender_task  # noqa: SLF001
    return task is not None and bool(task.done())


class _Hook(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka has no types
    """An option that reaches every connection of a client: to it, it is a source of tokens."""

    def __init__(self, connect: Connect) -> None:
        self.connect = connect

    async def token(self) -> str:
        raise NotImplementedError  # `connecting_with` puts another source in its place


class _Held(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka has no types
    def __init__(self, token: str) -> None:
        self._token = token

    async def token(self) -> str:
        return self._token


def holding(token: str) -> AbstractTokenProvider:
    """Return a token as aiokafka takes it."""
    return _Held(token)


def connecting_with(connect: Connect) -> AbstractTokenProvider:
    """Return an option, `sasl_oauth_token_provider`, that lets `connect` open every connection of a client.

    `connect` gets aiokafka's own function and its arguments. A client keeps user, password and TLS context of its
    construction for ever, and tells nobody why a connection was refused: it logs that and raises "unable to bootstrap".
    """
    library.create_conn = _create_conn
    return _Hook(connect)


async def _create_conn(host: str, port: int, **options: Any) -> AIOKafkaConnection:
    hook = options.get("sasl_oauth_token_provider")
    create = partial(create_conn, host, port)
    return await (hook.connect(partial(_checked, create), options) if isinstance(hook, _Hook) else create(**options))


async def _checked(create: Callable[..., Awaitable[AIOKafkaConnection]], **options: Any) -> AIOKafkaConnection:
    """Open a connection, and see that it was accepted.

    A broker refuses a token with a challenge, which aiokafka takes for success. The broker then fails the next request
    or closes the connection: so one is made here, where that can be told from a broker that goes away.
    """
    connection = await create(**options)
    if options.get("sasl_mechanism") != "OAUTHBEARER" or not options["security_protocol"].startswith("SASL"):
        return connection
    try:
        await connection._do_version_lookup()  # noqa: SLF001
        if not connection._versions:  # noqa: SLF001 - the answer was an error
            raise KafkaConnectionError("no request is answered")
    except (KafkaConnectionError, IllegalSaslStateError) as error:
        connection.close()
        raise SaslAuthenticationFailed("the token was not accepted") from error
    except BaseException:
        connection.close()
        raise
    return connection


async def disconnect(producer: AIOKafkaProducer) -> None:
    """End a producer with what it has not sent, within two seconds.

    `AIOKafkaProducer.stop` waits until all is sent, which may be never. Cancelled, it leaves its tasks, which go on
    sending, and its connections.
    """
    client, task = producer.client, producer._sender.sender_task  # noqa: SLF001
    producer._closed = True  # noqa: SLF001 - it would warn that it was not stopped
    if task is not None:
        task.cancel()
    await client.close()
    for _ in range(20 if task is not None else 0):
        # The task waits for its requests, and these for metadata that a closed client never asks for.
        if (asked := client._md_update_fut) is not None and not asked.done():  # noqa: SLF001
            asked.set_result(False)
        if (await asyncio.wait([task], timeout=0.1))[0]:
            break
