"""Every parser of mail survives every input, in bounded time. test_every_parser.py has the other channels."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.channels import bounces, charsets, mime
from services.ingest.channels import email as mail
from services.ingest.channels import headers as heads
from services.ingest.channels.flowed import unflowed
from services.ingest.channels.html import html_to_text
from services.ingest.channels.quoting import newest
from services.ingest.channels.reading import clean, line
from services.ingest.core.messages import InboundMessage
from tests.ingest.channels import samples as s
from tests.ingest.channels import surviving
from tests.ingest.channels.cases import CASES

MAIL = CASES["email"]


headers = st.sampled_from(
    ["From", "To", "Subject", "Message-ID", "References", "In-Reply-To", "Date", "Return-Path", "Content-Type",
     "Content-Transfer-Encoding", "Content-Disposition", "Auto-Submitted", "Reply-To", "Delivered-To",
     "Content-Language"]
)  # fmt: skip
values = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [b"a@b.pl", b'"x" <a@b.pl>', b"multipart/mixed; boundary=b", b"multipart/report; boundary=b",
         b"text/html; charset=", b"text/plain; charset=\xff", b"base64", b"quoted-printable", b"x-uuencode",
         b"attachment; filename*=utf-8''%ff", b"message/delivery-status", b"=?utf-8?B?====?=", b"=?hex?Q?zz?=",
         b"<a@b> <c@d>", b"Mon, 99 Foo 99999 99:99:99 +9999",
         b"text/plain; charset*0=ut; charset*1=f-8", b"multipart/mixed; boundary*=x'y'z", b"multipart/mixed; boundary="]
    ),
)  # fmt: skip


@st.composite
def mails(draw: Callable[[Any], Any]) -> bytes:
    def block() -> bytes:
        return b"".join(f"{draw(headers)}: ".encode() + draw(values) + b"\r\n" for _ in range(draw(st.integers(0, 6))))

    parts = b"".join(
        b"--b\r\n" + block() + b"\r\n" + draw(st.binary(max_size=60)) + b"\r\n" for _ in range(draw(st.integers(0, 3)))
    )
    end: bytes = draw(st.sampled_from([b"--b--\r\n", b""]))
    return b"From: a@b.pl\r\n" + block() + b"\r\n" + parts + end


@given(mails())
@settings(max_examples=250)
def test_any_mail_is_read_or_unreadable(raw: bytes) -> None:
    surviving.parsed(MAIL, raw)
    mail.contact_key(raw)


def nested_multiparts(depth: int) -> bytes:
    opened = "".join(f"Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n" for n in range(depth))
    return f"From: a@b.pl\r\n{opened}\r\nx".encode()


def flat_parts(count: int) -> bytes:
    part = "--b\r\nContent-Type: text/plain\r\n\r\nx\r\n"
    return f"From: a@b.pl\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n{part * count}--b--".encode()


MB = 1_000_000
CORPUS: dict[str, bytes] = {
    "10,000 nested multiparts": nested_multiparts(10_000),
    "nested, then many lines": nested_multiparts(500) + b"\r\nx" * 300_000,
    "100,000 parts": flat_parts(100_000),
    "1 MB header": b"From: a@b.pl\r\nX-Big: " + b"x" * MB + b"\r\n\r\nhello",
    "1 MB subject of encoded words": b"From: a@b.pl\r\nSubject: " + b"=?utf-8?Q?a" * 90_000 + b"\r\n\r\nhello",
    "1 MB of addresses": b"From: a@b.pl\r\nTo: " + b"a@b," * 250_000 + b"\r\n\r\nhello",
    "1 MB of open brackets": b"From: " + b"<(" * 500_000 + b"\r\nReply-To: a@b.pl\r\n\r\nhello",
    "1 MB of references": b"From: a@b.pl\r\nReferences: " + b"<a@b> " * 160_000 + b"\r\n\r\nhello",
    "1 MB of unclosed references": b"From: a@b.pl\r\nReferences: " + b"<a" * 500_000 + b"\r\n\r\nhello",
    "1 MB of parameters": b"From: a@b.pl\r\nContent-Type: text/plain;" + b'";"' * 330_000 + b"\r\n\r\nhello",
    "100,000 headers": b"From: a@b.pl\r\n" + b"X: y\r\n" * 100_000 + b"\r\nhello",
    "NUL everywhere": b"From: a\0@b.pl\r\nSub\0ject: \0\r\nFrom: a@b.pl\r\n\r\n\0hello\0",
    "invalid UTF-8": b"From: \xff\xfe <a@b.pl>\r\nSubject: \xc3\x28\xff\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n\r\n\xff hello",
    "lone surrogates": b"From: a@b.pl\r\nSubject: =?utf-8?B?7aCA?=\r\n"
    b"Content-Type: text/plain; charset=utf-16\r\n\r\n\x00\xd8x",
    "broken base64": b"From: a@b.pl\r\nContent-Transfer-Encoding: base64\r\n\r\n" + b"a" * 99_999 + b"!",
    "boundary of spaces": b'From: a@b.pl\r\nContent-Type: multipart/mixed; boundary="  "\r\n\r\n--\r\nhello\r\n--'
    + b" " * MB,
    "1 MB of boundaries": b"From: a@b.pl\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b " * 250_000,
    "1 MB of quotes": b"From: a@b.pl\r\n\r\n" + b"> " * 500_000,
    "400,000 quoted lines": b"From: a@b.pl\r\n\r\n" + b"On x wrote:\r\n>\r\nx\r\n" * 20_000,
    "html of opened tags": b"From: a@b.pl\r\nContent-Type: text/html\r\n\r\n" + b"<blockquote>" * 90_000,
    "html of opened comments": b"From: a@b.pl\r\nContent-Type: text/html\r\n\r\n" + b"<!--" * 250_000,
    "html of half tags": b"From: a@b.pl\r\nContent-Type: text/html\r\n\r\n" + b"<a b='" * 160_000,
    "html of declarations": b"From: a@b.pl\r\nContent-Type: text/html\r\n\r\n" + b"<![" * 330_000,
    "html of angle brackets": b"From: a@b.pl\r\nContent-Type: text/html\r\n\r\n" + b"<" * MB,
    "20 nested multiparts of a megabyte": nested_multiparts(20) + b"\r\nx" * 300_000,
    "a bounce of one line": b"From: mailer-daemon@x\r\n\r\nYour message could not be delivered to\r\n" + b"a" * MB,
    "a bounce of every kind": b"From: mailer-daemon@x\r\n\r\nfailed addresses follow:\r\n" + b"<a@\r\n" * 160_000,
    "a report of many recipients": b"From: a@b.pl\r\nContent-Type: multipart/report; boundary=b\r\n\r\n--b\r\n"
    b"Content-Type: message/delivery-status\r\n\r\n"
    + b"Final-Recipient: rfc822; a@b\r\nAction: failed\r\n\r\n"
    * 15_000,
    "flowed lines": b"From: a@b.pl\r\nContent-Type: text/plain; format=flowed\r\n\r\n" + b"> \r\n>> \r\n" * 100_000,
    "raw names in no charset": b"From: a@b.pl\r\nTo: " + b"\xb0\xa1\xc8\xbe <a@b.pl>, " * 20_000 + b"\r\n\r\nhello",
    "rows that are no headers": b"From: a@b.pl\r\n" + b"no header\r\n\tfolded\r\n" * 40_000 + b"X-Y: z\r\n\r\nhello",
    "uuencode of nothing": b"From: a@b.pl\r\nContent-Transfer-Encoding: uuencode\r\n\r\nbegin 6 x\n"
    + b"\xff\n" * 300_000,
    "iso-2022-jp of escapes": b"From: a@b.pl\r\nContent-Type: text/plain; charset=iso-2022-jp\r\n\r\n\xff"
    + b"\x1b$B!" * 250_000,
    "charset punycode": b"From: a@b.pl\r\nContent-Type: text/plain; charset=punycode\r\n\r\n" + b"a-" * 500_000,
}


@pytest.mark.parametrize("raw", CORPUS.values(), ids=CORPUS.keys())
def test_hostile_mail_is_survived_in_bounded_time(raw: bytes) -> None:
    with surviving.bounded():
        found = surviving.parsed(MAIL, raw)
        mail.contact_key(raw)
    assert len(found) <= 1


def test_json_with_lone_surrogates_is_mended() -> None:
    body = s.whatsapp(s.wa_text("hi")).replace(b'"hi"', rb'"hi \ud83d and \ud83d\ude00 \u0000"')
    (message,) = surviving.parsed(CASES["whatsapp"], body)
    assert isinstance(message, InboundMessage)
    assert message.text == "hi  and 😀 "


@given(st.text())
def test_a_cleaned_text_can_be_encoded_and_is_clean(text: str) -> None:
    cleaned = clean(text)
    cleaned.encode()
    assert clean(cleaned) == cleaned
    one_line = line(text)
    assert one_line is None or not set("\r\n\0\u2028") & set(one_line)


@given(st.binary(), st.none() | st.text(max_size=20) | st.sampled_from(["gbk", "utf-8", "iso-2022-jp", "x-sjis", "hz"]))
def test_any_bytes_of_any_charset_are_text(raw: bytes, charset: str | None) -> None:
    clean(charsets.decode(raw, charset)).encode()
    clean(charsets.decode(raw, None, charset)).encode()


@given(st.text(st.sampled_from("abcdefghijklmnopqrstuvwxyzäöü한국ñ")), st.sampled_from(["utf-8", "cp949", "cp1252"]))
def test_a_text_in_its_own_charset_is_read_back(text: str, charset: str) -> None:
    raw = text.encode(charset, "ignore")
    if charset == "utf-8" or not raw.isascii():
        assert charsets.decode(raw, charset) in {raw.decode(charset), raw.decode("utf-8", "replace")}


@given(st.text() | st.from_regex(heads._ADDRESS, fullmatch=True))
def test_the_one_form_of_an_address_is_its_own(text: str) -> None:
    address = heads.address(text)
    if address is not None:
        assert heads.address(address) == address
        assert address == address.strip()
        assert "@" in address


@given(st.text(st.sampled_from("> \n-ab")), st.booleans())
def test_unflowing_keeps_every_word(text: str, delete: bool) -> None:
    kept = [word for word in unflowed(text, delete_space=delete) if word in "ab"]
    assert kept == [word for word in text if word in "ab"]


@given(st.text(st.sampled_from("<>@:.\n abDF=3")), st.sampled_from(["failure notice", "Undeliverable", ""]))
def test_any_report_is_read(text: str, subject: str) -> None:
    head = f"From: mailer-daemon@yahoo.com\r\nSubject: {subject}\r\nX-Mailer: <SMTP32 v1>\r\n\r\n"
    body = f"Hi. This is the\n\n{text}\nThe following addresses had\n{text}"
    later, never = bounces.failures(mime.read((head + body).encode()))
    assert all(heads.address(each) == each for each in (*later, *never))


@given(st.text())
def test_cutting_quotes_only_cuts(text: str) -> None:
    rest = newest(text)
    assert rest in text
    assert bool(rest) == bool(text.strip())


@given(st.text(st.sampled_from("<>/!-&;=\"' abpidv#x0")))
def test_any_html_becomes_text(html: str) -> None:
    html_to_text(html, 1000).encode()
