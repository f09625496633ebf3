"""WhatsApp: webhooks and requests compared whole, and the bounds of both."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from contracts.commands import Template
from contracts.contacts import Identity
from contracts.ticket import Location
from services.ingest.accounts import Account, Accounts
from services.ingest.channels import meta
from services.ingest.core.messages import (
    Delivery,
    DeliveryStatus,
    Faulty,
    File,
    HttpCall,
    InboundMessage,
    Part,
    Sender,
    SendFailure,
    Sent,
    Unreadable,
    Unsendable,
    Upload,
)
from tests.ingest.channels import samples as s

NUMBER, USER = "66811111111", "TH.13491208655302741918"
AT = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
LATER = datetime(2026, 11, 21, 9, 31, 40, tzinfo=UTC)


def identities(*ids: str, account: str = "wa-th") -> tuple[Identity, ...]:
    return tuple(Identity(channel="whatsapp", account=account, id=each, verified=True) for each in ids)


def parse(body: bytes, accounts: Accounts = s.ACCOUNTS) -> list[Any]:
    return list(meta.parse(s.record(s.WA, body), s.WA, accounts, s.SECRETS))


def message(content: dict[str, Any], **value: Any) -> InboundMessage:
    given = {"from": NUMBER, "from_user_id": USER, "id": "wamid.B", "timestamp": "1795253500", **content}
    (found,) = parse(s.whatsapp(given, **value))
    assert isinstance(found, InboundMessage)
    return found


def expected(**more: Any) -> InboundMessage:
    """The sample's message, with what more it says."""
    sender = Sender(identities(USER, NUMBER), name="สมหญิง ใจดี", address=NUMBER, phone=f"+{NUMBER}")
    same = {"message_id": "wamid.B", "sender": sender, "conversation": USER, "sent_at": LATER}
    return InboundMessage(**{"channel": "whatsapp", "account": "wa-th", **same, **more})


# --- Messages. ---


def test_a_text_is_read_field_by_field() -> None:
    content = {"type": "text", "text": {"body": "ของยังไม่มา\r\n\x00ค่ะ"}, "context": {"id": "wamid.OURS"}}
    assert message(content) == expected(text="ของยังไม่มา\nค่ะ", in_reply_to="wamid.OURS")


def test_a_document_is_read_field_by_field() -> None:
    document = {"id": "99", "mime_type": "application/pdf", "filename": "bill.pdf", "caption": "See"}
    part = Part("bill.pdf", "application/pdf", ref="99")
    assert message({"type": "document", "document": document}) == expected(text="See", parts=(part,))


@pytest.mark.parametrize("kind", ["image", "video", "audio", "document", "sticker"])
def test_media_without_a_name_are_called_by_their_kind(kind: str) -> None:
    found = message({"type": kind, kind: {"id": "99"}})
    assert found == expected(parts=(Part(kind, "application/octet-stream", ref="99"),))


def test_media_without_an_id_have_no_part() -> None:
    assert message({"type": "image", "image": {"mime_type": "image/png"}}) == expected()


def test_a_media_type_is_cut_at_100_characters() -> None:
    assert message({"type": "image", "image": {"id": "9", "mime_type": "t" * 101}}).parts[0].media_type == "t" * 100


def test_a_place_is_read_field_by_field() -> None:
    place = {"latitude": 13.7563, "longitude": 100.5018, "name": "สยาม", "address": "กรุงเทพ"}
    where = Location(latitude=13.7563, longitude=100.5018, name="สยาม", address="กรุงเทพ")
    assert message({"type": "location", "location": place}) == expected(text="สยาม\nกรุงเทพ", location=where)


@pytest.mark.parametrize(
    ("latitude", "longitude", "is_place"),
    s.PLACES,
)
def test_a_place_is_on_earth(latitude: Any, longitude: Any, is_place: bool) -> None:
    place = {"latitude": latitude, "longitude": longitude, "name": "x"}
    found = message({"type": "location", "location": place})
    where = Location(latitude=latitude, longitude=longitude, name="x") if is_place else None
    assert (found.text, found.location) == ("x", where)


