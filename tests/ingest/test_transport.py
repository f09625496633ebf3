"""The wire to the next mail server, on a real socket: what arrives there, and what each answer comes to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP

from kit.http_client import Answer, HttpClient
from services.ingest.channels import email, generic, meta
from services.ingest.core.messages import File, MailOut, SendFailure, Sent
from services.ingest.transport import Smtp, Transport
from tests.ingest.channels import samples as s
from tests.notify.receivers import HttpReceiver, Reply

AGAINST_NOTHING = HttpClient(set, agent="test")


@dataclass
class Relay:
    """Takes mail, or answers what it was told to."""

    answer: str = "250 OK"
    envelopes: list[Any] = field(default_factory=list)

    async def handle_DATA(self, _: Any, __: Any, envelope: Any) -> str:
        self.envelopes.append(envelope)
        return self.answer


@asynccontextmanager
async def wired(relay: Relay) -> AsyncIterator[Transport]:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(relay, loop=loop), "127.0.0.1", 0)
    async with server:
        yield Transport(Smtp(port=server.sockets[0].getsockname()[1]), AGAINST_NOTHING, seconds=5)


async def test_mail_without_a_sender_to_answer_to_leaves_like_any_other() -> None:
    relay = Relay()
    reply = s.reply(to="jan@example.org", automated=True)
    mail = email.render(reply, s.NIMBUS, s.SECRETS)
    async with wired(relay) as wire:
        assert await wire.send(mail, email) == Sent(mail.message_id)
    (envelope,) = relay.envelopes
    assert (envelope.mail_from, envelope.rcpt_tos) == ("<>", ["jan@example.org"])


async def test_a_reply_of_a_person_leaves_under_the_address_that_answers_come_back_to() -> None:
    relay = Relay()
    mail = email.render(s.reply(to="jan@example.org"), s.NIMBUS, s.SECRETS)
    async with wired(relay) as wire:
        assert isinstance(await wire.send(mail, email), Sent)
    assert relay.envelopes[0].mail_from == mail.sender != ""


async def test_what_the_relay_says_is_the_outcome() -> None:
    mail = email.render(s.reply(to="jan@example.org"), s.NIMBUS, s.SECRETS)
    for answer, permanent in (("554 spam", True), ("451 later", False)):
        async with wired(Relay(answer)) as wire:
            assert await wire.send(mail, email) == SendFailure(f"SMTP {answer[:3]}: {answer[4:]}", permanent)


async def test_a_reply_over_http_reaches_its_provider_and_brings_back_its_id() -> None:
    provider = await HttpReceiver(lambda _: Reply(body=b'{"id": "p-1"}')).start()
    account = s.COUPANG.model_copy(update={"base_url": f"{provider.url}/replies"})
    call = generic.render(s.reply(), account, s.SECRETS)
    http_client = HttpClient(lambda: {"127.0.0.1"}, agent="test")
    assert await Transport(Smtp(), http_client).send(call, generic) == Sent("p-1")
    await http_client.close()
    assert provider.requests[0].body == call.body


async def test_a_reply_to_a_private_address_that_is_not_allowed_waits_for_the_operator() -> None:
    provider = await HttpReceiver().start()
    account = s.COUPANG.model_copy(update={"base_url": f"https://127.0.0.1:{provider.port}"})
    outcome = await Transport(Smtp(), AGAINST_NOTHING).send(generic.render(s.reply(), account, s.SECRETS), generic)
    assert isinstance(outcome, SendFailure)
    assert (outcome.permanent, "private address" in outcome.reason, provider.requests) == (False, True, [])


async def test_a_provider_that_is_away_is_tried_again() -> None:
    account = s.COUPANG.model_copy(update={"base_url": "https://127.0.0.1:1"})
    http_client = HttpClient(lambda: {"127.0.0.1"}, agent="test")
    outcome = await Transport(Smtp(), http_client).send(generic.render(s.reply(), account, s.SECRETS), generic)
    await http_client.close()
    assert isinstance(outcome, SendFailure)
    assert not outcome.permanent


async def test_a_file_is_uploaded_and_its_message_names_it() -> None:
    answers = {
        "/media": Reply(body=b'{"id": "media-7"}'),
        "/messages": Reply(body=b'{"messages": [{"id": "wamid.7"}]}'),
    }
    provider = await HttpReceiver(lambda request: answers["/" + request.path.rpartition("/")[2]]).start()
    account = s.WA.model_copy(update={"base_url": provider.url})
    reply = s.reply("", to="66811111111", files=(File("a.pdf", "application/pdf", content=b"%PDF"),))
    http_client = HttpClient(lambda: {"127.0.0.1"}, agent="test")
    assert await Transport(Smtp(), http_client).send(meta.render(reply, account, s.SECRETS), meta) == Sent("wamid.7")
    upload, message = provider.requests
    assert b"%PDF" in upload.body
    assert b'"media-7"' in message.body
    provider.requests.clear()
    answers["/media"] = Reply(400, body=b"no such type")
    refused = await Transport(Smtp(), http_client).send(meta.render(reply, account, s.SECRETS), meta)
    await http_client.close()
    assert refused == SendFailure("HTTP 400: no such type", permanent=True)
    assert len(provider.requests) == 1


class TakesTime(HttpClient):
    """Takes 0.1 s for each call, and notes how long each may take."""

    def __init__(self) -> None:
        super().__init__(set, agent="test")
        self.limits: list[float] = []

    async def call(self, *_: Any, seconds: float | None = None, **__: Any) -> Answer:
        self.limits.append(seconds or 0.0)
        await asyncio.sleep(0.1)
        return Answer(200, {}, b'{"id": "media-7"}')


async def test_an_upload_and_its_message_share_the_time_of_one_attempt() -> None:
    """Beyond its lease, the next owner of the ticket would send the reply as well."""
    http_client, files = TakesTime(), (File("a.pdf", "application/pdf", content=b"%PDF"),)
    call = meta.render(s.reply("", to="66811111111", files=files), s.WA, s.SECRETS)
    await Transport(Smtp(), http_client, seconds=5).send(call, meta)
    await http_client.close()
    upload, message = http_client.limits
    assert upload == 5
    assert 0 < message <= 4.9


def mail() -> MailOut:
    return email.render(s.reply(to="jan@example.org"), s.NIMBUS, s.SECRETS)


@asynccontextmanager
async def scripted(*answers: str | None) -> AsyncIterator[int]:
    """An SMTP server that greets and answers line by line; at None it says nothing more."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for answer in answers:
                if answer is None:
                    await reader.read()
                    return
                if answer:
                    writer.write(answer.encode() + b"\r\n")
                line = await reader.readline()
                while answer.startswith("354") and line.strip() != b".":
                    line = await reader.readline()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


