"""What strangers wrote is read within bounds: texts, lines, JSON, times, places and answers."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from services.ingest.channels import reading
from services.ingest.core.messages import Faulty, InboundMessage, SendFailure, Sent, Unreadable
from tests.ingest.channels import samples as s

# --- Texts. ---


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("plain", "plain"),
        ("a\r\nb\rc\nd\te", "a\nb\nc\nd\te"),
        ("a\x00\x08\x0b\x0c\x0e\x1f\x7fb", "ab"),
        ("\ud83d\ude22 \ud800 \udfff", "😢  "),
        ("zażółć สวัสดี", "zażółć สวัสดี"),
        (" a \n", " a \n"),
    ],
)
def test_a_text_loses_what_no_store_takes_and_nothing_else(text: str, cleaned: str) -> None:
    assert reading.clean(text) == cleaned


def test_a_text_is_cut_at_its_limit_after_it_was_cleaned() -> None:
    assert reading.clean("x" * 32_769) == "x" * 32_768
    assert reading.clean("\x00" * 5 + "x" * 9, 5) == "xxxxx"
    assert reading.clean("\x00" * 6 + "x" * 9, 5) == "xxxx"  # of what is twice too long, nothing is read
    assert reading.clean("\x00" * 7 + "x" * 9, 5) == "xxx"


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("a", "a"),
        (" a ", "a"),
        ("", None),
        (" ", None),
        ("\n", None),
        ("a\r\n\t\v\f\x85\u2028\u2029b", "a b"),
        ("a\x00b", "ab"),
        (7, "7"),
        (0, "0"),
        (-7, "-7"),
        (True, None),
        (False, None),
        (None, None),
        (1.5, None),
        ([], None),
        ({}, None),
        ((1 << 128) - 1, str((1 << 128) - 1)),
        (1 << 128, None),
        (-(1 << 128), None),
    ],
)
def test_a_line_is_a_text_or_a_whole_number_without_breaks(value: object, found: str | None) -> None:
    assert reading.line(value) == found


def test_a_line_has_500_characters_or_as_many_as_are_asked_for() -> None:
    assert reading.line("x" * 500) == "x" * 500
    assert reading.line("x" * 501) == "x" * 500
    assert reading.line("x" * 3, 2) == "xx"
    assert reading.line("xxx \n", 3) == "xxx"
    assert reading.line("x" + "\n" * 7 + "y", 2) == "x"  # of what is four times too long, nothing is read
    assert reading.line("x" + "\n" * 6 + "yz", 3) == "x y"


@pytest.mark.parametrize(("value", "text"), [("a\r\nb", "a\nb"), (7, ""), (None, ""), ([], "")])
def test_words_are_text_or_nothing(value: object, text: str) -> None:
    assert reading.text_or_empty(value) == text


# --- JSON. ---


def test_an_object_is_read_with_what_senders_write_in_it() -> None:
    assert reading.read_object(b'{"a":[1,"\\ud800"]}') == {"a": [1, "\ud800"]}


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "not JSON: Expecting value"),
        (b"\xff", "not JSON: 'utf-8' codec"),
        (b"[]", "^not a JSON object$"),
        (b"7", "^not a JSON object$"),
        (b'{"a":NaN}', "not JSON: NaN is not JSON"),
        (b'{"a":-Infinity}', "not JSON: -Infinity is not JSON"),
        (b'{"a":' * 200_000, "^JSON nested too deeply$"),
    ],
)
def test_what_is_no_json_object_is_unreadable_and_says_why(body: bytes, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        reading.read_object(body)


@pytest.mark.parametrize("body", [b"", b"[]", b"7", b"{", b"\xff"])
def test_a_glance_at_what_is_no_object_shows_nothing(body: bytes) -> None:
    assert reading.peek(body) == {}
    assert reading.peek_any_size(body) == {}


def test_a_glance_is_at_64_kib_at_most_or_as_much_as_is_asked_for() -> None:
    body = b'{"a":1}'
    most = body + b" " * (64 * 1024 - len(body))
    assert reading.peek(most) == {"a": 1}
    assert reading.peek(most + b" ") == {}
    assert reading.peek_any_size(most + b" ") == {"a": 1}
    assert (reading.peek(body, 7), reading.peek(body, 6)) == ({"a": 1}, {})


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"id":"a-b.c_1"}', "a-b.c_1"),
        (b'{"id"\n: "x","id":"y"}', "x"),
        (b'{"other":"x"}', None),
        (b'{"id":7}', None),
        (b'{"id":""}', None),
        (b'{"id":"a b"}', None),
        (b'{"text":"\\"id\\":\\"x\\""}', None),
        (b'{"ID":"x"}', None),
    ],
)
def test_a_name_is_found_in_json_that_is_not_read(body: bytes, found: str | None) -> None:
    assert reading.find_value(body, "id") == found


def test_what_is_found_by_its_name_has_100_characters_at_most() -> None:
    assert reading.find_value(b'{"id":"%s"}' % (b"x" * 100), "id") == "x" * 100
    assert reading.find_value(b'{"id":"%s"}' % (b"x" * 101), "id") is None


def test_objects_are_picked_out_of_whatever_stands_in_their_place() -> None:
    odd: list[Any] = [{"a": 1}, [], None, "a"]
    assert [reading.obj(value) for value in odd] == [{"a": 1}, {}, {}, {}]
    assert list(reading.objects([1, {"a": 1}, None, {"b": 2}])) == [{"a": 1}, {"b": 2}]
    assert [list(reading.objects(value)) for value in (odd[0], None, "ab")] == [[], [], []]
    assert reading.first([1, {"a": 1}, {"b": 2}]) == {"a": 1}
    assert (reading.first([]), reading.first(None)) == ({}, {})


def test_an_element_that_cannot_be_read_leaves_the_others_in_order() -> None:
    good: Any = object()

    def read(element: str) -> InboundMessage | None:
        if element == "bad":
            raise Unreadable("no id")
        return good if element == "good" else None

    assert list(reading.each(["good", "bad", "none", "good"], read)) == [good, Faulty("no id"), good]


def test_an_element_that_shows_a_bug_leaves_the_others_in_order() -> None:
    good: Any = object()
    bug = IndexError("list index out of range")

    def read(element: str) -> InboundMessage:
        if element == "bad":
            raise bug
        message: InboundMessage = good
        return message

    found = list(reading.each(["good", "bad", "good"], read))
    assert found == [good, Faulty("IndexError: list index out of range"), good]
    assert [each.bug for each in found if isinstance(each, Faulty)] == [bug]


# --- Times and places. ---


@pytest.mark.parametrize(
    ("seconds", "at"),
    [
        (1795253400, s.NOW),
        ("1795253400", s.NOW),
        (1795253400.5, s.NOW.replace(microsecond=500_000)),
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        (None, None),
        ("", None),
        ("soon", None),
        ([], None),
        ("nan", None),
        ("inf", None),
        (1e300, None),
        (10**400, None),
    ],
)
def test_a_time_is_in_seconds_or_the_fallback(seconds: object, at: datetime | None) -> None:
    fallback = datetime(2020, 1, 1, tzinfo=UTC)
    assert reading.instant(seconds, fallback) == (at or fallback)


@pytest.mark.parametrize(
    ("value", "found"),
    [(90, 90.0), (-90, -90.0), (90.1, None), (-90.1, None), (0, 0.0), ("1", None), (True, None), (None, None),
     (float("nan"), None)],
)  # fmt: skip
def test_degrees_are_a_number_within_their_bounds(value: object, found: float | None) -> None:
    assert reading.degrees(value, 90) == found
    assert not isinstance(reading.degrees(value, 90), int)


# --- Answers. ---


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (200, {"a": [{"id": " x "}]}, Sent("x")),
        (299, {"a": [{"id": 7}]}, Sent("7")),
        (200, {"a": []}, Sent(None)),
        (200, {"a": None}, Sent(None)),
        (200, {}, Sent(None)),
        (200, [], Sent(None)),
        (199, "x", SendFailure('HTTP 199: "x"', permanent=False)),
        (300, "x", SendFailure('HTTP 300: "x"', permanent=False)),
    ],
)
def test_an_answer_of_2xx_is_sent_with_the_id_that_it_names(status: int, body: Any, outcome: Any) -> None:
    assert reading.read_answer(status, {}, json.dumps(body).encode(), "a", 0, "id") == outcome


@pytest.mark.parametrize(
    ("status", "permanent"),
    [(399, False), (400, True), (401, False), (402, True), (403, False), (404, True), (407, True), (408, False),
     (409, False), (410, True), (424, True), (425, False), (426, True), (428, True), (429, False), (430, True),
     (499, True), (500, False), (503, False)],
)  # fmt: skip
def test_a_refusal_is_for_good_where_the_message_is_at_fault(status: int, permanent: bool) -> None:
    unsure = status in {409, 500}
    assert reading.read_answer(status, {}, b"") == SendFailure(
        f"HTTP {status}: no reason given", permanent, None, unsure
    )


@pytest.mark.parametrize(
    ("status", "unsure"),
    [(302, False), (401, False), (408, False), (409, True), (425, False), (429, False), (500, True), (502, True),
     (503, False), (504, True), (599, True)],
)  # fmt: skip
def test_after_which_answers_a_message_may_have_arrived(status: int, unsure: bool) -> None:
    refused = reading.read_answer(status, {}, b"")
    assert isinstance(refused, SendFailure)
    assert refused.unsure is unsure


def test_a_reason_is_one_line_of_500_bytes_of_whatever_was_answered() -> None:
    refused = reading.read_answer(503, {}, b"a\r\n\xffb" + b"x" * 600)
    assert refused == SendFailure("HTTP 503: a \ufffdb" + "x" * 495, permanent=False)


@pytest.mark.parametrize("name", ["retry-after", "Retry-After", "RETRY-AFTER"])
@pytest.mark.parametrize(
    ("said", "waits"),
    [("0", 0.0), ("7", 7.0), ("3600", 3600.0), ("3601", 3600.0), ("00000007", 7.0), ("000000007", None),
     ("-1", None), ("1.5", None), ("\u0661", None), ("", None), ("Wed, 21 Oct 2015 07:28:00 GMT", None)],
)  # fmt: skip
def test_how_long_to_wait_is_told_in_seconds_and_an_hour_at_most(name: str, said: str, waits: float | None) -> None:
    refused = reading.read_answer(503, {"x": "9", name: said}, b"")
    assert isinstance(refused, SendFailure)
    assert refused.retry_after == waits