def test_only_a_location_has_a_place() -> None:
    found = message({"type": "text", "location": {"latitude": 1.0, "longitude": 1.0}})
    assert found.location is None


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"type": "interactive", "interactive": {"type": "button_reply", "button_reply": {"title": "Yes"}}}, "Yes"),
        ({"type": "interactive", "interactive": {"type": "nfm_reply", "nfm_reply": {"body": "Sent"}}}, "Sent"),
        ({"type": "interactive", "interactive": {"type": "x", "x": {"title": "A", "body": "B"}}}, "A"),
        ({"type": "interactive"}, ""),
        (
            {
                "type": "contacts",
                "contacts": [{"name": {"formatted_name": "Anna"}}, {"name": {"formatted_name": "Bo"}}],
            },
            "Anna\nBo",
        ),
        ({"type": "button", "button": {"text": "Yes", "payload": "p"}}, "Yes"),
        ({"type": "text"}, ""),
        ({"type": "unsupported"}, "[unsupported]"),
        ({"type": "k" * 41}, f"[{'k' * 40}]"),
        ({}, "[unknown]"),
    ],
)
def test_other_messages_show_what_they_say(content: dict[str, Any], text: str) -> None:
    assert message(content) == expected(text=text)


@pytest.mark.parametrize("kind", ["reaction", "system", "ephemeral", "request_welcome"])
def test_what_continues_no_conversation_is_left_out_of_its_batch(kind: str) -> None:
    found = parse(s.whatsapp({"from": NUMBER, "id": "w", "type": kind}, s.wa_text("hi")))
    assert [each.text for each in found] == ["hi"]


def test_a_message_in_a_group_belongs_to_the_groups_conversation() -> None:
    assert message({"type": "text", "text": {"body": "x"}, "group_id": "G1"}) == expected(text="x", conversation="G1")


@pytest.mark.parametrize("timestamp", [None, "", "soon", "1e300", {}])
def test_a_message_without_a_time_is_as_old_as_its_record(timestamp: Any) -> None:
    assert message({"timestamp": timestamp}).sent_at == s.NOW


def test_a_message_without_an_id_or_a_sender_is_faulty() -> None:
    body = s.whatsapp({"from": NUMBER, "type": "text"}, {"id": "w", "type": "text"}, contacts=[])
    assert parse(body) == [Faulty("a message without id"), Faulty("a message without sender")]


@pytest.mark.parametrize("document", [{}, {"entry": None}, {"entry": {}}])
def test_a_body_without_entries_is_unreadable(document: Any) -> None:
    with pytest.raises(Unreadable, match="no entry"):
        parse(s.encode(document))


# --- Senders. ---

ANNA = {"profile": {"name": "Anna"}, "wa_id": "1", "user_id": "A"}
BO = {"profile": {"username": "bo"}, "wa_id": "2", "user_id": "B"}


@pytest.mark.parametrize(
    ("said", "contacts", "sender"),
    [
        ({"from": "2"}, [ANNA, BO], Sender(identities("B", "2"), name="bo", address="2", phone="+2")),
        ({"from_user_id": "B"}, [ANNA, BO], Sender(identities("B", "2"), name="bo", address="2", phone="+2")),
        ({"from": "1", "from_user_id": "A"}, [ANNA, BO], Sender(identities("A", "1"), "Anna", "1", phone="+1")),
        ({"from": "3"}, [ANNA, BO], Sender(identities("3"), address="3", phone="+3")),
        ({"from": "3", "from_user_id": "C"}, [ANNA, BO], Sender(identities("C", "3"), address="3", phone="+3")),
        ({"from_user_id": "C"}, [ANNA, BO], Sender(identities("C"), address="C")),
        ({"from": "3"}, [ANNA], Sender(identities("A", "3"), name="Anna", address="3", phone="+3")),
        ({}, [ANNA], Sender(identities("A", "1"), name="Anna", address="1", phone="+1")),
        ({"from": "3"}, [], Sender(identities("3"), address="3", phone="+3")),
        ({"from": "2"}, [{"profile": {"name": "x"}}, BO], Sender(identities("B", "2"), "bo", "2", phone="+2")),
        ({"from_user_id": "B"}, [{"wa_id": "9"}, BO], Sender(identities("B", "2"), "bo", "2", phone="+2")),
        ({"from": "x"}, [], Sender(identities("x"), address="x")),
        ({"from": "2"}, [{**BO, "profile": {"name": "Bo", "username": "bo"}}],
         Sender(identities("B", "2"), "Bo", "2", phone="+2")),
    ],
)  # fmt: skip
def test_a_sender_is_who_the_message_and_the_contact_of_the_same_id_say(
    said: dict[str, str], contacts: list[Any], sender: Sender
) -> None:
    (found,) = parse(s.whatsapp({"id": "w", "type": "text", **said}, contacts=contacts))
    assert found.sender == sender


