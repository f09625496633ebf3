"""The tickets that the samples tell about: one Thai, one Polish, one Korean, one English. No events here."""

from datetime import UTC, date, datetime, time

from contracts.ticket import (
    Attachment,
    Author,
    AuthorKind,
    Channel,
    ContactRef,
    CustomerFacts,
    Direction,
    Location,
    Market,
    Message,
    Money,
    Priority,
    Status,
    Ticket,
)

DAY = date(2026, 11, 20)


def at(clock: str) -> datetime:
    """An instant of the day that the samples take place on, from its UTC time of day."""
    return datetime.combine(DAY, time.fromisoformat(clock), UTC)


ANONG = Author(kind=AuthorKind.AGENT, id="anong", name="Anong Srisai")
KASIA = Author(kind=AuthorKind.AGENT, id="kasia", name="Katarzyna Wójcik")
JIWOO = Author(kind=AuthorKind.AGENT, id="jiwoo", name="김지우")
GREETER = Author(kind=AuthorKind.BOT, id="greeter", name="Greeter")
SYSTEM = Author(kind=AuthorKind.SYSTEM)

THAI = Ticket(
    id="019aa0b1-5c00-7a10-8000-000000000001",
    version=1,
    channel=Channel.WHATSAPP,
    account="106540352242922",
    brand="Lumina",
    market=Market(marketplace="shopee", country="TH"),
    contact=ContactRef(
        id="ct-4f1c0b7e92d85a36e1f0a7c4d2",
        name="สมชาย ใจดี",
        address="+66812345678",
        identity="66812345678",
        language="th",
    ),
    customer=CustomerFacts(
        tier="gold",
        since=datetime(2023, 4, 2, tzinfo=UTC),
        orders=17,
        lifetime_value=Money(amount="48210.50", currency="THB"),
    ),
    order_ref="SHP-2411-88213",
    subject="พัสดุยังไม่ถึงเลยครับ",
    language="th",
    priority=Priority.HIGH,
    status=Status.NEW,
    tags=("delivery",),
    required_skills={"delivery": 2},
    preferred_skills={"shopee": 3},
    nth_contact=1,
    thread="whatsapp:106540352242922:66812345678",
    message_count=1,
    created_at=at("08:30:00.412"),
    updated_at=at("08:30:00.412"),
    last_customer_message_at=at("08:29:58"),
    oldest_unanswered_at=at("08:29:58"),
)

POLISH = Ticket(
    id="019aa0b2-1e40-7b20-8000-000000000002",
    version=1,
    channel=Channel.EMAIL,
    account="pomoc@zielnik.example",
    brand="Zielnik",
    market=Market(marketplace="allegro", country="PL"),
    contact=ContactRef(
        id="ct-b80d6c13f7a2495ec0de41b6a9", name="Łukasz Żółkiewski", address="lukasz@poczta.example", language="pl"
    ),
    customer=CustomerFacts(orders=2),
    order_ref="ZK/2026/11/4471",
    subject="Zwrot zamówienia ZK/2026/11/4471",
    language="pl",
    thread="<CAF3x9q@poczta.example>",
    message_count=1,
    created_at=at("09:02:11.030"),
    updated_at=at("09:02:11.030"),
    last_customer_message_at=at("09:02:07"),
    oldest_unanswered_at=at("09:02:07"),
)

KOREAN = Ticket(
    id="019aa0b3-77d0-7c30-8000-000000000003",
    version=1,
    channel=Channel.LINE,
    account="U8e742f61d673b39c7fff3cecb7536ef0",
    brand="Lumina",
    market=Market(country="KR"),
    contact=ContactRef(
        id="ct-0a9e7d2c41b86f53d7c2b1e8f4", name="박서연", address="U4af4980629a1b2c3d4e5f60718293a4b", language="ko"
    ),
    subject="램프 불량 교환 요청",
    language="ko",
    status=Status.NEW,
    handled_by_bot=True,
    thread="line:U8e742f61d673b39c7fff3cecb7536ef0:U4af4980629a1b2c3d4e5f60718293a4b",
    message_count=1,
    created_at=at("09:15:40.900"),
    updated_at=at("09:15:40.900"),
    last_customer_message_at=at("09:15:40.655"),
    oldest_unanswered_at=at("09:15:40.655"),
)

ENGLISH = Ticket(
    id="019aa0b4-9a10-7d40-8000-000000000004",
    version=1,
    channel=Channel.SMS,
    account="+15005550006",
    brand="Northwind",
    market=Market(country="US"),
    contact=ContactRef(id="ct-71d3f09b5ac2e84d16b7c0a3ff", address="+14155550123", language="en"),
    subject="Where is my refund?",
    language="en",
    priority=Priority.URGENT,
    nth_contact=3,
    thread="sms:+15005550006:+14155550123",
    message_count=1,
    created_at=at("10:05:00.120"),
    updated_at=at("10:05:00.120"),
    last_customer_message_at=at("10:05:00"),
    oldest_unanswered_at=at("10:05:00"),
    linked_to="019a9f00-0000-7e50-8000-000000000005",
)


