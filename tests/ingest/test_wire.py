"""The wire to the next mail server, on a real socket: what arrives there, and what each answer comes to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiosmtpd.smtp import SMTP

from kit.outward import Outward
from services.ingest.channels import email, generic, meta
from services.ingest.core.messages import File, Refused, Sent
from services.ingest.wire import Smtp, Wire
from tests.ingest.channels import samples as s
from tests.notify.receivers import HttpReceiver, Reply

AGAINST_NOTHING = Outward(set, agent="test")


@dataclass
class Relay:
    """Takes mail, or answers what it was told to."""

    answer: str = "250 OK"
    envelopes: list[Any] = field(default_factory=list)

    async def handle_DATA(self, _: Any, __: Any, envelope: Any) -> str:
        self.envelopes.append(envelope)
        return self.answer


@asynccontextmanager
async def wired(relay: Relay) -> AsyncIterator[Wire]:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(relay, loop=loop), "127.0.0.1", 0)
    async with server:
        yield Wire(Smtp(port=server.sockets[0].getsockname()[1]), AGAINST_NOTHING, seconds=5)


async def test_mail_without_a_sender_to_answer_to_leaves_like_any_other() -> None:
    relay = Relay()
    reply = s.reply(to="jan@example.org", automated=True)
    mail = email.render(reply, s.NIMBUS, s.OUTSIDE)
    async with wired(relay) as wire:
        assert await wire.carry(mail, email) == Sent(mail.message_id)
    (envelope,) = relay.envelopes
    assert (envelope.mail_from, envelope.rcpt_tos) == ("<>", ["jan@example.org"])


async def test_a_reply_of_a_person_leaves_under_the_address_that_answers_come_back_to() -> None:
    relay = Relay()
    mail = email.render(s.reply(to="jan@example.org"), s.NIMBUS, s.OUTSIDE)
    async with wired(relay) as wire:
        assert isinstance(await wire.carry(mail, email), Sent)
    assert relay.envelopes[0].mail_from == mail.sender != ""


async def test_what_the_relay_says_is_the_outcome() -> None:
    mail = email.render(s.reply(to="jan@example.org"), s.NIMBUS, s.OUTSIDE)
    for answer, permanent in (("554 spam", True), ("451 later", False)):
        async with wired(Relay(answer)) as wire:
            assert await wire.carry(mail, email) == Refused(f"SMTP {answer[:3]}: {answer[4:]}", permanent)


async def test_a_reply_over_http_reaches_its_provider_and_brings_back_its_id() -> None:
    provider = await HttpReceiver(lambda _: Reply(body=b'{"id": "p-1"}')).start()
    account = s.COUPANG.model_copy(update={"base_url": f"{provider.url}/replies"})
    call = generic.render(s.reply(), account, s.OUTSIDE)
    way_out = Outward(lambda: {"127.0.0.1"}, agent="test")
    assert await Wire(Smtp(), way_out).carry(call, generic) == Sent("p-1")
    await way_out.close()
    assert provider.requests[0].body == call.body


async def test_a_reply_to_a_private_address_that_is_not_allowed_waits_for_the_operator() -> None:
    provider = await HttpReceiver().start()
    account = s.COUPANG.model_copy(update={"base_url": f"https://127.0.0.1:{provider.port}"})
    outcome = await Wire(Smtp(), AGAINST_NOTHING).carry(generic.render(s.reply(), account, s.OUTSIDE), generic)
    assert isinstance(outcome, Refused)
    assert (outcome.permanent, "not public" in outcome.reason, provider.requests) == (False, True, [])


async def test_a_provider_that_is_away_is_tried_again() -> None:
    account = s.COUPANG.model_copy(update={"base_url": "https://127.0.0.1:1"})
    way_out = Outward(lambda: {"127.0.0.1"}, agent="test")
    outcome = await Wire(Smtp(), way_out).carry(generic.render(s.reply(), account, s.OUTSIDE), generic)
    await way_out.close()
    assert isinstance(outcome, Refused)
    assert not outcome.permanent


async def test_a_file_is_uploaded_and_its_message_names_it() -> None:
    answers = {
        "/media": Reply(body=b'{"id": "media-7"}'),
        "/messages": Reply(body=b'{"messages": [{"id": "wamid.7"}]}'),
    }
    provider = await HttpReceiver(lambda request: answers["/" + request.path.rpartition("/")[2]]).start()
    account = s.WA.model_copy(update={"base_url": provider.url})
    reply = s.reply("", to="66811111111", files=(File("a.pdf", "application/pdf", content=b"%PDF"),))
    way_out = Outward(lambda: {"127.0.0.1"}, agent="test")
    assert await Wire(Smtp(), way_out).carry(meta.render(reply, account, s.OUTSIDE), meta) == Sent("wamid.7")
    upload, message = provider.requests
    assert b"%PDF" in upload.body
    assert b'"media-7"' in message.body
    provider.requests.clear()
    answers["/media"] = Reply(400, body=b"no such type")
    refused = await Wire(Smtp(), way_out).carry(meta.render(reply, account, s.OUTSIDE), meta)
    await way_out.close()
    assert refused == Refused("HTTP 400: no such type", permanent=True)
    assert len(provider.requests) == 1
