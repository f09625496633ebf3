"""HTML as a person would read it: lines, lists, quotes, pictures; nothing that is hidden, no more than asked for."""

import pytest

from services.ingest.channels import html
from services.ingest.channels.html import html_to_text, html_with_quotes_marked

HIDDEN = '<div style="display:none">'


def text(source: str) -> str:
    return html_to_text(source, 10_000)


def marked(source: str) -> str:
    return html_with_quotes_marked(source, 10_000)


@pytest.mark.parametrize(
    ("source", "read"),
    [
        ("a<b>b</b> c", "ab c"),
        ("<div>one</div><div>two</div>", "one\ntwo"),
        ("one<div>two", "one\ntwo"),
        ("one</div>two", "one\ntwo"),
        ("oneX<br>XX<div>X", "oneX\nXX\nX"),
        ("one </DIV>two", "one\ntwo"),
        ("<p>one</p><p>two</p>", "one\n\ntwo"),
        ("one<p>two", "one\n\ntwo"),
        ("one</p>two", "one\n\ntwo"),
        ("<div>one</div><p>two", "one\n\ntwo"),
        ("<p>one</p><div>two", "one\n\ntwo"),
        ("<h1>one</h1>two", "one\n\ntwo"),
        ("one<hr>two", "one\ntwo"),
        ("one<br>two", "one\ntwo"),
        ("one <br/>two", "one\ntwo"),
        ("one<br><br>two", "one\n\ntwo"),
        ("one<div>two<br></div>three", "one\ntwo\nthree"),
        ("one<br><br><br><br><br>two", "one\n\n\ntwo"),
        ("<br><br>one<br>", "one"),
        ("one<span>two</span><br>three", "onetwo\nthree"),
    ],
)
def test_blocks_begin_lines_paragraphs_leave_one_empty_and_no_more_than_two_are(source: str, read: str) -> None:
    assert text(source) == read


@pytest.mark.parametrize(
    ("source", "read"),
    [
        ("a \n\t b", "a b"),
        ("a&nbsp;\xa0b", "a b"),
        ("a<b> </b>b", "a b"),
        ("a <b> </b>b", "a b"),
        ("a<br> <b>b", "a\nb"),
        ("a<br> b", "a\nb"),
        ("a<p> \n b", "a\n\nb"),
        ("a<p>\u2003b", "a\n\n\u2003b"),
        (" <b> a", "a"),
    ],
)
def test_white_space_is_one_space_and_none_at_the_beginning_of_a_line(source: str, read: str) -> None:
    assert text(source) == read


@pytest.mark.parametrize(
    ("source", "read"),
    [
        ("<pre>a  b\n c</pre>d  e", "a  b\n c\nd e"),
        ("x<pre>  a</pre>", "x\n  a"),
        ("<pre>a\t\nb  \n\nc</pre>", "a\t\nb\n\nc"),
        ("<pre>a<pre>b  c</pre>d  e</pre>f  g", "a\nb  c\nd  e\nf g"),
        ("</pre>a  b", "a b"),
        ("</pre></pre>a<pre>b  c</pre>d  e", "a\nb  c\nd e"),
    ],
)
def test_preformatted_text_keeps_its_spaces_and_lines(source: str, read: str) -> None:
    assert text(source) == read


