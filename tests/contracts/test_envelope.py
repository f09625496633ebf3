"""The envelope: what parses, what is refused and how, what survives a round trip."""

import contextlib
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.agents import AgentRemoved
from contracts.commands import SetPriority
from contracts.envelope import Command, Event, Head, UnknownPayload, event_id
from contracts.ticket import Author, Priority
from contracts.tickets import TicketOpened

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def event(**changes: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": "routing/agents:anong:4",
        "source": "/deskbus/routing/agents",
        "type": "deskbus.agent.removed.v1",
        "subject": "anong",
        "time": "2026-11-20T12:00:00Z",
        "sequence": 4,
        "datacontenttype": "application/json",
        "correlationid": "c1",
        "data": {"agent_id": "anong", "removed_at": "2026-11-20T12:00:00Z"},
        **changes,
    }


def encoded(**changes: Any) -> bytes:
    return json.dumps(event(**changes)).encode()


def without(name: str) -> bytes:
    kept = event()
    del kept[name]
    return json.dumps(kept).encode()


def test_an_event_survives_a_round_trip() -> None:
    first = Event.of(
        AgentRemoved(agent_id="anong", removed_at=NOON), source="/deskbus/routing/agents", subject="anong", sequence=4,
        time=NOON, traceparent="00-a-b-01",
    )  # fmt: skip
    assert Event.parse(first.encode()) == first


def test_the_id_of_an_event_is_made_of_source_subject_and_sequence() -> None:
    assert event_id("/deskbus/routing/agents", "anong", 4) == "routing/agents:anong:4"


def test_what_an_event_causes_carries_its_correlation_and_trace() -> None:
    cause = Event.parse(encoded(traceparent="00-a-b-01"))
    effect = Event.of(cause.data, source="/deskbus/sla", subject="t1", sequence=1, time=NOON, cause=cause)
    assert (effect.correlationid, effect.causationid, effect.traceparent) == ("c1", cause.id, "00-a-b-01")


def test_what_a_command_causes_is_correlated_by_the_command() -> None:
    data = SetPriority(by=Author(kind="agent", id="kasia"), priority=Priority.HIGH)
    command = Command.of(data, id="cmd-1", source="/desk", subject="t1", time=NOON)
    assert Command.parse(command.encode()) == command
    effect = Event.of(data, source="/deskbus/ingest", subject="t1", sequence=1, time=NOON, cause=command)
    assert (effect.correlationid, effect.causationid) == ("cmd-1", "cmd-1")


def test_an_event_without_cause_is_its_own_correlation() -> None:
    first = Event.of(AgentRemoved(agent_id="a", removed_at=NOON), source="/s", subject="a", sequence=1, time=NOON)
    assert (first.correlationid, first.causationid) == (first.id, None)


@pytest.mark.parametrize("data", [{"a": [1, None]}, {"a": None}, None, [], "text", 7])
def test_an_unknown_type_is_kept_as_it_came(data: Any) -> None:
    parsed = Event.parse(encoded(type="deskbus.ticket.levitated.v1", data=data))
    assert not parsed.known
    assert parsed.data == UnknownPayload(raw=data)
    assert json.loads(parsed.encode()).get("data") == data


def test_unknown_fields_and_extension_attributes_are_ignored() -> None:
    data = {**event()["data"], "farewell": "บ๊ายบาย"}
    parsed = Event.parse(encoded(data=data, partitionkey="x"))
    assert parsed.known
    assert parsed == Event.parse(encoded())


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "EOF"),
        (b"[]", "not a JSON object"),
        (b"\xff\xfe", "expected value"),
        (b'{"a": NaN}', "expected value"),
        (b"[" * 100_000, "recursion limit"),
        (encoded(specversion="0.3"), "envelope: specversion"),
        (without("specversion"), "envelope: specversion"),
        (without("type"), "envelope: type"),
        (without("id"), "envelope: id"),
        (without("time"), "envelope: time"),
        (encoded(type=["deskbus.agent.removed.v1"]), "envelope: type"),
        (encoded(subject=""), "envelope: subject"),
        (encoded(time="2026-11-20T12:00:00"), "envelope: time"),
        (encoded(time="yesterday"), "envelope: time"),
        (encoded(sequence=0), "envelope: sequence"),
        (encoded(sequence="4"), "envelope: sequence"),
        (encoded(sequence=True), "envelope: sequence"),
        (encoded(sequence=2**53), "envelope: sequence"),
        (without("sequence"), "envelope: sequence"),
        (without("data"), "deskbus.agent.removed.v1: data: "),
        (encoded(data={"agent_id": 3, "removed_at": "x"}), "deskbus.agent.removed.v1: data.agent_id"),
        (encoded(data={"agent_id": "anong"}), "data.removed_at: Field required"),
    ],
)
def test_a_bad_event_is_refused_with_field_and_reason(value: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=r".") as refusal:
        Event.parse(value)
    assert reason in str(refusal.value)


