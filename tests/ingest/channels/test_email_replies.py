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
    SendFailure,
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
    out = mail.render(s.reply(**{"text": "Już jedzie. Zażółć!", **fields, **more}), s.NIMBUS, s.SECRETS)
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
    out = mail.render(s.reply(to="anna@example.pl", author_name="Zofia", ticket_id=TICKET), s.NIMBUS, s.SECRETS)
    message = email.message_from_bytes(out.data, policy=email.policy.default)
    assert message["From"] == '"Zofia (Nimbus Support)" <support@nimbus.example>'
    assert address_token.ticket_in([out.sender], [KEY]) == TICKET
    assert out.recipients == ("anna@example.pl",)


def test_an_automatic_reply_says_so_and_has_no_sender() -> None:
    out = mail.render(s.reply(to="anna@example.pl", automated=True), s.NIMBUS, s.SECRETS)
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
    out = mail.render(s.reply(to=to, to_name="Anna"), s.NIMBUS, s.SECRETS)
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
        mail.render(s.reply(to=to), s.NIMBUS, s.SECRETS)


def test_a_reply_code_says_whether_trying_again_can_help() -> None:
    assert mail.outcome(250, {}, b"ok") == Sent(None)
    later, never = mail.outcome(451, {}, b"later"), mail.outcome(550, {}, b"no such user")
    assert isinstance(later, SendFailure)
    assert isinstance(never, SendFailure)
    assert (later.permanent, never.permanent) == (False, True)


TAGGED = address_token.mint("support@nimbus.example", TICKET, KEY)
GOLDEN: list[tuple[dict[str, Any], str, list[str]]] = [
    (
        {
            "to_name": 'Anna "the" Kowal\\ska', "author_name": "Zofia", "subject": "Paczka",
            "in_reply_to": "<a1@example.pl>", "references": tuple(f"<{n}@x>" for n in range(25)),
        },
        TAGGED,
        [
            'From: "Zofia (Nimbus Support)" <support@nimbus.example>',
            f"Reply-To: {TAGGED}",
            'To: "Anna the Kowalska" <anna@example.pl>',
            "Subject: Re: Paczka",
            "Date: Sat, 21 Nov 2026 09:30:00 +0000",
            "Message-ID: <m-1@nimbus.example>",
            "In-Reply-To: <a1@example.pl>",
            "References: <0@x>",
            *(f" <{n}@x>" for n in range(7, 25)),
            " <a1@example.pl>",
        ],
    ),
    (
        {
            "to_name": "김민준", "author_name": "김민준", "subject": "답장: " + "환불 요청 " * 3, "message_id": "a/b c",
            "references": ("no id", "<1@x>", "<1@x>", " <2@x> ", "<ü@x>"),
        },
        TAGGED,
        [
            "From: =?utf-8?b?6rmA66+87KSAIChOaW1idXMgU3VwcG9ydCk=?=",
            " <support@nimbus.example>",
            f"Reply-To: {TAGGED}",
            "To: =?utf-8?b?6rmA66+87KSA?=",
            " <anna@example.pl>",
            "Subject: =?utf-8?b?64u17J6lOiDtmZjrtogg7JqU7LKtIO2ZmOu2iCDsmpTssq0g7ZmY?=",
            " =?utf-8?b?67aIIOyalOyyrQ==?=",
            "Date: Sat, 21 Nov 2026 09:30:00 +0000",
            "Message-ID: <a-b-c@nimbus.example>",
            "References: <1@x>",
            " <2@x>",
        ],
    ),
    (
        {"automated": True, "author_name": "Bot"},
        "",
        [
            'From: "Nimbus Support" <support@nimbus.example>',
            f"Reply-To: {TAGGED}",
            "To: anna@example.pl",
            "Subject: Re: Your message",
            "Date: Sat, 21 Nov 2026 09:30:00 +0000",
            "Message-ID: <m-1@nimbus.example>",
            "Auto-Submitted: auto-replied",
            "X-Auto-Response-Suppress: All",
        ],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "sender", "rows"), GOLDEN, ids=["plain", "hangul", "automated"])
