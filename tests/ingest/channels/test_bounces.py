"""Who is a machine: delivery reports in every dress, what only looks like one, groups and forms that pass people on."""

from typing import Any

import pytest

from services.ingest.accounts import Account
from services.ingest.channels import address_token, bounces, mime
from services.ingest.channels import email as mail
from services.ingest.core.messages import Delivery, DeliveryStatus, Inbound, InboundMessage
from tests.ingest.channels import samples as s

OURS = "Message-ID: <m-1@nimbus.example>\r\nFrom: support@nimbus.example\r\nTo: anna@example.pl\r\n\r\nHello\r\n"
TICKET = "0190163d-8694-739b-aea5-966c26f8ad91"

QMAIL = (
    "From: MAILER-DAEMON@mx.example.pl\r\nTo: support@nimbus.example\r\nMessage-ID: <1@mx>\r\n"
    "Subject: failure notice\r\n\r\nHi. This is the qmail-send program at mx.example.pl.\r\n"
    "I'm afraid I wasn't able to deliver your message to the following addresses.\r\n\r\n"
    "<anna@example.pl>:\r\n550 5.1.1 no such user\r\n\r\n--- Below this line is a copy of the message.\r\n\r\n" + OURS
)
EXIM = (
    "From: Mail Delivery System <Mailer-Daemon@mx.example.pl>\r\nX-Failed-Recipients: anna@example.pl\r\n"
    "Subject: Mail delivery failed: returning message to sender\r\nMessage-ID: <1@mx>\r\n\r\n"
    "A message that you sent could not be delivered.\r\n\r\n  anna@example.pl\r\n    (550 no such user)\r\n\r\n"
    "------ This is a copy of the message. ------\r\n\r\n" + OURS
)
EXCHANGE = (
    "From: System Administrator <postmaster@mx.example.pl>\r\nSubject: Undeliverable: Paczka\r\n"
    "Message-ID: <1@mx>\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n"
    "<P>Your message<BR>did not reach the following recipient(s):<BR><BR>"
    "anna@example.pl on Thu, 11 Jul 2002 16:54:54<BR>&nbsp;MSEXCH:IMS Unknown Recipient</P>\r\n"
    f"--b\r\nContent-Type: message/rfc822\r\n\r\n{OURS}--b--\r\n"
)
MIXED = (
    "From: gateway@mx.example.pl\r\nSubject: Hello\r\nMessage-ID: <1@mx>\r\n"
    "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nIt did not arrive.\r\n"
    "--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx\r\n\r\n"
    "Final-Recipient: rfc822; anna@example.pl\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n"
    f"--b\r\nContent-Type: message/rfc822\r\n\r\n{OURS}--b--\r\n"
)
WARNING = (
    "From: Mail Delivery System <mailer-daemon@kundenserver.example>\r\nMessage-ID: <1@mx>\r\n"
    "Subject: Warning: message delayed\r\n\r\nA message that you sent has not yet been delivered to\r\n"
    "<anna@example.pl>\r\nNo action is required on your part.\r\n\r\n" + OURS
)


def parse(raw: str, own: Account = s.NIMBUS, **query: str) -> list[Inbound]:
    return mail.parse(s.record(own, raw.encode(), **query), own, s.ACCOUNTS, s.SECRETS)


def only(raw: str, own: Account = s.NIMBUS, **query: str) -> InboundMessage:
    (found,) = parse(raw, own, **query)
    assert isinstance(found, InboundMessage)
    return found


@pytest.mark.parametrize(
    ("raw", "permanent", "reason"),
    [
        (QMAIL, True, "550 5.1.1 no such user"),
        (EXIM, True, "550 no such user)"),
        (EXCHANGE, True, None),
        (MIXED, True, "5.1.1"),
        (WARNING, False, None),
    ],
    ids=["qmail", "exim", "exchange", "mixed", "warning"],
)
def test_a_report_in_any_dress_is_a_fact_about_our_mail(raw: str, reason: str | None, *, permanent: bool) -> None:
    fact, message = parse(raw)
    assert isinstance(fact, DeliveryStatus)
    assert isinstance(message, InboundMessage)
    assert (fact.state, fact.permanent) == (Delivery.BOUNCED, permanent)
    assert (fact.channel_message_id, fact.recipient) == ("<m-1@nimbus.example>", "anna@example.pl")
    assert fact.reason == reason
    assert message.automated


def test_a_report_from_nobody_is_kept() -> None:
    message = parse(QMAIL.replace("From: MAILER-DAEMON@mx.example.pl\r\n", ""))[-1]
    assert isinstance(message, InboundMessage)
    assert (message.sender.address, message.automated_because) == ("mailer-daemon@invalid", "a delivery report")


