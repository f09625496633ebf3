"""A mail's parts: where each begins and ends, what it is called, and what its body decodes to."""

import pytest

from services.ingest.channels import mime
from services.ingest.channels.headers import Budget


def part(head: str, body: bytes = b"") -> mime.Node:
    return mime.read(head.encode() + b"\r\n\r\n" + body)


def shown(node: mime.Node) -> object:
    """The tree with the bodies of its leaves, as they stand in the mail."""
    if node.children:
        return [shown(child) for child in node.children]
    return node.source[node.start : node.end].decode("latin-1")


MIXED = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"


@pytest.mark.parametrize(
    ("body", "parts"),
    [
        (b"--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\n", ["one", "two"]),
        (b"before\r\n--b\r\n\r\none\r\n--b--\r\nafter\r\n--b\r\n\r\nnot\r\n--b--", ["one"]),
        (b"--b\n\none\n\n--b\n\ntwo\n--b--\n", ["one\n", "two"]),
        (b"--b\r\n\r\none\r\n--b \t\r\n\r\ntwo", ["one", "two"]),
        (b"--b\r\n\r\none\r\n--b", ["one", ""]),
        (b"--b\r\n\r\none\r\n--bc\r\n x--b\r\ntwo --b\r\n--b--", ["one\r\n--bc\r\n x--b\r\ntwo --b"]),
        (b"--b\r\n\r\n--b\r\n\r\ntwo\r\n--b--", ["", "two"]),
        (b"--b\r\n--b\r\n\r\ntwo\r\n--b--", ["", "two"]),
        (b"--b\r\n--b--\r\n", [""]),
        (b"--b\r\n\r\n\r\n\r\none\r\n--b--", ["one"]),
        (b"--b\r\nX: y\r\n\r\none\r\n--b--", ["one"]),
        (b"--b\r\n\r\nXone\r\n--b--", ["Xone"]),
        (b"no delimiter", "no delimiter"),
        (b"--b--\r\n\r\none\r\n--b--", "--b--\r\n\r\none\r\n--b--"),
    ],
)
def test_parts_stand_between_lines_of_the_delimiter(body: bytes, parts: object) -> None:
    assert shown(mime.read(MIXED + body)) == parts


def test_a_part_inside_ends_where_its_parent_does() -> None:
    raw = (
        MIXED + b"--b\r\nContent-Type: multipart/alternative; boundary=c\r\n\r\n--c\r\n\r\none\r\n"
        b"--b\r\n\r\ntwo\r\n--c\r\n\r\nthree\r\n--b--"
    )
    assert shown(mime.read(raw)) == [["one"], "two\r\n--c\r\n\r\nthree"]


@pytest.mark.parametrize(
    ("given", "mark"),
    [
        ('"a b"', b"a b"),
        ('" a"', b" a"),
        ('"a+(b)"', b"a+(b)"),
        ("x" * 200, b"x" * 200),
        ("x" * 201, b"x" * 200),
        ("ł", "ł".encode()),
        ('"ł" ; x=y', "ł".encode()),
    ],
)
def test_a_boundary_is_taken_as_it_is_written_up_to_its_bound(given: str, mark: bytes) -> None:
    raw = f"Content-Type: multipart/mixed; boundary={given}\r\n\r\n".encode()
    body = b"--" + mark + b"\r\n\r\none\r\n--" + mark + b"\r\n\r\ntwo\r\n--" + mark + b"--"
    assert shown(mime.read(raw + body)) == ["one", "two"]


@pytest.mark.parametrize("kind", ["text/plain; boundary=b", "multipart/mixed"])
def test_a_mail_of_one_part_is_a_leaf(kind: str) -> None:
    root = part(f"Content-Type: {kind}", b"--b\r\n\r\none\r\n--b--")
    assert shown(root) == "--b\r\n\r\none\r\n--b--"
    assert list(root.leaves()) == [root]
    assert root.left_out == 0


def test_leaves_come_in_order_and_a_part_of_a_digest_is_a_mail() -> None:
    raw = (
        MIXED + b"--b\r\nContent-Type: multipart/digest; boundary=c\r\n\r\n--c\r\n\r\none\r\n--c--\r\n"
        b"--b\r\n\r\ntwo\r\n--b\r\nContent-Type: Text/HTML; x=y\r\n\r\nthree\r\n--b--"
    )
    root = mime.read(raw)
    assert [leaf.media_type for leaf in root.leaves()] == ["message/rfc822", "text/plain", "text/html"]
    assert [leaf.content() for leaf in root.leaves()] == [b"one", b"two", b"three"]


def test_parts_beyond_the_bounds_are_counted_and_not_read() -> None:
    root = mime.read(MIXED + b"--b\r\n\r\nx\r\n" * 303)
    assert (len(root.children), root.left_out) == (Budget().parts, 3)
    heads = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(22))
    root = mime.read(heads + b"\r\nx")
    depth, node = 0, root
    while node.children:
        depth, node = depth + 1, node.children[0]
    assert (depth, root.left_out) == (mime.MAX_DEPTH, 1)


# --- Contents. ---


