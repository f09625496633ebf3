"""The door's light looks: a line that needs no mending, a form that is none, a body that is looked at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.channels import reading, twilio
from services.ingest.channels.channel import Request


@pytest.mark.parametrize("fields", [500, 501])
def test_a_form_of_too_many_fields_is_none(fields: int) -> None:
    body = b"&".join([b"a=1"] * fields)
    assert twilio._read_form(body).is_form == (fields == 500)


@given(st.text(max_size=40), st.integers(1, 50))
def test_a_line_that_needs_no_mending_is_the_mended_one(text: str, limit: int) -> None:
    mended = reading.clean(reading._LINE_BREAKS.sub(" ", text[: limit * 4]), limit).strip() or None
    assert reading.line(text, limit) == mended


def test_a_body_is_looked_at_once() -> None:
    looks: list[bytes] = []

    def look(body: bytes) -> int:
        looks.append(body)
        return len(body)

    request = Request(b"x")
    assert [request.cached(look), request.cached(look)] == [1, 1]
    assert looks == [b"x"]