HELLO = ("220 relay", "250 relay")
BEFORE = (*HELLO, "250 sender", "250 recipient", "354 go on")


@pytest.mark.parametrize(
    ("answers", "unsure"),
    [
        ((None,), False),
        (("220 relay", None), False),
        ((*HELLO, None), False),
        ((*HELLO, "250 sender", None), False),
        ((*HELLO, "250 sender"), False),
        ((*HELLO, "250 sender", "451 greylisted", "250 reset", "221 bye"), False),
        ((*BEFORE, "452 full", "250 reset", "221 bye"), False),
        ((*BEFORE, None), True),
        (BEFORE, True),
    ],
)
async def test_a_mail_may_have_arrived_once_it_was_leaving_and_had_no_answer(
    answers: tuple[str | None, ...], unsure: bool
) -> None:
    async with scripted(*answers) as port:
        outcome = await Transport(Smtp(port=port), AGAINST_NOTHING, seconds=0.5).send(mail(), email)
    assert isinstance(outcome, SendFailure)
    assert (outcome.permanent, outcome.unsure) == (False, unsure)


async def test_a_relay_that_is_not_there_has_surely_taken_nothing() -> None:
    outcome = await Transport(Smtp(port=1), AGAINST_NOTHING, seconds=5).send(mail(), email)
    assert isinstance(outcome, SendFailure)
    assert not outcome.unsure


