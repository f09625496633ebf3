"""Mail that is not written as it should be, and what is read of it all the same: no text and no person is lost."""

import base64
import tracemalloc
from datetime import UTC, datetime

import pytest

from contracts.contacts import Identity
from contracts.ticket import Market
from services.ingest.accounts import Account
from services.ingest.channels import charsets, mime
from services.ingest.channels import email as mail
from services.ingest.channels import headers as heads
from services.ingest.channels.flowed import unflowed
from services.ingest.core.messages import InboundMessage, Mail, Part, Sender
from tests.ingest.channels import samples as s

HEAD = "From: Anna Kowalska <anna@example.pl>\r\nTo: support@nimbus.example\r\nMessage-ID: <a1@example.pl>\r\n"


def one(raw: bytes, own: Account = s.NIMBUS, **query: str) -> InboundMessage:
    (found,) = mail.parse(s.record(own, raw, **query), own, s.ACCOUNTS, s.SECRETS)
    assert isinstance(found, InboundMessage)
    return found


# --- Who wrote. ---


@pytest.mark.parametrize(
    ("raw", "name", "address"),
    [
        ('"Big Bug bb"@bug.com', None, '"big bug bb"@bug.com'),
        ('Bug <"big bug"@bug.com>', "Bug", '"big bug"@bug.com'),
        ('"anna"@example.pl', None, "anna@example.pl"),
        ("Jürgen <j@Bücher.example>", "Jürgen", "j@xn--bcher-kva.example"),
        ("김 <kim@한국.kr>", "김", "kim@xn--3e0b707e.kr"),
        ("j@xn--bcher-kva.example", None, "j@xn--bcher-kva.example"),
    ],
)
def test_an_address_is_read_in_one_form(raw: str, name: str | None, address: str) -> None:
    message = one(f"From: {raw}\r\n\r\nx".encode())
    assert (message.sender.name, message.sender.address) == (name, address)


@pytest.mark.parametrize("text", ["anna", "a b@c.d", '"a@b.c', "a@", "@b", "a@b, c@d", '""@b.c'])
def test_what_is_no_address_is_none(text: str) -> None:
    assert heads.address(text) is None


@pytest.mark.parametrize("header", ["From: Anna Kowalska\r\n", "From: Anna Kowalska <>\r\n", ""])
def test_a_mail_without_an_address_is_of_whoever_the_envelope_names(header: str) -> None:
    message = one(f"{header}Subject: x\r\n\r\nhello".encode(), mail_from="<Anna@Example.pl>", rcpt_to="x@y")
    assert message.sender.address == "anna@example.pl"
    assert message.sender.name in {None, "Anna Kowalska", "Anna Kowalska <>"}
    assert message.text == "hello"


# --- Headers and bodies that are not kept apart. ---


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("Subject: Paczka\r\nGdzie jest moja paczka?\r\n\r\nDziękuję", "Gdzie jest moja paczka?\n\nDziękuję"),
        ("Subject: Paczka\r\nGdzie jest moja paczka?\r\n", "Gdzie jest moja paczka?"),
        ("Subject: Paczka\r\nGdzie jest\r\nNumer: 12\r\n\r\nx", "Gdzie jest\nNumer: 12\n\nx"),
        ("Subject: Paczka\r\na broken line\r\nX-Mailer: y\r\n\r\nhello", "hello"),
        ("Subject: Paczka\r\n\r\nhello", "hello"),
        ("\r\nhello", "hello"),
    ],
)
def test_a_missing_blank_line_loses_no_text(raw: str, text: str) -> None:
    message = one((HEAD + raw).encode())
    assert message.text == text
    assert message.sender.address == "anna@example.pl"


def test_a_part_without_a_blank_line_loses_no_text() -> None:
    head = f"{HEAD}Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    assert one(f"{head}--b\r\nContent-Type: text/plain\r\nhello\r\n--b\r\nthere\r\n--b--\r\n".encode()).text == (
        "hello\n\nthere"
    )


def test_headers_of_a_mailbox_are_passed_over() -> None:
    assert one(b"From anna@example.pl Sat Nov 21 10:00:00 2026\r\n" + HEAD.encode() + b"\r\nhello").text == "hello"


