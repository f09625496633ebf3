"""Bytes to text at the edges: ISO-2022-JP piece by piece, and what counts as plausible where nothing is declared."""

import pytest

from services.ingest.channels import charsets
from services.ingest.channels import email as mail
from services.ingest.core.messages import InboundMessage, Unreadable
from tests.ingest.channels import samples as s


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"ab \x1b$B-!\x1b(B cd", "ab ① cd"),
        (b"\x1b$@-!\x1b(J cd", "① cd"),
        (b"\x1b$B-!HV", "①番"),
        (b"\x1b$B-!\nHV", "①\n番"),
        (b"\x1b$B-!H", "①?"),
        (b"\x1b(I!_\x1b(B ok", "｡ﾟ ok"),
        (b"\x1b(I ` \x1b(B", " ` "),
        (b"\x1b$(D\x22\x2f\x1b(B!", "˘!"),
    ],
)
def test_iso_2022_jp_is_read_piece_by_piece(raw: bytes, text: str) -> None:
    assert "".join(charsets._decode_iso2022_jp(raw)) == text


@pytest.mark.parametrize(
    ("text", "codec", "plausible"),
    [
        ("สวัสดี", "cp874", True),
        ("ีสวัสดี", "cp874", False),
        ("환불 요청 77", "cp949", True),
        ("땐데 1182 청唐", "cp949", False),
        ("컃닥격홁", "cp949", False),
        ("退款", "gb18030", True),
        ("豖遴", "big5", False),
        ("ﾊﾔｹ", "cp932", False),
        ("Reklamacja zamówienia", "cp1250", True),
        ("Âîçâðàò", "cp1252", False),
        ("зДЕ НПК", "cp1251", False),
        ("Где мой заказ", "cp1251", True),
    ],
)
def test_what_people_write_is_plausible(text: str, codec: str, *, plausible: bool) -> None:
    assert charsets._plausible(text, codec) == plausible


def only(raw: bytes, **query: str) -> InboundMessage:
    (found,) = mail.parse(s.record(s.NIMBUS, raw, **query), s.NIMBUS, s.ACCOUNTS, s.SECRETS)
    assert isinstance(found, InboundMessage)
    return found


def test_each_header_and_the_text_have_a_part_in_a_made_up_id() -> None:
    raw = b"From: a@b.pl\r\nTo: c@d.pl\r\nDate: Sat, 21 Nov 2026 10:00:00 +0000\r\nSubject: x\r\n\r\ntext\r\nmore"
    changed = [raw.replace(old, new) for old, new in (
        (b"a@b", b"b@b"), (b"c@d", b"d@d"), (b"10:00", b"11:00"), (b": x", b": y"), (b"more", b"less"),
        (b"\r\n\r", b"\r\n\r\n\r"),
    )]  # fmt: skip
    ids = {only(each).message_id for each in (raw, *changed[:5])}
    assert len(ids) == 6
    assert only(raw.replace(b"\r\n", b"\n")).message_id == only(changed[5]).message_id == only(raw).message_id
    assert all(len(each) == len(f"<{'0' * 40}@made-up.invalid>") for each in ids)


def test_a_name_without_an_address_is_kept() -> None:
    raw = b"From: \xb0\xa1\xb3\xaa\r\nContent-Type: text/plain; charset=euc-kr\r\n\r\nx"
    message = only(raw, mail_from="kim@example.kr", rcpt_to="support@nimbus.example")
    assert (message.sender.name, message.sender.address) == ("가나", "kim@example.kr")


def test_nobody_is_a_mail_system_only_where_something_says_so() -> None:
    report = only(b"Content-Type: multipart/report; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--")
    assert report.sender.address == only(b"X: y\r\n\r\nx", mail_from="", rcpt_to="x@y").sender.address
    with pytest.raises(Unreadable):
        only(b"Subject: x\r\n\r\nx")


def test_a_mail_that_names_no_thread_has_a_key_of_its_own() -> None:
    keys = {mail.contact_key(each) for each in (b"Subject: a\r\n\r\nx", b"Subject: b\r\n\r\nx")}
    assert len(keys) == 2
    assert all(len(key) == 32 for key in keys)
