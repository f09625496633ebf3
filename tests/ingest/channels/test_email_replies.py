"""Mail that we send: headers that can be trusted, whatever is written into it."""

import email
import email.policy
from email.message import EmailMessage
from email.utils import getaddresses
from typing import Any

import pytest

from services.ingest.channels import address_token
from services.ingest.channels import email as mail
from services.ingest.core.messages import (
    File,
    Refused,
    Sent,
    Unsendable,
)
from tests.ingest.channels import samples as s

HEAD = (
    "From: Anna Kowalska <anna@example.pl>\r\nTo: support@nimbus.example\r\nSubject: Paczka\r\n"
    "Message-ID: <a1@example.pl>\r\nDate: Sat, 21 Nov 2026 10:29:30 +0100\r\n"
)
TICKET = "0190163d-8694-739b-aea5-966c26f8ad91"
KEY = "mail key of nimbus"


def sent(**more: Any) -> tuple[EmailMessage, bytes]:
    fields: dict[str, Any] = {
        "to": "anna@example.pl",
        "subject": "Paczka",
        "ticket_id": TICKET,
        "in_reply_to": "<a1@example.pl>",
    }
    out = mail.render(s.reply(**{"text": "Już jedzie. Zażółć!", **fields, **more}), s.NIMBUS, s.OUTSIDE)
    message = email.message_from_bytes(out.data, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message, out.data


def test_a_reply_answers_and_can_be_answered() -> None:
    long_id = f"<{'x' * 200}@mail.example.com>"
    message, data = sent(references=("<root@x>", long_id))
    assert message["Subject"] == "Re: Paczka"
    assert message["In-Reply-To"] == "<a1@example.pl>"
    assert data.decode("ascii", "replace").count(long_id) == 1
    assert message["References"].split() == ["<root@x>", long_id, "<a1@example.pl>"]
    assert message["Message-ID"] == "<m-1@nimbus.example>"
    ((_, address),) = getaddresses([message["Reply-To"]])
    assert address_token.ticket_in([address], [KEY]) == TICKET
    body = message.get_body(("plain",))
    assert body is not None
    assert body.get_content().strip() == "Już jedzie. Zażółć!"


def test_a_reply_comes_from_the_account_and_bounces_to_the_ticket() -> None:
    out = mail.render(s.reply(to="anna@example.pl", author_name="Zofia", ticket_id=TICKET), s.NIMBUS, s.OUTSIDE)
    message = email.message_from_bytes(out.data, policy=email.policy.default)
    assert message["From"] == '"Zofia (Nimbus Support)" <support@nimbus.example>'
    assert address_token.ticket_in([out.sender], [KEY]) == TICKET
    assert out.recipients == ("anna@example.pl",)


def test_an_automatic_reply_says_so_and_has_no_sender() -> None:
    out = mail.render(s.reply(to="anna@example.pl", automated=True), s.NIMBUS, s.OUTSIDE)
    message = email.message_from_bytes(out.data)
    assert (out.sender, message["Auto-Submitted"]) == ("", "auto-replied")


def test_names_and_subjects_of_every_script_arrive() -> None:
    subject = "การคืนเงินสำหรับคำสั่งซื้อหมายเลข 77 " * 5
    message, data = sent(subject=subject, to_name="สมหญิง ใจดี", author_name="김민준")
    assert message["Subject"].replace(" ", "") == f"Re:{subject}".replace(" ", "")
    assert message["To"].addresses[0].display_name == "สมหญิง ใจดี"
    assert all(len(row) <= 998 for row in data.split(b"\r\n"))


def test_files_are_attached() -> None:
    files = (
        File("ใบเสร็จ.pdf", "application/pdf", b"%PDF"),
        File("x", "not a type", b"1"),
        File("m", "message/rfc822", b"2"),
    )
    message, _ = sent(files=files, html="<p>Już</p>")
    found = [(part.get_filename(), part.get_content_type()) for part in message.iter_attachments()]
    assert found == [
        ("ใบเสร็จ.pdf", "application/pdf"),
        ("x", "application/octet-stream"),
        ("m", "application/octet-stream"),
    ]


@pytest.mark.parametrize(
    ("to", "as_sent"),
    [
        ("anna@bücher.example", "anna@xn--bcher-kva.example"),
        ("kim@한국.kr", "kim@xn--3e0b707e.kr"),
        ('"Big Bug bb"@bug.com', '"Big Bug bb"@bug.com'),
        ('"a\\"b"@bug.com', '"a\\"b"@bug.com'),
    ],
)
def test_a_reply_goes_to_every_legal_address(to: str, as_sent: str) -> None:
    out = mail.render(s.reply(to=to, to_name="Anna"), s.NIMBUS, s.OUTSIDE)
    assert out.recipients == (as_sent,)
    assert email.message_from_bytes(out.data, policy=email.policy.default)["To"].addresses[0].addr_spec == as_sent


HOSTILE = "x\r\nBcc: victim@example.com\r\n\r\nowned\x00\ud800\x0b\x85\u2028y"


@pytest.mark.parametrize("field", ["subject", "to_name", "author_name", "in_reply_to", "text", "message_id", "html"])
def test_no_text_begins_a_header_line(field: str) -> None:
    message, data = sent(**{field: HOSTILE})
    head = data.partition(b"\r\n\r\n")[0].lower()
    assert b"\r\nbcc:" not in head
    assert message["Bcc"] is None
    assert message["To"].addresses[0].addr_spec == "anna@example.pl"


@pytest.mark.parametrize(
    "to",
    [
        "",
        "anna",
        "a@b\r\nBcc: c@d",
        "a b@c.d",
        "<a@b>",
        "a@b, c@d",
        "ą@b.pl",
        "a@-ü-.pl",
        '"a\r\nb"@c.d',
        '"a"b"@c.d',
        HOSTILE,
    ],
)
def test_an_address_that_is_none_is_not_written_to(to: str) -> None:
    with pytest.raises(Unsendable):
        mail.render(s.reply(to=to), s.NIMBUS, s.OUTSIDE)


def test_a_reply_code_says_whether_trying_again_can_help() -> None:
    assert mail.outcome(250, {}, b"ok") == Sent(None)
    later, never = mail.outcome(451, {}, b"later"), mail.outcome(550, {}, b"no such user")
    assert isinstance(later, Refused)
    assert isinstance(never, Refused)
    assert (later.permanent, never.permanent) == (False, True)