@pytest.mark.parametrize(
    ("source", "read"),
    [
        ("<ul><li>x</li><li>y</li></ul>z", "- x\n- y\n\nz"),
        ("a<ol><li>x<li>y</ol>", "a\n\n- x\n- y"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>d", "a b\nc\n\nd"),
        ("<tr><th>a<th>b", "a b"),
    ],
)
def test_lists_have_dashes_and_cells_stand_side_by_side(source: str, read: str) -> None:
    assert text(source) == read


def picture(length: int) -> str:
    """One whose alternative text ends after so many characters of its attributes."""
    rest = ' src="" alt="b"'
    return f'<img src="{"x" * (length - len(rest))}" alt="b">'


@pytest.mark.parametrize(
    ("source", "read"),
    [
        ("a<img src=x alt=' b c '>d", "a[b c]d"),
        ('<IMG ALT="b">', "[b]"),
        ('<img alt="b\'c">', "[b'c]"),
        (f'<img alt="{"x" * 150}">', f"[{'x' * 100}]"),
        ("a<img src=x>b", "ab"),
        ('a<span alt="x">b', "ab"),
        (picture(4000), "[b]"),
        (picture(4001), ""),
    ],
)
def test_a_picture_is_its_alternative_text_in_brackets(source: str, read: str) -> None:
    assert text(source) == read


@pytest.mark.parametrize(
    ("source", "read"),
    [
        ("a &amp; &lt;b&gt; &#x105;", "a & <b> ą"),
        (f"a<b>&#{'9' * 5000};</b>c", "ac"),
        ("1 < 2 << 3", "1 < 2 << 3"),
        ("1<2", "1<2"),
        ("a\0b", "ab"),
        ("<scr\0ipt>x</script>a", "a"),
    ],
)
def test_characters_are_those_that_are_shown(source: str, read: str) -> None:
    assert text(source) == read


# --- What is not shown. ---


@pytest.mark.parametrize("tag", ["script", "style", "textarea", "noscript", "template", "svg", "object", "title"])
def test_scripts_and_the_like_are_passed_over_up_to_their_end(tag: str) -> None:
    assert text(f"a<{tag} x=y>b<p>{HIDDEN}</{tag}s></{tag.upper()} >c") == "ac"
    assert text(f"a<{tag}>b<p>c") == "a"
    assert text(f"a<{tag}/>b") == "ab"
    assert text(f"a</{tag}>b") == "ab"


@pytest.mark.parametrize(
    ("source", "read"),
    [
        ("ab<!-- c > <p> -- -->d", "abd"),
        ("ab<!---->c", "abc"),
        ("ab<!-->c-->d", "abd"),
        ("a<!-- b -->c<!-- d -->e", "ace"),
        ("ab<!-- c", "ab"),
        ("<!-- c", ""),
        ("a<!-- c", "a"),
        ("a<!DOCTYPE html>b", "ab"),
        ("a<?xml version='1.0'?>b", "ab"),
        ("a</>b", "ab"),
        ("a<b c", "a"),
        ("a<p", "a"),
        ('a<a title="x>y">z', "az"),
        ('<a title="x>y">z<b>w', "zw"),
        ('<a title="x>y">z" w', 'z" w'),
        ('<a title="x">z" <b>w', 'z" w'),
        ('a<a title="x>y', "ay"),
        ('a<a title="x>y"z', "a"),
        ('say "<b>x</b>"', 'say "x"'),
        (f'<a title="x>{"y" * 498}">z', "z"),
        (f'<a title="x>{"y" * 499}">z', f'{"y" * 499}">z'),
    ],
)
def test_markup_ends_where_a_browser_ends_it_and_what_is_never_closed_hides_the_rest(source: str, read: str) -> None:
    assert text(source) == read


def concealed(length: int) -> str:
    rest = ' x="" style="display:none'
    return f'a<p x="{"x" * (length - len(rest))}" style="display:none">b</p>'


@pytest.mark.parametrize(
    ("source", "read"),
    [
        (f"a{HIDDEN}b</div>c", "ac"),
        ('a<p style="VISIBILITY : Hidden">b</p>c', "ac"),
        (f"a{HIDDEN}b<div>c</div>d</div>e", "ae"),
        (f"a{HIDDEN}b<span>c</span>d<br><p>e</div>f", "af"),
        (f"a{HIDDEN}1 < 2</div>b", "ab"),
        (f"a{HIDDEN}b</p>c", "a"),
        ('a<br style="display:none">b', "a\nb"),
        ("<head>a</head>b", "b"),
        ("<head>a<body>b", "b"),
        ("<head>a</body>b", ""),
        (f"{HIDDEN}{'<div>' * 1200}{'</div>' * 1000}a", "a"),
        (f"{HIDDEN}{'<div>' * 1200}{'</div>' * 999}a", ""),
        (concealed(4000), "a"),
        (concealed(4001), "a\n\nb"),
    ],
)
def test_what_is_hidden_is_left_out_with_all_that_is_in_it(source: str, read: str) -> None:
    assert text(source) == read


# --- Quotes. ---


@pytest.mark.parametrize(
    ("source", "read"),
    [
        ("a<blockquote>b<br>c</blockquote>d", "a\n\n> b\n> c\n\nd"),
        ("<blockquote>a<br><br>b", "> a\n\n> b"),
        ("<blockquote>a<b>b</b> c", "> ab c"),
        ("<blockquote>a<blockquote>b</blockquote>c</blockquote>d", "> a\n\n> b\n\n> c\n\nd"),
        ("</blockquote>a", "a"),
        ("</blockquote></blockquote>a<blockquote>b", "a\n\n> b"),
        ("<blockquote><p>a</p></blockquote>b", "> a\n\nb"),
        ("\x01a", "a"),
        ("", ""),
    ],
)
def test_lines_in_a_quote_are_marked_as_plain_mail_marks_them(source: str, read: str) -> None:
    assert marked(source) == read
    assert text(source) == "\n".join(row.removeprefix("> ") for row in read.split("\n"))


# --- Bounds. ---


@pytest.mark.parametrize(
    ("source", "limit", "read"),
    [
        ("abcdef", 3, "abc"),
        ("ab<b>c</b>d", 3, "abc"),
        ("ab<br>cdef", 4, "ab\ncd"),
        ("ab<p>cd", 2, "ab"),
        ("<pre>ab\n\ncd", 2, "ab"),
        ("<pre>ab\n\ncd", 3, "ab\n\nc"),
        ("abc<script>d", 3, "abc"),
    ],
)
def test_no_more_is_read_than_asked_for(source: str, limit: int, read: str) -> None:
    assert html._read(source, limit) == read
    assert html_to_text(source, limit) == read[:limit].strip()


def test_marks_count_in_what_is_asked_for() -> None:
    assert html_with_quotes_marked("<blockquote>abcdef", 4) == "> ab"
    assert html_with_quotes_marked("a<br>bcdef", 4) == "a\nbc"


def test_html_is_looked_at_as_far_as_its_bound() -> None:
    source = f"{' ' * (html.MAX_HTML - 1)}ab"
    assert html_to_text(source, 10) == "a"
