"""Mail, as the SMTP door writes it."""

from datetime import datetime

from services.ingest.channels.channel import Request
from tests.ingest.channels.cases import Case


def _sign(body: bytes, _: datetime) -> Request:
    return Request(body)


def _mail(identifier: str, text: str, *more: str) -> bytes:
    head = (
        "From: Jan Kowalski <jan@example.org>",
        "To: support@nimbus.example",
        "Subject: Parcel",
        f"Message-ID: <{identifier}@example.org>",
        "Date: Sat, 21 Nov 2026 09:00:00 +0000",
        *more,
    )
    return "\r\n".join((*head, "", text, "")).encode()


_REPORT = """--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.org

Final-Recipient: rfc822; jan@example.org
Action: failed
Status: 5.1.1

--b
Content-Type: message/rfc822

Message-ID: <sent-by-us@nimbus.example>

--b--"""

CASE = Case(
    name="email",
    environ={"DESKBUS_SECRET_MAIL_NIMBUS": "mail key of nimbus"},
    sign=_sign,
    message=_mail("1", "Where is my parcel?"),
    message_id="<1@example.org>",
    text="Where is my parcel?",
    another=_mail("2", "Any news?", "In-Reply-To: <1@example.org>", "References: <1@example.org>"),
    several={
        _mail("3", _REPORT, 'Content-Type: multipart/report; report-type="delivery-status"; boundary=b'): (
            "<3@example.org>",
        ),
        _mail("4", "<p>Hello</p>", "Content-Type: text/html; charset=utf-8"): ("<4@example.org>",),
        _mail("5", "I am away", "Auto-Submitted: auto-replied"): ("<5@example.org>",),
    },
    unreadable=(b"", b" \r\n"),
)
