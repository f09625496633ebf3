"""Mail: what is read out of real ones, in the scripts and with the faults that customers' mailers have."""

from email.message import EmailMessage

import pytest

from services.ingest.accounts import Account
from services.ingest.channels import address_token
from services.ingest.channels import email as mail
from services.ingest.core.messages import (
    Delivery,
    DeliveryStatus,
    Inbound,
    InboundMessage,
    Mail,
    Unreadable,
)
from tests.ingest.channels import samples as s

HEAD = (
    "From: Anna Kowalska <anna@example.pl>\r\nTo: support@nimbus.example\r\nSubject: Paczka\r\n"
    "Message-ID: <a1@example.pl>\r\nDate: Sat, 21 Nov 2026 10:29:30 +0100\r\n"
)
TICKET = "0190163d-8694-739b-aea5-966c26f8ad91"
KEY = "mail key of nimbus"


def parse(raw: bytes, own: Account = s.NIMBUS, **query: str) -> list[Inbound]:
    return mail.parse(s.record(own, raw, **query), own, s.ACCOUNTS, s.SECRETS)


def one(raw: bytes, own: Account = s.NIMBUS, **query: str) -> InboundMessage:
    (found,) = parse(raw, own, **query)
    assert isinstance(found, InboundMessage)
    return found


def facts_of(raw: bytes) -> Mail:
    found = one(raw).mail
    assert found is not None
    return found


def plain(text: str, head: str = HEAD, more: str = "") -> bytes:
    return f"{head}{more}Content-Type: text/plain; charset=utf-8\r\n\r\n{text}".encode()


def test_a_mail_says_who_what_and_when() -> None:
    message = one(plain("Gdzie jest moja paczka?\r\n"))
    assert (message.text, message.subject, message.message_id) == (
        "Gdzie jest moja paczka?",
        "Paczka",
        "<a1@example.pl>",
    )
    assert (message.sender.name, message.sender.address) == ("Anna Kowalska", "anna@example.pl")
    assert message.sender.key == "email::anna@example.pl"
    assert message.sent_at.isoformat() == "2026-11-21T09:29:30+00:00"
    assert message.automated_because is None


@pytest.mark.parametrize(
    ("declared", "actual", "text"),
    [
        ("utf-8", "utf-8", "สินค้าชำรุด"),
        ("tis-620", "cp874", "สินค้าชำรุด"),
        ("windows-874", "cp874", "สินค้าชำรุด"),
        ("iso-8859-2", "iso-8859-2", "Zażółć gęślą jaźń"),
        ("windows-1250", "cp1250", "Zażółć gęślą jaźń"),
        ("euc-kr", "cp949", "배송 문의 뷁"),
        ("ks_c_5601-1987", "cp949", "배송 문의 뷁"),
        ("iso-2022-kr", "iso-2022-kr", "배송 문의"),
        ("iso-8859-1", "cp1252", "It’s “broken” – £20"),
        ("iso-8859-1", "utf-8", "Zażółć – misdeclared"),
        ("us-ascii", "utf-8", "สินค้า"),
        ("x-unknown", "utf-8", "สินค้า"),
        ("unicode_escape", "utf-8", r"literal \u0041"),
        ("punycode", "utf-8", "just-text-"),
    ],
)
def test_a_text_is_read_whatever_its_charset_is_called(declared: str, actual: str, text: str) -> None:
    head = f"{HEAD}Content-Type: text/plain; charset={declared}\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    assert one(head.encode() + text.encode(actual)).text == text


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"=?utf-8?B?7ZmY67aIIOyalOyyrQ==?=", "환불 요청"),
        ("환불 요청".encode(), "환불 요청"),
        (b"=?utf-8?B?7ZmY67aI?=\r\n =?utf-8?B?IOyalOyyrQ==?=", "환불 요청"),
        (b"=?euc-kr?B?yK+60g==?= order 7", "환불 order 7"),
        (b"=?x-odd?Q?abc?=", "abc"),
        (b"=?utf-8?B?!!!?=", "=?utf-8?B?!!!?="),
        (b"Zwrot" + b"\xb3", "Zwrot³"),
        (b"Zwrot\r\n paczki\r\n\tnr =?utf-8?Q?=C5=BC?=\r\n 7", "Zwrot paczki nr ż 7"),
    ],
)
def test_a_subject_is_read_encoded_raw_or_broken(raw: bytes, text: str) -> None:
    assert one(b"From: a@b.pl\r\nSubject: " + raw + b"\r\n\r\nx").subject == text


