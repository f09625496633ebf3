"""Reports and other mail of machines: which header says so, in which words, and which mail of ours it is about."""

from typing import Any

import pytest

from services.ingest.channels import headers as heads
from services.ingest.channels import mime, reports
from services.ingest.core.messages import Delivery, DeliveryStatus
from tests.ingest.channels import samples as s

PERSON = "From: anna@example.pl\r\n"


@pytest.mark.parametrize(
    ("header", "return_path", "because"),
    [
        ("X: y", None, None),
        ("X: y", "a@b.pl", None),
        ("X: y", "", "null return path"),
        ("Auto-Submitted: no", None, None),
        ("Auto-Submitted: NO ; x=y", None, None),
        ("Auto-Submitted:", None, None),
        ("Auto-Submitted: Auto-Replied ; x", "", "Auto-Submitted: auto-replied"),
        (f"Auto-Submitted: {'x' * 70}", None, f"Auto-Submitted: {'x' * 60}"),
        ("Precedence: Bulk", None, "Precedence: bulk"),
        ("Precedence: junk", None, "Precedence: junk"),
        ("Precedence: auto_reply", None, "Precedence: auto_reply"),
        ("Precedence: list", None, None),
        ("Content-Type: multipart/report; boundary=b", None, "multipart/report"),
        ("X-Autoreply: yes", None, "auto-reply header"),
        ("X-Autorespond: yes", None, "auto-reply header"),
        ("Sender: mailer-daemon@mx", None, None),
    ],
)
def test_the_first_header_that_says_so_makes_a_machine(
    header: str, return_path: str | None, because: str | None
) -> None:
    headers = heads.read(f"{PERSON}{header}\r\n\r\n".encode())
    assert reports.automated_because(headers, return_path) == because


def test_a_mail_system_is_a_machine() -> None:
    assert reports.automated_because(heads.read(b"From: mailer-daemon@mx\r\n"), None) == "from a mail system"


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("X: y", False),
        ("X-Auto-Response-Suppress: OOF", True),
        ("LIST-Id: x", True),
        ("Listing: x", False),
        ("X-List-Id: x", False),
        ("Precedence: Bulk", True),
        ("Precedence: LIST", True),
        ("Precedence: junk", True),
        ("Precedence: auto_reply", True),
        ("Precedence: first-class", False),
    ],
)
def test_lists_and_bulk_want_no_answer(header: str, *, wanted: bool) -> None:
    assert reports.wants_no_answer(heads.read(f"{PERSON}{header}\r\n\r\n".encode())) is wanted


def test_message_ids_come_each_once_in_order_in_ascii() -> None:
    assert reports.message_ids("x <b@c> <a@c>, <b@c><ą@c> <a b> <>") == ("<b@c>", "<a@c>", "<?@c>")
    assert reports.message_ids(f"<{'x' * 401}> <{'x' * 400}>") == (f"<{'x' * 400}>",)


def node(head: str, *parts: str) -> mime.Node:
    inside = "".join(f"--b\r\n{part}\r\n" for part in parts)
    return mime.read(f"{head}Content-Type: multipart/report; boundary=b\r\n\r\n{inside}--b--".encode())


def copy(kind: str, text: str) -> str:
    return f"Content-Type: {kind}\r\n\r\n{text}"


ANSWERS = "Original-Message-ID: <o1@x> <o2@x>\r\nIn-Reply-To: <i@x>\r\nReferences: <r1@x> <r2@x>\r\n"


@pytest.mark.parametrize(
    ("root", "original"),
    [
        *((node(ANSWERS, "\r\ntext", copy(kind, "X: y\r\nMESSAGE-ID: <1@x> <2@x>\r\n\r\n")), "<1@x>") for kind in (
            "message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers",
        )),
        (node(ANSWERS, copy("message/rfc822", "X: y\r\n\r\n"), copy("message/rfc822", "Message-ID: <2@x>")), "<2@x>"),
        (node(ANSWERS, copy("message/partial", "Message-ID: <1@x>\r\n")), "<o2@x>"),
        (node(ANSWERS, "\r\n> Message-ID: <q@x>", copy("message/rfc822", "X: y")), "<q@x>"),
        (node(ANSWERS, "\r\ntext"), "<o2@x>"),
        (node("In-Reply-To: <i1@x> <i2@x>\r\nReferences: <r1@x> <r2@x>\r\n", "\r\ntext"), "<i2@x>"),
        (node("In-Reply-To: none\r\nReferences: <r1@x> <r2@x>\r\n", "\r\ntext"), "<r2@x>"),
        (node("", "\r\ntext"), None),
    ],
)  # fmt: skip
def test_a_report_is_about_the_copy_that_it_carries_else_what_it_quotes_else_what_it_answers(
    root: mime.Node, original: str | None
) -> None:
    assert reports._original(root) == original


@pytest.mark.parametrize(
    ("value", "bare"), [("rfc822; a@b", "a@b"), ("rfc822;a;b ", "a;b"), (" a@b ", "a@b"), ("x;", "x;"), ("", "")]
)
def test_a_type_before_a_value_is_left_out(value: str, bare: str) -> None:
    assert reports._after_type(value) == bare


OURS = copy("message/rfc822", "Message-ID: <m@x>\r\n\r\n")


