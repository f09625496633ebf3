"""Files that are uploaded to WhatsApp before the message names them: the form, the names, the answer."""

from __future__ import annotations

import json

import pytest

from services.ingest.channels import media
from services.ingest.core.messages import File, HttpCall, SendFailure, Upload

URL = "https://graph.example/media"


def upload(file: File) -> Upload:
    made = media.render(file, URL, {"authorization": "Bearer t"}, message)
    assert isinstance(made, Upload)
    return made


def message(kind: str, content: object) -> HttpCall:
    return HttpCall("POST", kind, {}, json.dumps(content).encode())


def shown(file: File) -> tuple[str, object]:
    """The kind of message and what it says of the file."""
    call = upload(file).then(200, b'{"id":"77"}')
    assert isinstance(call, HttpCall)
    return call.url, json.loads(call.body)


def test_a_form_is_written_so() -> None:
    content_type, body = media.form({"type": "text/plain"}, '100% "A".txt', "text/plain", b"x\r\ny")
    boundary = content_type.removeprefix("multipart/form-data; boundary=")
    assert body.decode().split("\r\n") == [
        f"--{boundary}",
        'Content-Disposition: form-data; name="type"',
        "",
        "text/plain",
        f"--{boundary}",
        'Content-Disposition: form-data; name="file"; filename="100%25 %22A%22.txt"',  # as browsers write it
        "Content-Type: text/plain",
        "",
        "x",
        "y",
        f"--{boundary}--",
        "",
    ]


def test_a_file_cannot_hold_the_boundary_of_its_form() -> None:
    boundaries = {media.form({}, "n", "text/plain", content)[0] for content in (b"x", b"y")}
    assert len(boundaries) == 2
    assert all(len(each) >= len("multipart/form-data; boundary=") + 32 for each in boundaries)


def test_the_form_says_what_the_file_is() -> None:
    body = upload(File("a.pdf", "Application/PDF", content=b"%PDF")).call.body.decode().split("\r\n")
    assert "Content-Type: application/pdf" in body
    assert body[3:4] == ["whatsapp"]
    assert "application/pdf" in body


def test_a_file_with_nothing_in_it_is_uploaded_as_nothing() -> None:
    for content in (None, b""):
        body = upload(File("a", "text/plain", content=content)).call.body
        assert b"Content-Type: text/plain\r\n\r\n\r\n--" in body


@pytest.mark.parametrize(("name", "told"), [("", "file"), ("\n", "file"), ("n" * 300, "n" * 200)])
def test_a_document_has_a_name_of_bounded_length(name: str, told: str) -> None:
    assert shown(File(name, "application/pdf", content=b"x")) == ("document", {"id": "77", "filename": told})


@pytest.mark.parametrize(
    ("media_type", "told"),
    [("", "application/octet-stream"), ("\n", "application/octet-stream"), ("m" * 300, "m" * 100)],
)
def test_a_file_of_no_known_type_is_a_document(media_type: str, told: str) -> None:
    file = File("a", media_type, content=b"x")
    assert shown(file)[0] == "document"
    assert f"Content-Type: {told}" in upload(file).call.body.decode().split("\r\n")


def test_an_upload_that_is_answered_without_an_id_is_told_and_tried_again() -> None:
    refused = upload(File("a", "text/plain", content=b"x")).then(200, b"{}")
    assert isinstance(refused, SendFailure)
    assert (refused.permanent, refused.unsure) == (False, False)
    assert "without an id" in refused.reason


def test_an_upload_whose_answer_is_lost_leaves_no_doubt_about_the_message() -> None:
    refused = upload(File("a", "text/plain", content=b"x")).then(500, b"")
    assert isinstance(refused, SendFailure)
    assert refused.unsure is False


def test_an_upload_goes_where_files_go_with_the_accounts_login() -> None:
    call = upload(File("a", "text/plain", content=b"x")).call
    assert (call.method, call.url, call.headers["authorization"]) == ("POST", URL, "Bearer t")
