"""What follows from the table of channels: a new channel is one file and one line in it."""

from __future__ import annotations

import hashlib
import hmac
import inspect
import json
from typing import Any

import httpx
import pytest
from prometheus_client import REGISTRY

from cli.audit import audit
from cli.reading import TopicRecord
from contracts import topics
from contracts.commands import Reply
from contracts.ticket import Channel
from kit.base.errors import InvalidPolicy
from kit.policy.file import parse
from kit.policy.secrets import Secrets
from services.ingest import metrics
from services.ingest.accounts import Account, Accounts
from services.ingest.channels import CHANNELS, KEYS, OAUTH, POLLERS, WEBHOOKS, WINDOWS, channel
from services.ingest.channels.channel import Answer, KeySource, OAuthFlow
from services.ingest.core.messages import HttpCall
from services.ingest.core.policy import ReplyWindow
from services.ingest.policy_file import AccountsFile
from tests.ingest import fake_channel
from tests.ingest.door_rig import Kafka, opened_door
from tests.ingest.sender_rig import ALL, FakeTransport, sender, served
from tests.ingest.worker_rig import AGENT, Worker
from tests.kit.fake_store import FakeStore
from tests.kit.raw import Raw

POLICY = b"""
accounts:
  - name: page-pl
    channel: fake
    external_id: p1
    signing: env:S
    access: env:S
    base_url: https://graph.example
"""
SECRET = b"whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQ="
REASONS = (
    "missing", "signature", "stale", "body", "unknown_channel", "unknown_account", "foreign", "too_large", "secret",
    "away", "key",
)  # fmt: skip
HOOK = "/v1/channels/fake/webhook"


@pytest.fixture
def accounts(monkeypatch: pytest.MonkeyPatch) -> Accounts:
    """An account of a channel that is new in the table."""
    monkeypatch.setitem(WEBHOOKS, fake_channel.NAME, fake_channel)
    monkeypatch.setitem(CHANNELS, fake_channel.NAME, fake_channel)
    return parse("ingest.yaml", POLICY, AccountsFile)


def hook(*messages: dict[str, Any]) -> tuple[bytes, dict[str, str]]:
    body = json.dumps({"page": "p1", "messages": messages}).encode()
    return body, {"x-fake-signature": hmac.new(SECRET, body, hashlib.sha256).hexdigest()}


async def taken(client: httpx.AsyncClient, kafka: Kafka, *hooks: tuple[bytes, dict[str, str]]) -> list[Raw]:
    """The records that the door wrote of these webhooks."""
    for body, headers in hooks:
        answer = await client.post(HOOK, content=body, headers=headers)
        assert (answer.status_code, "receipt" in answer.json()) == (200, True)
    rows = enumerate(kafka.taken)
    return [Raw(topics.INBOUND, 0, n, sent.value or b"", headers=list(sent.headers)) for n, sent in rows]


async def test_a_channel_of_the_table_is_all_that_ingest_and_the_audit_need(accounts: Accounts) -> None:
    kafka, worker, wire = Kafka(), Worker(accounts=accounts), FakeTransport()
    asked = hook({"id": "m1", "from": "u1", "text": "Where?", "picture": "7"}, {"id": "m2", "from": "u2", "text": "Hi"})
    async with opened_door(kafka, FakeStore(), accounts, worker.secrets) as client:
        forged = await client.post(HOOK, content=asked[0], headers={"x-fake-signature": "00"})
        assert forged.status_code == 401
        records = await taken(client, kafka, asked, asked, hook())
    assert await worker.take(*records) == set()
    first, second = worker.opened()
    assert {ticket.channel for ticket in (first, second)} == {"marketplace"}
    assert {ticket.account for ticket in (first, second)} == {"page-pl"}

    worker.channel.kept["https://graph.example/pictures/7"] = (200, {}, b"jpeg")
    (picture,) = worker.events()[0].data.message.attachments
    assert await worker.files.read(picture.ref, first) == b"jpeg"

    asks = worker.asks(Reply(by=AGENT, text="On its way"), first.id)
    await worker.take(asks)
    await served(sender(worker, wire, *ALL))
    (call,) = wire.sent
    assert isinstance(call, HttpCall)
    assert (call.url, json.loads(call.body)) == ("https://graph.example/messages", {"to": "u1", "text": "On its way"})

    lines = [TopicRecord(topics.INBOUND, 0, r.offset, None, r.value, r.headers, 0) for r in records]
    lines += [TopicRecord(topics.TICKETS, 0, n, None, event.encode(), [], 0) for n, event in enumerate(worker.events())]
    report = audit([*lines, TopicRecord(topics.COMMAND, 0, 0, None, asks.value, [], 0)])
    assert (report.counts["inbound"], report.counts["messages"]) == (3, 3)
    assert dict(report.faults) == {}


