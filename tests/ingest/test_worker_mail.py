"""Threading of mail: address, headers, shared ancestors, in this order. Whom to believe is test_worker_trust.py's."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from contracts.commands import SetStatus
from contracts.ticket import Author, AuthorKind, Message, Status
from services.ingest.channels import address_token
from services.ingest.core.state import MESSAGES, message_document
from tests.ingest.worker_rig import AGENT, START, Worker

DAY = 86400.0


def plus_address(worker: Worker, ticket: str) -> str:
    account = worker.accounts.named("email", "support-nimbus")
    assert account is not None
    return address_token.mint("support@nimbus.example", ticket, worker.secrets.secret(account.signing))


async def test_an_answer_finds_its_ticket_by_the_ids_it_names() -> None:
    worker = Worker()
    await worker.take(worker.mails("one", "<1@x>"))
    await worker.take(worker.mails("two", "<2@x>", In_Reply_To="<1@x>"))
    await worker.take(worker.mails("three", "<3@x>", References="<0@x> <2@x>"))
    assert worker.types() == ["ticket.opened", "message.received", "message.received"]


async def test_mails_of_one_batch_thread_with_each_other_in_any_order() -> None:
    worker = Worker()
    one = worker.mails("one", "<1@x>")
    two = worker.mails("two", "<2@x>", In_Reply_To="<1@x>", References="<1@x>")
    three = worker.mails("three", "<3@x>", In_Reply_To="<2@x>", References="<2@x>")
    await worker.take(three, two, one)
    assert len(worker.opened()) == 1
    assert len(worker.events()) == 3


async def test_two_answers_to_a_mail_that_we_never_saw_are_one_ticket() -> None:
    worker = Worker()
    await worker.take(worker.mails("a", "<a@x>", References="<never@x>"))
    await worker.take(worker.mails("b", "<b@x>", References="<never@x>"))
    assert worker.types() == ["ticket.opened", "message.received"]


async def test_replicas_that_take_two_answers_at_once_make_one_ticket() -> None:
    one = Worker()
    two = Worker(one.store, one.clock)
    await asyncio.gather(
        one.take(one.mails("a", "<a@x>", References="<never@x>")),
        two.take(two.mails("b", "<b@x>", References="<never@x> <also@x>")),
    )
    assert len(one.opened()) + len(two.opened()) == 1
    assert len({event.subject for event in one.events() + two.events()}) == 1


async def test_replicas_that_know_different_ancestors_of_a_mail_place_it_once() -> None:
    """As while partitions move: one of them has the mail alone, the other one with a mail that it answers."""
    one = Worker()
    other = Worker(one.store, one.clock, one.broker)
    before = one.mails("before", "<1@x>")
    mail = one.mails("the mail", "<2@x>", References="<0@x> <1@x>")
    undone = await asyncio.gather(one.take(mail), other.take(before, mail))
    again = [row for row in (before, mail) if row.offset in undone[0] | undone[1]]
    assert await one.take(*again) == set()
    assert sorted(event.data.message.text for event in one.events()) == ["before", "the mail"]


async def test_the_same_subject_alone_is_not_a_thread() -> None:
    worker = Worker()
    await worker.take(worker.mails("a", "<a@x>", subject="Parcel"), worker.mails("b", "<b@x>", subject="Parcel"))
    assert len(worker.opened()) == 2


async def test_a_signed_address_outranks_the_headers() -> None:
    worker = Worker()
    await worker.take(worker.mails("a", "<a@x>"), worker.mails("b", "<b@x>"))
    first, second = worker.opened()
    await worker.take(worker.mails("c", "<c@x>", to=plus_address(worker, first.id), In_Reply_To="<b@x>"))
    assert worker.events()[-1].subject == first.id != second.id


async def test_a_forged_address_says_nothing() -> None:
    worker = Worker()
    await worker.take(worker.mails("a", "<a@x>"))
    address = plus_address(worker, worker.ticket().id)
    local, _, domain = address.partition("@")
    forged = f"{local[:-1]}{'a' if local[-1] != 'a' else 'b'}@{domain}"
    await worker.take(worker.mails("c", "<c@x>", to=forged))
    assert len(worker.opened()) == 2


async def solved(worker: Worker, *statuses: Status) -> str:
    await worker.take(worker.mails("a", "<a@x>"))
    ticket = worker.ticket().id
    for number, status in enumerate(statuses):
        await worker.take(worker.asks(SetStatus(by=AGENT, status=status), ticket, f"c{number}"))
    return ticket


async def test_an_answer_within_the_window_reopens() -> None:
    worker = Worker()
    await solved(worker, Status.SOLVED)
    await worker.take(worker.mails("b", "<b@x>", after=6.9 * DAY, In_Reply_To="<a@x>"))
    assert worker.types()[-2:] == ["ticket.reopened", "message.received"]
    assert worker.ticket().status == Status.OPEN


async def test_answers_after_the_window_open_one_linked_ticket_between_them() -> None:
    worker = Worker()
    ticket = await solved(worker, Status.SOLVED)
    await worker.take(
        worker.mails("b", "<b@x>", after=8 * DAY, In_Reply_To="<a@x>"),
        worker.mails("c", "<c@x>", after=8 * DAY, In_Reply_To="<a@x>"),
    )
    await worker.take(worker.mails("d", "<d@x>", after=8 * DAY, In_Reply_To="<b@x>"))
    assert worker.types()[2:] == ["ticket.opened", "message.received", "message.received"]
    assert worker.ticket().linked_to == ticket


async def test_a_machine_never_reopens_and_never_opens_after_the_close() -> None:
    worker = Worker()
    ticket = await solved(worker, Status.SOLVED, Status.CLOSED)
    await worker.take(worker.mails("away", "<b@x>", In_Reply_To="<a@x>", Auto_Submitted="auto-replied"))
    last = worker.events()[-1]
    assert (last.type, last.subject) == ("deskbus.message.received.v1", ticket)
    assert last.data.message.automated
    assert last.data.ticket.status == Status.CLOSED
    assert last.data.ticket.oldest_unanswered_at is None


async def test_the_same_mail_handed_over_twice_is_taken_once() -> None:
    worker = Worker()
    row = worker.mails("a", "<a@x>")
    await worker.take(row)
    await worker.take(worker.mails("a", "<a@x>", after=30))
    assert worker.types() == ["ticket.opened"]


async def test_a_form_that_has_one_message_id_for_ever_is_heard_each_time() -> None:
    worker = Worker()
    first = worker.mails("Where is it?", "<form@x>", Date="Sat, 21 Nov 2026 09:00:00 +0000")
    copy = worker.mails("Where is it?\n-- \nThe list", "<form@x>", Date="Sat, 21 Nov 2026 10:00:00 +0100")
    second = worker.mails("It came broken", "<form@x>", Date="Sat, 21 Nov 2026 11:00:00 +0000")
    for mail in (first, copy, second):
        await worker.take(mail)
    assert worker.types() == ["ticket.opened", "message.received"]
    assert worker.events()[-1].data.message.text == "It came broken"


async def test_a_second_sender_with_the_same_message_id_is_heard() -> None:
    for batches in (1, 2):
        worker = Worker()
        one = worker.mails("Where is my parcel?", "<form@shop>", "jan@example.org")
        two = worker.mails("I want a refund", "<form@shop>", "ola@example.org")
        await worker.take(one, two) if batches == 1 else [await worker.take(row) for row in (one, two)]
        await worker.take(one, two)
        texts = [event.data.message.text for event in worker.events() if getattr(event.data, "message", None)]
        assert sorted(texts) == ["I want a refund", "Where is my parcel?"]


BOUNCE = "Hi. This is the qmail-send program at mx.example.pl.\n\n<jan@example.org>:\n550 no such user\n"


async def test_a_bounce_that_names_no_mail_is_about_the_last_one_of_its_ticket() -> None:
    worker = Worker()
    await worker.take(worker.mails("a", "<a@x>"))
    ticket = worker.ticket().id
    for number, direction in enumerate(("out", "out", "in")):
        author = AGENT if direction == "out" else Author(kind=AuthorKind.CONTACT, id="jan")
        message = Message(
            id=f"m{number}", direction=direction, author=author, text="x", sent_at=START + timedelta(minutes=number)
        )
        await worker.store.insert(MESSAGES, [message_document(ticket, message, kind="message")])
    daemon = "MAILER-DAEMON@mx.example.org"
    await worker.take(worker.mails(BOUNCE, "<b@mx>", daemon, subject="failure notice"))
    assert "message.bounced" not in worker.types()
    await worker.take(worker.mails(BOUNCE, "<c@mx>", daemon, subject="failure notice", to=plus_address(worker, ticket)))
    bounced = next(event for event in worker.events() if event.type == "deskbus.message.bounced.v1")
    assert (bounced.subject, bounced.data.message_id, bounced.data.permanent) == (ticket, "m1", True)
    assert (bounced.data.recipient, bounced.data.error) == ("jan@example.org", "550 no such user")
