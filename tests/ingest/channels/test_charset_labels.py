"""What a charset label means, and which reading of bytes comes before which where label and bytes disagree."""

from collections.abc import Iterator

import pytest

from services.ingest.channels import charsets
from services.ingest.channels.charsets import SAMPLE, decode, resolve


@pytest.fixture(autouse=True)
def nothing_remembered() -> Iterator[None]:
    """Labels are read anew in each test."""
    resolve.cache_clear()
    yield
    resolve.cache_clear()


@pytest.mark.parametrize(
    ("label", "codec"),
    [
        (" 'UTF-8' ", "utf-8"),
        ('"utf-8"', "utf-8"),
        ('"x-gbk"', "gb18030"),
        ("Latin1", "cp1252"),
        ("us-ascii", "cp1252"),
        ("ISO-8859-2", "iso8859-2"),
        ("iso_8859_2", "iso8859-2"),
        ("iso8859_11", "cp874"),
        ("shift_jis", "cp932"),
        ("big5", "big5hkscs"),
        ("euc_kr", "cp949"),
        ("x-euc-kr", "cp949"),
        ("x-windows-949", "cp949"),
        ("gbk", "gb18030"),
        ("GB2312", "gb18030"),
        ("x-gbk", "gb18030"),
        ("936", "gb18030"),
        ("ms936", "gb18030"),
        ("hz-gb-2312", "hz"),
        ("iso-2022-kr", "iso2022_kr"),
        ("x-iso-2022-kr", "iso2022_kr"),
        ("x-mac-cyrillic", "mac-cyrillic"),
        ("cp437", "cp437"),
        ("x-cp437", "cp437"),
        ("utf-16", "utf-16"),
        ("utf16", "utf-16"),
        ("utf-16le", "utf-16-le"),
        ("UTF-32", "utf-32"),
        ("utf-7", "utf-7"),
        ("utf8mb4", "utf-8"),
        ("cp50220", "iso2022_jp"),
        ("CP50221", "iso2022_jp"),
        ("iso-2022-jp-ms", "iso2022_jp"),
        ("ISO-2022-JP", "iso2022_jp"),
        ("ansi", "cp1252"),
        ("windows-936", "gb18030"),
        ("windows-950", "cp950"),
        ("windows-932", "cp932"),
    ],
)
def test_a_label_names_the_codec_that_senders_mean(label: str, codec: str) -> None:
    assert resolve(label) == codec


@pytest.mark.parametrize(
    "label",
    [
        None, " ", "unknown", "X-Unknown", "replacement", "x-user-defined", "undefined", "raw_unicode_escape",
        "raw-unicode-escape", "unicode-escape", "idna", "punycode", "base64", "hex", "x-rot13", "utf-8ą",
    ],
)  # fmt: skip
def test_a_label_that_names_no_charset_of_mail_is_none(label: str | None) -> None:
    assert resolve(label) is None


@pytest.mark.parametrize(
    ("raw", "label", "hint", "text"),
    [
        ("ą".encode(), "koi8-r", None, "ą"),
        ("ą".encode(), "iso-8859-2", None, "ą"),
        (b"\xb1", "iso-8859-2", None, "ą"),
        ("あ".encode("cp932"), "shift_jis", None, "あ"),
        ("é".encode(), "gbk", None, "é".encode().decode("gbk")),
        ("가나다라".encode(), "big5", None, "가나다라"),
        ("ąęąę".encode() + b"\xc4", "cp1252", None, "ąęąę\ufffd"),
        ("ąęąę".encode() + b"\xc4", "koi8-r", None, ("ąęąę".encode() + b"\xc4").decode("koi8-r")),
        (b"caf\xe9", "cp1252", None, "café"),
        (b"caf\xe9", "utf-8", None, "caf\ufffd"),
        ("退款問題".encode("big5") + b"\xff!", "big5", None, "退款問題\ufffd!"),
        ("ąęąę".encode() + b"\xc4 x", "big5", None, "ąęąę\ufffd x"),
        (b"abc", "utf-16", None, "abc"),
        (b"\x1b$B0!", "iso-2022-jp", None, "亜"),
        (b"\x1b$B!A\x1b(B", "iso-2022-jp", None, "\u301c"),
        (b"\xb1\xb6", None, None, "捷"),
        (b"\x1b$B0!\x1b(B", "iso-2022-jp", None, "亜"),
        (b"\x1b$B-!\x1b(B", "iso-2022-jp", None, "①"),
        (b"\x1b$B\xff\xff0!\x1b(B", "iso-2022-jp", None, "?亜"),
        (b"\x1b$B0\x80\x7f!0!\x1b(B", "iso-2022-jp", None, "??亜"),
        (b"\x1b$B0!\x1b(B", "utf-8", None, "\x1b$B0!\x1b(B"),
        ("ą".encode(), None, "koi8-r", "ą"),
        ("退款".encode("gb18030"), None, "gb18030", "退款"),
        ("退款".encode("gb18030"), "x-unknown", "gb2312", "退款"),
        ("문의".encode("cp949"), None, "euc-kr", "문의"),
        ("退款問題".encode("big5"), None, "big5", "退款問題"),
        (b"\xb1\xb6", None, "iso-8859-2", "ąś"),
        (b"caf\xe9", None, "utf-8", "café"),
        (b"caf\xe9", None, "euc-kr", "café"),
        ("환불 요청".encode("cp949"), None, "windows-1252", "환불 요청"),
        ("환불 요청".encode("cp949"), None, None, "환불 요청"),
        ("ąęąę".encode() + b"\xc4", None, "koi8-r", "ąęąę\ufffd"),
        (b"", None, None, ""),
        (b"", "big5", None, ""),
    ],
)
def test_what_is_certain_comes_before_the_label_and_the_label_before_a_guess(
    raw: bytes, label: str | None, hint: str | None, text: str
) -> None:
    assert decode(raw, label, hint) == text


