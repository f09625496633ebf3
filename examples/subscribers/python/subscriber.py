"""Copies what happens to tickets into a database of its own, each event once. `python subscriber.py`, after
`pip install faststream[kafka] dist/deskbus_contracts-*.whl`; the variables below say where to.
"""

import asyncio
import os
import sqlite3

from deskbus_contracts.subscribing import Inbox
from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker, KafkaMessage

db = sqlite3.connect(os.environ.get("STORE", "tickets.db"))
db.execute("create table if not exists history (subject text, sequence integer, type text)")
inbox = Inbox()
inbox.create(db)

broker = KafkaBroker(os.environ.get("KAFKA", "127.0.0.1:9092").split(","))


@broker.subscriber(
    os.environ.get("TOPIC", "deskbus.tickets.v1"),
    group_id=os.environ.get("GROUP", "example-python"),
    auto_offset_reset="earliest",
    session_timeout_ms=6_000,  # a crashed process keeps its partitions for so long
    ack_policy=AckPolicy.NACK_ON_ERROR,  # commits after the handler; reads the event again if it failed
)
async def handle(message: KafkaMessage) -> None:
    with db:  # the effect and what was applied are one transaction
        if event := inbox.take(db, message.body):
            db.execute("insert into history values (?, ?, ?)", (event.subject, event.sequence, event.type))


if __name__ == "__main__":
    asyncio.run(FastStream(broker).run())