# --- Charsets. ---


@pytest.mark.parametrize(
    ("label", "actual", "text"),
    [
        ("latin-1", "cp1252", "It’s “broken”"),
        ("tis620", "cp874", "สินค้าชำรุด"),
        ("x-windows-874", "cp874", "สินค้าชำรุด"),
        ("x-windows-949", "cp949", "배송 문의 뷁"),
        ("euc_kr", "cp949", "배송 문의 뷁"),
        ("x-sjis", "cp932", "①番の商品"),
        ("windows-31j", "cp932", "①番の商品"),
        ("x-gbk", "gb18030", "请问我的订单"),
        ("gb2312", "gb18030", "镕基"),
        ("hz-gb-2312", "hz", "请问"),
        ("koi8-r", "koi8-r", "Где мой заказ"),
        ("utf-16", "utf-16", "Zażółć"),
        ("utf8mb4", "utf-8", "สินค้า"),
    ],
)
def test_a_label_means_what_senders_mean_by_it(label: str, actual: str, text: str) -> None:
    assert charsets.decode(text.encode(actual), label) == text


@pytest.mark.parametrize(
    "label", [None, "", "x-unknown", "8bit", "unicode_escape", "punycode", "rot13", "ą", "x" * 999]
)
def test_a_label_that_says_nothing_is_none(label: str | None) -> None:
    assert charsets.resolve(label) is None


@pytest.mark.parametrize(
    ("codec", "subject"),
    [
        ("gb18030", "请问我的订单什么时候发货"),
        ("gb18030", "订单 1182 没有收到"),
        ("gb18030", "退款"),
        ("cp874", "สินค้าชำรุด ขอคืนเงิน"),
        ("cp874", "คำสั่งซื้อ 77 ยังไม่ได้รับ"),
        ("cp949", "배송 문의 드립니다"),
        ("cp949", "환불 요청"),
        ("cp949", "주문 1182 언제 도착하나요?"),
        ("cp932", "返品したいです"),
        ("big5", "請問我的訂單"),
        ("cp1250", "Reklamacja zamówienia - uszkodzona paczka, proszę o zwrot pieniędzy"),
        ("cp1251", "Где мой заказ"),
    ],
)
def test_a_raw_subject_without_a_charset_is_guessed(codec: str, subject: str) -> None:
    assert one(HEAD.encode() + b"Subject: " + subject.encode(codec) + b"\r\n\r\nx").subject == subject


@pytest.mark.parametrize(("label", "text"), [("tis-620", "สวัสดี"), ("big5", "退款問題"), ("euc-kr", "문의")])
def test_a_raw_subject_is_in_the_charset_that_the_text_names(label: str, text: str) -> None:
    codec = charsets.resolve(label)
    assert codec is not None
    for kind in (f"text/plain; charset={label}", f"multipart/mixed; boundary=b\r\n\r\n--b\r\nX: {label}"):
        body = "x" if kind.startswith("text") else f"Content-Type: text/plain; charset={label}\r\n\r\nx\r\n--b--"
        raw = HEAD.encode() + b"Subject: " + text.encode(codec) + f"\r\nContent-Type: {kind}\r\n".encode()
        assert one(raw + (b"\r\n" if kind.startswith("text") else b"") + body.encode()).subject == text


@pytest.mark.parametrize(
    ("raw", "begins"),
    [
        (b"Ann\xc4\x85 Kowalsk\xc4", "Anną Kowalsk"),
        ("สมหญิง ใจดี".encode()[:-1], "สมหญิง ใจด"),
        (b"=?utf-8?Q?Ann=C4=85_Kowalsk=C4?=", "Anną Kowalsk"),
        (b"=?us-ascii?Q?Ann=C4=85_Kowalsk=C4?=", "Anną Kowalsk"),
        (b"=?utf-8?B?7ZmY67Y=?= =?utf-8?B?iA==?=", "환불"),
    ],
)
def test_one_truncated_byte_leaves_the_rest_of_a_name(raw: bytes, begins: str) -> None:
    name = one(b"From: " + raw + b" <a@b.pl>\r\n\r\nx").sender.name
    assert name is not None
    assert name.startswith(begins)
    assert len(name) <= len(begins) + 3