async def test_the_audit_reports_a_message_that_the_parser_of_a_new_channel_dropped(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake_channel, "parse", lambda *_: [])
    kafka, worker = Kafka(), Worker(accounts=accounts)
    async with opened_door(kafka, FakeStore(), accounts, worker.secrets) as client:
        records = await taken(client, kafka, hook({"id": "m1", "from": "u1", "text": "Where?"}))
    assert await worker.take(*records) == set()
    report = audit(TopicRecord(topics.INBOUND, 0, r.offset, None, r.value, r.headers, 0) for r in records)
    assert list(report.faults) == ["messages without effect"]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"    external_id: p1\n", b"", "a fake account requires external_id"),
        (b"channel: fake", b"channel: fax", "'fax' is not a channel: webhook, .*, fake"),
    ],
)
def test_an_account_has_what_its_channel_needs(accounts: Accounts, old: bytes, new: bytes, reason: str) -> None:
    with pytest.raises(InvalidPolicy, match=reason):
        parse("ingest.yaml", POLICY.replace(old, new), AccountsFile)


@pytest.mark.parametrize(("name", "module"), CHANNELS.items())
def test_a_channel_is_of_the_public_vocabulary_and_needs_what_accounts_have(name: str, module: channel.Channel) -> None:
    assert module.CHANNEL in set(Channel), f"add {module.CHANNEL} to Channel in contracts/ticket.py, and make generate"
    assert name == module.NAME
    assert set(module.NEEDS) <= set(Account.model_fields), "a key of its own is a field of Account"


def test_what_a_channel_may_define_besides_is_of_its_kind() -> None:
    tables: list[tuple[dict[str, Any], type]] = [(WINDOWS, ReplyWindow), (KEYS, KeySource), (OAUTH, OAuthFlow)]
    for table, kind in tables:
        assert table
        assert [name for name, value in table.items() if not isinstance(value, kind)] == []
    assert POLLERS
    assert all(inspect.isgeneratorfunction(poll) for poll in POLLERS.values())


def _uncounted(channel: str, expected: list[tuple[str, dict[str, str]]]) -> list[str]:
    samples = [(f"deskbus_ingest_{metric}_total", {"channel": channel} | labels) for metric, labels in expected]
    return [metric for metric, labels in samples if REGISTRY.get_sample_value(metric, labels) is None]


@pytest.mark.parametrize("name", [*CHANNELS, "other"])
def test_what_the_door_does_is_counted_from_zero(name: str) -> None:
    """Alerts ask how much a counter has grown: one that begins with its first fault has not."""
    refused = [("refused", {"reason": reason}) for reason in REASONS]
    assert _uncounted(name, [("accepted", {}), ("unreadable", {}), *refused]) == []


@pytest.mark.parametrize("channel", [*{module.CHANNEL for module in CHANNELS.values()}, "other"])
def test_what_happens_to_tickets_of_a_channel_is_counted_from_zero(channel: str) -> None:
    parsed = [("parsed", {"kind": kind}) for kind in ("message", "status")]
    sent = [("sent", {"outcome": outcome}) for outcome in ("sent", "refused", "failed")]
    assert _uncounted(channel, [("duplicates", {}), ("tickets_opened", {}), *parsed, *sent]) == []


def test_what_an_account_of_a_marketplace_may_bring_is_counted_from_zero(accounts: Accounts) -> None:
    metrics.expect_arrivals(accounts)
    labels = {"channel": "marketplace", "marketplace": "fake", "brand": "none"}
    assert REGISTRY.get_sample_value("deskbus_ingest_arrivals_total", labels) == 0


@pytest.mark.parametrize(("path", "status"), [("fake", 200), ("webhook", 404)])
async def test_an_account_is_of_its_provider_alone(accounts: Accounts, path: str, status: int) -> None:
    """Its secrets are for that provider's signatures, not for another that carries the same channel."""
    body, headers = hook({"id": "m1", "from": "u1", "text": "Where?"})
    async with opened_door(Kafka(), FakeStore(), accounts, Worker(accounts=accounts).secrets) as client:
        answer = await client.post(f"/v1/channels/{path}/webhook?account=page-pl", content=body, headers=headers)
    assert answer.status_code == status


def _ping(request: channel.Request, account: Account, secrets: Secrets) -> Answer | None:
    return Answer(200, b"pong", "text/plain") if request.body == b"ping" else None


def _signed(body: bytes) -> dict[str, str]:
    return {"x-fake-signature": hmac.new(SECRET, body, hashlib.sha256).hexdigest()}


async def test_a_channel_says_how_it_is_answered(accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake_channel, "SUCCESS", Answer(201, b"<Taken/>", "text/xml"))
    monkeypatch.setattr(fake_channel, "REFUSAL_STATUS", 412)
    monkeypatch.setattr(fake_channel, "CHALLENGES", {"POST": _ping})
    kafka, (body, headers) = Kafka(), hook({"id": "m1", "from": "u1", "text": "Where?"})
    async with opened_door(kafka, FakeStore(), accounts, Worker(accounts=accounts).secrets) as client:
        query = {"account": "page-pl"}
        refused = await client.post(HOOK, params=query, content=b"ping", headers={"x-fake-signature": "00"})
        challenged = await client.post(HOOK, params=query, content=b"ping", headers=_signed(b"ping"))
        assert (refused.status_code, kafka.taken) == (412, [])
        assert (challenged.status_code, challenged.text, kafka.taken) == (200, "pong", [])
        accepted = await client.post(HOOK, params=query, content=body, headers=headers)
    assert (accepted.status_code, accepted.text, len(kafka.taken)) == (201, "<Taken/>", 1)
    assert (accepted.headers["content-type"], accepted.headers["content-length"]) == ("text/xml", "8")