# --- Statuses. ---

STATUS = {"id": "wamid.X", "status": "failed", "timestamp": "1795253500", "recipient_id": NUMBER}


def status(**changes: Any) -> DeliveryStatus:
    (found,) = parse(s.whatsapp(statuses=[{**STATUS, **changes}]))
    assert isinstance(found, DeliveryStatus)
    return found


def test_a_failed_status_is_read_field_by_field() -> None:
    details = {"details": "more than 24 hours have passed"}
    fault = {"code": 131047, "title": "Re-engagement message", "error_data": details}
    assert status(biz_opaque_callback_data="m-1", errors=[fault, {"code": 1}]) == DeliveryStatus(
        channel="whatsapp",
        account="wa-th",
        channel_message_id="wamid.X",
        state=Delivery.FAILED,
        at=LATER,
        permanent=True,
        reason="131047 more than 24 hours have passed",
        recipient=NUMBER,
        our_message_id="m-1",
    )


def test_a_status_with_little_leaves_the_rest_unsaid() -> None:
    assert parse(s.whatsapp(statuses=[{"id": "w", "status": "read"}])) == [
        DeliveryStatus(channel="whatsapp", account="wa-th", channel_message_id="w", state=Delivery.READ, at=s.NOW)
    ]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [({"code": 1, "title": "t"}, "1 t"), ({"code": 1}, "1"), ({"title": "t"}, "t"), ({}, None)],
)
def test_a_reason_is_made_of_what_is_told(fault: dict[str, Any], reason: str | None) -> None:
    assert status(errors=[fault]).reason == reason


@pytest.mark.parametrize(
    ("said", "permanent"), [("sent", False), ("delivered", False), ("read", False), ("failed", True)]
)
def test_only_a_failure_is_for_good(said: str, permanent: bool) -> None:
    found = status(status=said)
    assert (found.state, found.permanent) == (Delivery(said), permanent)


def test_a_status_without_an_id_or_of_no_known_kind_is_passed_over() -> None:
    odd = [{"id": "w", "status": "deleted"}, {"status": "read"}, {"id": "w"}]
    (found,) = parse(s.whatsapp(statuses=[*odd, STATUS]))
    assert found.channel_message_id == "wamid.X"


# --- Batches. ---


def test_messages_and_statuses_of_all_changes_come_in_order() -> None:
    first = json.loads(s.whatsapp(s.wa_text("a"), statuses=[STATUS]))["entry"]
    second = json.loads(s.whatsapp(s.wa_text("b")))["entry"]
    second[0]["changes"] *= 2
    found = parse(s.encode({"entry": [*first, 7, *second]}))
    assert [each.text if isinstance(each, InboundMessage) else each.state for each in found] == [
        "a", Delivery.FAILED, "b", "b",
    ]  # fmt: skip


def test_a_change_without_a_number_is_about_the_account_that_it_came_to() -> None:
    (found,) = parse(s.whatsapp(s.wa_text("hi"), metadata={}))
    assert found.account == "wa-th"


def test_messages_and_statuses_of_another_number_of_ours_are_its_own() -> None:
    other = s.WA.model_copy(update={"name": "wa-my", "external_id": "555"})
    body = s.whatsapp(s.wa_text("hi"), statuses=[STATUS], number="555")
    heard, fact = parse(body, Accounts(accounts=(s.WA, other)))
    assert (heard.account, heard.sender.identities) == ("wa-my", identities(USER, NUMBER, account="wa-my"))
    assert fact.account == "wa-my"


def test_one_secret_in_common_vouches_for_a_number() -> None:
    signing = ("env:NEW", *s.WA.signing)
    other = s.WA.model_copy(update={"name": "wa-my", "external_id": "555", "signing": signing})
    (found,) = parse(s.whatsapp(s.wa_text("hi"), number="555"), Accounts(accounts=(s.WA, other)))
    assert found.account == "wa-my"


# --- Replies. ---

