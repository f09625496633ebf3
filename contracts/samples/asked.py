"""Samples of commands."""

from collections.abc import Iterator

from contracts import commands
from contracts.samples import stories
from contracts.samples.ingest import Sample
from contracts.samples.stories import ENGLISH, KOREAN, POLISH, THAI, at
from contracts.ticket import Author, AuthorKind, CustomerFacts, Market, Money, Priority, Status


def command_samples() -> Iterator[Sample]:
    """Commands."""
    yield "thai", THAI.id, at("08:41:21"), commands.Reply(by=stories.ANONG, text=stories.THAI_ANSWER.text)
    yield (
        "polish-with-file",
        POLISH.id,
        at("09:19:50"),
        commands.Reply(
            by=stories.KASIA,
            text=stories.POLISH_ANSWER.text,
            html="<p>Dzień dobry, etykieta zwrotna jest w załączniku.</p>",
            attachments=stories.POLISH_ANSWER.attachments,
            status=Status.PENDING,
        ),
    )
    yield (
        "polish",
        POLISH.id,
        at("09:10:00"),
        commands.AddNote(by=stories.KASIA, text="Magazyn potwierdza uszkodzenie."),
    )
    yield "solve", POLISH.id, at("11:00"), commands.SetStatus(by=stories.KASIA, status=Status.SOLVED)
    yield (
        "raise",
        POLISH.id,
        at("09:05:00"),
        commands.SetPriority(by=stories.KASIA, priority=Priority.HIGH, reason="uszkodzony towar"),
    )
    yield "add", ENGLISH.id, at("10:06:00"), commands.SetTags(by=stories.SYSTEM, add=("refund",), remove=("new",))
    yield "replace", ENGLISH.id, at("10:07:00"), commands.SetTags(by=stories.JIWOO, replace=("refund", "third-contact"))
    yield (
        "bot",
        KOREAN.id,
        at("09:16:30"),
        commands.HandOff(
            by=stories.GREETER, reason="exchange wanted", summary="램프 불량", required_skills={"warranty": 2}
        ),
    )
    yield "to-queue", KOREAN.id, at("09:30:00"), commands.Transfer(by=stories.JIWOO, queue="warranty-kr")
    yield "to-agent", KOREAN.id, at("09:31:00"), commands.Transfer(by=stories.JIWOO, agent_id="minho", reason="휴식")
    yield "same-customer", ENGLISH.id, at("10:20:00"), commands.Merge(by=stories.JIWOO, into=ENGLISH.linked_to or "")
    yield (
        "second-question",
        THAI.id,
        at("08:50:00"),
        commands.Split(by=stories.ANONG, message_ids=(stories.THAI_PLACE.id,), subject="ที่อยู่ใหม่"),
    )
    yield (
        "from-shop",
        THAI.id,
        at("08:30:03"),
        commands.SetFacts(
            by=Author(kind=AuthorKind.SYSTEM, name="shop"),
            order_ref="SHP-2411-88213",
            brand="Lumina",
            language="th",
            customer=CustomerFacts(tier="gold", orders=17, lifetime_value=Money(amount="48210.50", currency="THB")),
            market=Market(marketplace="shopee", country="TH"),
            preferred_skills={"shopee": 3},
        ),
    )
    yield (
        "late-message",
        ENGLISH.linked_to or "",
        at("10:25:00"),
        commands.Forward(
            by=stories.SYSTEM, message=stories.ENGLISH_ASKS, from_ticket_id=ENGLISH.id, contact=ENGLISH.contact
        ),
    )
