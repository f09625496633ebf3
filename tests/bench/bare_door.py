"""The floor of the door: an ASGI app that writes a request's body to Kafka, acknowledged by all, and answers 202.

No routing, no signature, no account, no headers in the record. Keys are as many as connections, so that the records go
to all partitions, as the real door's do: one partition would make one batch of what 32 requests bring. Run as
`… bare_door KAFKA TOPIC PORT`.
"""

from __future__ import annotations

import sys
from typing import Any

import uvicorn
from aiokafka import AIOKafkaProducer


async def _main(kafka: str, topic: str, port: int) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka, acks="all", enable_idempotence=True)
    await producer.start()
    answer = b'{"receipt":"00000000-0000-7000-8000-000000000000"}'
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        await producer.send_and_wait(topic, body, key=b"%d" % scope["client"][1])
        await send({"type": "http.response.start", "status": 202, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    config = uvicorn.Config(app, port=port, log_level="warning", access_log=False, lifespan="off", http="httptools")
    try:
        await uvicorn.Server(config).serve()
    finally:
        await producer.stop()


if __name__ == "__main__":
    import uvloop

    uvloop.run(_main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
