"""Puts samples into envelopes, as the services would. Order matters: sequences are counted per source and subject."""

from collections import Counter
from collections.abc import Iterator

from contracts import inbound, topics
from contracts.envelope import Command, Event
from contracts.samples import asked, clocks, ingest, routing, stories

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def wrapped() -> Iterator[tuple[str, str, bytes]]:
    """Type, name of the sample, bytes as on Kafka."""
    sequences: Counter[tuple[str, str]] = Counter()
    groups = (
        ingest.ticket_samples, ingest.life_cycle_samples, ingest.contact_samples, routing.assignment_samples,
        routing.agent_samples, clocks.clock_samples, clocks.notification_samples,
    )  # fmt: skip
    for group in groups:
        for name, subject, time, payload in group():
            (source,) = topics.BY_NAME[topics.TOPIC_OF[payload.type]].sources
            sequences[source, subject] += 1
            event = Event.of(
                payload, source=source, subject=subject, sequence=sequences[source, subject], time=time,
                correlationid="receipt-019aa0b1-5b00", causationid="receipt-019aa0b1-5b00", traceparent=TRACE,
            )  # fmt: skip
            yield payload.type, name, event.encode()
    for number, (name, subject, time, payload) in enumerate(asked.command_samples(), 1):
        command = Command.of(payload, id=f"cmd-sample-{number}", source="/desk", subject=subject, time=time)
        yield payload.type, name, command.encode()


def inbound_record() -> inbound.InboundRecord:
    """A WhatsApp message as its provider sent it."""
    body = (
        '{"object":"whatsapp_business_account","entry":[{"id":"1","changes":[{"field":"messages","value":'
        '{"messaging_product":"whatsapp","metadata":{"phone_number_id":"106540352242922"},"contacts":'
        '[{"wa_id":"66812345678","profile":{"name":"สมชาย ใจดี"}}],"messages":[{"from":"66812345678","id":'
        '"wamid.HBgLNjY4MTIzNDU2NzgVAgASGBQzQTdC","timestamp":"1795163398","type":"text","text":'
        '{"body":"พัสดุยังไม่ถึงเลยครับ"}}]}}]}]}'
    ).encode()
    return inbound.InboundRecord(
        receipt="019aa0b1-5b00-7a10-8000-00000000000a",
        channel="whatsapp",
        account="106540352242922",
        key="whatsapp:106540352242922:66812345678",
        received_at=stories.at("08:30:00.105"),
        content_type="application/json",
        body=body,
        size=len(body),
        verified=True,
        http=inbound.HttpRequest(
            url="https://desk.example/v1/channels/whatsapp/webhook", headers={"content-type": "application/json"}
        ),
        traceparent=TRACE,
    )