def test_a_refusal_does_not_quote_the_content() -> None:
    with pytest.raises(ValueError, match=r".") as refusal:
        Event.parse(encoded(data={"agent_id": "anong", "removed_at": "my card is 4111"}))
    assert "4111" not in str(refusal.value)


def test_a_refused_event_can_still_be_counted_as_missing() -> None:
    value = encoded(data=17, time=None, id=None)
    assert Event.envelope_only(value) == Head(
        source="/deskbus/routing/agents", subject="anong", sequence=4, type="deskbus.agent.removed.v1"
    )


def test_of_an_event_that_is_not_heeded_only_the_place_is_read() -> None:
    value = encoded(data=17)
    head = Event.parse_only(value, {"deskbus.ticket.opened.v1"})
    assert head == Event.envelope_only(value)
    with pytest.raises(ValueError, match="data"):
        Event.parse_only(value, {"deskbus.agent.removed.v1"})


def test_an_event_of_an_unknown_type_comes_whole_whatever_is_heeded() -> None:
    event = Event.parse_only(encoded(type="deskbus.agent.praised.v1", data=17), ())
    assert isinstance(event, Event)
    assert not event.known


@pytest.mark.parametrize("value", [b"", b"3", without("subject"), encoded(sequence=-1), encoded(source=None)])
def test_where_an_event_stands_is_refused_when_it_cannot_be_read(value: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        Event.envelope_only(value)


def test_instants_are_utc_in_milliseconds() -> None:
    parsed = Event.parse(encoded(time="2026-11-20T19:00:00.123987+07:00"))
    assert parsed.time == datetime(2026, 11, 20, 12, 0, 0, 123_000, tzinfo=UTC)
    assert parsed.time.utcoffset() == timedelta(0)
    assert json.loads(parsed.encode())["time"] == "2026-11-20T12:00:00.123000Z"


def test_a_local_instant_becomes_utc_when_an_event_is_made() -> None:
    local = NOON.astimezone(timezone(timedelta(hours=9)))
    made = Event.of(AgentRemoved(agent_id="a", removed_at=local), source="/s", subject="a", sequence=1, time=local)
    assert (made.time.tzinfo, made.data.removed_at.tzinfo) == (UTC, UTC)


@pytest.mark.parametrize("instant", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_an_instant_outside_the_calendar_is_refused(instant: str) -> None:
    with pytest.raises(ValueError, match="out of range"):
        Event.parse(encoded(time=instant))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
attributes = st.sampled_from([*event(), "causationid", "traceparent", "x"])
types = st.sampled_from([TicketOpened.type, "deskbus.agent.removed.v1", "deskbus.queue.reported.v1", "unknown"])


def only_value_error(value: bytes) -> None:
    for parse in (Event.parse, Command.parse, Event.envelope_only):
        with contextlib.suppress(ValueError):
            parse(value)


@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_arbitrary_bytes_raise_nothing_but_value_error(value: bytes) -> None:
    only_value_error(value)


@given(st.dictionaries(attributes, json_values, max_size=4), types, json_values)
def test_arbitrary_attributes_and_data_raise_nothing_but_value_error(
    changes: dict[str, Any], kind: str, data: Any
) -> None:
    only_value_error(json.dumps({**event(type=kind, data=data), **changes}).encode("utf-8", "surrogatepass"))


@given(st.dictionaries(st.text(max_size=10), json_values, max_size=4), st.integers(1, 2**53 - 1), st.text(min_size=1))
def test_a_tolerated_event_is_encoded_as_it_was_parsed(extra: dict[str, Any], sequence: int, subject: str) -> None:
    text = json.dumps(event(subject=subject, sequence=sequence, data={**extra, **event()["data"]}))
    try:
        parsed = Event.parse(text.encode())
    except ValueError:
        assert "NaN" in text or "Infinity" in text  # not JSON
        return
    assert Event.parse(parsed.encode()) == parsed
    assert (parsed.subject, parsed.sequence) == (subject, sequence)
