"""Whom to believe: no message moves where replies go, who is not proven joins no thread, brands stay apart."""

from __future__ import annotations

from typing import Any

import pytest

from contracts.commands import AddNote, CommandPayload, Merge, SetFacts, SetStatus, Transfer
from contracts.ticket import Status, Ticket
from services.ingest.channels import address_token
from tests.ingest.worker_rig import AGENT, Worker

JAN, EVE = "jan@example.org", "eve@example.net"


def token(worker: Worker, ticket: str, account: str) -> str:
    own = worker.accounts.named("email", account)
    assert own is not None
    return address_token.mint(own.addresses[0], ticket, worker.secrets.secret(own.signing))


async def opened(worker: Worker, account: str = "help-korale") -> Ticket:
    await worker.take(worker.mails("Where is it?", "<1@x>", JAN, account=account, said="pass"))
    return worker.ticket()


@pytest.mark.parametrize("way", ["address", "ids"])
@pytest.mark.parametrize("said", ["pass", "fail", None])
@pytest.mark.parametrize("account", ["help-korale", "support-nimbus"])
async def test_no_message_moves_where_the_replies_of_a_ticket_go(account: str, said: str | None, way: str) -> None:
    worker = Worker()
    ticket = await opened(worker, account)
    to = token(worker, ticket.id, account) if way == "address" else ""
    forged: dict[str, Any] = {"Reply_To": "thief@evil.example", "In_Reply_To": "<1@x>"}
    await worker.take(worker.mails("Send it to me", "<2@x>", JAN, to=to, account=account, said=said, **forged))
    assert len(worker.events()) == 2
    for event in worker.events():
        if event.subject == ticket.id:
            assert event.data.ticket.contact.address == JAN


async def test_an_automated_mail_does_not_move_the_address_of_replies() -> None:
    worker = Worker()
    ticket = await opened(worker)
    away: dict[str, Any] = {
        "Reply_To": "assistant@example.org",
        "In_Reply_To": "<1@x>",
        "Auto_Submitted": "auto-replied",
    }
    await worker.take(worker.mails("I am away", "<2@x>", JAN, account="help-korale", said="pass", **away))
    assert worker.types() == ["ticket.opened", "message.received"]
    assert worker.ticket().contact == ticket.contact


@pytest.mark.parametrize(
    ("account", "said", "followed"),
    [
        ("help-korale", "pass", True),
        ("help-korale", None, False),
        ("help-korale", "fail", False),
        ("support-nimbus", None, True),
    ],
)
async def test_a_reply_to_of_a_sender_whom_nobody_vouches_for_is_not_followed(
    account: str, said: str | None, followed: bool
) -> None:
    worker = Worker()
    reply_to: dict[str, Any] = {"Reply_To": "thief@evil.example"}
    await worker.take(worker.mails("a", "<1@x>", JAN, account=account, said=said, **reply_to))
    assert worker.ticket().contact.address == ("thief@evil.example" if followed else JAN)


@pytest.mark.parametrize(
    ("account", "sender", "said", "joins"),
    [
        # The account's own server says who is proven: then nobody else joins by ids, whoever they say they are.
        ("help-korale", JAN, "pass", True),
        ("help-korale", JAN, "fail", False),
        ("help-korale", JAN, None, False),
        ("help-korale", EVE, "pass", True),
        ("help-korale", EVE, "fail", False),
        ("help-korale", EVE, None, False),
        # Nobody is asked: those who take part join.
        ("support-nimbus", JAN, None, True),
        ("support-nimbus", EVE, None, False),
        # What another host says proves nothing.
        ("support-nimbus", EVE, "pass", False),
    ],
)
@pytest.mark.parametrize("header", ["In_Reply_To", "References"])
async def test_who_joins_a_ticket_by_the_ids_of_its_messages(
    account: str, sender: str, said: str | None, joins: bool, header: str
) -> None:
    worker = Worker()
    ticket = await opened(worker, account)
    more: dict[str, Any] = {header: "<1@x>"}
    await worker.take(worker.mails("b", "<2@x>", sender, account=account, said=said, **more))
    last = worker.ticket()
    assert (last.id == ticket.id) == joins
    assert last.linked_to == (None if joins else ticket.id)
    assert worker.events()[-1].data.message.authentication == ((said or "none") if account == "help-korale" else None)


async def test_a_signed_address_needs_no_proof() -> None:
    worker = Worker()
    ticket = await opened(worker)
    to = token(worker, ticket.id, "help-korale")
    await worker.take(worker.mails("b", "<2@x>", EVE, account="help-korale", to=to, said="fail"))
    assert worker.ticket().id == ticket.id


