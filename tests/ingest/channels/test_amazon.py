"""Amazon's buyer messages: what the alias and the subject say, and to whom replies may go."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from typing import Any

import pytest

from contracts.inbound import HttpRequest, InboundRecord
from contracts.ticket import Market
from services.ingest.channels import amazon
from services.ingest.core.messages import (
    Delivery,
    DeliveryStatus,
    File,
    InboundMessage,
    MailOut,
    OutgoingReply,
    Unsendable,
)
from tests.ingest.channels.cases.amazon import ALIAS, CASE, ORDER, mail

NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
BUYER = "4x7gq1b2c3d4e5f@marketplace.amazon.de"


def read(body: bytes, dkim: str = "amazon.de", **query: str) -> list[Any]:
    record = InboundRecord(
        receipt="r", channel=amazon.NAME, account="amazon-eu", key="k", received_at=NOW, size=len(body), verified=False,
        content_type="message/rfc822", http=HttpRequest(method="SMTP", query={"dkim": dkim, **query}), body=body,
    )  # fmt: skip
    return amazon.parse(record, CASE.account, CASE.accounts, CASE.secrets)


def one(body: bytes, dkim: str = "amazon.de") -> InboundMessage:
    (found,) = read(body, dkim)
    assert isinstance(found, InboundMessage)
    return found


def reply(**changes: Any) -> OutgoingReply:
    plain = OutgoingReply(message_id="m1", ticket_id="T1", to=ALIAS, text="Morgen.", at=NOW, tried_at=NOW)
    return replace(plain, subject=f"Anfrage (Bestellung: {ORDER})", in_reply_to=CASE.message_id, **changes)


def test_a_mail_names_buyer_order_market_and_by_when_amazon_expects_an_answer() -> None:
    message = one(CASE.message)
    assert (message.channel, message.account, message.text) == ("marketplace", "amazon-eu", CASE.text)
    assert [(each.channel, each.id, each.verified) for each in message.sender.identities] == [
        ("marketplace", BUYER, True)
    ]
    assert (message.sender.address, message.sender.email, message.order_ref) == (ALIAS.lower(), None, ORDER)
    assert message.market == Market(marketplace="amazon", country="DE")
    assert message.reply_by == message.sent_at + timedelta(hours=24)
    assert (message.conversation, message.mail) == (f"{BUYER}:{ORDER}", None)


@pytest.mark.parametrize(
    ("site", "country"), [("com", "US"), ("co.uk", "GB"), ("co.jp", "JP"), ("com.au", "AU"), ("pl", "PL")]
)
def test_the_alias_says_the_country(site: str, country: str) -> None:
    found = one(mail(1, "x", author=f"abc@marketplace.amazon.{site}"))
    assert found.market == Market(marketplace="amazon", country=country)


def test_the_text_says_order_and_listing_if_the_subject_does_not() -> None:
    body = "[ASIN: B07Q2XH4NM Kettle]\n\nIs it for 230 V?\n\nOrder ID: 111-2222222-3333333"
    found = one(mail(1, body, subject="Product details inquiry from Amazon customer Ann"))
    assert (found.order_ref, found.listing) == ("111-2222222-3333333", "B07Q2XH4NM")
    assert one(mail(1, "call 1302-1234567-7654321", subject="x")).order_ref is None


def test_one_buyer_has_one_conversation_for_each_order() -> None:
    first, second = one(CASE.message), one(CASE.another)
    other = one(mail(3, "x", subject="Anfrage (Bestellung: 302-0000000-0000001)"))
    assert first.conversation == second.conversation != other.conversation
    assert first.sender.key == other.sender.key
    assert amazon.contact_key(CASE.message) == amazon.contact_key(CASE.another) == BUYER


@pytest.mark.parametrize(
    "text",
    [
        "Danke!\n\nNo response needed",
        "Thanks.\n[No response is needed.]",
        "This message was marked as: no response needed",
        "Danke!\nKeine Antwort erforderlich.",
        "Merci\nAucune réponse nécessaire",
        "返信不要",
    ],
)
def test_no_response_needed_starts_no_clock(text: str) -> None:
    message = one(mail(1, text))
    assert (message.automated_because, message.reply_by) == ("no response needed", None)


def test_a_sentence_about_responses_is_no_notice() -> None:
    message = one(mail(1, "They told me no response needed but I still wait"))
    assert message.automated_because is None


@pytest.mark.parametrize("author", ["no-reply@amazon.de", "seller-notification@notify.amazon.co.uk"])
def test_a_notice_of_amazon_is_automated(author: str) -> None:
    message = one(mail(1, "Your listing changed", author=author, subject="Notice"))
    assert (message.automated_because, message.market, message.reply_by) == ("a notice of Amazon", None, None)


@pytest.mark.parametrize("author", ["eve@marketplace.amazon.de.evil.example", "eve@notamazon.de"])
def test_a_stranger_is_no_buyer(author: str) -> None:
    message = one(mail(1, "hello", author=author, subject="x"))
    assert (message.market, message.reply_by, message.automated_because) == (None, None, None)


def test_a_mail_that_amazon_did_not_sign_does_not_join_the_buyers_conversation() -> None:
    forged, signed = one(CASE.message, dkim=""), one(CASE.message, dkim="marketplace.amazon.de")
    assert signed.conversation == f"{BUYER}:{ORDER}"
    assert forged.conversation == f"unproven:{BUYER}:{ORDER}"
    assert [message.sender.identities[0].verified for message in (forged, signed)] == [False, True]


def test_a_reply_goes_from_the_authorised_address_to_the_alias_as_it_is() -> None:
    sent = amazon.render(reply(), CASE.account, CASE.secrets)
    assert isinstance(sent, MailOut)
    headers = message_from_bytes(sent.data)
    assert (sent.sender, sent.recipients) == ("amazon@nimbus.example", (ALIAS,))
    assert (headers["From"], headers["To"]) == ('"Nimbus" <amazon@nimbus.example>', ALIAS)
    assert (headers["Reply-To"], headers["In-Reply-To"]) == ("amazon@nimbus.example", CASE.message_id)
    assert headers["Subject"] == f"Re: Anfrage (Bestellung: {ORDER})"


@pytest.mark.parametrize("to", ["eve@evil.example", "eve@marketplace.amazon.de.evil.example", "no-reply@amazon.de"])
def test_a_reply_goes_nowhere_else(to: str) -> None:
    with pytest.raises(Unsendable, match="alias"):
        amazon.render(reply(to=to), CASE.account, CASE.secrets)


def test_files_have_ten_megabytes_together() -> None:
    half = File("a.pdf", "application/pdf", content=b"x" * 5_000_000)
    assert len(amazon.render(reply(files=(half, half)), CASE.account, CASE.secrets).data) > 10_000_000
    with pytest.raises(Unsendable, match="10 MB"):
        amazon.render(reply(files=(half, half, File("b", "text/plain", content=b"x"))), CASE.account, CASE.secrets)


def test_a_delivery_report_is_about_the_reply_and_opens_nothing() -> None:
    report = (
        b"From: MAILER-DAEMON@amazon.de\r\nTo: amazon@nimbus.example\r\nSubject: failure\r\nMIME-Version: 1.0\r\n"
        b'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
        b"--b\r\nContent-Type: text/plain\r\n\r\nrejected\r\n"
        b"--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; amazon.de\r\n\r\n"
        b"Final-Recipient: rfc822; " + ALIAS.encode() + b"\r\nAction: failed\r\nStatus: 5.7.1\r\n\r\n"
        b"--b\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: <m1@nimbus.example>\r\n\r\n--b--\r\n"
    )
    (status,) = read(report, mail_from="")
    assert isinstance(status, DeliveryStatus)
    assert (status.channel, status.channel_message_id, status.state) == (
        "marketplace", "<m1@nimbus.example>", Delivery.BOUNCED,
    )  # fmt: skip
