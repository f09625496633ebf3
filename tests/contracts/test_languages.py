"""Language tags and the ranges that cover them, by the examples of RFC 4647 and of our channels."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from contracts.languages import Language, canonical, covers, language_range, primary


@pytest.fixture(autouse=True)
def _tags_are_compared_anew() -> None:
    covers.cache_clear()


@pytest.mark.parametrize(
    ("wanted", "tag", "covered"),
    [
        ("pt", "pt", True),
        ("pt", "pt-BR", True),
        ("PT", "pt-br", True),
        ("pt", "PT", True),
        ("pt-BR", "pt-br", True),
        ("pt-br", "PT-BR", True),
        ("pt-BR", "pt_BR", True),
        ("pt_BR", "pt-BR", True),
        ("pt-BR", "pt", False),
        ("pt-BR", "pt-PT", False),
        ("fi", "fil", False),
        ("fil", "fi", False),
        ("zh-TW", "zh-Hant-TW", True),
        ("zh-Hant", "zh-hant-TW", True),
        ("zh-Hant-TW", "zh-TW", False),
        ("*", "th", True),
        ("*-CH", "de-CH", True),
        ("*-CH", "de-Latn-CH", True),
        ("*-CH", "de", False),
        # RFC 4647, 3.3.2
        ("de-DE", "de-de", True),
        ("de-DE", "de-De", True),
        ("de-DE", "de-DE-1996", True),
        ("de-DE", "de-Latn-DE", True),
        ("de-DE", "de-Latn-DE-1996", True),
        ("de-DE", "de-DE-x-goethe", True),
        ("de-DE", "de-Deva-DE", True),
        ("de-*-DE", "de-DE", True),
        ("de-*-DE", "de-Latn-DE", True),
        ("de-DE", "de", False),
        ("de-*-DE", "de", False),
        ("de-DE-Latn", "de-Latn-DE", False),
        ("de-DE", "de-x-DE", False),
        ("de-DE", "de-Deva", False),
        ("pt", "", False),
        ("*", "", False),
        ("pt", "-", False),
    ],
)
def test_a_range_covers_a_tag_by_extended_filtering(wanted: str, tag: str, covered: bool) -> None:
    assert covers(wanted, tag) is covered


@pytest.mark.parametrize(
    ("written", "tag"),
    [
        ("PT-br", "pt-BR"),
        ("pt_BR", "pt-BR"),
        ("ZH-hANT-tw", "zh-Hant-TW"),
        ("es-419", "es-419"),
        ("en-ca-X-CA", "en-CA-x-ca"),  # RFC 5646, 2.1.1
        ("sGn-bE-fR", "sgn-BE-FR"),
        ("de-u-co-phonebk", "de-u-co-phonebk"),
        ("x-AB-cdef", "x-ab-cdef"),
        ("TH", "th"),
    ],
)
def test_tags_are_kept_in_the_case_of_the_rfc(written: str, tag: str) -> None:
    assert canonical(written) == tag
    assert TypeAdapter(Language).validate_python(written) == tag
    assert language_range(written) == tag


@pytest.mark.parametrize("text", ["", "*", "*-CH", "thai language", "123", "pt-", "-pt", "portuguese", "pt--BR", "ไทย"])
def test_what_is_no_tag_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a language tag \(BCP 47\), such as pt or pt-BR"):
        TypeAdapter(Language).validate_python(text)


@pytest.mark.parametrize("text", ["", "thai language", "123", "pt-", "**", "portuguese", "pt--BR", "a" * 9])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a language \(BCP 47\), such as pt, pt-BR or zh-TW"):
        language_range(text)


@pytest.mark.parametrize("text", ["*-CH", "pt-*", "*"])
def test_a_range_may_leave_parts_open(text: str) -> None:
    assert language_range(text) == text


@pytest.mark.parametrize(
    ("tag", "found"),
    [("th", "th"), ("pt-BR", "pt"), ("PT", "pt"), ("zh_Hant", "zh"), ("zh-Hant-TW", "zh"), ("", None), (None, None)],
)
def test_the_primary_language_is_the_tag_without_region_or_script(tag: str | None, found: str | None) -> None:
    assert primary(tag) == found


@given(st.from_regex(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8}){0,3}", fullmatch=True))
def test_a_tag_is_covered_by_itself_by_its_language_and_by_any(tag: str) -> None:
    assert covers(tag, tag.upper())
    assert covers(primary(tag) or "", tag)
    assert covers("*", tag)
    assert canonical(canonical(tag)) == canonical(tag)
