"""What is asked past the public interface of client libraries works on the real ones, and is asked in one file only."""

from __future__ import annotations

import ast
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from faststream.kafka import KafkaBroker

from kit.kafka import private
from kit.kafka.reading import PollingConsumer
from tests.kit.test_delivery_stack import IN, Rig, _known, _owned, rig, until

__all__ = ["_known", "rig"]
ROOMS = ("cli", "deploy", "kit", "services")
HOME = "kit/kafka/private.py"
OURS = {"self", "cls"}
CLIENTS = re.compile(r"^(from|import) (aiokafka|faststream)(?!\.errors)", re.MULTILINE)
#: What another class might offer by these names is not to be replaced on an object either.
METHODS = {name for kind in (AIOKafkaConsumer, AIOKafkaProducer, KafkaBroker) for name in dir(kind)}


@pytest.fixture
async def member(kafka: str, rig: Rig) -> AsyncIterator[AIOKafkaConsumer]:
    """The only member of a group."""
    client = AIOKafkaConsumer(
        rig.prefix + IN, bootstrap_servers=kafka, group_id=f"{rig.prefix}g", enable_auto_commit=False
    )
    await client.start()
    yield client
    await client.stop()


async def test_faststream_polls_with_our_class(rig: Rig) -> None:
    async with rig.replica() as consumer:
        assert type(consumer._client()) is PollingConsumer


async def test_every_connection_of_a_client_is_opened_by_the_function_given(kafka: str) -> None:
    opened: list[dict[str, Any]] = []

    async def connect(create: Callable[..., Awaitable[Any]], options: dict[str, Any]) -> Any:
        opened.append(options)
        return await create(**{**options, "client_id": f"changed-{len(opened)}"})

    client = AIOKafkaClient(bootstrap_servers=kafka, sasl_oauth_token_provider=private.connecting_with(connect))
    await client.bootstrap()
    try:
        assert await client.ready(client.get_random_node())
        assert len(opened) == 2, "one to find the brokers, one to a broker"
        assert {"ssl_context", "sasl_plain_username", "sasl_plain_password"} <= set(opened[0])
        assert [each._client_id for each in client._conns.values()] == ["changed-2"]
    finally:
        await client.close()


async def test_a_client_without_such_a_function_connects_as_ever(kafka: str) -> None:
    private.connecting_with(lambda *_: pytest.fail("another client's"))
    client = AIOKafkaClient(bootstrap_servers=kafka)
    await client.bootstrap()
    await client.close()


async def test_the_end_of_the_coordination_task_is_seen(rig: Rig) -> None:
    async with rig.replica() as consumer:
        await until(lambda: _owned(consumer, rig.prefix + IN))
        client = consumer._client()
        assert not private.coordination_has_ended(client)
        assert consumer.fault() is None
        await client.stop()
        assert private.coordination_has_ended(client)
        assert consumer.fault() == "the group coordination task has exited"


async def test_a_client_that_has_not_joined_its_group_yet_has_not_ended() -> None:
    """It may wait for its topics to be created: a liveness probe that failed would restart the process meanwhile."""
    client = AIOKafkaConsumer("topic", bootstrap_servers="127.0.0.1:9", group_id="group")
    assert not private.coordination_has_ended(client)


async def test_what_was_committed_is_read_with_what_was_stored_beside_it(member: AIOKafkaConsumer) -> None:
    one, two, *_ = sorted(member.assignment())
    await member.commit({one: (5, "starts=1")})
    assert await private.committed_with_metadata(member, [one, two]) == {one: (5, "starts=1")}


async def test_a_position_is_known_only_once_there_is_one(kafka: str, rig: Rig) -> None:
    here, elsewhere = TopicPartition(rig.prefix + IN, 0), TopicPartition(rig.prefix + IN, 1)
    client = AIOKafkaConsumer(bootstrap_servers=kafka, auto_offset_reset="earliest")
    await client.start()
    try:
        assert private.position(client, here) is None
        client.assign([here])
        assert private.position(client, here) is None
        assert await client.position(here) == private.position(client, here) == 0
        client.seek(here, 3)
        assert private.position(client, here) == 3
        assert private.position(client, elsewhere) is None
    finally:
        await client.stop()


