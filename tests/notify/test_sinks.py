"""Sinks against real servers on loopback, which are allowed by name; a reference client checks what they sign."""

import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from standardwebhooks import Webhook

from kit.base.clock import SystemClock
from kit.http_client import HttpClient
from kit.policy.secrets import Secrets
from services.notify.core import escalation
from services.notify.core.settle import PermanentFailure, Sent, TemporaryFailure
from services.notify.core.state import dedup_key
from services.notify.policy_file import AnyReceiver
from services.notify.sinks.base import Notification
from services.notify.sinks.email import EmailSink, Relay
from services.notify.sinks.slack import SlackSink
from services.notify.sinks.webhook import WebhookSink, render
from tests.notify.examples import ESCALATION, SECRET, TICKET, at, breached, policy
from tests.notify.receivers import HttpReceiver, MailReceiver, Reply

SECRETS = Secrets({"S": SECRET, "OLD": "whsec_" + "T0xEX09MRF9PTERfT0xEX09MRA==", "T": "xoxb-1"})


@pytest.fixture
async def http() -> AsyncIterator[HttpReceiver]:
    receiver = await HttpReceiver().start()
    yield receiver
    await receiver.stop()


@pytest.fixture
async def mail() -> AsyncIterator[MailReceiver]:
    receiver = await MailReceiver().start()
    yield receiver
    await receiver.stop()


@pytest.fixture
async def outbound() -> AsyncIterator[HttpClient]:
    http_client = HttpClient(lambda: {"127.0.0.1"}, agent="deskbus-notify", seconds=0.5)
    yield http_client
    await http_client.close()


def notification(**receiver: Any) -> Notification:
    state = escalation.decide(None, breached(1), policy(), at(1)).state
    assert state is not None
    to = TypeAdapter[AnyReceiver](AnyReceiver).validate_python(receiver)
    return Notification(state.planned[0], TICKET, ESCALATION, to, None, SystemClock().now())


def hook(http: HttpReceiver, **more: Any) -> Notification:
    return notification(**{"sink": "webhook", "url": f"{http.url}/lead", "signing": "env:S", **more})


# --- Webhooks. ---


async def test_a_webhook_verifies_with_the_reference_client(http: HttpReceiver, outbound: HttpClient) -> None:
    sent = hook(http)
    assert await WebhookSink(outbound, SECRETS).deliver(sent) == Sent(200)
    (request,) = http.requests
    body = Webhook(SECRET).verify(request.body, request.headers)
    assert body["type"] == "deskbus.escalation.firing"
    assert body["data"]["dedup_key"] == sent.dedup_key == dedup_key(ESCALATION, sent.planned.alarm)
    assert body["data"]["ticket_id"] == TICKET
    assert body["data"]["alert"]["labels"]["kind"] == "breached"
    assert request.headers["webhook-id"] == sent.planned.id


def test_the_document_of_receivers_shows_what_is_sent(root: Path) -> None:
    page = (root / "docs" / "receivers.md").read_text("utf-8")
    (shown,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    sent = notification(sink="webhook", url="https://hooks.nimbus.example/lead", signing="env:S")
    assert json.loads(shown) == json.loads(render(sent))


async def test_while_a_secret_is_changed_both_verify(http: HttpReceiver, outbound: HttpClient) -> None:
    await WebhookSink(outbound, SECRETS).deliver(hook(http, signing=["env:S", "env:OLD"]))
    (request,) = http.requests
    for name in ("S", "OLD"):
        Webhook(SECRETS.secret(f"env:{name}")).verify(request.body, request.headers)


async def test_a_resend_has_the_same_id_and_the_same_body(http: HttpReceiver, outbound: HttpClient) -> None:
    sink, first = WebhookSink(outbound, SECRETS), hook(http)
    await sink.deliver(first)
    await sink.deliver(replace(first, now=datetime(2027, 1, 1, tzinfo=UTC)))
    one, two = http.requests
    assert (one.headers["webhook-id"], one.body) == (two.headers["webhook-id"], two.body)
    assert one.headers["webhook-timestamp"] != two.headers["webhook-timestamp"]


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (Reply(204, body=b""), Sent(204)),
        (Reply(410, body=b""), PermanentFailure("status 410", 410, gone=True)),
        (Reply(429, {"retry-after": "120"}), TemporaryFailure("status 429: too many", 429, 120)),
        (Reply(503, {"retry-after": "7"}, b"busy"), TemporaryFailure("status 503: busy", 503, 7)),
        (Reply(404, body=b"no such\nhook"), TemporaryFailure("status 404: no such hook", 404)),
        (Reply(500, {"retry-after": "soon"}, b""), TemporaryFailure("status 500", 500)),
        (Reply(hang=True), TemporaryFailure("no answer within 0.5 s", unsure=True)),
    ],
)
async def test_what_an_answer_means(http: HttpReceiver, outbound: HttpClient, reply: Reply, outcome: object) -> None:
    http.answer = lambda _: reply
    assert await WebhookSink(outbound, SECRETS).deliver(hook(http)) == outcome


