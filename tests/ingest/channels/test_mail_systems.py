"""What tells a mail system from a person, and the bounded copy of a report that the detectors are given."""

from typing import Any

import pytest

from services.ingest.channels import bounces, mime
from services.ingest.channels import headers as heads

PERSON = b"From: Anna <anna@example.pl>\r\n"


def root(raw: bytes) -> mime.Node:
    return mime.read(raw)


@pytest.mark.parametrize(
    ("sender", "subject", "machine"),
    [
        ("MAILER-DAEMON@mx.example", "Hello", True),
        ("mailerdaemon+7@mx.example", "Hello", True),
        ("anna@example.pl, Mail-Daemon@mx.example", "Hello", True),
        ("postmaster@mx.example", "Hello", False),
        ("postmaster@mx.example", "Undeliverable: x", True),
        ("postmaster@mx.example", "=?utf-8?q?Returned_mail?=", True),
        ("postmaster@mx.example", "Fwd: returned mail", False),
        ("bounces-7@mx.example", "Failure notice", True),
        ("anna@example.pl", "Undeliverable: x", False),
        ("not-a-mailer-daemon@mx.example", "Undeliverable: x", False),
    ],
)
def test_a_mail_system_is_told_by_its_name_or_by_a_postmaster_with_the_subject_of_a_report(
    sender: str, subject: str, *, machine: bool
) -> None:
    headers = heads.read(f"From: {sender}\r\nSubject: {subject}\r\n\r\n".encode())
    assert bounces.by_mail_system(headers) is machine


def test_a_mail_without_a_sender_or_a_subject_is_of_no_mail_system() -> None:
    assert not bounces.by_mail_system(heads.read(b"Subject: Undeliverable\r\n\r\n"))
    assert not bounces.by_mail_system(heads.read(b"From: postmaster@mx.example\r\n\r\n"))


@pytest.mark.parametrize(
    ("raw", "return_path", "said"),
    [
        (PERSON + b"\r\nx", None, False),
        (PERSON + b"\r\nx", "anna@example.pl", False),
        (PERSON + b"\r\nx", "", True),
        (PERSON + b"Content-Type: multipart/report; boundary=b\r\n\r\nx", None, True),
        (PERSON + b"Content-Type: multipart/mixed; boundary=b\r\n\r\nx", None, False),
        (PERSON + b"Content-Type: message/delivery-status\r\n\r\nx", None, True),
        (PERSON + b"Content-Type: message/global-disposition-notification\r\n\r\nx", None, True),
        (PERSON + b"X-Failed-Recipients: a@b.pl\r\n\r\nx", None, True),
        (b"Subject: x\r\n\r\nx", None, True),
        (b"From: mailer-daemon@mx.example\r\n\r\nx", None, True),
    ],
)
def test_a_report_is_looked_for_only_where_something_says_that_it_may_be_one(
    raw: bytes, return_path: str | None, *, said: bool
) -> None:
    assert bounces.may_be_report(root(raw), return_path) is said


# --- The copy. ---


def shown(copy: Any) -> tuple[list[tuple[str, Any]], Any]:
    inside = copy.get_payload()
    return copy.items(), [shown(each) for each in inside] if isinstance(inside, list) else inside


def test_the_copy_of_a_report_has_what_detectors_read_in_ascii_and_nothing_that_was_returned() -> None:
    raw = (
        "From: Ż <ż@mx.example>, b@c.pl\r\nTo: x@y\r\nX-Mailer: mą\r\nX-Failed-Recipients: a@b.pl\r\n"
        "Content-Description: a\r\n report\r\nContent-Type: multipart/report; boundary=b\r\n\r\n"
        "--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nnie mą\r\nnic\r\n"
        "--b\r\nContent-Type: message/delivery-status\r\n\r\n\r\nReporting-MTA: dns; mx\r\n \t\r\n\r\n"
        "Action: failed\r\nOriginal-Recipient: rfc822; ó@b.pl\r\nFinal-Recipient: rfc822;\r\n a@b.pl\r\n"
        "Status: 5.1.1\r\n\r\n"
        "--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: ours\r\n\r\nHello\r\n--b--\r\n"
    )
    nobody = ("from", "unknown@invalid")
    assert shown(bounces._copy(root(raw.encode()), [100])) == (
        [
            ("content-type", "multipart/report; boundary=b"),
            ("content-description", "a report"),
            ("x-mailer", "m??"),
            ("x-failed-recipients", "a@b.pl"),
            ("from", "?@mx.example"),
        ],
        [
            ([("content-type", "text/plain; charset=utf-8"), nobody], "nie m?\nnic"),
            (
                [("content-type", "message/delivery-status"), nobody],
                [
                    ([], None),
                    (
                        [
                            ("action", "failed"),
                            ("original-recipient", "rfc822; ??@b.pl"),
                            ("final-recipient", "rfc822; a@b.pl"),
                        ],
                        None,
                    ),
                ],
            ),
            ([("content-type", "message/rfc822"), nobody], ""),
        ],
    )


