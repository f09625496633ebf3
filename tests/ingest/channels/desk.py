"""The door and a worker behind it, in memory, with the account of a channel's case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx

from contracts import topics
from contracts.dlq import DeadLetter
from contracts.envelope import Event
from kit.policy.secrets import Secrets
from services.ingest.channels import WEBHOOKS
from services.ingest.channels.channel import Request, VerifyKey
from tests.ingest.channels.cases import Case
from tests.ingest.channels.samples import NOW
from tests.ingest.door_rig import Kafka, opened_door
from tests.ingest.worker_rig import Worker
from tests.kit.fake_store import FakeStore
from tests.kit.raw import Raw


@dataclass
class AtHand:
    """Keys of a provider. `more`: whether it may have others, so that an unknown one is fetched."""

    keys: Mapping[str, VerifyKey]
    more: bool = False

    def known(self, _: str) -> Mapping[str, VerifyKey]:
        return self.keys

    def wish(self, channel: str, account: str, kid: str) -> bool:
        return self.more


@dataclass
class Desk:
    """Mail does not come through the webhook door: its records are made here."""

    case: Case
    kafka: Kafka = field(default_factory=Kafka)
    handled: int = 0

    def __post_init__(self) -> None:
        self.worker = Worker(accounts=self.case.accounts, secrets=self.case.secrets)

    async def posts(
        self, *requests: Request, secrets: Secrets | None = None, keys: AtHand | None = None
    ) -> list[httpx.Response]:
        """Send requests to the door, and return its answers."""
        url, own = f"/v1/channels/{self.case.name}/webhook", f"account={self.case.account.name}"
        door = opened_door(
            self.kafka, FakeStore(), self.case.accounts, secrets or self.case.secrets, keys or AtHand(self.case.keys)
        )
        async with door as client:
            return [
                await client.post(f"{url}?{r.raw_query or own}", content=r.body, headers=dict(r.headers))
                for r in requests
            ]

    async def takes(self, *bodies: bytes) -> None:
        """Sign bodies and post them, and let the worker handle what the door wrote."""
        if self.case.name in WEBHOOKS:
            success = WEBHOOKS[self.case.name].SUCCESS
            for answer in await self.posts(*(self.case.sign(body, NOW) for body in bodies)):
                assert answer.status_code == success.status, answer.text
                assert answer.headers.get("content-type") == (success.media_type if success.body else None)
            rows = [
                Raw(topics.INBOUND, 0, n, sent.value or b"", headers=list(sent.headers))
                for n, sent in enumerate(self.kafka.taken)
            ]
            rows, self.handled = rows[self.handled :], len(rows)
        else:
            rows = [self.worker.raw(body, account=self.case.account.name, channel=self.case.name) for body in bodies]
        assert await self.worker.take(*rows) == set()

    def received(self) -> list[Event]:
        """The customer's messages."""
        events = [event for event in self.worker.events() if "message" in type(event.data).model_fields]
        return [event for event in events if event.data.message.direction == "in"]

    def ids(self) -> list[str]:
        """The provider's ids of the customer's messages, in order."""
        return [event.data.message.channel_message_id for event in self.received()]

    def reasons(self) -> list[str]:
        """Why records became dead letters."""
        return [DeadLetter.from_kafka(None, dead.value or b"", list(dead.headers)).error for dead in self.worker.dead()]