JIS = b"\x1b$B-!HV$N>&IJ\x1b(B ok \x1b(IF9F\x1b(B\r\n\x1b$B-75-\x1b(B"


def test_iso_2022_jp_has_the_characters_of_windows() -> None:
    with pytest.raises(UnicodeDecodeError):
        JIS.decode("iso2022_jp_ext")
    text = "①番の商品 ok ﾆｹﾆ\nⅢ記"
    raw = HEAD.encode() + b"Content-Type: text/plain; charset=ISO-2022-JP\r\n\r\n" + JIS
    assert one(raw).text == text
    word = base64.b64encode(b"\x1b$B-!HV\x1b(B").decode()
    assert one(f"{HEAD}Subject: =?ISO-2022-JP?B?{word}?=\r\n\r\nx".encode()).subject == "①番"


def test_every_character_of_jis_is_read_as_python_reads_it() -> None:
    different = set("\\～〜∥‖－−￠¢￡£￢¬―—＼")  # Windows names these otherwise
    for row in range(0x21, 0x75):
        for cell in range(0x21, 0x7F):
            raw = b"\x1b$B" + bytes((row, cell)) + b"\x1b(B"
            try:
                right = raw.decode("iso2022_jp")
            except UnicodeDecodeError:
                continue
            assert "".join(charsets._decode_iso2022_jp(raw)) == right or right in different


# --- Flowed text (RFC 3676). ---


@pytest.mark.parametrize(
    ("text", "delete", "joined"),
    [
        ("one \ntwo", False, "one two"),
        ("ご注文の商品が \n届きません。", True, "ご注文の商品が届きません。"),
        ("one\ntwo", False, "one\ntwo"),
        ("> one \n> two\nmine", False, "> one two\nmine"),
        ("> one \nmine", False, "> one \nmine"),
        (">> deep \n> less", False, ">> deep \n> less"),
        (" > no quote\n From me", False, "> no quote\nFrom me"),
        ("x \n-- \nAnna", False, "x \n-- \nAnna"),
        ("", False, ""),
    ],
)
def test_flowed_lines_are_joined_as_their_author_wrote_them(text: str, joined: str, *, delete: bool) -> None:
    assert unflowed(text, delete_space=delete) == joined


def test_a_flowed_mail_is_read_so() -> None:
    kind = 'Content-Type: text/plain; charset=utf-8; format="flowed"; delsp=yes\r\n'
    assert one(f"{HEAD}{kind}\r\n商品が \r\n届きません。\r\n".encode()).text == "商品が届きません。"
    assert one(f"{HEAD}Content-Type: text/plain\r\n\r\none \r\ntwo".encode()).text == "one \ntwo"


# --- Transfer encodings, as far as they go. ---


@pytest.mark.parametrize(
    ("encoding", "body", "content"),
    [
        ("base64", b"aGVsbG8=", b"hello"),
        ("base64", b"aGVs\r\nbG8", b"hello"),
        ("BASE64 ", b"aGVsbG8 !?", b"hello"),
        ("base64", b"aGVsb", b"hel"),
        ("base64", b"!!!", b""),
        ("quoted-printable", b"h=C4=85=\r\nllo=", b"h\xc4\x85llo"),
        ("x-uuencode", b"begin 644 x\n%:&5L;&\\ \n \nend\n", b"hello"),
        ("x-uuencode", b"no beginning", b"no beginning"),
        ("7bit", b"hello", b"hello"),
    ],
)
def test_a_transfer_encoding_is_undone_as_far_as_it_can_be(encoding: str, body: bytes, content: bytes) -> None:
    assert mime.read(f"Content-Transfer-Encoding: {encoding}\r\n\r\n".encode() + body).content() == content


# --- What a mail may cost. ---