def test_html_alone_is_read_as_text() -> None:
    html = (
        "<html><head><style>p{}</style></head><body><p>สวัสดีค่ะ</p><p>ของ<b>แตก</b>&nbsp;ค่ะ<br>ขอคืนเงิน</p></body></html>"
    )
    message = one(f"{HEAD}Content-Type: text/html; charset=utf-8\r\n\r\n{html}".encode())
    assert (message.text, message.html) == ("สวัสดีค่ะ\n\nของแตก ค่ะ\nขอคืนเงิน", True)


def build(**headers: str) -> EmailMessage:
    message = EmailMessage()
    defaults = {
        "From": "kim@example.kr",
        "To": "help@korale.example",
        "Subject": "사진",
        "Message-ID": "<k1@example.kr>",
    }
    for name, value in {**defaults, **headers}.items():
        message[name] = value
    return message


def test_attachments_and_inline_images_are_kept_apart_from_the_text() -> None:
    message = build()
    message.set_content("사진을 보세요")
    message.add_alternative('<p>사진을 보세요 <img src="cid:p1"></p>', subtype="html")
    html = message.get_payload()[1]  # type: ignore[index]
    html.add_related(b"\x89PNG1", "image", "png", cid="<p1>")  # type: ignore[union-attr]
    message.add_attachment(b"%PDF-1.7", maintype="application", subtype="pdf", filename="영수증 2026.pdf")
    read = one(message.as_bytes(), s.KORALE)
    assert (read.text, read.html) == ("사진을 보세요", False)
    assert [(p.name, p.media_type, p.content, p.inline) for p in read.parts] == [
        ("part-3.png", "image/png", b"\x89PNG1", True),
        ("영수증 2026.pdf", "application/pdf", b"%PDF-1.7", False),
    ]


def test_a_forwarded_mail_is_one_attachment() -> None:
    inner = build(Subject="inner")
    inner.set_content("inner text")
    outer = build()
    outer.set_content("see below")
    outer.add_attachment(inner)
    read = one(outer.as_bytes(), s.KORALE)
    assert read.text == "see below"
    assert [part.media_type for part in read.parts] == ["message/rfc822"]


def test_a_file_name_has_no_folder() -> None:
    message = build()
    message.set_content("x")
    message.add_attachment(b"1", maintype="text", subtype="plain", filename="../../etc/passwd")
    (part,) = one(message.as_bytes(), s.KORALE).parts
    assert (part.name, part.content) == ("passwd", b"1")


@pytest.mark.parametrize(
    "quoted",
    [
        "On Fri, 20 Nov 2026 at 10:12, Nimbus <support@nimbus.example> wrote:\n> Hello\n> there",
        "On Fri, 20 Nov 2026 at 10:12, Nimbus Support\n<support@nimbus.example> wrote:\n\n> Hello",
        "pt., 20 lis 2026 o 10:12 Nimbus <support@nimbus.example> napisał(a):\n> Witaj",
        "W dniu 20.11.2026 o 10:12, Nimbus pisze:\n> Witaj",
        "2026년 11월 20일 (금) 오전 10:12, Nimbus <support@nimbus.example>님이 작성:\n> 안녕하세요",
        "เมื่อ ศ. 20 พ.ย. 2026 เวลา 10:12 Nimbus <support@nimbus.example> เขียนว่า:\n> สวัสดี",
        "Am 20.11.2026 um 10:12 schrieb Nimbus:\n> Hallo",
        "-----Original Message-----\nFrom: Nimbus\nSent: Friday\nHello",
        "________________________________\nFrom: Nimbus <support@nimbus.example>\nSent: Friday\nTo: me\n\nHello",
        "Od: Nimbus\nWysłano: piątek\nDo: mnie\n\nWitaj",
        "보낸 사람: Nimbus\n보낸 날짜: 금요일\n\n안녕하세요",
        "> Hello\n> there\n",
        "-- \nAnna\nTel. 123",
        "Sent from my iPhone",
        "나의 iPhone에서 보냄",
        "ส่งจาก iPhone ของฉัน",
    ],
)
def test_quoted_text_and_signature_are_cut_and_kept_whole_beside(quoted: str) -> None:
    message = one(plain(f"Thank you, it works.\n\n{quoted}"))
    assert message.text.rstrip("_").strip() == "Thank you, it works."
    assert message.text_full is not None
    assert quoted.strip().splitlines()[-1] in message.text_full


