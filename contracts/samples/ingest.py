"""Samples of what ingest says."""

from collections.abc import Iterator
from datetime import UTC, datetime

from contracts import commands, contacts, tickets
from contracts.payload import Payload
from contracts.samples import stories
from contracts.samples.stories import ENGLISH, KOREAN, POLISH, THAI, after, answered, at
from contracts.ticket import Author, AuthorKind, Channel, CustomerFacts, Facts, Priority, Status

Sample = tuple[str, str, datetime, Payload]
"""Name of the sample, subject, time, payload."""

THAI_ANSWERED = answered(THAI, at("08:41:22.300"))
POLISH_ANSWERED = answered(POLISH, at("09:19:55.730"))
POLISH_SOLVED = after(POLISH_ANSWERED, at("11:00"), status=Status.SOLVED, solved_at=at("11:00"))


def ticket_samples() -> Iterator[Sample]:
    """Messages."""
    place = after(THAI, at("08:33:10.700"), message_count=2, last_customer_message_at=at("08:33:10"))
    yield "thai-whatsapp", THAI.id, at("08:30:00.412"), tickets.TicketOpened(ticket=THAI, message=stories.THAI_ASKS)
    yield "polish-mail", POLISH.id, at("09:02:11.030"), tickets.TicketOpened(ticket=POLISH, message=stories.POLISH_ASKS)
    yield (
        "korean-line-bot",
        KOREAN.id,
        at("09:15:40.900"),
        tickets.TicketOpened(ticket=KOREAN, message=stories.KOREAN_ASKS),
    )
    yield (
        "english-sms-linked",
        ENGLISH.id,
        at("10:05:00.120"),
        tickets.TicketOpened(ticket=ENGLISH, message=stories.ENGLISH_ASKS),
    )
    yield "location", THAI.id, at("08:33:10.700"), tickets.MessageReceived(ticket=place, message=stories.THAI_PLACE)
    yield (
        "out-of-office",
        POLISH.id,
        at("09:20:03.050"),
        tickets.MessageReceived(
            ticket=after(POLISH_ANSWERED, at("09:20:03.050"), message_count=3), message=stories.POLISH_AWAY
        ),
    )
    yield (
        "reply",
        THAI.id,
        at("08:41:22.300"),
        tickets.MessageSent(ticket=THAI_ANSWERED, message=stories.THAI_ANSWER, command_id="cmd-thai-1"),
    )
    yield (
        "reply-second-try",
        POLISH.id,
        at("09:19:55.730"),
        tickets.MessageSent(ticket=POLISH_ANSWERED, message=stories.POLISH_ANSWER, command_id="cmd-pl-1", attempts=2),
    )
    yield (
        "window-closed",
        THAI.id,
        at("08:41:22.500"),
        tickets.MessageFailed(
            ticket=after(THAI, at("08:41:22.500"), status=Status.OPEN),
            message=stories.THAI_ANSWER,
            error="131047: more than 24 hours since the customer last replied",
            command_id="cmd-thai-1",
        ),
    )
    yield (
        "read",
        THAI.id,
        at("08:42:05"),
        tickets.MessageDelivered(
            ticket=after(THAI_ANSWERED, at("08:42:05")),
            message_id=stories.THAI_ANSWER.id,
            state=tickets.DeliveryState.READ,
            at=at("08:42:04"),
        ),
    )
    yield (
        "mailbox-full",
        POLISH.id,
        at("09:21:00"),
        tickets.MessageBounced(
            ticket=after(POLISH_ANSWERED, at("09:21:00"), status=Status.OPEN),
            message_id=stories.POLISH_ANSWER.id,
            permanent=False,
            error="4.2.2 mailbox full",
            recipient="lukasz@poczta.example",
            at=at("09:21:00"),
        ),
    )
    yield (
        "for-a-colleague",
        POLISH.id,
        at("09:10:00"),
        tickets.NoteAdded(
            ticket=after(POLISH, at("09:10:00")),
            note_id="note-01",
            author=stories.KASIA,
            text="Klient dzwonił wczoraj, magazyn potwierdza uszkodzenie.",
            command_id="cmd-pl-0",
        ),
    )