@pytest.mark.parametrize(
    ("sender", "said", "joins"),
    [(JAN, "pass", True), (JAN, None, False), (JAN, "fail", False), (EVE, "pass", False), (EVE, None, False)],
)
async def test_a_token_in_the_subject_counts_for_proven_participants_only(
    sender: str, said: str | None, joins: bool
) -> None:
    worker = Worker()
    ticket = await opened(worker)
    subject = f"Re: [#{ticket.id}] Parcel"
    await worker.take(worker.mails("b", "<2@x>", sender, account="help-korale", said=said, subject=subject))
    assert (worker.ticket().id == ticket.id) == joins
    assert worker.ticket().linked_to == (None if joins else ticket.id)


async def test_a_token_in_the_subject_counts_for_nobody_where_nobody_is_proven() -> None:
    worker = Worker()
    ticket = await opened(worker, "support-nimbus")
    await worker.take(worker.mails("b", "<2@x>", JAN, subject=f"Re: [#{ticket.id}] Parcel"))
    assert worker.ticket().linked_to == ticket.id


async def test_what_one_sender_writes_to_a_thread_that_they_may_not_join_is_one_ticket() -> None:
    worker = Worker()
    ticket = await opened(worker)
    more = [
        worker.mails(text, f"<{text}@x>", who, account="help-korale", In_Reply_To="<1@x>")
        for text, who in (("b", EVE), ("c", EVE), ("d", "ola@example.com"))
    ]
    await worker.take(*more)
    assert [each.linked_to for each in worker.opened()] == [None, ticket.id, ticket.id]
    assert worker.types().count("message.received") == 1


async def test_a_batch_may_have_any_number_of_strangers_who_answer_one_mail() -> None:
    """Anybody can send such mails: they must not keep the batch, and with it all other tickets, from being handled."""
    worker = Worker()
    ticket = await opened(worker)
    names = [f"stranger-{number}" for number in range(60)]
    mails = [
        worker.mails("me too", f"<{name}@x>", f"{name}@example.com", account="help-korale", In_Reply_To="<1@x>")
        for name in names
    ]
    assert await worker.take(*mails) == set()
    assert [each.linked_to for each in worker.opened()[1:]] == [ticket.id] * len(names)


async def test_a_sender_who_may_not_join_is_told_apart_within_one_batch() -> None:
    worker = Worker()
    first = worker.mails("a", "<1@x>", JAN, account="help-korale", said="pass")
    second = worker.mails("b", "<2@x>", JAN, account="help-korale", In_Reply_To="<1@x>")
    assert await worker.take(first, second) == set()
    assert [ticket.linked_to for ticket in worker.opened()] == [None, None]  # the first was not stored then


async def test_a_sender_whom_nobody_ever_vouched_for_goes_on_with_their_own_ticket() -> None:
    worker = Worker()
    await worker.take(worker.mails("a", "<1@x>", JAN, account="help-korale"))
    await worker.take(worker.mails("b", "<2@x>", JAN, account="help-korale", In_Reply_To="<1@x>"))
    assert worker.types() == ["ticket.opened", "message.received"]
    await worker.take(worker.mails("c", "<3@x>", JAN, account="help-korale", said="pass", In_Reply_To="<1@x>"))
    await worker.take(worker.mails("d", "<4@x>", JAN, account="help-korale", In_Reply_To="<1@x>"))
    assert worker.types()[2:] == ["message.received", "ticket.opened"]


async def test_a_machine_that_is_let_in_does_not_let_in_the_next_mail_under_its_name() -> None:
    worker = Worker()
    ticket = await opened(worker, "support-nimbus")
    robot: dict[str, Any] = {"In_Reply_To": "<1@x>", "Auto_Submitted": "auto-replied"}
    await worker.take(
        worker.mails("away", "<2@x>", EVE, **robot), worker.mails("ha", "<3@x>", EVE, In_Reply_To="<1@x>")
    )
    assert [event.subject == ticket.id for event in worker.events()] == [True, True, False]
    await worker.take(worker.mails("ha", "<4@x>", EVE, In_Reply_To="<1@x>"))
    assert worker.ticket().id != ticket.id


async def test_a_token_of_one_account_says_nothing_at_another() -> None:
    worker = Worker()
    ticket = await opened(worker, "support-nimbus")
    local, _, _ = token(worker, ticket.id, "support-nimbus").partition("@")
    stolen = f"{local.replace('support', 'help')}@korale.example"
    assert address_token.ticket_in([stolen], [worker.secrets.secret(("env:S",))]) == ticket.id
    subject = f"Re: [#{ticket.id}] Parcel"
    await worker.take(worker.mails("b", "<2@x>", JAN, to=stolen, account="help-korale", said="pass", subject=subject))
    last = worker.ticket()
    assert (last.account, last.brand, last.linked_to) == ("help-korale", "korale", None)