def test_an_undeclared_text_is_guessed_by_its_beginning() -> None:
    assert decode(b"a" * SAMPLE + "환불 요청".encode("cp949"), None).startswith("a" * SAMPLE + "È")
    korean = "환불 요청 77 " + "a" * SAMPLE
    assert decode(korean.encode("cp949") + b"\xff" * 9, None) == korean + "\ufffd" * 9


@pytest.mark.parametrize(
    ("raw", "codec", "text"),
    [(b"a\xb1", "iso8859-2", "aą"), (b"a", "no such codec", None), (b"\xff", "utf-8", None), (b"+", "utf-7", "")],
)
def test_strictly_read_is_all_or_nothing(raw: bytes, codec: str, text: str | None) -> None:
    assert charsets._decode_strictly(raw, codec) == text


@pytest.mark.parametrize(
    ("raw", "damaged"),
    [
        (b"", False),
        (b"abc", False),
        (b"\xff", False),
        ("ą".encode(), False),
        ("ą".encode() + b"\xff", True),
        ("ą".encode() + b"\xff\xff", False),
        ("ą".encode() + b"\xff" + b"a" * (2 * SAMPLE - 3) + "ąęą".encode(), True),
        ("ąęąę".encode() + b"\xff\xff", True),
        ("ąęąę".encode() + b"\xff\xff\xff", False),
        ("한국".encode() + b"\xff", True),
        ("😀".encode() + b"\xff", True),
        ("ą".encode() + b"a" * (2 * SAMPLE - 3) + b"\xff", True),
        ("ą".encode() + b"a" * (2 * SAMPLE - 2) + b"\xff", False),
        (b"\xff" + b"a" * (2 * SAMPLE - 3) + "ą".encode(), True),
        (b"\xff" + b"a" * (2 * SAMPLE - 2) + "ą".encode(), False),
    ],
)
def test_utf_8_is_damaged_where_a_fourth_of_it_at_most_is_wrong(raw: bytes, *, damaged: bool) -> None:
    assert charsets._damaged_utf8(raw) is damaged


@pytest.mark.parametrize(
    ("text", "codec", "plausible"),
    [
        ("ﾀ", "cp932", False),
        ("1²", "gb18030", True),
        ("é", "cp1252", False),
        ("éa", "cp1252", True),
        ("ééa", "cp1252", False),
        ("aB", "cp1252", False),
        ("Ba", "cp1252", True),
        ("a B", "cp1252", True),
        ("Éд", "cp1250", True),
        ("", "cp1250", True),
        ("12", "cp1250", True),
        ("ab\x85", "cp1252", False),
        ("ab\ue000", "gb18030", False),
        ("가漢", "cp949", False),
        ("ab", "cp949", True),
        ("aB", "cp949", True),
        ("ก\u0e31", "cp874", True),
        ("\u0e31", "cp874", False),
        ("ก\u0e34\u0e35", "cp874", False),
        ("亜１ア", "cp932", True),
        ("弌", "cp932", False),
        ("漢", "big5", True),
        ("乂", "big5", False),
        ("乂漢", "big5", False),
        ("啊", "gb18030", True),
        ("亍", "gb18030", False),
        ("가", "cp949", True),
        ("갂", "cp949", False),
        ("伽", "cp949", False),
    ],
)
def test_a_guess_is_plausible_in_one_script_with_its_common_characters(
    text: str, codec: str, *, plausible: bool
) -> None:
    assert charsets._plausible(text, codec) is plausible


@pytest.mark.parametrize(
    ("character", "codec", "raw"),
    [("ą", "cp1250", b"\xb9"), ("ą", "ascii", b""), ("a\u0328", "cp1250", b"\xb9"), ("é", "cp1252", b"\xe9")],
)
def test_a_character_is_encoded_in_its_composed_form(character: str, codec: str, raw: bytes) -> None:
    assert charsets._strictly_encoded(character, codec) == raw


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"a\xb1b", "aｱb"),
        (b"a\x81", "a\ufffd"),
        (b"\x1b(I\x20\x21\x5f\x60\x1b(J\x21", " ｡ﾟ`!"),
        (b"\x1b(I\x81", "\ufffd"),
        (b"\x1b$(D\x7f\x7f", "\ufffd"),
        (b"\x1b$(D\x22\x2f\x22\x2f", "˘˘"),
        (b"\x1b$B!", "?"),
        (b"\x1b$@\r\n0!\n", "\r\n亜\n"),
        (b"\x1b$B\x7e\x7e!!", "\ufffd\ufffd\u3000"),
        (b"\x1b$B\x21\x5f\x21\x60\x22\x21", "×÷◆"),
        (b"\x1b$B\x5e\x21\x5f\x21", "沺漾"),
        (b"", ""),
    ],
)
def test_each_piece_of_japanese_is_read_by_its_escape(raw: bytes, text: str) -> None:
    assert "".join(charsets._decode_iso2022_jp(raw)) == text


def test_japanese_is_read_as_far_as_its_bound() -> None:
    assert "".join(charsets._decode_iso2022_jp(b"a" * (charsets.MAX_JAPANESE + 9))) == "a" * charsets.MAX_JAPANESE
