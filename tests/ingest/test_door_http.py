"""The webhook door: what each request is answered with, what reaches Kafka, and that nothing else does."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from prometheus_client import REGISTRY
from pydantic import ValidationError

from contracts.topics import BY_NAME, DAY_MS, INBOUND, dlq, retry
from kit.base.errors import TransientError
from kit.doors.http import door
from kit.policy.secrets import Secrets
from services.ingest import blobs, metrics
from services.ingest.channels.reading import PEEK_BYTES
from services.ingest.http import with_webhooks
from services.ingest.intake import Intake
from services.ingest.settings import IngestSettings
from tests.fake_clock import FakeClock
from tests.ingest.channels import samples as s
from tests.ingest.door_rig import MAX_BODY, Kafka, opened_door, record, refusal, refuse
from tests.kit.fake_store import FakeStore


@pytest.fixture
def kafka() -> Kafka:
    return Kafka()


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
async def client(kafka: Kafka, store: FakeStore) -> AsyncIterator[httpx.AsyncClient]:
    async with opened_door(kafka, store) as opened:
        yield opened


def count(channel: str, reason: str) -> float:
    return float(metrics.REFUSED.labels(channel, reason)._value.get())


GENERIC = s.encode({"id": "m1", "from": {"id": "buyer-9"}, "text": "배송이 너무 늦어요"})
COUPANG = "/v1/channels/webhook/webhook?account=coupang-kr"


@pytest.mark.parametrize(
    ("url", "body", "headers", "account", "key"),
    [
        (COUPANG, GENERIC, s.sign_generic(GENERIC), "coupang-kr", "coupang-kr:buyer-9"),
        ("/v1/channels/whatsapp/webhook", s.whatsapp(s.wa_text("สวัสดี")), s.sign_whatsapp(s.whatsapp(s.wa_text("สวัสดี"))),
         "wa-th", "wa-th:TH.13491208655302741918"),
        ("/v1/channels/line/webhook?account=line-th", s.line_events(), s.sign_line(s.line_events()), "line-th", None),
        ("/v1/channels/line/webhook", s.line_events(), s.sign_line(s.line_events()), "line-th", None),
        ("/v1/channels/sms/webhook", s.form(s.SMS_FORM), s.sign_twilio(s.SMS_FORM), "sms-gb", "sms-gb:+447700900123"),
        ("/v1/channels/sms/webhook?account=sms-gb", s.form(s.SMS_FORM),
         s.sign_twilio(s.SMS_FORM, f"{s.SMS_URL}?account=sms-gb"), "sms-gb", "sms-gb:+447700900123"),
    ],
)  # fmt: skip
async def test_a_verified_body_reaches_kafka_byte_for_byte(
    client: httpx.AsyncClient,
    kafka: Kafka,
    url: str,
    body: bytes,
    headers: dict[str, str],
    account: str,
    key: str | None,
) -> None:
    answer = await client.post(url, content=body, headers=headers)
    taken = record(kafka)
    wanted = {"webhook": 202, "whatsapp": 200, "line": 200, "sms": 204}[taken.channel]
    assert answer.status_code == wanted
    if wanted == 204:
        assert (answer.content, "content-type" in answer.headers) == (b"", False)
    else:
        assert answer.json() == {"receipt": taken.receipt}
    assert (taken.body, taken.size, taken.account, taken.verified) == (body, len(body), account, True)
    assert taken.key == (key or taken.key)
    assert taken.key.startswith(f"{account}:")
    assert kafka.taken[0].key == taken.key.encode()


LARGE = {
    "whatsapp": s.whatsapp(*(s.wa_text("ส่งช้า " * 40, f"wamid.{n}") for n in range(220))),
    "line": s.line_events(*(s.line_message({"type": "text", "text": "x" * 300, "id": str(n)}) for n in range(200))),
    "webhook": s.encode({"id": "m1", "from": {"id": "buyer-9"}, "text": "긴" * 40_000}),
}
SIGN = {"whatsapp": s.sign_whatsapp, "line": s.sign_line, "webhook": s.sign_generic}


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("/v1/channels/whatsapp/webhook", "wa-th:TH.13491208655302741918"),
        ("/v1/channels/line/webhook", "line-th:U8189cf6745fc0d808977bdb0b9f22995"),
        ("/v1/channels/line/webhook?account=line-th", "line-th:U8189cf6745fc0d808977bdb0b9f22995"),
        (COUPANG, "coupang-kr:buyer-9"),
    ],
)
async def test_a_body_above_the_light_look_finds_its_account_and_its_contact(
    client: httpx.AsyncClient, kafka: Kafka, url: str, key: str
) -> None:
    channel = url.split("/")[3]
    body = LARGE[channel]
    assert len(body) > PEEK_BYTES
    answer = await client.post(url, content=body, headers=SIGN[channel](body))
    assert answer.is_success
    assert record(kafka).key == key


NOTICE = s.encode({"entry": [{"id": "1", "changes": [{"field": "account_alerts", "value": {"alert": "x"}}]}]})


@pytest.mark.parametrize(
    ("channel", "body", "account"),
    [
        ("whatsapp", s.whatsapp(s.wa_text("theirs"), number="999"), "wa-th"),
        ("whatsapp", NOTICE, "wa-th"),
        ("line", s.encode({"destination": "U999", "events": []}), "line-th"),
    ],
)
async def test_a_signed_body_that_names_no_account_of_ours_is_taken_for_whose_secret_signed_it(
    client: httpx.AsyncClient, kafka: Kafka, channel: str, body: bytes, account: str
) -> None:
    url = f"/v1/channels/{channel}/webhook"
    before = count(channel, "unknown_account")
    for forged in ({}, SIGN[channel](b"other")):
        assert (await client.post(url, content=body, headers=forged)).status_code == 404
    assert count(channel, "unknown_account") == before + 2
    assert (await client.post(f"{url}?account=nobody", content=body, headers=SIGN[channel](body))).status_code == 404
    assert kafka.taken == []
    assert (await client.post(url, content=body, headers=SIGN[channel](body))).status_code == 200
    assert record(kafka).account == account


async def test_an_sms_to_a_number_that_is_not_ours_is_nobodys_although_the_token_is_right(
    client: httpx.AsyncClient, kafka: Kafka
) -> None:
    form = {**s.SMS_FORM, "To": "+4420000000"}
    answer = await client.post("/v1/channels/sms/webhook", content=s.form(form), headers=s.sign_twilio(form))
    assert (answer.status_code, kafka.taken) == (404, [])


async def test_a_large_body_of_nobody_is_not_found_by_what_is_written_in_it(
    client: httpx.AsyncClient, kafka: Kafka
) -> None:
    posing = s.encode({"events": [], "text": f'{"x" * PEEK_BYTES} "destination": "{s.LINE.external_id}"'})
    assert (await client.post("/v1/channels/line/webhook", content=posing)).status_code == 404
    forged = await client.post("/v1/channels/line/webhook", content=LARGE["line"], headers=s.sign_line(b"other"))
    assert forged.status_code == 401
    assert kafka.taken == []


@pytest.mark.parametrize(
    ("url", "headers", "status", "counted"),
    [
        ("/v1/channels/fax/webhook", {}, 404, ("other", "unknown_channel")),
        ("/v1/channels/email/webhook", {}, 404, ("other", "unknown_channel")),
        ("/v1/channels/webhook/webhook", {}, 404, ("webhook", "unknown_account")),
        ("/v1/channels/webhook/webhook?account=wa-th", {}, 404, ("webhook", "unknown_account")),
        (COUPANG, {}, 401, ("webhook", "missing")),
        (COUPANG, {**s.sign_generic(GENERIC), "webhook-id": "other"}, 401, ("webhook", "signature")),
        (COUPANG, s.sign_generic(GENERIC, s.NOW.replace(hour=8)), 401, ("webhook", "stale")),
    ],
)
async def test_what_is_not_verified_is_a_problem_and_counted_and_not_written(
    client: httpx.AsyncClient, kafka: Kafka, url: str, headers: dict[str, str], status: int, counted: tuple[str, str]
) -> None:
    before = count(*counted)
    answer = await client.post(url, content=GENERIC, headers=headers)
    assert answer.status_code == status
    refusal(answer)
    assert count(*counted) == before + 1
    assert kafka.taken == []


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_over_the_limit_is_413(client: httpx.AsyncClient, kafka: Kafka, declared: bool) -> None:
    before = count("webhook", "too_large")

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * 1_000_000

    answer = await client.post(COUPANG, content=b"x" * (MAX_BODY + 1) if declared else chunks())
    assert answer.status_code == 413
    refusal(answer)
    assert count("webhook", "too_large") == before + 1
    assert kafka.taken == []


async def test_a_body_that_cannot_be_parsed_is_taken_all_the_same(client: httpx.AsyncClient, kafka: Kafka) -> None:
    body = b"\xff not json"
    answer = await client.post(COUPANG, content=body, headers=s.sign_generic(body))
    assert answer.status_code == 202
    assert record(kafka).body == body


TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (TRACE, TRACE),
        (TRACE.upper(), None),
        (f"{TRACE}-more", None),
        (TRACE.replace("00-", "ff-", 1), None),
        (TRACE.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32), None),
        (TRACE.replace("b7ad6b7169203331", "0" * 16), None),
        ("<script>", None),
        ("", None),
    ],
)
async def test_a_providers_trace_is_kept_only_in_the_form_of_w3c(
    client: httpx.AsyncClient, kafka: Kafka, said: str, kept: str | None
) -> None:
    await client.post(COUPANG, content=GENERIC, headers={**s.sign_generic(GENERIC), "traceparent": said})
    assert record(kafka).traceparent == kept


async def hang(seconds: float) -> None:
    await asyncio.sleep(seconds)
    raise TransientError("out of time")


def refused_while_away() -> float:
    labels = {"channel": "webhook", "reason": "away"}
    return REGISTRY.get_sample_value("deskbus_ingest_refused_total", labels) or 0.0


@pytest.mark.parametrize("away", [refuse, hang])
async def test_without_kafka_the_answer_is_503_in_time(client: httpx.AsyncClient, kafka: Kafka, away: Any) -> None:
    kafka.away, before = away, refused_while_away()
    async with asyncio.timeout(2):
        answer = await client.post(COUPANG, content=GENERIC, headers=s.sign_generic(GENERIC))
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    refusal(answer)
    assert kafka.taken == []
    assert refused_while_away() == before + 1, "an alert asks for it"


async def test_a_large_body_leaves_a_claim_check(client: httpx.AsyncClient, kafka: Kafka, store: FakeStore) -> None:
    body = b"x" * (512 * 1024 + 1)
    answer = await client.post(COUPANG, content=body, headers=s.sign_generic(body))
    assert answer.status_code == 202
    taken = record(kafka)
    assert (taken.body, taken.size) == (b"", len(body))
    assert taken.claim is not None
    assert await blobs.get(store, taken.claim) == body


async def test_a_large_body_outlasts_its_record_and_the_dead_letter_that_may_become_of_it(
    client: httpx.AsyncClient, store: FakeStore
) -> None:
    body = b"x" * (512 * 1024 + 1)
    await client.post(COUPANG, content=body, headers=s.sign_generic(body))
    days = [BY_NAME[name].retention_ms / DAY_MS for name in (INBOUND, dlq("ingest"), retry("ingest"))]
    assert days == [14, 30, 14]
    (expires,) = {row["expires"] for row in store.rows[blobs.BLOBS].values()}
    assert expires == s.NOW + timedelta(days=60) > s.NOW + timedelta(days=sum(days))
    assert IngestSettings().claim_days == 60
    with pytest.raises(ValidationError):
        IngestSettings(claim_days=43)


async def test_without_mongo_large_bodies_wait_and_small_ones_go_on(
    client: httpx.AsyncClient, kafka: Kafka, store: FakeStore
) -> None:
    store.away = True
    large = b"x" * (512 * 1024 + 1)
    refused = await client.post(COUPANG, content=large, headers=s.sign_generic(large))
    assert (refused.status_code, kafka.taken) == (503, [])
    assert "retry-after" in refused.headers
    small = await client.post(COUPANG, content=GENERIC, headers=s.sign_generic(GENERIC))
    assert small.status_code == 202


async def test_an_account_without_its_secret_is_503_so_that_nothing_is_lost(kafka: Kafka, store: FakeStore) -> None:
    clock = FakeClock(s.NOW)
    intake = Intake(kafka, store, clock, topic="inbound", seconds=0.2, claim_seconds=0.2)
    app = with_webhooks(door("ingest", IngestSettings()), intake, lambda: s.ACCOUNTS, Secrets({}), clock)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://x") as client:
        answer = await client.post(COUPANG, content=GENERIC, headers=s.sign_generic(GENERIC))
    assert answer.status_code == 503
    assert refusal(answer)["detail"] == "This account is not configured completely"


CHALLENGE = {"hub.mode": "subscribe", "hub.verify_token": "agreed-token", "hub.challenge": "1158201444"}


async def test_a_providers_challenge_is_echoed(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/channels/whatsapp/webhook", params=CHALLENGE)
    assert (answer.status_code, answer.text) == (200, "1158201444")
    forged = await client.get("/v1/channels/whatsapp/webhook", params={**CHALLENGE, "hub.verify_token": "guess"})
    assert forged.status_code == 403
    assert (await client.get("/v1/channels/fax/webhook")).status_code == 404