def test_the_copy_is_bounded_in_headers_parts_groups_and_text() -> None:
    many = b"".join(b"X-Mailer: %d%s\r\n" % (n, b"x" * 1500) for n in range(25))
    parts = b"".join(b"--b\r\n\r\n%s\r\n" % (b"y" * 400) for _ in range(25))
    copy = bounces._copy(root(PERSON + many + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + parts), [1000])
    headers, inside = shown(copy)
    mailers = [value for name, value in headers if name == "x-mailer"]
    assert mailers == [f"{n}{'x' * 1500}"[:1000] for n in range(20)]
    assert [text for _, text in inside] == ["y" * 300, "y" * 300, "y" * 200, *[""] * 17]
    groups = b"\r\n\r\n".join(b"Action: " + b"z" * (500 - n) for n in range(0, 60 * 8, 8))
    inside = shown(bounces._copy(root(b"Content-Type: message/delivery-status\r\n\r\n" + groups), [0]))[1]
    assert inside == [([("action", "z" * min(500 - n, 400))], None) for n in range(0, 50 * 8, 8)]


def test_addresses_are_each_in_one_form_in_order_and_at_most_a_hundred() -> None:
    assert bounces._addresses(frozenset({b" <B@x.pl>", b"a@x.pl", b"none", b"\xff@x.pl"})) == [
        "a@x.pl",
        "b@x.pl",
        "\ufffd@x.pl",
    ]
    assert bounces._addresses(frozenset(b"%03d@x.pl" % n for n in range(150))) == [f"{n:03}@x.pl" for n in range(100)]


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"Content-Type: text/plain; charset=iso-8859-2\r\n\r\n\xb1\r\nb\rc", "ą\nb\rc"),
        (b"Content-Type: text/html\r\n\r\n<p>a</p>\r\nb", "a\n\nb"),
        (b"Content-Type: text/rfc822-headers\r\n\r\na", "a"),
        (b"Content-Type: multipart/report\r\n\r\na", "a"),
        (b"Content-Type: message/rfc822\r\n\r\na", ""),
        (b"Content-Type: application/pdf\r\n\r\na", ""),
        (b"\r\n" + b"a" * 70_000, "a" * 65_536),
        (b"Content-Type: text/html\r\n\r\n" + b"a" * 70_000, "a" * 16_384),
    ],
)
def test_the_text_of_a_part_is_its_beginning(raw: bytes, text: str) -> None:
    assert bounces.text_of(root(raw)) == text


def parts(*texts: str) -> mime.Node:
    inside = "".join(f"--b\r\n\r\n{text}\r\n" for text in texts)
    return root(f"Content-Type: multipart/mixed; boundary=b\r\n\r\n{inside}--b--".encode())


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        (("a", "b"), None),
        (("550 no such user", "551 moved"), "550 no such user"),
        (("a", "It said:\r\n 452-4.2.2 mailbox full\r\nx"), "452-4.2.2 mailbox full"),
        (("(550 #5.1.1 who?", ""), "550 #5.1.1 who?"),
        (("650 no", "a550 no", "550"), None),
        ((f"550 {'x' * 300}",), f"550 {'x' * 200}"),
    ],
)
def test_a_reason_is_the_first_reply_code_with_its_line(texts: tuple[str, ...], reason: str | None) -> None:
    assert bounces.reason(parts(*texts)) == reason


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (("a", "b"), None),
        (("a", "> message-id: <1@x>\r\nMessage-ID: <2@x>"), "<1@x>"),
        (("Message-ID:<1@x>", "Message-ID: <2@x>"), "<1@x>"),
        (("the Message-ID: <1@x>", "Resent-Message-ID: <2@x>"), None),
        (("Message-ID: 1@x", f"Message-ID: <{'x' * 401}>"), None),
    ],
)
def test_the_mail_that_a_report_quotes_is_told_by_the_first_line_with_its_id(
    texts: tuple[str, ...], found: str | None
) -> None:
    assert bounces.quoted_id(parts(*texts)) == found