class _NotUtf8(str):
    """The name of a header as a producer writes it that does not care for UTF-8."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        return b"\xff"


async def put_unreadable(rig: Rig, kafka: str, *names: str) -> None:
    """Write a batch of records with these names of headers."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    try:
        builder = producer.create_batch()
        builder._builder = _DefaultRecordBatchBuilderPy(2, 0, 0, -1, -1, 0, 4096)  # the compiled one asks no name
        for name in names:
            builder.append(timestamp=None, key=b"k", value=b"v", headers=[(name, b"")])
        builder.close()
        await (await producer.send_batch(builder, rig.prefix + IN, partition=0))
    finally:
        await producer.stop()


async def test_the_place_of_a_record_that_cannot_be_decoded_is_found(kafka: str, rig: Rig) -> None:
    here = TopicPartition(rig.prefix + IN, 0)
    await put_unreadable(rig, kafka, "a", "b", _NotUtf8("c"), "d")
    client = AIOKafkaConsumer(bootstrap_servers=kafka, auto_offset_reset="earliest")
    await client.start()
    try:
        client.assign([here])
        assert private.unreadable(client) is None
        with pytest.raises(UnicodeDecodeError):
            while True:
                assert not await client.getmany(here, timeout_ms=200)
        assert private.unreadable(client) == (here, 2)
    finally:
        await client.stop()


async def test_the_end_of_the_sender_task_is_seen(kafka: str, rig: Rig) -> None:
    assert rig.producer.fault() is None
    producer = AIOKafkaProducer(bootstrap_servers=kafka, enable_idempotence=True)
    await producer.start()
    assert not private.sender_has_ended(producer)
    await producer.stop()
    assert private.sender_has_ended(producer)


def reaches_past(source: str) -> Iterator[str]:
    """Private attributes of other things that a source names, and methods of clients that it replaces."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(value=ast.Name(id=owner)) if owner in OURS:
                continue
            case ast.Attribute(attr=name, ctx=ast.Store()) if name in METHODS:
                yield f"{node.lineno}: {name} ="
            case ast.Attribute(attr=name) if name.startswith("_") and not name.endswith("__"):
                yield f"{node.lineno}: {name}"
            case ast.Call(func=ast.Name(id="getattr" | "setattr"), args=[_, ast.Constant(value=str(name)), *_]) if (
                name.startswith("_") or name in METHODS
            ):
                yield f"{node.lineno}: {name}"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("client._fetcher.x", ["1: _fetcher"]),
        ("self._client()._coordinator", ["1: _coordinator"]),
        ("getattr(client, '_sender', None)", ["1: _sender"]),
        ("client.getmany = polls.getmany", ["1: getmany ="]),
        ("setattr(client, 'getmany', polls.getmany)", ["1: getmany"]),
        ("self._client = client", []),
        ("self._client.start()", []),
        ("type(x).__name__", []),
    ],
)
def test_reaching_past_is_found(source: str, found: list[str]) -> None:
    assert list(reaches_past(source)) == found


def test_one_file_reaches_past_the_public_interface_of_kafkas_clients(root: Path) -> None:
    files = {
        str(file.relative_to(root)): file.read_text("utf-8") for room in ROOMS for file in root.glob(f"{room}/**/*.py")
    }
    clients = {name: text for name, text in files.items() if CLIENTS.search(text)}
    found = {name: list(reaches_past(text)) for name, text in clients.items()}
    assert found.pop(HOME)
    assert {name: lines for name, lines in found.items() if lines} == {}


async def test_a_consumer_starts_although_the_first_server_that_it_is_told_is_away(
    rig: Rig, unused_tcp_port: int
) -> None:
    """FastStream takes a string for the address of one server."""
    several = f"127.0.0.1:{unused_tcp_port},{rig.settings.kafka}"
    rig.settings = rig.settings.model_copy(update={"kafka": several})
    async with rig.replica() as consumer:
        await until(lambda: _owned(consumer, rig.prefix + IN))
