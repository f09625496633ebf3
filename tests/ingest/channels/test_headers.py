"""Header blocks and what stands in them: where a block ends, what it costs, and each value as one exact text."""

import pytest

from services.ingest.channels import headers as heads
from services.ingest.channels.headers import Budget


def split(raw: bytes) -> tuple[list[tuple[str, str]], bytes]:
    found, body = heads.split(raw, 0, len(raw))
    return found.items(), raw[body:]


@pytest.mark.parametrize(
    ("raw", "headers", "body"),
    [
        (b"A: 1\r\nB: 2\r\n\r\nx", [("A", "1"), ("B", "2")], b"x"),
        (b"A: 1\nB: 2\n\nx", [("A", "1"), ("B", "2")], b"x"),
        (b"A: 1\rB: 2\r\rx", [("A", "1"), ("B", "2")], b"x"),
        (b"A: 1\rB: 2\n\nx", [("A", "1 B: 2")], b"x"),
        (b"A:1\r\nB:  2 \r\n\r\n", [("A", "1"), ("B", "2 ")], b""),
        (b"A: 1\r\n 2\r\n\t3\r\n\r\nx", [("A", "1\n 2\n\t3")], b"x"),
        (b"A: \x001\r\n\r\nx", [("A", "1")], b"x"),
        (b"A: 1", [("A", "1")], b""),
        (b"\r\nx", [], b"x"),
        (b"\nA: 1\n\nx", [], b"A: 1\n\nx"),
        (b"", [], b""),
        (b"text\r\nA: 1\r\n\r\nx", [], b"text\r\nA: 1\r\n\r\nx"),
        (b" text\r\nA: 1\r\n\r\nx", [], b" text\r\nA: 1\r\n\r\nx"),
        (b"From a Sat\r\nA: 1\r\n\r\nx", [("A", "1")], b"x"),
        (b">From a Sat\nA: 1\n\nx", [("A", "1")], b"x"),
        (b"A: 1\r\nFrom a Sat\r\n\r\nx", [("A", "1")], b"From a Sat\r\n\r\nx"),
        (b"A: 1\r\nbroken\r\n more\r\nX-Y: 2\r\n\r\nx", [("A", "1\n more"), ("X-Y", "2")], b"x"),
        (b"A: 1\r\nbroken\r\nB: 2\r\n\r\nx", [("A", "1")], b"broken\r\nB: 2\r\n\r\nx"),
        (b"A: 1\r\nbroken\r\n1\r\n2\r\n3\r\n4\r\nTo: x\r\n\r\nx", [("A", "1"), ("To", "x")], b"x"),
        (
            b"A: 1\r\nbroken\r\n1\r\n2\r\n3\r\n4\r\n5\r\nTo: x\r\n\r\nx",
            [("A", "1")],
            b"broken\r\n1\r\n2\r\n3\r\n4\r\n5\r\nTo: x\r\n\r\nx",
        ),
        (b"A: 1\r\nbroken\r\n\r\nTo: x\r\n\r\nx", [("A", "1")], b"broken\r\n\r\nTo: x\r\n\r\nx"),
        (b"A: 1\r\nbroken", [("A", "1")], b"broken"),
        (b"A : 1\r\nB\t:2\r\n\r\nx", [("A", "1"), ("B", "2")], b"x"),
    ],
)
def test_a_block_ends_at_an_empty_line_or_where_no_header_follows(
    raw: bytes, headers: list[tuple[str, str]], body: bytes
) -> None:
    assert split(raw) == (headers, body)


def test_a_block_begins_and_ends_where_it_is_said_to() -> None:
    raw = b"To: x\r\n\r\nA: 1\r\nbroken\r\nTo: y\r\n\r\nz"
    found, body = heads.split(raw, 9, 23)
    assert (found.items(), raw[body:23]) == ([("A", "1")], b"broken\r\n")
    found, body = heads.split(raw, 9, 13)
    assert (found.items(), body) == ([("A", "1")], 13)