def fact(**fields: Any) -> DeliveryStatus:
    known: dict[str, Any] = {"channel": "email", "account": "acc", "channel_message_id": "<m@x>", "at": s.NOW}
    return DeliveryStatus(**{**known, **fields})


@pytest.mark.parametrize(
    ("group", "found"),
    [
        ("Final-Recipient: rfc822; a@b.pl\r\nAction: FAILED now\r\nStatus: 5.1.1\r\nDiagnostic-Code: smtp; 550 no",
         {"state": Delivery.BOUNCED, "permanent": True, "reason": "5.1.1 550 no", "recipient": "a@b.pl"}),
        ("Final-Recipient: rfc822; a@b.pl\r\nAction: delayed\r\nDiagnostic-Code: 450 later",
         {"state": Delivery.BOUNCED, "permanent": False, "reason": "450 later", "recipient": "a@b.pl"}),
        ("Original-Recipient: rfc822; a@b.pl\r\nAction: delivered",
         {"state": Delivery.DELIVERED, "permanent": False, "reason": None, "recipient": "a@b.pl"}),
        ("Final-Recipient: rfc822; a@b.pl\r\nOriginal-Recipient: x@y\r\nAction: relayed\r\nStatus: 2.0.0",
         {"state": Delivery.SENT, "permanent": False, "reason": "2.0.0", "recipient": "a@b.pl"}),
        ("Action: expanded", {"state": Delivery.SENT, "permanent": False, "reason": None, "recipient": None}),
        ("Final-Recipient: rfc822; a@b.pl\r\nAction: lost", None),
        ("Final-Recipient: rfc822; a@b.pl\r\nAction:", None),
        ("Final-Recipient: rfc822; a@b.pl", None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["message/delivery-status", "message/global-delivery-status"])
def test_each_group_of_a_delivery_report_is_a_fact(group: str, found: dict[str, object] | None, kind: str) -> None:
    root = node(PERSON, "\r\ntext", copy(kind, f"Reporting-MTA: dns; x\r\n\r\n{group}\r\n"), OURS)
    report = reports.read(root, None, "acc", s.NOW, "t-1")
    assert report.statuses == ([fact(**found)] if found else [])
    assert report.is_report is bool(found)


@pytest.mark.parametrize(
    ("group", "read"),
    [
        ("Original-Message-ID: <1@x> <2@x>\r\nDisposition: a/b; Displayed\r\nFinal-Recipient: rfc822; a@b.pl", True),
        ("Original-Message-ID: <1@x>\r\nDisposition: a/b; deleted", False),
        ("Original-Message-ID: none\r\nDisposition: a/b; displayed", False),
        ("Original-Message-ID: <1@x>", False),
    ],
)
def test_a_receipt_is_a_fact_where_the_mail_was_displayed(group: str, *, read: bool) -> None:
    root = node(PERSON, "\r\ntext", copy("message/disposition-notification", group))
    wanted = fact(channel_message_id="<1@x>", state=Delivery.READ, recipient="a@b.pl")
    assert reports.read(root, None, "acc", s.NOW) == reports.Report([wanted] if read else [], is_report=read)


def test_a_report_that_names_no_mail_is_about_the_ticket_that_it_was_sent_to_or_nothing() -> None:
    group = copy("message/delivery-status", "X: y\r\n\r\nFinal-Recipient: rfc822; a@b.pl\r\nAction: failed")
    wanted = fact(channel_message_id="", ticket="t-1", state=Delivery.BOUNCED, permanent=True, recipient="a@b.pl")
    assert reports.read(node(PERSON, group), None, "acc", s.NOW, "t-1") == reports.Report([wanted], is_report=True)
    assert reports.read(node(PERSON, group), None, "acc", s.NOW).statuses == []


def words(head: str, text: str) -> mime.Node:
    return mime.read(f"{head}X-Failed-Recipients: b@x.pl, a@x.pl\r\n\r\n{text}\r\n".encode())


def test_a_report_in_a_systems_own_words_has_a_fact_for_each_address() -> None:
    text = "550 no such user\r\nMessage-ID: <m@x>"
    report = reports.read(words("From: mailer-daemon@mx\r\n", text), None, "acc", s.NOW, "t-1")
    common = {"state": Delivery.BOUNCED, "permanent": True, "reason": "550 no such user"}
    assert report == reports.Report([fact(**common, recipient=f"{name}@x.pl") for name in "ab"], is_report=True)


def test_a_report_in_its_own_words_that_names_no_mail_is_still_a_report() -> None:
    root = words("From: mailer-daemon@mx\r\n", "550 no such user")
    assert reports.read(root, None, "acc", s.NOW) == reports.Report([], is_report=True)
    found = reports.read(root, None, "acc", s.NOW, "t-1").statuses
    common = {"state": Delivery.BOUNCED, "permanent": True, "reason": "550 no such user", "ticket": "t-1"}
    assert found == [fact(channel_message_id="", **common, recipient=f"{name}@x.pl") for name in "ab"]


def test_a_mail_that_nothing_suspects_is_no_report() -> None:
    root = mime.read(f"{PERSON}\r\n550 no such user\r\n<a@x.pl>".encode())
    assert reports.read(root, None, "acc", s.NOW, "t-1") == reports.Report([], is_report=False)
