"""What a ticket keeps of a message: its id, its claims, the published message, its files, and where texts are cut."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from contracts.contacts import Identity
from contracts.ticket import Attachment, Authentication, Author, ContactRef, Direction, Location, Message
from kit.base.ids import stable_id
from services.ingest.core.arrivals import (
    ATTACHMENTS,
    FULL_BYTES,
    TEXT_BYTES,
    WHOLE_BYTES,
    Arrival,
    attachments,
    blob_id,
    message_id,
    subject_of,
    truncate,
    without_content,
)
from services.ingest.core.messages import InboundMessage, Mail, Part, Sender, identity_key
from services.ingest.core.policy import AccountDefaults
from services.ingest.core.threading import conversation_anchor, mail_anchors
from tests.ingest.core.timeline import minute

MAIL = Mail("<m1@x>", False, ("<p@x>",), ("<r1@x>", "<r2@x>"), "eve@x.example", None, None, ("desk@y.example",))


def inbound(**fields: Any) -> InboundMessage:
    said: dict[str, Any] = {
        "channel": "whatsapp",
        "account": "wa-th",
        "message_id": "m1",
        "sender": Sender((Identity(channel="whatsapp", id="u1"),), "Somchai", "66811111111", language="th"),
        "sent_at": minute(1),
        "text": "Where is it?",
        "conversation": "u1",
    }
    return InboundMessage(**{**said, **fields})


def mailed(**fields: Any) -> InboundMessage:
    sender = Sender((Identity(channel="email", id="eve@x.example"),), "Eve", "eve@x.example")
    mail = {"channel": "email", "account": "desk", "message_id": "<m1@x>", "sender": sender, "conversation": None}
    return inbound(**{**mail, "mail": MAIL, **fields})


def test_what_the_worker_has_not_found_out_is_nothing_yet() -> None:
    arrival = Arrival(inbound(), minute(2))
    assert (arrival.ticket_id, arrival.contact_id, arrival.nth_contact) == ("", "", 1)
    assert (arrival.linked_to, arrival.thread, arrival.defaults) == (None, None, AccountDefaults())
    assert (arrival.admitted, arrival.taken, arrival.too_early) == (False, False, False)


def test_an_id_follows_from_channel_account_and_the_channels_own_id() -> None:
    assert message_id("whatsapp", "wa-th", "m1") == stable_id("message", "whatsapp", "wa-th", "m1")
    assert Arrival(inbound(), minute(2)).id == message_id("whatsapp", "wa-th", "m1")


@pytest.mark.parametrize(("dated", "named"), [(None, ""), (minute(0), str(minute(0)))])
def test_the_id_of_a_mail_follows_from_its_sender_and_its_date_too(dated: Any, named: str) -> None:
    said = mailed(mail=replace(MAIL, dated=dated))
    key = identity_key(said.sender.identities[0])
    assert Arrival(said, minute(2)).id == message_id("email", "desk", f"<m1@x> {key} {named}")


def test_a_chat_claims_its_conversation_with_the_brand_it_wrote_to_and_a_mail_its_ids() -> None:
    defaults = AccountDefaults(brand="nimbus")
    for brand in (None, "nimbus", "korale"):
        said = inbound(brand=brand)
        assert Arrival(said, minute(2), defaults).anchors == (conversation_anchor(said, "nimbus"),)
    assert Arrival(mailed(), minute(2)).anchors == mail_anchors(mailed())


@pytest.mark.parametrize(
    ("address", "identity"), [("66811111111", "u1"), ("u1", None), (None, "u1")], ids=["differs", "is it", "no address"]
)
def test_a_contact_has_the_channels_id_where_it_is_not_the_address(address: str | None, identity: str | None) -> None:
    said = inbound(sender=replace(inbound().sender, address=address))
    assert Arrival(said, minute(2), contact_id="C1").contact() == ContactRef(
        id="C1", name="Somchai", address=address, identity=identity, language="th"
    )


def test_a_message_is_published_with_all_that_its_channel_said() -> None:
    place = Location(latitude=1, longitude=2)
    said = mailed(
        text_full="Where is it?\n> quoted", html=True, location=place, automated_because="auto-submitted",
        in_reply_to="<p@x>", parts=(Part("a.pdf", "application/pdf", b"abc"),),
        parts_left_out=2, mail=replace(MAIL, authentication=Authentication.FAIL),
    )  # fmt: skip
    arrival = Arrival(said, minute(2), contact_id="C1")
    assert arrival.message() == Message(
        id=arrival.id,
        direction=Direction.IN,
        author=Author(kind="contact", id="C1", name="Eve"),
        text="Where is it?",
        text_full="Where is it?\n> quoted",
        html=True,
        attachments=(Attachment(name="a.pdf", media_type="application/pdf", size=3, ref=f"{arrival.id}.0"),),
        attachments_left_out=2,
        location=place,
        sent_at=minute(1),
        received_at=minute(2),
        automated=True,
        in_reply_to="<p@x>",
        channel_message_id="<m1@x>",
        authentication="fail",
    )


def test_a_message_says_nothing_of_what_its_channel_did_not_say() -> None:
    arrival = Arrival(inbound(), minute(2), contact_id="C1")
    assert arrival.message() == Message(
        id=arrival.id,
        direction=Direction.IN,
        author=Author(kind="contact", id="C1", name="Somchai"),
        text="Where is it?",
        sent_at=minute(1),
        received_at=minute(2),
        channel_message_id="m1",
    )


@pytest.mark.parametrize(
    ("text", "full", "told", "told_full", "whole"),
    [
        ("x" * TEXT_BYTES, None, TEXT_BYTES, None, None),
        ("x" * (TEXT_BYTES + 1), None, TEXT_BYTES, TEXT_BYTES + 1, TEXT_BYTES + 1),
        ("x" * (FULL_BYTES + 1), None, TEXT_BYTES, FULL_BYTES, FULL_BYTES + 1),
        ("x" * (TEXT_BYTES + 1), "y" * (TEXT_BYTES + 2), TEXT_BYTES, TEXT_BYTES + 2, None),
        ("x", "y" * FULL_BYTES, 1, FULL_BYTES, None),
        ("x", "y" * (FULL_BYTES + 1), 1, FULL_BYTES, FULL_BYTES + 1),
        ("x" * (WHOLE_BYTES + 1), None, TEXT_BYTES, FULL_BYTES, WHOLE_BYTES),
    ],
    ids=[
        "fits",
        "a byte too long",
        "longer than both",
        "both",
        "full fits",
        "full too long",
        "longer than is without_content",
    ],
)
def test_a_text_is_published_up_to_its_limits_and_kept_whole_beside_where_that_is_not_all(
    text: str, full: str | None, told: int, told_full: int | None, whole: int | None
) -> None:
    arrival = Arrival(inbound(text=text, text_full=full), minute(2))
    message = arrival.message()
    assert message.text == text[:told]
    assert message.text_full == (None if told_full is None else (full or text)[:told_full])
    assert arrival.whole() == (None if whole is None else (full or text)[:whole])


def test_bytes_are_counted_and_not_characters_and_half_a_surrogate_pair_is_no_fault() -> None:
    text = "ก" * (TEXT_BYTES // 3 + 1)
    assert Arrival(inbound(text=text), minute(2)).message().text == text[:-1]
    assert Arrival(inbound(text=text), minute(2)).whole() == text
    assert Arrival(inbound(text="\ud800" * TEXT_BYTES), minute(2)).whole() is None


@pytest.mark.parametrize(
    ("text", "limit", "left"),
    [
        ("", 0, ""),
        ("abcd", 16, "abcd"),
        ("abcd", 4, "abcd"),
        ("abcd", 3, "abc"),
        ("aกb", 5, "aกb"),
        ("aกb", 4, "aก"),
        ("aกb", 3, "a"),
        ("aกb", 0, ""),
        ("😀😀", 8, "😀😀"),
        ("😀😀", 7, "😀"),
        ("a\ud800b", 12, "a\ud800b"),
        ("a\ud800b", 2, "a?"),
    ],
)
def test_a_text_is_cut_to_bytes_at_a_character(text: str, limit: int, left: str) -> None:
    assert truncate(text, limit) == left


def test_files_are_published_by_their_reference() -> None:
    parts = (
        Part("a.pdf", "application/pdf", b"abc", inline=True),
        Part("", "image/png", ref="media-7", size=9),
        Part("c.png", "image/png", ref="https://x/c"),
        Part("d.png", "image/png", ref="http://x/d"),
        Part("e.png", "image/png", ref="m.4", size=5),
        Part("f.png", "image/png", b"ab", ref="https://x/f"),
        Part("g.png", "image/png"),
    )
    assert attachments("m", parts) == (
        Attachment(name="a.pdf", media_type="application/pdf", size=3, ref="m.0", inline=True),
        Attachment(name="file 2", media_type="image/png", size=9, ref="m.1", media_id="media-7"),
        Attachment(name="c.png", media_type="image/png", ref="m.2", url="https://x/c"),
        Attachment(name="d.png", media_type="image/png", ref="m.3", url="http://x/d"),
        Attachment(name="e.png", media_type="image/png", size=5, ref="m.4"),
        Attachment(name="f.png", media_type="image/png", size=2, ref="m.5"),
        Attachment(name="g.png", media_type="image/png", ref="m.6"),
    )


def test_files_whose_bytes_are_stored_are_held_by_reference_and_published_as_before() -> None:
    parts = (Part("a.pdf", "application/pdf", b"abc", inline=True), Part("b.png", "image/png", ref="media-7", size=9))
    stored = without_content("m", parts)
    assert stored == (Part("a.pdf", "application/pdf", None, "m.0", 3, inline=True), parts[1])
    assert attachments("m", stored) == attachments("m", parts)
    assert blob_id("m", 0) == "m.0"


@pytest.mark.parametrize(("beyond", "left_out", "told"), [(0, 0, None), (1, 0, 1), (0, 2, 2), (3, 2, 5)])
def test_files_beyond_the_limit_are_counted_with_those_that_were_not_read(
    beyond: int, left_out: int, told: int | None
) -> None:
    parts = tuple(Part(f"{n}", "text/plain", b"x") for n in range(ATTACHMENTS + beyond))
    message = Arrival(inbound(parts=parts, parts_left_out=left_out), minute(2)).message()
    assert [file.name for file in message.attachments] == [str(n) for n in range(ATTACHMENTS)]
    assert message.attachments_left_out == told


@pytest.mark.parametrize(
    ("subject", "text", "found"),
    [
        ("  Where \t is it? ", "text", "Where is it?"),
        (None, "\n \n first  line\nsecond", "first line"),
        (" ", "text", "text"),
        ("x" * 301, "", "x" * 300),
        (None, "", None),
        (None, " \n ", None),
    ],
)
def test_a_subject_is_the_subject_line_or_the_first_line_that_says_anything(
    subject: str | None, text: str, found: str | None
) -> None:
    assert subject_of(inbound(subject=subject, text=text)) == found


def test_identities_are_equal_by_channel_account_and_id() -> None:
    assert identity_key(Identity(channel="line", account="a", id="x", verified=True)) == "line:a:x"
    assert identity_key(Identity(channel="email", id="x")) == "email::x"
    assert Sender((Identity(channel="line", id="1"), Identity(channel="line", id="2"))).key == "line::1"


def test_ancestors_of_a_mail_come_likeliest_first_each_once() -> None:
    mail = replace(MAIL, in_reply_to=("<b@x>",), references=("<a@x>", "<b@x>", "<c@x>"))
    assert mail.ancestors == ("<b@x>", "<c@x>", "<a@x>")
    assert replace(mail, in_reply_to=(), references=()).ancestors == ()


def test_a_message_is_a_machines_where_a_reason_says_so() -> None:
    assert not inbound().automated
    assert inbound(automated_because="").automated
