"""Every channel survives every input, arbitrary or nearly right, with no error but the declared ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.ingest.channels import CHANNELS, WEBHOOKS
from services.ingest.channels.channel import Request
from services.ingest.core.messages import SendFailure, Sent
from tests.ingest.channels import surviving
from tests.ingest.channels.cases import CASES, Case
from tests.ingest.channels.samples import NOW

every = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
hooked = pytest.mark.parametrize("case", [CASES[name] for name in WEBHOOKS], ids=WEBHOOKS)
quickly = settings(max_examples=60, suppress_health_check=[HealthCheck.differing_executors])

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)


def _mutated(document: Any, draw: Callable[[Any], Any]) -> Any:
    """The document with some of its values replaced by anything."""
    if draw(st.integers(0, 12)) == 0:
        return draw(values)
    if isinstance(document, dict):
        return {name: _mutated(value, draw) for name, value in document.items()}
    if isinstance(document, list):
        return [_mutated(value, draw) for value in document]
    return document


def _nearly_right(body: bytes, data: st.DataObject) -> bytes:
    """A body of a case with other values in its JSON, or with some bytes replaced."""
    try:
        document = json.loads(body)
    except ValueError:
        start, cut = data.draw(st.integers(0, len(body))), data.draw(st.integers(0, 8))
        return body[:start] + data.draw(st.binary(max_size=12)) + body[start + cut :]
    return json.dumps(_mutated(document, data.draw)).encode("utf-8", "surrogatepass")


@every
@quickly
@given(data=st.data())
def test_a_nearly_right_body_is_read_or_unreadable(case: Case, data: st.DataObject) -> None:
    body = _nearly_right(data.draw(st.sampled_from(case.read)), data)
    surviving.parsed(case, body)
    if case.name in WEBHOOKS:
        surviving.met(case, Request(body))
        surviving.met(case, case.sign(body, NOW))


@every
@quickly
@given(body=st.binary(max_size=400))
def test_any_bytes_are_read_or_unreadable(case: Case, body: bytes) -> None:
    surviving.parsed(case, body)


@hooked
@quickly
@given(body=st.binary(max_size=200), signature=st.text(max_size=60) | st.just(""), data=st.data())
def test_any_request_is_let_in_or_refused(case: Case, body: bytes, signature: str, data: st.DataObject) -> None:
    signed = case.sign(case.message, NOW)
    headers = {name: data.draw(st.sampled_from((value, signature))) for name, value in signed.headers.items()}
    surviving.met(case, Request(body, headers, {"account": signature}, signature))


@every
@quickly
@given(status=st.integers(100, 599), body=st.binary(max_size=200) | values.map(lambda v: json.dumps(v).encode()))
def test_any_answer_to_a_reply_is_an_outcome(case: Case, status: int, body: bytes) -> None:
    found = CHANNELS[case.name].outcome(status, {"retry-after": body[:5].decode("latin-1")}, body)
    assert isinstance(found, Sent | SendFailure)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 400_000,
        b'{"a":' * 100_000,
        b'{"entry":[{"changes":' + b"[" * 200_000,
        b'{"id":' + b"9" * 400_000 + b"}",
        b'{"entry":[],"x":NaN}',
        b'\xef\xbb\xbf{"events":[]}',
        b"&".join(b"a%d=b" % n for n in range(60_000)),
        b"%" * 400_000,
        b"MessageSid=SM1&From=%00%ff%ed%a0%80&Body=%00%ff",
    ],
)
@hooked
def test_a_hostile_body_is_survived_in_bounded_time(case: Case, body: bytes) -> None:
    with surviving.bounded():
        surviving.parsed(case, body)
        surviving.met(case, Request(body))
