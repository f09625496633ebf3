"""Amazon's buyer messages, as they arrive by mail."""

from __future__ import annotations

from datetime import datetime

from services.ingest.channels.channel import Request
from tests.ingest.channels.cases import Case

ALIAS = "4x7gq1b2c3d4e5f+A2QPGLS3JD1PLK@marketplace.amazon.de"
ORDER = "302-1234567-7654321"
_MAIL = """\
Return-Path: <20260601-A2QPGLS3JD1PLK@bounces.amazon.com>
Date: Sat, 21 Nov 2026 09:29:00 +0000
From: {name} <{author}>
To: amazon@nimbus.example
Message-ID: <{id}@eu-west-1.amazonses.com>
Subject: {subject}
MIME-Version: 1.0
Content-Type: text/plain; charset=UTF-8
Content-Transfer-Encoding: 8bit

{text}
"""


def mail(
    number: int,
    text: str,
    *,
    author: str = ALIAS,
    subject: str = f"Anfrage von Amazon-Kunde Jonas (Bestellung: {ORDER})",
    name: str = "Jonas - Amazon Marketplace",
) -> bytes:
    """Return a mail of a buyer."""
    return (
        _MAIL.format(id=f"0102018f-{number}", text=text, author=author, subject=subject, name=name)
        .replace("\n", "\r\n")
        .encode()
    )


def sign(body: bytes, now: datetime) -> Request:
    """Return the body: mail arrives by SMTP."""
    return Request(body)


CASE = Case(
    name="amazon",
    environ={},
    sign=sign,
    message=mail(1, "Wo bleibt mein Paket?"),
    message_id="<0102018f-1@eu-west-1.amazonses.com>",
    text="Wo bleibt mein Paket?",
    another=mail(2, "Noch immer nicht da."),
    unreadable=(b"", b"\r\n\r\nhello"),
)