@pytest.mark.parametrize(
    "raw",
    [
        QMAIL.replace("MAILER-DAEMON@mx", "anna@mx").replace("failure notice", "What does this mean?"),
        EXIM.replace("Mailer-Daemon@mx", "anna@mx")
        .replace("X-Failed-Recipients", "X-Other")
        .replace("Mail delivery failed", "Fwd: Mail delivery failed"),
        "From: postmaster@example.pl\r\nSubject: Invoice\r\n\r\nPlease write to jan, jan@example.pl, about 550 things.",
        "From: anna@example.pl\r\nSubject: Delivery\r\n\r\nWhere is it?",
    ],
    ids=["quoted", "forwarded", "postmaster", "delivery"],
)
def test_a_person_who_writes_about_bounces_is_a_person(raw: str) -> None:
    assert only(raw).automated_because is None


def test_a_mail_system_that_says_nothing_of_an_address_is_a_machine() -> None:
    message = only("From: Mail Delivery Subsystem <MAILER-DAEMON@mx.example.pl>\r\nSubject: Hm\r\n\r\nSomething.")
    assert message.automated_because == "from a mail system"
    assert only("From: postmaster@mx\r\nSubject: Undeliverable mail\r\n\r\nNothing.").automated


def test_what_a_detector_cannot_bear_is_no_report() -> None:
    root = mime.read(b"From: mailer-daemon@aol.com\r\nX-Failed-Recipients: " + b"(" * 3000 + b"\r\n\r\nx")
    assert bounces.failures(root) == ([], [])


# --- Groups and forms. ---


@pytest.mark.parametrize(
    "more",
    [
        "List-Id: <support.nimbus.example>\r\n",
        "List-Post: <mailto:support@nimbus.example>\r\n",
        "List-Unsubscribe: <mailto:x@y>\r\n",
        "Precedence: list\r\n",
    ],
)
def test_a_mail_through_a_group_is_of_a_person_who_gets_no_automatic_answer(more: str) -> None:
    message = only(f"From: anna@example.pl\r\n{more}\r\nWhere is my parcel?")
    assert message.automated_because is None
    assert message.mail is not None
    assert message.mail.no_auto_reply


@pytest.mark.parametrize("more", ["", "Precedence: first-class\r\n", "Listing: 4\r\n"])
def test_other_people_may_have_an_automatic_answer(more: str) -> None:
    message = only(f"From: anna@example.pl\r\n{more}\r\nWhere is my parcel?")
    assert message.mail is not None
    assert not message.mail.no_auto_reply


@pytest.mark.parametrize(
    ("sender", "reply_to", "name"),
    [
        ("Nimbus Shop <support@nimbus.example>", "Anna Kowalska <anna@example.pl>", "Anna Kowalska"),
        ("help@korale.example", "anna@example.pl", None),
        ("'Anna Kowalska' via Support <support@nimbus.example>", "anna@example.pl", "Anna Kowalska"),
        ("Shop <no-reply@shop.example>", "Anna <anna@example.pl>", "Anna"),
        ("Shop <donotreply+form7@shop.example>", "Anna <anna@example.pl>", "Anna"),
        ("support@nimbus.example", "support@nimbus.example, anna@example.pl", None),
    ],
)
def test_who_writes_through_a_form_is_a_person_and_a_contact_of_their_own(
    sender: str, reply_to: str, name: str | None
) -> None:
    message = only(f"From: {sender}\r\nReply-To: {reply_to}\r\nTo: support@nimbus.example\r\n\r\nWhere is it?")
    assert message.automated_because is None
    assert (message.sender.key, message.sender.name) == ("email::anna@example.pl", name)
    assert message.sender.address == "anna@example.pl"
    assert message.mail is not None
    assert (message.mail.sender, message.mail.reply_to) == ("anna@example.pl", None)


@pytest.mark.parametrize("more", ["", "Reply-To: help@korale.example\r\n", "Reply-To: support+x.y@nimbus.example\r\n"])
def test_our_own_mail_that_comes_back_is_a_machine(more: str) -> None:
    assert only(f"From: support@nimbus.example\r\n{more}\r\nx").automated_because == "from one of our own addresses"


def test_an_answer_never_goes_to_an_address_of_ours() -> None:
    message = only("From: anna@example.pl\r\nReply-To: support@nimbus.example\r\n\r\nx")
    assert message.sender.address == "anna@example.pl"


def test_a_colleague_who_asks_for_answers_elsewhere_stays_who_they_are() -> None:
    message = only("From: anna@example.pl\r\nReply-To: office@example.pl\r\n\r\nx")
    assert (message.sender.key, message.sender.address) == ("email::anna@example.pl", "office@example.pl")


def test_a_form_that_says_it_is_automatic_is_believed() -> None:
    raw = "From: support@nimbus.example\r\nReply-To: anna@example.pl\r\nAuto-Submitted: auto-generated\r\n\r\nx"
    assert only(raw).automated_because == "Auto-Submitted: auto-generated"


def test_a_report_that_names_no_mail_names_the_ticket_of_its_address() -> None:
    token = address_token.mint("support@nimbus.example", TICKET, "mail key of nimbus")
    raw = QMAIL.partition("--- Below")[0]
    fact = parse(raw, mail_from="", rcpt_to=token)[0]
    assert isinstance(fact, DeliveryStatus)
    assert (fact.channel_message_id, fact.ticket, fact.recipient) == ("", TICKET, "anna@example.pl")
    assert len(parse(raw)) == 1