@pytest.mark.parametrize(
    ("name", "kept"), [("X-A", heads.MAX_LONG_HEADER), ("Content-Type", heads.MAX_HEADER)], ids=["long", "content"]
)
def test_a_header_is_kept_up_to_its_bound_with_all_that_is_folded(name: str, kept: int) -> None:
    raw = f"{name}: {'x' * 80_000}\r\n y\r\nB: 1\r\n\r\nz".encode()
    headers, body = split(raw)
    assert headers == [(name, "x" * (kept - len(name) - 2)), ("B", "1")]
    assert body == b"z"
    row = f"{name}: {'x' * 90}"
    headers, _ = split((row + "".join(f"\r\n {'y' * 99}" for _ in range(900)) + "\r\nB: 1\r\n\r\n").encode())
    assert headers[0][1].count("y") + headers[0][1].count("\n ") + len(row) == kept
    assert headers[1:] == [("B", "1")]


def test_so_many_headers_are_kept() -> None:
    raw = b"".join(b"A: %d\r\n" % n for n in range(heads.MAX_HEADERS + 5)) + b"\r\nx"
    headers, body = split(raw)
    assert headers == [("A", str(n)) for n in range(heads.MAX_HEADERS)]
    assert body == b"x"


@pytest.mark.parametrize("end", [b"\r\n", b"\n", b"\r"])
def test_a_block_beyond_its_bound_is_cut_and_the_body_still_found(end: bytes) -> None:
    row = b"A: " + b"x" * 1000 + end
    raw = row * 300 + end + b"body"
    found, body = heads.split(raw, 0, len(raw))
    assert raw[body:] == b"body"
    assert len(found.items()) == -(-heads.MAX_BLOCK // len(row))
    assert heads.split(row * 300, 0, len(row) * 300)[1] == len(row) * 300


def test_a_block_takes_its_bytes_from_what_the_mail_may_cost() -> None:
    raw = b"To: x\r\n" + b"A: 1\r\n" * 10 + b"\r\nbody"
    budget = Budget(header_bytes=100)
    assert heads.split(raw, 0, len(raw), budget)[1] == 69
    assert budget.header_bytes == 100 - 67
    assert len(heads.split(raw, 7, len(raw), budget)[0].items()) == 6
    assert budget.header_bytes == 0
    found, body = heads.split(raw, 0, len(raw), budget)
    assert (found.items(), raw[body:], budget.header_bytes) == ([], b"body", 0)
    assert Budget() == Budget(parts=300, left_out=0, header_bytes=524_288)


# --- Values. ---


@pytest.mark.parametrize(
    ("value", "hint", "text"),
    [
        ("plain", None, "plain"),
        ("=?utf-8?q?=C4=85?= b =?iso-8859-2?b?sQ==?=", None, "ą b ą"),
        ("=?utf-8?q?a?= =?utf-8?q?b?=", None, "ab"),
        ("=?us-ascii?q?a_b?= c", None, "a b c"),
        ("=?utf-8?q??=", None, "=?utf-8?q??="),
        ("=?utf-8?b?x?=", None, "=?utf-8?b?x?="),
        ("a =? b", None, "a =? b"),
        ("ą".encode().decode("ascii", "surrogateescape"), None, "ą"),
        ("文의"[:0] + "문의".encode("cp949").decode("ascii", "surrogateescape"), "euc-kr", "문의"),
        ("\udcb1\udcb6", "iso-8859-2", "ąś"),
        ("=?utf-8?q?=C4=85?= \udcc4\udc99", None, "ą ę"),
        ("\udcb1 =?utf-8?q?=C4=85?=", "iso-8859-2", "ą ą"),
        ("ą", None, "ą"),
        ("x" * 4001, None, "x" * 4000),
    ],
)
def test_encoded_words_are_decoded_and_what_is_raw_is_guessed(value: str, hint: str | None, text: str) -> None:
    assert heads.decoded_words(value, hint) == text


def test_a_value_is_the_first_of_its_name_on_one_line() -> None:
    found = heads.read(b"Other: 0\r\nsubject: a\r\n  =?utf-8?q?=C4=85?=\r\nSUBJECT: b\r\n\r\n")
    assert heads.unfolded(found, "Subject") == "a  =?utf-8?q?=C4=85?="
    assert heads.header(found, "SuBject") == "a  ą"
    assert heads.every(found, "sUbject") == ["a  =?utf-8?q?=C4=85?=", "b"]
    assert (heads.unfolded(found, "to"), heads.header(found, "to"), heads.every(found, "to")) == ("", None, [])


def test_a_value_is_read_up_to_its_bound() -> None:
    found = heads.read(b"A: %s\r\n" % (b"x" * 5000) * 2)
    assert heads.unfolded(found, "a") == "x" * 4000
    assert heads.unfolded(found, "a", 10) == "x" * 10
    assert heads.every(found, "a") == ["x" * 4000] * 2
    assert heads.every(found, "a", 4500) == ["x" * 4500] * 2
    assert heads.every(heads.read(b"".join(b"A: %d\r\n" % n for n in range(60))), "a") == [str(n) for n in range(50)]
    assert heads.header(heads.read(b"A: \xb1\xb6\r\n"), "a", "iso-8859-2") == "ąś"


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (["Anna <A@b.pl>, c@d.pl"], [("Anna", "a@b.pl"), ("", "c@d.pl")]),
        (['"Kowalska, Anna" <a@b.pl>', "x@y.pl"], [("Kowalska, Anna", "a@b.pl"), ("", "x@y.pl")]),
        (["=?utf-8?q?=C4=85?= <a@b.pl>"], [("ą", "a@b.pl")]),
        (["nobody, Anna <a@b.pl>"], [("Anna", "a@b.pl")]),
        (["\udcc4\udc85@b.pl"], [("", "ą@b.pl")]),
        ([], []),
        ([", ".join(f"u{n}@b.pl" for n in range(250))], [("", f"u{n}@b.pl") for n in range(200)]),
        ([f"{' ' * 15_990}a@b.pl, c@d.pl"], [("", "a@b.pl")]),
    ],
)
def test_addresses_come_with_their_names_in_order(values: list[str], found: list[tuple[str, str]]) -> None:
    assert heads.addresses(values) == found