@pytest.mark.parametrize(
    "text",
    [
        "On Friday Anna wrote:\n> Which colour?\nRed.\n> Which size?\nXL.",
        "I wrote: please help\nand nobody came",
        "From: what I see\nthe box is empty",
        "> only a quote",
        "It costs -- more or less -- 20",
    ],
)
def test_an_answer_between_quotes_is_never_cut(text: str) -> None:
    message = one(plain(text))
    assert (message.text, message.text_full) == (text, None)


# --- Threading. ---


def test_references_are_looked_up_nearest_first() -> None:
    more = "In-Reply-To: <c@x>\r\nReferences: <a@x> <b@x>\r\n <c@x>\r\n"
    found = facts_of(plain("x", more=more))
    assert found.references == ("<a@x>", "<b@x>", "<c@x>")
    assert found.ancestors == ("<c@x>", "<b@x>", "<a@x>")


def test_the_partition_key_is_the_oldest_id_of_the_thread() -> None:
    assert mail.contact_key(plain("x")) == "<a1@example.pl>"
    assert mail.contact_key(plain("x", more="In-Reply-To: <b@x>\r\n")) == "<b@x>"
    assert mail.contact_key(plain("x", more="In-Reply-To: <b@x>\r\nReferences: <a@x>\r\n <b@x>\r\n")) == "<a@x>"


@pytest.mark.parametrize("header", ["Delivered-To", "X-Original-To", "To", "Cc"])
def test_a_signed_address_names_its_ticket(header: str) -> None:
    token = address_token.mint("support@nimbus.example", TICKET, KEY)
    assert facts_of(plain("x", more=f"{header}: {token.title()}\r\n")).ticket_by_address == TICKET


def test_a_signed_address_of_the_envelope_names_its_ticket() -> None:
    token = address_token.mint("support@nimbus.example", TICKET, KEY)
    found = one(plain("x"), mail_from="anna@example.pl", rcpt_to=token).mail
    assert found is not None
    assert (found.ticket_by_address, found.return_path) == (TICKET, "anna@example.pl")


@pytest.mark.parametrize("ticket", [TICKET, "t-1", "abcdefghijklmnopqrstuvwxyz"])
def test_a_token_is_short_enough_and_only_good_with_its_key(ticket: str) -> None:
    token = address_token.mint("shop-uk-support@nimbus.example", ticket, KEY)
    local = token.partition("@")[0]
    assert len(local) <= 64
    assert address_token.ticket_in([token], ["other", KEY]) == ticket
    assert address_token.ticket_in([token], ["other"]) is None
    flipped = local[:-1] + ("a" if local[-1] != "a" else "b")
    assert address_token.ticket_in([f"{flipped}@nimbus.example"], [KEY]) is None


def test_a_ticket_in_the_subject_is_a_hint_of_its_own() -> None:
    head = HEAD.replace("Paczka", f"Re: [#{TICKET}] Paczka")
    found = facts_of(plain("x", head=head))
    assert (found.ticket_by_subject, found.ticket_by_address) == (TICKET, None)


def test_a_mail_without_an_id_gets_the_same_one_every_time() -> None:
    head = HEAD.replace("Message-ID: <a1@example.pl>\r\n", "")
    first = one(plain("x\n", head=head))
    again = one(plain("x\r\n", head="Received: from elsewhere\r\n" + head))
    assert first.message_id == again.message_id != one(plain("y", head=head)).message_id
    assert first.mail is not None
    assert first.mail.generated_id


def test_an_alias_says_the_market_and_tags() -> None:
    message = one(plain("x"), rcpt_to="support+amazon@nimbus.example", mail_from="anna@example.pl")
    assert message.market is not None
    assert (message.market.marketplace, message.market.country) == ("amazon", "DE")
    assert one(plain("x"), rcpt_to="returns@nimbus.example", mail_from="a@b.pl").tags == ("returns",)