def life_cycle_samples() -> Iterator[Sample]:
    """What else happens to a ticket."""
    yield (
        "solved",
        POLISH.id,
        at("11:00"),
        tickets.TicketStatusChanged(
            ticket=POLISH_SOLVED, old=Status.PENDING, new=Status.SOLVED, actor=stories.KASIA, reason="command"
        ),
    )
    yield (
        "raised",
        POLISH.id,
        at("09:05:00"),
        tickets.TicketPriorityChanged(
            ticket=after(POLISH, at("09:05:00"), priority=Priority.HIGH),
            old=Priority.NORMAL,
            new=Priority.HIGH,
            actor=stories.KASIA,
            reason="uszkodzony towar",
        ),
    )
    yield (
        "refund",
        ENGLISH.id,
        at("10:06:00"),
        tickets.TicketTagged(
            ticket=after(ENGLISH, at("10:06:00"), tags=("refund",)), added=("refund",), actor=stories.SYSTEM
        ),
    )
    yield (
        "from-shop",
        THAI.id,
        at("08:30:03.050"),
        tickets.TicketFactsChanged(
            ticket=after(
                THAI,
                at("08:30:03.050"),
                order_ref="SHP-2411-88213",
                customer=THAI.customer.model_copy(update={"tier": "gold", "orders": 17}),
            ),
            changed=("order_ref", "customer.orders", "customer.tier"),
            old=Facts(customer=CustomerFacts(tier="silver", orders=16)),
            actor=Author(kind=AuthorKind.SYSTEM, name="shop"),
            command_id="cmd-sample-13",
        ),
    )
    yield (
        "skills-of-an-agent",
        KOREAN.id,
        at("09:20:10"),
        tickets.TicketFactsChanged(
            ticket=after(
                KOREAN, at("09:20:10"), language="en", required_skills={"warranty": 3}, preferred_skills={"lamps": 1}
            ),
            changed=("language", "preferred_skills", "required_skills"),
            old=Facts(
                language=KOREAN.language,
                required_skills=KOREAN.required_skills,
                preferred_skills=KOREAN.preferred_skills,
            ),
            actor=stories.JIWOO,
        ),
    )
    yield (
        "customer-wrote-again",
        POLISH.id,
        at("12:30:01"),
        tickets.TicketReopened(
            ticket=after(POLISH_SOLVED, at("12:30:01"), status=Status.OPEN, solved_at=None, reopen_count=1),
            old=Status.SOLVED,
            actor=stories.customer(POLISH),
            message_id="msg-d29708a64f51c3be28695ae3c1",
        ),
    )
    yield (
        "same-customer",
        ENGLISH.id,
        at("10:20:00"),
        tickets.TicketMerged(
            ticket=after(
                ENGLISH, at("10:20:00"), status=Status.CLOSED, merged_into=ENGLISH.linked_to, closed_at=at("10:20:00")
            ),
            into=ENGLISH.linked_to or "",
            actor=stories.JIWOO,
        ),
    )
    yield (
        "second-question",
        THAI.id,
        at("08:50:00"),
        tickets.TicketSplit(
            ticket=after(THAI_ANSWERED, at("08:50:00"), message_count=1),
            new_ticket_id="019aa0c3-0000-7a10-8000-000000000006",
            message_ids=(stories.THAI_PLACE.id,),
            actor=stories.ANONG,
        ),
    )
    yield (
        "bot-gives-up",
        KOREAN.id,
        at("09:16:30"),
        tickets.TicketHandedOff(
            ticket=after(
                KOREAN,
                at("09:16:30"),
                handled_by_bot=False,
                handed_off_at=at("09:16:30"),
                status=Status.OPEN,
                required_skills={"warranty": 2},
            ),
            actor=stories.GREETER,
            reason="exchange wanted",
            summary="램프 불량, 수령일 2026-11-19",
        ),
    )
    yield (
        "quiet",
        POLISH.id,
        at("23:59:59.999"),
        tickets.TicketClosed(
            ticket=after(POLISH_SOLVED, at("23:59:59.999"), status=Status.CLOSED, closed_at=at("23:59:59.999")),
            reason=tickets.CloseReason.QUIET,
            actor=stories.SYSTEM,
        ),
    )
    yield (
        "closed-already",
        POLISH.id,
        at("23:59:59.999"),
        tickets.CommandRejected(
            ticket=after(POLISH_SOLVED, at("23:59:59.999"), status=Status.CLOSED, closed_at=at("23:00")),
            ticket_id=POLISH.id,
            command_id="cmd-pl-9",
            command_type=commands.Reply.type,
            reason=tickets.RejectReason.NOT_ALLOWED,
            detail="a closed ticket takes no reply",
            actor=stories.KASIA,
        ),
    )
    yield (
        "no-such-ticket",
        "no-such-ticket",
        at("10:00"),
        tickets.CommandRejected(
            ticket_id="no-such-ticket",
            command_id="cmd-x",
            command_type=commands.SetStatus.type,
            reason=tickets.RejectReason.UNKNOWN_TICKET,
            actor=stories.JIWOO,
        ),
    )


def contact_samples() -> Iterator[Sample]:
    """Contacts."""
    thai = contacts.Contact(
        id=THAI.contact.id,
        name=THAI.contact.name,
        language="th",
        customer=THAI.customer,
        identities=(
            contacts.Identity(channel=Channel.WHATSAPP, account=THAI.account, id="66812345678", verified=True),
            contacts.Identity(channel=Channel.EMAIL, id="somchai@mail.example"),
        ),
        created_at=datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC),
        updated_at=at("08:30:00.412"),
    )
    other = "ct-ffee00112233445566778899aa"
    yield "thai", thai.id, at("08:30:00.412"), contacts.ContactUpdated(contact=thai, changed=("customer",))
    yield (
        "one-person",
        thai.id,
        at("08:45:00"),
        contacts.ContactMerged(contact=thai.model_copy(update={"merged_into": other}), into=other, actor=stories.ANONG),
    )
    yield (
        "two-persons",
        thai.id,
        at("08:46:00"),
        contacts.ContactUnmerged(contact=thai, out_of=other, actor=stories.ANONG),
    )
    yield (
        "on-request",
        thai.id,
        at("18:00"),
        contacts.ContactErased(
            contact_id=thai.id,
            erased_at=at("18:00"),
            actor=Author(kind=AuthorKind.AGENT, id="dpo", name="Privacy desk"),
        ),
    )