@pytest.mark.parametrize("way", ["address", "ids", "subject"])
async def test_threads_of_two_brands_of_one_account_stay_apart(way: str) -> None:
    worker = Worker()
    ticket = await opened(worker)
    to = "help@azure.example"
    more: dict[str, Any] = {"In_Reply_To": "<1@x>"} if way == "ids" else {}
    if way == "address":
        to = f"{token(worker, ticket.id, 'help-korale')}, {to}"
    if way == "subject":
        more = {"subject": f"[#{ticket.id}]"}
    for number in ("2", "3"):
        await worker.take(worker.mails("b", f"<{number}@x>", JAN, to=to, account="help-korale", said="pass", **more))
        assert (worker.ticket().brand, worker.ticket().linked_to) == ("azure", None)
    await worker.take(worker.mails("c", "<4@x>", JAN, account="help-korale", said="pass", In_Reply_To="<1@x>"))
    assert worker.ticket().id == ticket.id


async def test_a_brand_that_is_reached_by_an_alias_is_answered_through_the_main_address() -> None:
    worker = Worker()
    mail = worker.mails("a", "<1@x>", JAN, to="help@azure.example", account="help-korale", said="pass")
    await worker.take(mail)
    ticket = worker.ticket()
    to = token(worker, ticket.id, "help-korale")
    await worker.take(worker.mails("b", "<2@x>", JAN, to=to, account="help-korale", said="pass"))
    assert (worker.ticket().id, worker.ticket().brand) == (ticket.id, "azure")


async def test_tickets_of_two_accounts_are_not_merged() -> None:
    worker = Worker()
    old = await opened(worker, "support-nimbus")
    young = await opened(worker, "help-korale")
    await worker.take(worker.asks(Merge(by=AGENT, into=old.id), young.id))
    assert worker.types()[-1] == "command.rejected"


async def test_who_takes_part_in_the_survivor_may_answer_a_message_of_the_merged_ticket() -> None:
    worker = Worker()
    await worker.take(worker.mails("a", "<1@x>", JAN), worker.mails("b", "<2@x>", EVE))
    old, young = worker.opened()
    await worker.take(worker.asks(Merge(by=AGENT, into=old.id), young.id))
    await worker.take(worker.mails("c", "<3@x>", JAN, In_Reply_To="<2@x>"))
    assert worker.ticket().id == old.id


async def test_who_took_part_in_a_closed_ticket_goes_on_with_the_one_after_it() -> None:
    worker = Worker()
    ticket = await opened(worker)
    for number, status in enumerate((Status.SOLVED, Status.CLOSED)):
        await worker.take(worker.asks(SetStatus(by=AGENT, status=status), ticket.id, f"c{number}"))
    for own, who in (("2", EVE), ("3", JAN)):
        mail = worker.mails("b", f"<{own}@x>", who, account="help-korale", said="pass", In_Reply_To="<1@x>")
        await worker.take(mail)
    assert worker.types()[-2:] == ["ticket.opened", "message.received"]
    assert worker.ticket().linked_to == ticket.id


@pytest.mark.parametrize(
    ("data", "limits", "outcome"),
    [
        (AddNote(by=AGENT, text="x"), {}, "note.added"),
        (AddNote(by=AGENT, text="x"), {"brands": "azure,korale"}, "note.added"),
        (AddNote(by=AGENT, text="x"), {"brands": "korale", "accounts": "help-korale"}, "note.added"),
        (AddNote(by=AGENT, text="x"), {"brands": "nimbus"}, "forbidden"),
        (AddNote(by=AGENT, text="x"), {"brands": "kor"}, "forbidden"),
        (AddNote(by=AGENT, text="x"), {"accounts": "support-nimbus"}, "forbidden"),
        (AddNote(by=AGENT, text="x"), {"brands": "korale", "accounts": "support-nimbus"}, "forbidden"),
        (SetFacts(by=AGENT, brand="azure"), {"brands": "azure,korale"}, "ticket.facts_changed"),
        (SetFacts(by=AGENT, brand="azure"), {"brands": "korale"}, "forbidden"),
        (Transfer(by=AGENT, queue="vip"), {"brands": "nimbus"}, "forbidden"),
        (Transfer(by=AGENT, queue="vip"), {"brands": "korale"}, None),  # routing's to carry out
    ],
)
async def test_a_command_is_carried_out_within_the_limits_of_its_token(
    data: CommandPayload, limits: dict[str, str], outcome: str | None
) -> None:
    worker = Worker()
    ticket = await opened(worker)
    await worker.take(worker.asks(data, ticket.id, **limits))
    told = [
        getattr(event.data, "reason", None) or kind for event, kind in zip(worker.events(), worker.types(), strict=True)
    ]
    assert told[1:] == ([] if outcome is None else [outcome])