async def test_a_redirect_is_not_followed(http: HttpReceiver, outbound: HttpClient) -> None:
    http.answer = lambda _: Reply(307, {"location": f"{http.url}/elsewhere"})
    outcome = await WebhookSink(outbound, SECRETS).deliver(hook(http))
    assert isinstance(outcome, PermanentFailure)
    assert [request.path for request in http.requests] == ["/lead"]


async def test_an_endless_answer_is_not_read_to_its_end(http: HttpReceiver, outbound: HttpClient) -> None:
    http.answer = lambda _: Reply(200, {"content-length": str(10**12)}, b"x" * 300_000)
    assert await WebhookSink(outbound, SECRETS).deliver(hook(http)) == Sent(200)


async def test_nobody_there_is_tried_again_and_has_surely_taken_nothing(
    http: HttpReceiver, outbound: HttpClient
) -> None:
    await http.stop()
    outcome = await WebhookSink(outbound, SECRETS).deliver(hook(http))
    assert isinstance(outcome, TemporaryFailure)
    assert not outcome.unsure


async def test_an_answer_that_breaks_off_may_have_been_a_yes(http: HttpReceiver, outbound: HttpClient) -> None:
    http.answer = lambda _: Reply(200, {"content-length": "100"}, b"o")
    outcome = await WebhookSink(outbound, SECRETS).deliver(hook(http))
    assert isinstance(outcome, TemporaryFailure)
    assert outcome.unsure


async def test_a_secret_that_is_not_there_is_waited_for(http: HttpReceiver, outbound: HttpClient) -> None:
    outcome = await WebhookSink(outbound, SECRETS).deliver(hook(http, signing="env:NOT_SET"))
    assert outcome == TemporaryFailure("the secret env:NOT_SET is not set")
    assert http.requests == []


# --- Slack. ---


def slack_letter(http: HttpReceiver, **more: Any) -> Notification:
    return notification(sink="slack", access="env:T", channel="C1", base_url=f"{http.url}/api", **more)


def slack_says(**document: Any) -> Reply:
    return Reply(200, {}, json.dumps(document).encode())


async def test_slack_keeps_an_escalation_in_one_thread(http: HttpReceiver, outbound: HttpClient) -> None:
    http.answer = lambda _: slack_says(ok=True, channel="C1", ts="1700.1")
    sink, first = SlackSink(outbound, SECRETS), slack_letter(http)
    assert await sink.deliver(first) == Sent(200, "1700.1")
    http.answer = lambda _: slack_says(ok=True, channel="C1", ts="1700.2")
    assert await sink.deliver(replace(first, thread="1700.1")) == Sent(200, "1700.1")
    one, two = (json.loads(request.body) for request in http.requests)
    assert "thread_ts" not in one
    assert two["thread_ts"] == "1700.1"
    assert http.requests[0].path == "/api/chat.postMessage"
    assert http.requests[0].headers["authorization"] == "Bearer xoxb-1"


async def test_what_a_customer_wrote_mentions_nobody(http: HttpReceiver, outbound: HttpClient) -> None:
    http.answer = lambda _: slack_says(ok=True, ts="1")
    sent = slack_letter(http, text="$summary")
    alert = sent.planned.alert.model_copy(update={"summary": "<!channel> & <@U1>\nnext"})
    await SlackSink(outbound, SECRETS).deliver(replace(sent, planned=sent.planned.model_copy(update={"alert": alert})))
    assert json.loads(http.requests[0].body)["text"] == "&lt;!channel&gt; &amp; &lt;@U1&gt; next"


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (slack_says(ok=False, error="channel_not_found"), PermanentFailure("slack: channel_not_found", 200)),
        (slack_says(ok=False, error="invalid_auth"), TemporaryFailure("slack: invalid_auth", 200)),
        (Reply(429, {"retry-after": "30"}, b""), TemporaryFailure("status 429", 429, 30)),
        (Reply(200, {}, b"<html>"), TemporaryFailure("an answer that is not Slack's", 200)),
        (Reply(200, {}, b"[1]"), TemporaryFailure("an answer that is not Slack's", 200)),
    ],
)
async def test_what_slack_says(http: HttpReceiver, outbound: HttpClient, reply: Reply, outcome: object) -> None:
    http.answer = lambda _: reply
    assert await SlackSink(outbound, SECRETS).deliver(slack_letter(http)) == outcome