API = "https://graph.facebook.com/v25.0/106540352242922"
LINKED = File("label.pdf", "application/pdf", url="https://cdn.example/label.pdf")


def rendered(account: Account = s.WA, **more: Any) -> HttpCall:
    call = meta.render(s.reply(**more), account, s.SECRETS)
    assert isinstance(call, HttpCall)
    return call


def test_a_reply_is_one_request_with_everything_in_it() -> None:
    call = rendered(text="Hello\r\n\x00£\ud800", to=f"+{NUMBER}", message_id="m" * 513)
    assert (call.method, call.url) == ("POST", f"{API}/messages")
    assert call.headers == {"content-type": "application/json", "authorization": "Bearer wa-token"}
    assert json.loads(call.body) == {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": NUMBER,
        "type": "text",
        "text": {"preview_url": False, "body": "Hello\n£"},
        "biz_opaque_callback_data": "m" * 512,
    }


@pytest.mark.parametrize(
    ("parameters", "components"),
    [
        ((), None),
        (
            ("Somchai\x00", "SHP-7"),
            [{"type": "body", "parameters": [{"type": "text", "text": each} for each in ("Somchai", "SHP-7")]}],
        ),
    ],
)
def test_a_template_is_sent_instead_of_the_text(parameters: tuple[str, ...], components: Any) -> None:
    template = Template(name="parcel_update", language="pt_BR", parameters=parameters)
    document = json.loads(rendered(text="x" * 5000, template=template).body)
    assert (document["type"], "text" in document) == ("template", False)
    expected = {"name": "parcel_update", "language": {"code": "pt_BR"}}
    assert document["template"] == expected | ({} if components is None else {"components": components})


def test_a_reply_to_a_user_id_names_a_recipient() -> None:
    document = json.loads(rendered(to=USER).body)
    assert (document["recipient"], "to" in document) == (USER, False)


def test_a_file_with_a_url_is_a_message_by_itself() -> None:
    call = rendered(text=" ", files=(LINKED,))
    document = json.loads(call.body)
    assert (call.url, document["type"]) == (f"{API}/messages", "document")
    assert document["document"] == {"link": LINKED.url, "filename": "label.pdf"}


def test_a_file_that_we_keep_is_uploaded_under_the_number() -> None:
    upload = meta.render(s.reply("", files=(File("a.pdf", "application/pdf", b"x"),)), s.WA, s.SECRETS)
    assert isinstance(upload, Upload)
    assert (upload.call.method, upload.call.url) == ("POST", f"{API}/media")
    assert upload.call.headers["authorization"] == "Bearer wa-token"


@pytest.mark.parametrize(("size", "fine"), [(4096, True), (4097, False)])
def test_a_text_has_at_most_4096_characters(size: int, fine: bool) -> None:
    if fine:
        assert json.loads(rendered(text="x" * size).body)["text"]["body"] == "x" * size
    else:
        with pytest.raises(Unsendable, match="at most 4096 characters"):
            rendered(text="x" * size)


@pytest.mark.parametrize("more", [{"to": ""}, {"text": ""}, {"text": " \n"}, {"to": "", "files": (LINKED,)}])
def test_a_reply_needs_a_recipient_and_a_text_or_a_file(more: dict[str, Any]) -> None:
    with pytest.raises(Unsendable, match="recipient"):
        rendered(**more)


@pytest.mark.parametrize("more", [{"files": (LINKED,)}, {"text": "", "files": (LINKED, LINKED)}])
def test_a_message_is_a_text_or_one_file(more: dict[str, Any]) -> None:
    with pytest.raises(Unsendable, match="a text or one file"):
        rendered(**more)


def test_an_account_without_a_base_url_sends_nothing() -> None:
    with pytest.raises(Unsendable, match="wa-th has no base_url"):
        rendered(s.WA.model_copy(update={"base_url": None}))


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (200, b'{"messages":[{"id":"wamid.Z"},{"id":"wamid.Y"}]}', Sent("wamid.Z")),
        (200, b'{"messages":[]}', Sent(None)),
        (400, b"no", SendFailure("HTTP 400: no", permanent=True, retry_after=5.0)),
    ],
)
def test_an_answer_names_the_message_or_the_reason(status: int, body: bytes, outcome: Any) -> None:
    assert meta.outcome(status, {"Retry-After": "5"}, body) == outcome