# --- Every field of a fact. ---


def dsn(*groups: str, kind: str = "message/delivery-status", about: str = OURS, head: str = "") -> str:
    status = "\r\n\r\n".join(groups)
    return (
        f"From: x@mx.example.pl\r\n{head}Content-Type: multipart/report; boundary=b\r\n\r\n"
        f"--b\r\n\r\ntext\r\n--b\r\nContent-Type: {kind}\r\n\r\n{status}\r\n"
        f"--b\r\nContent-Type: message/rfc822\r\n\r\n{about}--b--\r\n"
    )


def facts(raw: str, **query: Any) -> list[Inbound]:
    return parse(raw, **query)[:-1]


def fact(state: Delivery, **fields: Any) -> DeliveryStatus:
    known = {"channel": "email", "account": "support-nimbus", "at": s.NOW, "state": state}
    return DeliveryStatus(**{"channel_message_id": "<m-1@nimbus.example>", **known, **fields})


def test_each_recipient_of_a_report_has_a_fact() -> None:
    raw = dsn(
        "Reporting-MTA: dns; mx\r\nArrival-Date: today",
        "Final-Recipient: rfc822; a@b.pl\r\nAction: failed (x)\r\nStatus: 5.1.1\r\nDiagnostic-Code: smtp; 550 no",
        "Original-Recipient: rfc822; c@b.pl\r\nAction: delayed\r\nStatus: 4.2.2",
        "Final-Recipient: d@b.pl\r\nOriginal-Recipient: rfc822; e@b.pl\r\nAction: relayed",
        "Final-Recipient: rfc822; f@b.pl\r\nAction: vanished",
        "Final-Recipient: rfc822; g@b.pl\r\nAction:",
        "Action: expanded",
    )
    assert facts(raw) == [
        fact(Delivery.BOUNCED, permanent=True, reason="5.1.1 550 no", recipient="a@b.pl"),
        fact(Delivery.BOUNCED, reason="4.2.2", recipient="c@b.pl"),
        fact(Delivery.SENT, recipient="d@b.pl"),
        fact(Delivery.SENT),
    ]


def test_a_report_of_very_many_recipients_is_read_as_far_as_a_hundred() -> None:
    groups = [f"Final-Recipient: rfc822; {n}@b.pl\r\nAction: failed" for n in range(150)]
    assert len(facts(dsn("Reporting-MTA: dns; mx", *groups))) == 100


@pytest.mark.parametrize(
    ("group", "read"),
    [
        (
            "Original-Message-ID: <m-1@nimbus.example>\r\nDisposition: x; Displayed\r\nFinal-Recipient: rfc822;a@b.pl",
            True,
        ),
        ("Original-Message-ID: <m-1@nimbus.example>\r\nDisposition: x; deleted", False),
        ("Disposition: x; displayed", False),
    ],
)
def test_only_what_was_displayed_was_read(group: str, *, read: bool) -> None:
    found = facts(dsn(group, kind="message/disposition-notification"))
    assert found == ([fact(Delivery.READ, recipient="a@b.pl")] if read else [])


@pytest.mark.parametrize("head", ["Original-Message-ID", "In-Reply-To", "References"])
def test_a_report_without_a_copy_is_about_what_it_answers(head: str) -> None:
    raw = dsn(
        "Final-Recipient: rfc822; a@b.pl\r\nAction: failed", about="", head=f"{head}: <0@x> <m-1@nimbus.example>\r\n"
    )
    assert facts(raw) == [fact(Delivery.BOUNCED, permanent=True, recipient="a@b.pl")]


@pytest.mark.parametrize("raw", [dsn("Final-Recipient: rfc822; anna@example.pl\r\nAction: failed", about=""), QMAIL])
def test_a_report_about_a_ticket_is_a_whole_fact(raw: str) -> None:
    token = address_token.mint("support@nimbus.example", TICKET, "mail key of nimbus")
    reason = "550 5.1.1 no such user" if raw == QMAIL else None
    wanted = fact(
        Delivery.BOUNCED,
        permanent=True,
        recipient="anna@example.pl",
        ticket=TICKET,
        channel_message_id="",
        reason=reason,
    )
    assert facts(raw.partition("--- Below")[0], rcpt_to=token, mail_from="") == [wanted]
    assert facts(raw.partition("--- Below")[0]) == []


@pytest.mark.parametrize(
    "more",
    [
        "X-Autoreply: yes\r\n",
        "X-Autorespond: yes\r\n",
        "Precedence: Bulk\r\n",
        "Auto-Submitted: Auto-Replied ;x\r\n",
    ],
)
def test_other_machines_are_told_by_their_headers(more: str) -> None:
    reason = only(f"From: anna@example.pl\r\n{more}\r\nx").automated_because
    assert reason in {
        "auto-reply header",
        "Precedence: bulk",
        "Auto-Submitted: auto-replied",
    }
