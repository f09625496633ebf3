"""Files of replies: each channel sends them as its provider takes them, or says why it cannot."""

from __future__ import annotations

import base64
import json
from email import message_from_bytes
from email.message import Message
from typing import Any
from urllib.parse import parse_qs

import pytest
from linebot.v3.messaging import PushMessageRequest

from services.ingest.accounts import Account
from services.ingest.channels import CHANNELS, media, meta
from services.ingest.core.messages import File, HttpCall, OutgoingReply, SendFailure, Unsendable, Upload
from tests.ingest.channels import samples as s

PDF = File('étiquette "A".pdf', "application/pdf", content=b"%PDF-1.7\r\n--\r\n")
LINKED = File("label.pdf", "application/pdf", url="https://cdn.example/label.pdf")
PICTURE = File("box.jpg", "image/jpeg", url="https://cdn.example/box.jpg")
TO = {"whatsapp": "66811111111", "line": "U1", "sms": "+447700900123", "webhook": "buyer-9"}


def reply(own: Account, *files: File, text: str = "") -> OutgoingReply:
    return s.reply(text, to=TO[own.channel], files=files)


def sent(own: Account, *files: File, text: str = "") -> HttpCall:
    call = CHANNELS[own.channel].render(reply(own, *files, text=text), own, s.SECRETS)
    assert isinstance(call, HttpCall)
    return call


# --- WhatsApp. ---


def form_of(call: HttpCall) -> dict[str, Message[str, str]]:
    """The parts of a form, read by the standard library."""
    whole = message_from_bytes(b"Content-Type: " + call.headers["content-type"].encode() + b"\r\n\r\n" + call.body)
    assert whole.is_multipart()
    assert not whole.defects
    parts: Any = whole.get_payload()
    return {part.get_param("name", header="content-disposition"): part for part in parts}


def test_a_file_that_we_keep_is_uploaded_to_whatsapp_and_then_named() -> None:
    upload = meta.render(reply(s.WA, PDF), s.WA, s.SECRETS)
    assert isinstance(upload, Upload)
    assert upload.call.url == "https://graph.facebook.com/v25.0/106540352242922/media"
    assert upload.call.headers["authorization"] == "Bearer wa-token"
    parts = form_of(upload.call)
    said = {name: parts[name].get_payload() for name in ("messaging_product", "type")}
    assert said == {"messaging_product": "whatsapp", "type": "application/pdf"}
    assert parts["file"].get_payload(decode=True) == PDF.content
    message = upload.then(200, b'{"id":"1037543291543636"}')
    assert isinstance(message, HttpCall)
    document = json.loads(message.body)
    assert (message.url, document["type"]) == ("https://graph.facebook.com/v25.0/106540352242922/messages", "document")
    assert document["document"] == {"id": "1037543291543636", "filename": PDF.name}
    assert document["biz_opaque_callback_data"] == "m-1"


@pytest.mark.parametrize(
    ("status", "body", "permanent"),
    [(400, b'{"error":{"code":100}}', True), (500, b"", False), (401, b"", False), (200, b"{}", False)],
)
def test_an_upload_that_is_not_taken_is_the_outcome(status: int, body: bytes, permanent: bool) -> None:
    upload = meta.render(reply(s.WA, PDF), s.WA, s.SECRETS)
    assert isinstance(upload, Upload)
    refused = upload.then(status, body)
    assert isinstance(refused, SendFailure)
    assert refused.permanent == permanent


@pytest.mark.parametrize(
    ("media_type", "kind"),
    [("image/png", "image"), ("IMAGE/JPEG", "image"), ("video/mp4", "video"), ("audio/ogg", "audio"),
     ("application/pdf", "document"), ("image/gif", "document")],
)  # fmt: skip
def test_a_file_with_a_url_is_fetched_by_whatsapp_and_shown_as_what_it_is(media_type: str, kind: str) -> None:
    document = json.loads(sent(s.WA, File("a.bin", media_type, url="https://cdn.example/a")).body)
    name = {"filename": "a.bin"} if kind == "document" else {}
    assert (document["type"], document[kind]) == (kind, {"link": "https://cdn.example/a", **name})


@pytest.mark.parametrize(("text", "files"), [("both", [LINKED]), ("", [LINKED, PICTURE])])
def test_a_message_of_whatsapp_is_a_text_or_one_file(text: str, files: list[File]) -> None:
    with pytest.raises(Unsendable, match="a text or one file"):
        sent(s.WA, *files, text=text)


@pytest.mark.parametrize("name", ['a"; name="type', "a\r\nContent-Type: text/html", "%22"])
def test_no_name_of_a_file_leaves_its_place_in_the_form(name: str) -> None:
    upload = meta.render(reply(s.WA, File(name, "text/plain", content=b"x")), s.WA, s.SECRETS)
    assert isinstance(upload, Upload)
    parts = form_of(upload.call)
    assert set(parts) == {"messaging_product", "type", "file"}
    assert parts["file"].get_content_type() == "text/plain"


def test_a_form_is_the_same_for_the_same_file() -> None:
    assert media.form({"a": "b"}, "n", "text/plain", b"x") == media.form({"a": "b"}, "n", "text/plain", b"x")


# --- LINE. ---


def test_pictures_go_with_the_text_in_one_push_of_line() -> None:
    body = sent(s.LINE, PICTURE, PICTURE, text="Here").body
    push = PushMessageRequest.from_json(body.decode())  # LINE's own model, which is strict
    assert push is not None
    assert json.loads(body)["messages"] == [
        {"type": "text", "text": "Here"},
        *[{"type": "image", "originalContentUrl": PICTURE.url, "previewImageUrl": PICTURE.url}] * 2,
    ]


def test_a_picture_alone_is_a_message_of_line() -> None:
    assert [each["type"] for each in json.loads(sent(s.LINE, PICTURE).body)["messages"]] == ["image"]


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ([LINKED], "label.pdf is none"),
        ([File("a.mp4", "video/mp4", url="https://cdn.example/a.mp4")], "pictures only"),
        ([File("a.jpg", "image/jpeg", content=b"x")], "by https URL only"),
        ([File("a.jpg", "image/jpeg", url="http://cdn.example/a.jpg")], "by https URL only"),
        ([PICTURE] * 5, "at most 5"),
    ],
)
def test_what_line_does_not_take_fails_with_its_reason(files: list[File], why: str) -> None:
    with pytest.raises(Unsendable, match=why):
        sent(s.LINE, *files, text="x")


# --- Twilio. ---


def test_files_of_an_sms_are_media_urls() -> None:
    fields = parse_qs(sent(s.SMS, PICTURE, LINKED, text="Here").body.decode())
    assert (fields["MediaUrl"], fields["Body"]) == ([PICTURE.url, LINKED.url], ["Here"])
    assert "MediaUrl" not in parse_qs(sent(s.SMS, text="Here").body.decode())


@pytest.mark.parametrize(("files", "why"), [([PDF], "by https URL only"), ([PICTURE] * 11, "at most 10")])
def test_what_twilio_does_not_take_fails_with_its_reason(files: list[File], why: str) -> None:
    with pytest.raises(Unsendable, match=why):
        sent(s.SMS, *files, text="x")


# --- The generic webhook. ---


def test_a_generic_reply_brings_its_files_by_url_or_whole() -> None:
    by_url, whole = json.loads(sent(s.COUPANG, LINKED, PDF).body)["attachments"]
    assert by_url == {"name": "label.pdf", "media_type": "application/pdf", "url": LINKED.url}
    assert base64.b64decode(whole["content"]) == PDF.content
    assert "url" not in whole