async def test_an_incoming_webhook_takes_only_the_text(http: HttpReceiver, outbound: HttpClient) -> None:
    sink = SlackSink(outbound, Secrets({"HOOK": f"{http.url}/services/T/B/x"}))
    assert await sink.deliver(notification(sink="slack", webhook="env:HOOK")) == Sent(200)
    (request,) = http.requests
    assert json.loads(request.body).keys() == {"text"}


# --- E-mail. ---


def mail_sink(mail: MailReceiver) -> EmailSink:
    return EmailSink(Relay("127.0.0.1", mail.port, "Deskbus <desk@nimbus.example>", seconds=5), SECRETS)


TO_DESK = {"sink": "email", "to": ["a@nimbus.example", "b@nimbus.example"]}


async def test_a_mail_has_its_own_id_and_its_escalation_as_root(mail: MailReceiver) -> None:
    sent = notification(**TO_DESK)
    assert await mail_sink(mail).deliver(sent) == Sent(250)
    (got,) = mail.mails
    assert got["Message-ID"] == f"<{sent.planned.id}@nimbus.example>"
    assert got["References"] == got["In-Reply-To"] == f"<{ESCALATION}@nimbus.example>"
    assert got["Auto-Submitted"] == "auto-generated"
    assert got["To"] == "a@nimbus.example, b@nimbus.example"
    assert TICKET in got["Subject"]
    assert "Brand:     nimbus" in got.get_content()


async def test_a_fact_cannot_add_a_header(mail: MailReceiver) -> None:
    sent = notification(**TO_DESK, subject="$summary")
    alert = sent.planned.alert.model_copy(update={"summary": "hello\r\nBcc: eve@evil.example\x1b[2J"})
    sent = replace(sent, planned=sent.planned.model_copy(update={"alert": alert}))
    assert await mail_sink(mail).deliver(sent) == Sent(250)
    assert mail.mails[0]["Bcc"] is None
    assert mail.mails[0]["Subject"] == "hello Bcc: eve@evil.example [2J"


@pytest.mark.parametrize(("answer", "kind"), [("451 later", TemporaryFailure), ("554 no", PermanentFailure)])
async def test_a_relay_that_refuses(mail: MailReceiver, answer: str, kind: type) -> None:
    mail.answer = answer
    assert isinstance(await mail_sink(mail).deliver(notification(**TO_DESK)), kind)


@pytest.mark.parametrize(("answer", "kind"), [("450 busy", TemporaryFailure), ("550 unknown", PermanentFailure)])
async def test_addresses_that_are_all_refused(mail: MailReceiver, answer: str, kind: type) -> None:
    mail.refuse = answer
    assert isinstance(await mail_sink(mail).deliver(notification(**TO_DESK)), kind)


async def test_a_mail_is_tried_again_as_long_as_one_address_may_take_it_later(
    mail: MailReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(_server: Any, _session: Any, _envelope: Any, address: str, _options: Any) -> str:
        return "550 unknown" if address.startswith("a@") else "450 busy"

    monkeypatch.setattr(mail, "handle_RCPT", refused)
    assert isinstance(await mail_sink(mail).deliver(notification(**TO_DESK)), TemporaryFailure)


async def test_a_mail_whose_relay_is_lost_at_the_end_may_have_arrived(
    mail: MailReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(server: Any, _session: Any, _envelope: Any) -> str:
        server.transport.close()
        return "250 OK"

    monkeypatch.setattr(mail, "handle_DATA", lost)
    outcome = await mail_sink(mail).deliver(notification(**TO_DESK))
    assert isinstance(outcome, TemporaryFailure)
    assert outcome.unsure


async def test_no_relay_is_tried_again_and_has_surely_taken_nothing(mail: MailReceiver) -> None:
    sink = mail_sink(mail)
    await mail.stop()
    outcome = await sink.deliver(notification(**TO_DESK))
    assert isinstance(outcome, TemporaryFailure)
    assert not outcome.unsure
