"""Moving to other topics, once more after the services went on with the old ones."""

from __future__ import annotations

from cli.partitions import move
from cli.reading import read
from cli.topics import delete_topics
from contracts.envelope import HEADERS
from contracts.topics import AGENTS
from kit.kafka.producer import Producer
from kit.protocol.ports import Outgoing


async def test_a_copy_that_is_older_than_the_original_is_followed_by_the_new_one(kafka: str, topics: str) -> None:
    new = f"n{topics}"
    producer = Producer(kafka, client_id="test")
    await producer.start()

    async def moved() -> int:
        return (await move(kafka, {}, prefix=topics, to_prefix=new, partitions=4, apply=True)).copied

    try:
        for name in (b"ann", b"bea"):
            await producer.send(Outgoing(topics + AGENTS, name, b"online", HEADERS))
        assert await moved() == 2
        await producer.send(Outgoing(topics + AGENTS, b"ann", b"offline", HEADERS))
        assert [await moved(), await moved()] == [1, 0]
        there = {record.key: record.value async for record in read(kafka, [AGENTS], prefix=new)}
        assert there == {b"ann": b"offline", b"bea": b"online"}
    finally:
        await producer.stop()
        await delete_topics(kafka, new)