def customer(ticket: Ticket) -> Author:
    """The contact of a ticket as the author of a message."""
    return Author(kind=AuthorKind.CONTACT, id=ticket.contact.id, name=ticket.contact.name)


THAI_ASKS = Message(
    id="msg-5a1f8e02c7d94b36a0e1d2c3b4",
    direction=Direction.IN,
    author=customer(THAI),
    text="พัสดุยังไม่ถึงเลยครับ สั่งไปตั้งแต่วันจันทร์ 🙏",
    sent_at=at("08:29:58"),
    received_at=at("08:30:00.105"),
    channel_message_id="wamid.HBgLNjY4MTIzNDU2NzgVAgASGBQzQTdC",
)
THAI_PLACE = Message(
    id="msg-6b20913fd8ea5c47b1f2e3d4c5",
    direction=Direction.IN,
    author=customer(THAI),
    text="",
    location=Location(latitude=13.7563, longitude=100.5018, name="คอนโด ลุมพินี", address="ถนนพระราม 4 กรุงเทพฯ"),
    sent_at=at("08:33:10"),
    received_at=at("08:33:10.640"),
    in_reply_to="wamid.HBgLNjY4MTIzNDU2NzgVAgARGBI5QjE",
    channel_message_id="wamid.HBgLNjY4MTIzNDU2NzgVAgASGBQzQTdD",
)
THAI_ANSWER = Message(
    id="msg-7c31a240e9fb6d58c203f4e5d6",
    direction=Direction.OUT,
    author=ANONG,
    text="สวัสดีค่ะ พัสดุจะถึงพรุ่งนี้ก่อนเที่ยงนะคะ",
    sent_at=at("08:41:22.300"),
    in_reply_to=THAI_ASKS.channel_message_id,
    channel_message_id="wamid.HBgLNjY4MTIzNDU2NzgVAgARGBI5QjE",
)
POLISH_ASKS = Message(
    id="msg-8d42b351fa0c7e69d31405f6e7",
    direction=Direction.IN,
    author=customer(POLISH),
    text="Dzień dobry, chciałbym zwrócić zamówienie. Zdjęcie uszkodzenia w załączniku.",
    text_full=(
        "Dzień dobry, chciałbym zwrócić zamówienie. Zdjęcie uszkodzenia w załączniku.\n\n"
        "-- \nŁukasz Żółkiewski\ntel. 500 100 200"
    ),
    html=True,
    attachments=(
        Attachment(name="zdjęcie.jpg", media_type="image/jpeg", size=184_233, ref="file-2c91", inline=True),
        Attachment(name="faktura.pdf", media_type="application/pdf", size=42_010, ref="file-2c92"),
    ),
    sent_at=at("09:02:07"),
    received_at=at("09:02:10.800"),
    channel_message_id="<CAF3x9q@poczta.example>",
)
POLISH_AWAY = Message(
    id="msg-9e53c4620b1d8f7ae42516a7f8",
    direction=Direction.IN,
    author=customer(POLISH),
    text="Jestem na urlopie do 1 grudnia.",
    sent_at=at("09:20:01"),
    received_at=at("09:20:03.010"),
    automated=True,
    in_reply_to="<d-9f31@zielnik.example>",
    channel_message_id="<CAF3xar@poczta.example>",
)
POLISH_ANSWER = Message(
    id="msg-af64d5731c2e908bf53627b809",
    direction=Direction.OUT,
    author=KASIA,
    text="Dzień dobry, etykieta zwrotna jest w załączniku. Pozdrawiam, Katarzyna",
    attachments=(Attachment(name="etykieta.pdf", media_type="application/pdf", size=18_220, ref="file-2c95"),),
    sent_at=at("09:19:55.730"),
    in_reply_to="<CAF3x9q@poczta.example>",
    channel_message_id="<d-9f31@zielnik.example>",
)
KOREAN_ASKS = Message(
    id="msg-b075e6842d3fa19c0647380c1a",
    direction=Direction.IN,
    author=customer(KOREAN),
    text="어제 받은 램프가 안 켜져요. 교환 가능한가요?",
    sent_at=at("09:15:40.655"),
    received_at=at("09:15:40.810"),
    channel_message_id="468789577898262530",
)
ENGLISH_ASKS = Message(
    id="msg-c186f7953e40b2ad175849d2b0",
    direction=Direction.IN,
    author=customer(ENGLISH),
    text="Where is my refund? This is the third time I ask.",
    sent_at=at("10:05:00"),
    received_at=at("10:05:00.044"),
    channel_message_id="SM1f0e8ae6ade43cb3c0ce4525424e404f",
)


def answered(ticket: Ticket, when: datetime, **changes: object) -> Ticket:
    """The ticket once a person has replied."""
    return after(
        ticket,
        when,
        **{
            "status": Status.PENDING,
            "message_count": ticket.message_count + 1,
            "first_reply_at": when,
            "last_reply_at": when,
            "oldest_unanswered_at": None,
            **changes,
        },
    )


def after(ticket: Ticket, when: datetime, **changes: object) -> Ticket:
    """The ticket after one more change."""
    return ticket.model_copy(update={"version": (ticket.version or 0) + 1, "updated_at": when, **changes})
