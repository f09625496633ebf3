"""The topic table: complete, coherent, and as delivery needs it."""

import pytest

from contracts import topics
from contracts.inbound import TYPE as INBOUND_TYPE
from contracts.registry import COMMAND_TYPES, EVENTS, REGISTRY
from contracts.topics import BY_NAME, CONSUMES, PRODUCES, SERVICES, TOPIC_OF, TOPICS


def test_every_type_travels_on_exactly_one_topic() -> None:
    listed = [kind for topic in TOPICS for kind in topic.types]
    assert len(listed) == len(set(listed))
    assert set(listed) == {*REGISTRY, INBOUND_TYPE} == set(TOPIC_OF)


def test_types_are_named_once_and_carry_their_major_version() -> None:
    classes = [payload for group in EVENTS.values() for payload in group]
    assert len(classes) + len(COMMAND_TYPES) == len(REGISTRY)
    assert all(kind.startswith("deskbus.") and kind.endswith(".v1") for kind in REGISTRY)


def test_a_source_speaks_on_one_topic_only() -> None:
    sources = [source for topic in TOPICS for source in topic.sources]
    assert len(sources) == len(set(sources))


def test_every_sequenced_topic_has_its_one_source() -> None:
    assert all(len(topic.sources) == 1 for topic in TOPICS if topic.sequenced)


def test_every_topic_of_a_service_is_written_by_its_owner() -> None:
    for topic in TOPICS:
        if topic.owner in SERVICES and topic.types:
            assert topic.name in PRODUCES[topic.owner]


def test_services_write_and_read_topics_that_exist() -> None:
    for table in (PRODUCES, CONSUMES):
        assert set(table) == set(SERVICES)
        assert {name for names in table.values() for name in names} <= set(BY_NAME)


def test_no_service_but_its_owner_writes_events() -> None:
    writers = {topic.name: [s for s in SERVICES if topic.name in PRODUCES[s]] for topic in TOPICS if topic.sources}
    assert all(names == [BY_NAME[name].owner] for name, names in writers.items())


def test_each_service_reads_its_retries_and_writes_its_dead_letters() -> None:
    for service in SERVICES:
        assert topics.retry(service) in CONSUMES[service]
        assert topics.dlq(service) in PRODUCES[service]


@pytest.mark.parametrize("name", [name(service) for service in SERVICES for name in (topics.dlq, topics.retry)])
def test_topics_of_dead_letters_and_their_replays_take_a_full_record_with_our_headers_on_top(name: str) -> None:
    assert BY_NAME[name].max_message_bytes - topics.MAX_MESSAGE_BYTES == topics.DLQ_EXTRA_BYTES


def test_every_topic_takes_a_full_record() -> None:
    assert all(topic.max_message_bytes >= topics.MAX_MESSAGE_BYTES for topic in TOPICS)


def test_only_the_agents_topic_is_compacted_and_it_has_no_retention() -> None:
    assert [topic.name for topic in TOPICS if topic.compacted] == [topics.AGENTS]
    assert topics.settings(BY_NAME[topics.AGENTS])["cleanup.policy"] == "compact"
    assert "retention.ms" not in topics.settings(BY_NAME[topics.AGENTS])
    assert topics.settings(BY_NAME[topics.TICKETS])["retention.ms"] == str(30 * topics.DAY_MS)


def test_the_prefix_goes_before_the_name_and_comes_off_again() -> None:
    assert topics.topic_name(topics.TICKETS, "t1.") == "t1.deskbus.tickets.v1"
    assert topics.base_name("t1.deskbus.tickets.v1", "t1.") == topics.TICKETS


def test_the_number_of_partitions_comes_from_the_environment() -> None:
    assert topics.partitions({}) == topics.DEFAULT_PARTITIONS
    assert topics.partitions({"DESKBUS_PARTITIONS": "6"}, default=4) == 6
    assert topics.partitions({"DESKBUS_PARTITIONS": ""}, default=topics.LOCAL_PARTITIONS) == 4
