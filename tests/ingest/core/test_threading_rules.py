"""Which ticket a message belongs to: who may join, what a thread goes on with, and the names of claims."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta
from itertools import combinations

import pytest

from contracts.contacts import Identity
from contracts.ticket import Authentication, Status
from services.ingest.core import threading
from services.ingest.core.messages import InboundMessage, Mail, Sender
from services.ingest.core.policy import TicketPolicy
from tests.ingest.core.timeline import Story, minute

POLICY = TicketPolicy(quiet=timedelta(hours=2), reopen_window=timedelta(hours=1))
CHAT = InboundMessage(
    channel="line", account="line-th", message_id="m1", text="hello", sent_at=minute(0), conversation="g1",
    sender=Sender((Identity(channel="line", id="u1"),)),
)  # fmt: skip


def mail(
    *ancestors: str, own: str = "<own@x>", said: Authentication | None = None, brand: str | None = None
) -> InboundMessage:
    """A mail that names these ancestors, oldest first."""
    read = Mail(
        own, generated_id=False, in_reply_to=(), references=ancestors, sender="jan@example.org", reply_to=None,
        return_path=None, recipients=(), authentication=said,
    )  # fmt: skip
    return replace(CHAT, channel="email", account="help", conversation=None, mail=read, brand=brand)


def anchors(*ids: str) -> tuple[str, ...]:
    return tuple(threading.message_anchor("email", "help", each) for each in ids)


# --- What a ticket takes, and what goes on with it. ---


@pytest.mark.parametrize(
    ("status", "solved", "merged", "at", "person", "machine"),
    [
        (Status.OPEN, None, False, 500, True, True),
        (Status.SOLVED, 0, False, 60, True, True),  # the last instant of the window
        (Status.SOLVED, 0, False, 60.001, False, True),
        (Status.CLOSED, 0, False, 1, False, True),
        (Status.CLOSED, None, False, 1, False, True),
        (Status.CLOSED, 0, True, 1, False, False),  # what was merged away has no messages of its own
    ],
)
def test_a_ticket_takes_a_person_until_it_is_closed_or_solved_too_long_and_a_machine_always(
    status: Status, solved: float | None, merged: bool, at: float, person: bool, machine: bool
) -> None:
    story = Story()
    story.writes(0)
    ticket = story.ticket.model_copy(
        update={
            "status": status,
            "solved_at": None if solved is None else minute(solved),
            "merged_into": "T0" if merged else None,
        }
    )
    assert threading.accepts(ticket, minute(at), POLICY) is person
    assert threading.accepts(ticket, minute(at), POLICY, automated=True) is machine


def test_a_chat_goes_on_with_its_ticket_until_it_was_quiet_too_long() -> None:
    story = Story()
    story.writes(0)
    assert threading.continues_ticket(story.state, CHAT, minute(130), POLICY, minute(10))
    assert not threading.continues_ticket(story.state, CHAT, minute(130.001), POLICY, minute(10))
    assert threading.continues_ticket(story.state, CHAT, minute(10_000), POLICY)  # nobody has said when it was active


def test_a_thread_does_not_go_on_with_a_ticket_that_takes_nothing_more() -> None:
    story = Story()
    story.writes(0)
    assert story.state is not None
    closed = replace(story.state, ticket=story.ticket.model_copy(update={"status": Status.CLOSED}))
    assert not threading.continues_ticket(closed, CHAT, minute(1), POLICY, minute(0))
    assert threading.continues_ticket(closed, replace(CHAT, automated_because="robot"), minute(1), POLICY, minute(0))


def test_a_thread_goes_on_with_a_solved_ticket_while_it_may_be_reopened() -> None:
    story = Story()
    story.writes(0)
    assert story.state is not None
    solved = story.ticket.model_copy(update={"status": Status.SOLVED, "solved_at": minute(0)})
    state = replace(story.state, ticket=solved)
    assert threading.continues_ticket(state, CHAT, minute(60), POLICY)
    assert not threading.continues_ticket(state, CHAT, minute(61), POLICY)


def test_a_ticket_that_was_claimed_and_never_opened_is_opened_by_what_comes_next() -> None:
    story = Story()
    story.writes(0)
    assert story.state is not None
    assert threading.continues_ticket(None, CHAT, minute(1), POLICY, minute(0))
    assert threading.continues_ticket(replace(story.state, ticket=None), CHAT, minute(1), POLICY, minute(0))
    assert not threading.continues_ticket(None, CHAT, minute(121), POLICY, minute(0))


# --- Who may join. ---


@pytest.mark.parametrize(
    ("channel", "account", "brand", "of_ticket", "same"),
    [
        ("email", "help", "korale", "korale", True),
        ("email", "help", "korale", "nimbus", False),
        ("email", "help", None, "nimbus", True),  # the main address takes the answers for all brands
        ("email", "help", "korale", None, True),
        ("email", "other", "korale", "korale", False),
        ("whatsapp", "help", "korale", "korale", False),
    ],
)
def test_a_mail_belongs_to_tickets_of_its_account_and_brand(
    channel: str, account: str, brand: str | None, of_ticket: str | None, same: bool
) -> None:
    story = Story()
    story.writes(0)
    ticket = story.ticket.model_copy(update={"channel": channel, "account": account, "brand": of_ticket})
    assert threading.same_account_and_brand(ticket, mail(brand=brand)) is same


def test_a_chat_belongs_to_tickets_of_its_account_whatever_the_brand() -> None:
    story = Story()
    story.writes(0)
    ticket = story.ticket.model_copy(update={"channel": "line", "account": "line-th", "brand": "nimbus"})
    assert threading.same_account_and_brand(ticket, replace(CHAT, brand="korale"))


@pytest.mark.parametrize(
    ("said", "people", "proven", "joins", "names"),
    [
        (Authentication.PASS, ["C1"], [], True, True),
        (Authentication.PASS, ["C2"], [], True, False),  # a token in the subject is no secret
        (Authentication.NONE, ["C1"], [], True, False),
        (Authentication.FAIL, ["C1"], ["C2"], True, False),
        (Authentication.FAIL, ["C1"], ["C1"], False, False),  # proven before, and not now: the From may be forged
        (Authentication.NONE, ["C2"], [], False, False),
        (None, ["C1"], ["C1"], True, False),  # nothing was checked, so nothing speaks against the mail
        (None, ["C2"], [], False, False),
    ],
)
def test_who_is_proven_may_join_and_who_takes_part_unless_proven_before(
    said: Authentication | None, people: Collection[str], proven: Collection[str], joins: bool, names: bool
) -> None:
    written = mail(said=said)
    assert threading.may_join(people, proven, "C1", written) is joins
    assert threading.may_name_ticket(people, "C1", written) is names


def test_a_machine_and_a_chat_join_where_they_belong_and_prove_nothing() -> None:
    machine = replace(mail(said=Authentication.FAIL), automated_because="robot")
    for written in (machine, CHAT):
        assert threading.may_join((), ("C1",), "C1", written)
        assert not threading.may_name_ticket(("C1",), "C1", written)
        assert not threading.is_proven(written)


# --- The names of claims. ---


def test_a_mail_is_looked_up_by_itself_and_then_by_its_ancestors_newest_first() -> None:
    written = mail("<old@x>", "<new@x>")
    assert threading.mail_anchors(written) == anchors("<own@x>", "<new@x>", "<old@x>")
    assert threading.root_anchor(written) == anchors("<old@x>")[0]


def test_an_id_is_looked_up_once() -> None:
    assert threading.mail_anchors(mail("<own@x>", "<a@x>")) == anchors("<own@x>", "<a@x>")


def test_a_mail_without_ancestors_is_looked_up_by_its_own_id_alone() -> None:
    assert threading.mail_anchors(mail()) == anchors("<own@x>")
    assert threading.root_anchor(mail()) == anchors("<own@x>")[0]


def test_of_a_long_thread_the_newest_ancestors_are_looked_up_and_the_oldest() -> None:
    thread = [f"<{number}@x>" for number in range(threading.ANCESTORS + 10)]
    newest = list(reversed(thread))[: threading.ANCESTORS]
    assert threading.mail_anchors(mail(*thread)) == anchors("<own@x>", *newest, "<0@x>")
    assert threading.root_anchor(mail(*thread)) == anchors("<0@x>")[0]


def test_claims_of_different_things_have_different_ids() -> None:
    other_person = replace(CHAT, conversation=None, sender=Sender((Identity(channel="line", id="u2"),)))
    made = [
        threading.message_anchor("email", "help", "a"),
        threading.message_anchor("email", "other", "a"),
        threading.message_anchor("line", "help", "a"),
        threading.message_anchor("email", "help", "b"),
        threading.conversation_anchor(CHAT),
        threading.conversation_anchor(replace(CHAT, channel="whatsapp")),
        threading.conversation_anchor(replace(CHAT, account="line-jp")),
        threading.conversation_anchor(replace(CHAT, conversation="g2")),
        threading.conversation_anchor(replace(CHAT, brand="korale"), "nimbus"),
        threading.conversation_anchor(replace(CHAT, brand="lagom"), "nimbus"),
        threading.conversation_anchor(replace(CHAT, conversation=None)),
        threading.conversation_anchor(other_person),
        threading.successor_anchor("a"),
        threading.successor_anchor("b"),
        threading.placement_anchor("a"),
        threading.placement_anchor("b"),
        threading.separate_anchor("a", "nimbus", "C1"),
        threading.separate_anchor("a", "nimbus", "C2"),
        threading.separate_anchor("a", "korale", "C1"),
        threading.separate_anchor("a", None, "C1"),
        threading.separate_anchor("b", "nimbus", "C1"),
    ]
    assert [pair for pair in combinations(made, 2) if pair[0] == pair[1]] == []


def test_a_conversation_with_the_brand_of_the_account_is_the_one_that_names_no_brand() -> None:
    own = threading.conversation_anchor(CHAT, "nimbus")
    assert threading.conversation_anchor(replace(CHAT, brand="nimbus"), "nimbus") == own
    assert threading.conversation_anchor(CHAT) == own
    assert threading.conversation_anchor(replace(CHAT, brand="korale"), "nimbus") != own


def test_the_ids_of_claims_stay_as_they_are_for_claims_outlive_every_release() -> None:
    assert [
        threading.message_anchor("email", "help", "<a@x>"),
        threading.conversation_anchor(CHAT),
        threading.successor_anchor("T1"),
        threading.separate_anchor("T1", None, "C1"),
        threading.placement_anchor("m1"),
    ] == [
        "sazpafgb6fcvh7orcz3g2egf4l",
        "ake6bmjxnpbf3en2mtay74tqed",
        "oib3r6772uanhigdbtgxgmoimb",
        "hdt7i4tw6qvxswhfteh3etp34w",
        "o6srivsu7cclfwufjfonvpfkji",
    ]