# --- Machines. ---


@pytest.mark.parametrize(
    "more",
    [
        "Auto-Submitted: auto-replied\r\n",
        "Auto-Submitted: auto-generated; owner=x\r\n",
        "Return-Path: <>\r\n",
        "Precedence: bulk\r\n",
        "Precedence: JUNK\r\n",
    ],
)
def test_mail_of_machines_is_told_by_its_headers(more: str) -> None:
    assert one(plain("x", more=more)).automated


@pytest.mark.parametrize(
    "more",
    [
        "Auto-Submitted: no\r\n",
        "X-Auto-Response-Suppress: All\r\n",
        "Precedence: first-class\r\n",
        "Return-Path: <anna@[IPv6:2001:db8::1]>\r\n",
    ],
)
def test_these_headers_do_not_make_a_person_a_machine(more: str) -> None:
    assert not one(plain("x", more=more)).automated


def test_a_wish_for_no_automatic_reply_is_noted() -> None:
    assert facts_of(plain("x", more="X-Auto-Response-Suppress: OOF\r\n")).no_auto_reply


def test_the_null_sender_and_our_own_address_are_machines() -> None:
    assert one(plain("x"), mail_from="", rcpt_to="support@nimbus.example").automated
    assert one(plain("x", head=HEAD.replace("anna@example.pl", "help@korale.example"))).automated


def report(action: str, status: str, copy: str = "message/rfc822") -> bytes:
    return (
        "From: MAILER-DAEMON@mx.example.pl\r\nTo: support@nimbus.example\r\nMessage-ID: <dsn@mx>\r\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
        "--b\r\n\r\nYour message could not be delivered.\r\n"
        "--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.pl\r\n\r\n"
        f"Final-Recipient: rfc822; anna@example.pl\r\nAction: {action}\r\nStatus: {status}\r\n"
        "Diagnostic-Code: smtp; 550 no such user\r\n\r\n"
        f"--b\r\nContent-Type: {copy}\r\n\r\nMessage-ID: <m-1@nimbus.example>\r\n\r\nHello\r\n--b--\r\n"
    ).encode()


@pytest.mark.parametrize(
    ("action", "status", "state", "permanent"),
    [
        ("failed", "5.1.1", Delivery.BOUNCED, True),
        ("Failed", "4.4.7", Delivery.BOUNCED, True),
        ("delayed", "4.2.2", Delivery.BOUNCED, False),
        ("delivered", "2.0.0", Delivery.DELIVERED, False),
    ],
)
@pytest.mark.parametrize("copy", ["message/rfc822", "text/rfc822-headers"])
def test_a_delivery_report_is_a_fact_about_our_mail(
    action: str, status: str, state: Delivery, permanent: bool, copy: str
) -> None:
    fact, message = parse(report(action, status, copy))
    assert isinstance(fact, DeliveryStatus)
    assert isinstance(message, InboundMessage)
    assert (fact.channel_message_id, fact.state, fact.permanent) == ("<m-1@nimbus.example>", state, permanent)
    assert (fact.recipient, fact.reason) == ("anna@example.pl", f"{status} 550 no such user")
    assert message.automated
    assert message.text == "Your message could not be delivered."


def test_a_read_receipt_is_a_fact_too() -> None:
    raw = (
        "From: anna@example.pl\r\n"
        "Content-Type: multipart/report; report-type=disposition-notification; boundary=b\r\n\r\n"
        "--b\r\n\r\nread\r\n--b\r\nContent-Type: message/disposition-notification\r\n\r\n"
        "Final-Recipient: rfc822;anna@example.pl\r\nOriginal-Message-ID: <m-1@nimbus.example>\r\n"
        "Disposition: manual-action/MDN-sent-manually; displayed\r\n\r\n--b--\r\n"
    )
    fact = parse(raw.encode())[0]
    assert isinstance(fact, DeliveryStatus)
    assert (fact.state, fact.channel_message_id) == (Delivery.READ, "<m-1@nimbus.example>")


@pytest.mark.parametrize("raw", [b"", b"  \r\n", b"Subject: nobody\r\n\r\nx"])
def test_a_mail_of_nobody_is_unreadable(raw: bytes) -> None:
    with pytest.raises(Unreadable):
        parse(raw)


# --- The way out. ---
