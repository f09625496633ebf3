"""What is wrong gets a clear answer and changes nothing; what cannot be read is kept and can come back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from contracts import topics
from contracts.dlq import DeadLetter, original_headers
from kit.kafka.producer import Producer
from kit.protocol.ports import Outgoing
from tests.system.rig import System, until

pytestmark = pytest.mark.timeout(180)


async def test_forged_stale_unknown_and_too_large_are_problems_and_write_nothing(deskbus: System) -> None:
    deskbus.start(services=["ingest"])
    url = deskbus.one("ingest").url
    hook = deskbus.traffic.whatsapp("prawda")
    generic = deskbus.traffic.webhook("allegro-pl")
    forged = hook.headers | {"x-hub-signature-256": "sha256=" + "0" * 64}
    stale = generic.headers | {"webhook-timestamp": "1000000000"}
    unknown = hook.path.replace("whatsapp", "telepathy")
    tries: list[tuple[str, bytes, dict[str, str], int]] = [
        (hook.path, hook.body, forged, 401),
        (hook.path, hook.body + b" ", hook.headers, 401),
        (generic.path, generic.body, stale, 401),
        (unknown, hook.body, hook.headers, 404),
        (hook.path, b"x" * (11 * 1024 * 1024), hook.headers, 413),
    ]
    for path, body, headers, status in tries:
        answer = await deskbus.http.post(url + path, content=body, headers=headers)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == status
    assert await deskbus.lines(topics.INBOUND) == []
    metrics = (await deskbus.http.get(f"{deskbus.one('ingest').ops_url}/metrics")).text
    counted = [x for x in metrics.splitlines() if x.startswith("deskbus_http_requests_total") and 'status="401"' in x]
    assert sum(float(x.rpartition(" ")[2]) for x in counted) == 3


async def test_what_cannot_be_read_is_acknowledged_kept_and_brought_back(deskbus: System) -> None:
    deskbus.start(services=["ingest"])
    hook = deskbus.traffic.signed_webhook("allegro-pl", b'{"type": "message", "id": 7}')
    answer = await _post(deskbus, hook.path, hook.body, hook.headers)
    assert answer.status_code == 202
    receipt = answer.json()["receipt"]

    async def dead() -> bool:
        return bool(await deskbus.lines(topics.dlq("ingest")))

    await until(dead, 30, "a dead letter")
    (line,) = await deskbus.lines(topics.dlq("ingest"))
    letter = DeadLetter.from_kafka(line.key, line.value, line.headers)
    assert letter.value == hook.body
    assert letter.error
    assert dict(letter.original_headers)["ce_id"].decode() == receipt
    (kept,) = await deskbus.lines(topics.INBOUND)
    assert kept.value == hook.body

    # The fix stands for a mended parser: the same record, readable now, comes back by way of the retry topic.
    mended = json.dumps({"type": "message", "id": "m7", "from": {"id": "p7"}, "text": "naprawione"}).encode()
    producer = Producer(deskbus.kafka, client_id="test")
    retry = deskbus.prefix + topics.retry("ingest")
    await producer.send(Outgoing(retry, line.key, mended, original_headers(line.headers)))
    await producer.stop()

    async def back() -> bool:
        return "naprawione" in await deskbus.texts()

    await until(back, 30, "the message becomes a ticket after the fix")


async def test_an_invalid_policy_is_refused_with_its_line_and_the_old_one_stays(
    environment: dict[str, str], topics: str, tmp_path: Path, deskbus: System
) -> None:
    policy = tmp_path / "sla.yaml"
    good = (Path(__file__).parent / "config" / "sla.yaml").read_text()
    policy.write_text(good)
    replica = deskbus.fleet.add("sla")
    replica.environment = {**replica.environment, "DESKBUS_SLA_POLICY": str(policy)}
    deskbus.fleet.start()
    policy.write_text(good.replace("first_reply: 2s", "first_reply: soon"))

    async def refused() -> bool:
        return 'deskbus_policy_reloads_total{outcome="refused",service="sla"} 1.0' in await _metrics(deskbus, replica)

    await until(refused, 30, "the new file is refused and counted")
    assert replica.log is not None
    assert "sla.yaml:6" in replica.log.read_text()
    body: dict[str, Any] = {"channel": "webhook", "tags": ["quick"]}
    answer = await deskbus.http.post(f"{replica.url}/v1/policies/match", json=body)
    assert answer.json()["policy"]["name"] == "quick", answer.text


async def _metrics(deskbus: System, replica: Any) -> str:
    return (await deskbus.http.get(f"{replica.ops_url}/metrics")).text


async def _post(deskbus: System, path: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
    return await deskbus.http.post(deskbus.one("ingest").url + path, content=body, headers=headers)