def nested(levels: int, leaf: bytes) -> bytes:
    heads = "".join(f'Content-Type: multipart/mixed; boundary="b{n}"\r\n\r\n--b{n}\r\n' for n in range(levels))
    tails = "".join(f"\r\n--b{n}--" for n in reversed(range(levels)))
    return HEAD.encode() + heads.encode() + leaf + tails.encode()


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Type: application/pdf\r\n\r\n",
        b"Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n",
        b"Content-Type: text/plain; charset=utf-8\r\n\r\n",
        b"Content-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n",
        b"Content-Type: message/delivery-status\r\n\r\n",
        b"no headers and no blank line ",
    ],
)
def test_nesting_does_not_multiply_what_a_mail_takes(head: bytes) -> None:
    raw = nested(20, head + (b"x" * 76 + b"\r\n") * 130_000)
    record = s.record(s.NIMBUS, raw)
    tracemalloc.start()
    try:
        mail.parse(record, s.NIMBUS, s.ACCOUNTS, s.SECRETS)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2.5 * len(raw)


def test_headers_of_all_parts_together_are_bounded() -> None:
    part = b"--b\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"y" * 900) for n in range(30)) + b"\r\nx\r\n"
    raw = HEAD.encode() + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + part * 290 + b"--b--"
    tracemalloc.start()
    try:
        root = mime.read(raw)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(root.children) == 290
    assert peak < 4_000_000


# --- All of it at once. ---


def test_every_field_of_a_mail_is_read() -> None:
    raw = (
        "Return-Path: <bounce@example.pl>\r\nDelivered-To: support@nimbus.example\r\n"
        "From: Anna Kowalska <Anna@example.pl>\r\nReply-To: Office <office@example.pl>\r\n"
        "To: Nimbus <support+amazon@nimbus.example>, other@x.example\r\nCc: third@x.example\r\n"
        "Subject: Re: [#0190163D-8694] Paczka\r\nMessage-ID: <a1@example.pl>\r\nIn-Reply-To: <m-1@nimbus.example>\r\n"
        "References: <m-0@nimbus.example> <a1@example.pl> <m-1@nimbus.example>\r\n"
        "Date: Sat, 21 Nov 2026 10:29:30 +0100\r\nContent-Language: pl-PL, en\r\nX-Auto-Response-Suppress: All\r\n"
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n"
        "<p>Tak</p><blockquote>Czy?</blockquote>\r\n"
        "--b\r\nContent-Type: text/plain; name=a.txt\r\n\r\nfile\r\n"
        "--b\r\nContent-Type: image/png\r\nContent-ID: <1>\r\n\r\npng\r\n"
        "--b\r\nContent-Type: image/png\r\n\r\n\r\n--b--\r\n"
    )
    message = one(raw.encode(), rcpt_to="Support@nimbus.example", mail_from="<Anna@Example.pl>")
    assert message == InboundMessage(
        channel="email",
        account="support-nimbus",
        message_id="<a1@example.pl>",
        sender=Sender(
            (Identity(channel="email", id="anna@example.pl"),),
            name="Anna Kowalska",
            address="office@example.pl",
            email="anna@example.pl",
        ),
        sent_at=datetime(2026, 11, 21, 9, 29, 30, tzinfo=UTC),
        text="Tak",
        text_full="Tak\n\n> Czy?",
        html=True,
        subject="Re: [#0190163D-8694] Paczka",
        language="pl-PL",
        in_reply_to="<m-1@nimbus.example>",
        parts=(
            Part("a.txt", "text/plain", content=b"file", size=4),
            Part("part-3.png", "image/png", content=b"png", size=3, inline=True),
        ),
        mail=Mail(
            message_id="<a1@example.pl>",
            generated_id=False,
            in_reply_to=("<m-1@nimbus.example>",),
            references=("<m-0@nimbus.example>", "<m-1@nimbus.example>"),
            sender="anna@example.pl",
            reply_to="office@example.pl",
            return_path="anna@example.pl",
            recipients=(
                "support@nimbus.example", "support+amazon@nimbus.example", "other@x.example", "third@x.example",
            ),
            ticket_by_subject="0190163d-8694",
            no_auto_reply=True,
            dated=datetime(2026, 11, 21, 9, 29, 30, tzinfo=UTC),
        ),
        market=Market(marketplace="amazon", country="DE"),
    )  # fmt: skip