def test_a_header_block_is_written_so(fields: dict[str, Any], sender: str, rows: list[str]) -> None:
    out = mail.render(s.reply("x", to="anna@example.pl", ticket_id=TICKET, **fields), s.NIMBUS, s.SECRETS)
    body = ['Content-Type: text/plain; charset="utf-8"', "Content-Transfer-Encoding: 7bit", "MIME-Version: 1.0"]
    assert out.data.decode().split("\r\n") == [*rows, *body, "", "x", ""]
    assert (out.sender, out.message_id) == (sender, next(row[12:] for row in rows if row.startswith("Message-ID")))


@pytest.mark.parametrize("count", [19, 20])
def test_twenty_references_are_kept_whole(count: int) -> None:
    message, _ = sent(references=tuple(f"<{n}@x>" for n in range(count - 1)), in_reply_to="<last@x>")
    assert len(message["References"].split()) == count


@pytest.mark.parametrize(
    ("subject", "written"),
    [
        ("re: x", "re: x"),
        ("AW : x", "AW : x"),
        ("Odp: x", "Odp: x"),
        ("ตอบ: x", "ตอบ: x"),
        ("Retour: x", "Re: Retour: x"),
    ],
)
def test_an_answer_is_called_one_once(subject: str, written: str) -> None:
    assert sent(subject=subject)[0]["Subject"] == written


def test_what_is_too_long_is_cut() -> None:
    message, _ = sent(subject="x" * 500, to_name="y" * 200, message_id="z" * 200, files=(File("f" * 300, "a/b", b"1"),))
    assert message["Subject"].replace(" ", "") == f"Re:{'x' * 400}"
    assert message["To"].addresses[0].display_name == "y" * 100
    assert message["Message-ID"] == f"<{'z' * 100}@nimbus.example>"
    assert [part.get_filename() for part in message.iter_attachments()] == ["f" * 200]


def test_an_account_without_a_name_lends_its_agents_none() -> None:
    own = s.NIMBUS.model_copy(update={"display_name": None})
    for author, shown in (("Zofia", "Zofia <support@nimbus.example>"), (None, "support@nimbus.example")):
        out = mail.render(s.reply(to="anna@example.pl", author_name=author, message_id="Ü"), own, s.SECRETS)
        message = email.message_from_bytes(out.data, policy=email.policy.default)
        assert (message["From"], message["Message-ID"]) == (shown, "<-@nimbus.example>")


@pytest.mark.parametrize(
    ("media_type", "sent_as"),
    [
        ("Image/PNG", "image/png"),
        ("multipart/mixed", "application/octet-stream"),
        ("message/rfc822", "application/octet-stream"),
        ("a/b/c", "application/octet-stream"),
        ("", "application/octet-stream"),
    ],
)
def test_a_file_without_a_name_has_one(media_type: str, sent_as: str) -> None:
    _, data = sent(files=(File("", media_type, b"1"),))
    assert f"Content-Type: {sent_as}\r\n" in data.decode()
    assert 'filename="file"' in data.decode()


@pytest.mark.parametrize("files", [(File("a", "b/c", None),), ()])
def test_what_has_nothing_in_it_is_not_sent(files: tuple[File, ...]) -> None:
    with pytest.raises(Unsendable):
        sent(text=" ", files=files)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Sent(None)),
        (299, Sent(None)),
        (300, SendFailure("SMTP 300: no ü", permanent=False)),
        (199, SendFailure("SMTP 199: no ü", permanent=False)),
        (499, SendFailure("SMTP 499: no ü", permanent=False)),
        (500, SendFailure("SMTP 500: no ü", permanent=True)),
        (599, SendFailure("SMTP 599: no ü", permanent=True)),
        (600, SendFailure("SMTP 600: no ü", permanent=False)),
    ],
)
def test_the_bounds_of_reply_codes(status: int, outcome: Sent | SendFailure) -> None:
    assert mail.outcome(status, {}, "no ü".encode()) == outcome


def test_a_reason_is_read_as_far_as_it_goes() -> None:
    for body, reason in ((b"", "no reason given"), (b"x" * 600, "x" * 500), (b"\xff", "\ufffd")):
        assert mail.outcome(550, {}, body) == SendFailure(f"SMTP 550: {reason}", permanent=True)