async def test_a_mail_that_was_taken_is_sent_whatever_becomes_of_the_farewell() -> None:
    async with scripted(*BEFORE, "250 taken", None) as port:
        sent = mail()
        assert await Transport(Smtp(port=port), AGAINST_NOTHING, seconds=0.5).send(sent, email) == Sent(sent.message_id)


async def test_a_password_that_the_relay_does_not_take_waits_for_the_operator() -> None:
    async with scripted("220 relay", "250-relay\r\n250 AUTH PLAIN", "535 no", "221 bye") as port:
        smtp = Smtp(port=port, username="u", password="wrong")
        outcome = await Transport(smtp, AGAINST_NOTHING, seconds=5).send(mail(), email)
    assert outcome == SendFailure("configuration: SMTP 535: no", permanent=False)


@pytest.mark.parametrize(
    ("reply", "unsure"),
    [(Reply(hang=True), True), (Reply(502), True), (Reply(503), False), (Reply(429), False)],
)
async def test_a_reply_over_http_may_have_arrived_unless_its_answer_says_otherwise(reply: Reply, unsure: bool) -> None:
    provider = await HttpReceiver(lambda _: reply).start()
    http_client = HttpClient(lambda: {"127.0.0.1"}, agent="test")
    wire = Transport(Smtp(), http_client, seconds=0.5)
    at_meta = meta.render(s.reply(), s.WA.model_copy(update={"base_url": provider.url}), s.SECRETS)
    at_connector = generic.render(s.reply(), s.COUPANG.model_copy(update={"base_url": provider.url}), s.SECRETS)
    copied, keyed = await wire.send(at_meta, meta), await wire.send(at_connector, generic)
    await http_client.close()
    assert isinstance(copied, SendFailure)
    assert isinstance(keyed, SendFailure)
    assert (copied.unsure, keyed.unsure) == (unsure, unsure)
    assert (copied.may_duplicate, keyed.may_duplicate) == (unsure, False)


@pytest.mark.parametrize(("reply", "unsure"), [(Reply(hang=True), True), (Reply(400), False), (Reply(503), False)])
async def test_a_request_that_is_made_once_is_neither_final_nor_recognised(reply: Reply, unsure: bool) -> None:
    provider = await HttpReceiver(lambda _: reply).start()
    http_client = HttpClient(lambda: {"127.0.0.1"}, agent="test")
    call = replace(
        generic.render(s.reply(), s.COUPANG.model_copy(update={"base_url": provider.url}), s.SECRETS), once=True
    )
    outcome = await Transport(Smtp(), http_client, seconds=0.5).send(call, generic)
    await http_client.close()
    assert isinstance(outcome, SendFailure)
    assert (outcome.permanent, outcome.unsure, outcome.may_duplicate) == (False, unsure, unsure)


@pytest.mark.parametrize("reply", [Reply(hang=True), Reply(500), Reply(200, body=b"{}")])
async def test_a_message_whose_file_was_not_uploaded_has_surely_not_arrived(reply: Reply) -> None:
    provider = await HttpReceiver(lambda _: reply).start()
    files = (File("a.pdf", "application/pdf", content=b"%PDF"),)
    account = s.WA.model_copy(update={"base_url": provider.url})
    http_client = HttpClient(lambda: {"127.0.0.1"}, agent="test")
    call = meta.render(s.reply("", to="66811111111", files=files), account, s.SECRETS)
    outcome = await Transport(Smtp(), http_client, seconds=0.5).send(call, meta)
    await http_client.close()
    assert isinstance(outcome, SendFailure)
    assert (outcome.permanent, outcome.unsure) == (False, False)