@pytest.mark.parametrize(
    ("encoding", "body", "content"),
    [
        ("base64", b"aGVsbG8=", b"hello"),
        ("base64", b"aGVsbG8", b"hello"),
        ("base64", b"aGVsbG8h", b"hello!"),
        ("base64", b"aGVs*bG8h*aGVsbG8h*aA", b"hello!hello!h"),
        ("base64", b"aGVsbG8haGVsbG8hA", b"hello!hello!"),
        ("base64", b"", b""),
        (" Quoted-Printable ", b"h=C4=85=\r\nllo=3D", b"h\xc4\x85llo="),
        ("uue", b"x\nbegin 644 x\n%:&5L;&\\ \n%:&5L;&\\ \n`\n%:&5L;&\\ \nend\n", b"hellohello"),
        ("uuencode", b"begin 644 x\n%:&5L;&\\ \nend\n%:&5L;&\\ \n", b"hello"),
        ("x-uue", b"begin 644 x\n%:&5L;&\\ \n\n%:&5L;&\\ \n", b"hello"),
        ("x-uuencode", b"begin 644 x\n%:&5L;&\\ xx\n#86)C\n", b"helloabc"),
        ("x-uuencode", b"begin 644 x\n#86)C\n#\xff\xff\xff\xff\n#86)C\n", b"abc"),
        ("x-uuencode", b"beginning", b"beginning"),
        ("8bit", b"h\xc4\x85", b"h\xc4\x85"),
        ("8bit", b"begin 644 x\n#86)C\n", b"begin 644 x\n#86)C\n"),
        ("x-unknown", b"aGVs", b"aGVs"),
    ],
)
def test_a_body_is_decoded_as_its_header_says(encoding: str, body: bytes, content: bytes) -> None:
    assert part(f"Content-Transfer-Encoding: {encoding}", body).content() == content


def test_a_body_without_an_encoding_is_as_it_came() -> None:
    assert part("X: y", b"aGVs").content() == b"aGVs"


@pytest.mark.parametrize(
    ("limit", "content"), [(None, b"hello!"), (0, b""), (4, b"hel"), (8, b"hello!"), (99, b"hello!")]
)
def test_a_limit_is_of_encoded_bytes(limit: int | None, content: bytes) -> None:
    assert part("Content-Transfer-Encoding: base64", b"aGVsbG8h").content(limit) == content


def test_a_text_is_read_by_its_charset_up_to_its_bound() -> None:
    assert part("Content-Type: text/plain; CHARSET=iso-8859-2", b"\xb1").text() == "ą"
    assert part("X: y", "ą".encode()).text() == "ą"
    assert part("X: y", b"x" * (mime.MAX_TEXT_BYTES + 1)).text() == "x" * mime.MAX_TEXT_BYTES


# --- Names. ---


@pytest.mark.parametrize(
    ("head", "name", "value"),
    [
        ("Content-Type: text/plain; format=flowed", "format", "flowed"),
        ("Content-Type: text/plain; Format=flowed", "format", "flowed"),
        ("Content-Type: text/plain", "format", None),
        ("X: y", "format", None),
        ('Content-Type: text/plain; name="=?utf-8?q?=C4=85?="', "name", "ą"),
        ("Content-Type: text/plain; name*=iso-8859-2''%B1b", "name", "ąb"),
        ("Content-Type: text/plain; name*=utf-8''a%0Ab", "name", "a b"),
        ("Content-Type: text/plain; name*0*=utf-8''%C4; name*1*=%85", "name", "ą"),
        ("Content-Disposition: attachment; name=x", "name", None),
    ],
)
def test_a_parameter_is_decoded(head: str, name: str, value: str | None) -> None:
    assert part(head).parameter(name) == value


@pytest.mark.parametrize(
    ("head", "disposition", "filename", "named"),
    [
        ("Content-Disposition: Attachment ; filename=a.txt", "attachment", "a.txt", "a.txt"),
        ("Content-Disposition: inline", "inline", None, "part-7.txt"),
        ("X: y", "", None, "part-7.txt"),
        ("Content-Type: image/png; name=a.png", "", "a.png", "a.png"),
        ("Content-Type: image/png; name=a.png\r\nContent-Disposition: x; filename=b.png", "x", "b.png", "b.png"),
        ("Content-Type: image/png", "", None, "part-7.png"),
        ("Content-Type: application/x-none", "", None, "part-7.bin"),
        ('Content-Type: text/plain; name="/etc/x\\\\y"', "", "y", "y"),
        ('Content-Type: text/plain; name="C:\\\\x/a.b"', "", "a.b", "a.b"),
        ('Content-Type: text/plain; name="x/.."', "", None, "part-7.txt"),
        ('Content-Type: text/plain; name="."', "", None, "part-7.txt"),
        ('Content-Type: text/plain; name="x/"', "", None, "part-7.txt"),
        (f"Content-Type: text/plain; name={'x' * 300}", "", "x" * 200, "x" * 200),
    ],
)
def test_a_part_has_the_last_piece_of_its_name_or_one_made_up(
    head: str, disposition: str, filename: str | None, named: str
) -> None:
    found = part(head)
    assert (found.disposition, found.filename(), found.named(7)) == (disposition, filename, named)
