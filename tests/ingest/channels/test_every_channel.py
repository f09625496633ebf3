"""What holds for every channel, from the door to the ticket and back, in its provider's own format (cases/)."""

from __future__ import annotations

from typing import Any

import pytest

from cli.contents import message_ids
from contracts.commands import Reply
from services.ingest.channels import CHANNELS, MAILS
from services.ingest.core.messages import DeliveryStatus, Faulty, File, InboundMessage, MailOut, Sent, Unsendable
from tests.ingest.channels.cases import CASES, PAGES, Case
from tests.ingest.channels.desk import Desk
from tests.ingest.sender_rig import ALL, FakeTransport, sender, served
from tests.ingest.worker_rig import AGENT

every = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def test_every_channel_of_the_table_has_a_case() -> None:
    assert set(CASES) == set(CHANNELS), "add tests/ingest/channels/cases/<name>.py and docs/channels/<name>.md"
    assert [name for name, case in CASES.items() if case.name != name] == []
    assert {page.stem for page in PAGES.glob("*.md")} == {*CHANNELS, "README"}


@every
def test_the_page_has_an_account_that_the_policy_takes(case: Case) -> None:
    assert case.account.channel == case.name
    assert {ref.removeprefix("env:") for ref in case.accounts.secret_refs()} == set(case.environ)


@every
async def test_a_message_opens_a_ticket_and_the_next_one_joins_it(case: Case) -> None:
    desk = Desk(case)
    await desk.takes(case.message)
    (ticket,) = desk.worker.opened()
    assert (ticket.channel, ticket.account) == (CHANNELS[case.name].CHANNEL, case.account.name)
    (event,) = desk.received()
    assert (event.data.message.text, event.data.message.channel_message_id) == (case.text, case.message_id)
    await desk.takes(case.another)
    assert [opened.id for opened in desk.worker.opened()] == [ticket.id]
    assert len(desk.ids()) == 2
    assert desk.reasons() == []


@every
async def test_a_message_that_comes_twice_is_taken_once(case: Case) -> None:
    desk = Desk(case)
    await desk.takes(case.message, case.message)
    await desk.takes(case.message)
    assert desk.ids() == [case.message_id]


@every
async def test_every_message_of_a_body_is_taken(case: Case) -> None:
    for body, ids in case.several.items():
        desk = Desk(case)
        await desk.takes(body)
        assert (desk.ids(), desk.reasons()) == (list(ids), [])


@every
async def test_a_silent_body_is_accepted_and_says_nothing(case: Case) -> None:
    desk = Desk(case)
    await desk.takes(*case.silent)
    assert (desk.worker.events(), desk.reasons()) == ([], [])


@every
async def test_a_malformed_body_becomes_a_dead_letter_with_a_reason(case: Case) -> None:
    desk = Desk(case)
    await desk.takes(*case.unreadable)
    assert [bool(reason) for reason in desk.reasons()] == [True] * len(case.unreadable)
    assert desk.worker.events() == []


@every
def test_the_audit_finds_the_messages_that_the_parser_finds(case: Case) -> None:
    for body in case.read:
        found = case.parsed(body)
        assert not any(isinstance(each, Faulty) for each in found)
        ids = [each.message_id for each in found if isinstance(each, InboundMessage)]
        assert message_ids(case.record(body)) == ids
        assert list(case.several.get(body, ids)) == ids
    for body in case.unreadable:
        message_ids(case.record(body))  # whatever it finds, it reports the dead letter


@every
async def test_a_reply_is_sent_and_its_delivery_is_told(case: Case) -> None:
    desk, wire, channel = Desk(case), FakeTransport(), CHANNELS[case.name]
    await desk.takes(case.message)
    await desk.worker.take(desk.worker.asks(Reply(by=AGENT, text="On its way"), desk.worker.ticket().id))
    if case.reply_id is not None:
        status, body, identifier = case.reply_id
        assert channel.outcome(status, {}, body) == Sent(identifier)
        wire.outcomes.append(Sent(identifier))
    await served(sender(desk.worker, wire, *ALL))
    if case.reply_id is None and not any(isinstance(each, MailOut) for each in wire.sent):
        assert "message.failed" in desk.worker.types(), "without reply_id, the channel takes no replies"
        return
    assert len(wire.sent) == 1
    assert "message.sent" in desk.worker.types()
    if case.delivered is not None:
        await desk.takes(case.delivered)
        assert "message.delivered" in desk.worker.types()


@every
def test_a_status_moves_no_conversation(case: Case) -> None:
    for body in (*case.silent, *filter(None, [case.delivered])):
        assert all(isinstance(each, DeliveryStatus) for each in case.parsed(body))


@every
def test_a_refused_reply_says_why_and_whether_to_try_again(case: Case) -> None:
    outcome: Any
    channel, mail = CHANNELS[case.name], case.name in MAILS
    for status, permanent in (
        (550 if mail else 400, True),
        (450 if mail else 503, False),
        (421 if mail else 429, False),
    ):
        outcome = channel.outcome(status, {}, b"no\xff")
        assert (outcome.permanent, str(status) in outcome.reason) == (permanent, True)


@every
def test_a_reply_that_is_repeated_is_recognised_by_our_message_id(case: Case) -> None:
    """Otherwise, a customer would have it twice."""
    channel = CHANNELS[case.name]
    if not channel.IDEMPOTENT:
        return
    first, second = (channel.render(case.reply(message_id=i), case.account, case.secrets) for i in ("m-1", "m-2"))
    again = channel.render(case.reply(message_id="m-1"), case.account, case.secrets)
    assert first == again != second


def _takes(case: Case, **reply: Any) -> bool:
    try:
        CHANNELS[case.name].render(case.reply(**reply), case.account, case.secrets)
    except Unsendable:
        return False
    return True


@every
def test_a_channel_that_takes_files_says_whether_they_go_one_by_one(case: Case) -> None:
    files = (File("a.jpg", "image/jpeg", b"jpeg", "https://files.example/a.jpg"),)
    if _takes(case, text="", files=files):
        assert _takes(case, text="Here", files=files) != CHANNELS[case.name].ONE_FILE_PER_MESSAGE