def test_a_name_that_is_raw_is_in_the_charset_that_is_hinted_at() -> None:
    assert heads.addresses(["\udcb1\udcb6 <a@b.pl>"], "iso-8859-2") == [("ąś", "a@b.pl")]


def test_where_the_library_gives_up_addresses_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def give_up(_: object) -> None:
        raise IndexError

    monkeypatch.setattr(heads, "getaddresses", give_up)
    assert heads.addresses(["Anna <A@b.pl>", "((c@d.pl"]) == [("", "a@b.pl"), ("", "c@d.pl")]
    assert heads.addresses([f"{' ' * 15_990}a@b.pl   c@d.pl"]) == [("", "a@b.pl")]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (" A@B.pl ", "a@b.pl"),
        ('"a.b"@c.pl', "a.b@c.pl"),
        ('"a\\b"@c.pl', "ab@c.pl"),
        ('"a b"@c.pl', '"a b"@c.pl'),
        ('"a\\"b"@c.pl', '"a\\"b"@c.pl'),
        ('"a@b"@c.pl', '"a@b"@c.pl'),
        ('".a"@c.pl', '".a"@c.pl'),
        ("a@Bücher.example", "a@xn--bcher-kva.example"),
        ("a@faß.example", "a@xn--fa-hia.example"),
        ("a@ＡＢ.example", "a@ab.example"),
        ("a@\u2764.\u200d", "a@\u2764.\u200d"),
        (f"{'a' * 315}@b.pl", f"{'a' * 315}@b.pl"),
        (f"{'a' * 316}@b.pl", f"{'a' * 316}@b.p"),
        ("a@b@c", None),
        ("", None),
    ],
)
def test_an_address_has_one_form(text: str, address: str | None) -> None:
    assert heads.address(text) == address


@pytest.mark.parametrize(
    ("domain", "ascii_"),
    [
        ("b.pl", "b.pl"),
        ("Bücher.de", "xn--bcher-kva.de"),
        ("한국.kr", "xn--3e0b707e.kr"),
        ("ą..pl", None),
        ("ą" * 70, None),
    ],
)
def test_a_domain_is_written_as_in_dns(domain: str, ascii_: str | None) -> None:
    assert heads.to_ascii(domain) == ascii_
