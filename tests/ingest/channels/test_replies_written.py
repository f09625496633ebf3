"""What a mail of ours holds: texts of their full length, rows of a legal length, addresses of every form."""

import email
import email.policy
from collections import Counter
from email.message import EmailMessage
from typing import Any

import pytest

from services.ingest.channels.compose import compose
from services.ingest.channels.reading import MAX_FULL_TEXT, MAX_TEXT
from services.ingest.core.messages import File, MailOut
from tests.ingest.channels import samples as s

TAGGED = "support+t1@nimbus.example"


def written(text: str = "x", **more: Any) -> tuple[MailOut, EmailMessage]:
    out = compose(s.reply(text, **{"to": "anna@example.pl", **more}), s.NIMBUS, TAGGED)
    message = email.message_from_bytes(out.data, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return out, message


def content(message: EmailMessage, kind: str) -> str:
    body = message.get_body((kind,))
    assert body is not None
    text: str = body.get_content()
    return text.rstrip("\r\n")


def test_a_reply_is_sent_whole_although_an_event_would_not_hold_it() -> None:
    assert Counter(content(written("ą" * MAX_FULL_TEXT)[1], "plain")) == {"ą": MAX_FULL_TEXT}
    assert MAX_FULL_TEXT > MAX_TEXT


def test_a_reply_of_more_than_a_mails_text_is_cut() -> None:
    assert Counter(content(written("y" * (MAX_FULL_TEXT + 1))[1], "plain")) == {"y": MAX_FULL_TEXT}


@pytest.mark.parametrize("beyond", [0, 1])
def test_html_goes_beside_the_text_and_may_be_four_times_as_long(beyond: int) -> None:
    _, message = written(html="h" * (4 * MAX_FULL_TEXT + beyond))
    assert (message.get_content_type(), content(message, "plain")) == ("multipart/alternative", "x")
    assert Counter(content(message, "html")) == {"h": 4 * MAX_FULL_TEXT}


@pytest.mark.parametrize("more", [{"html": "<p>Hi</p>"}, {"files": (File("a", "b/c", b"1"),)}, {"text": "Hi"}])
def test_a_reply_that_has_a_text_or_html_or_a_file_is_sent(more: dict[str, Any]) -> None:
    out, _ = written(**{"text": " ", **more})
    assert out.recipients == ("anna@example.pl",)


def test_no_row_of_a_header_with_encoded_words_is_longer_than_76() -> None:
    """RFC 2047, section 2."""
    for letters in range(1, 60, 3):
        name = "ż" * letters
        rows = written(to_name=name, author_name=name, subject=name)[0].data.split(b"\r\n")
        assert [row for row in rows if b"=?" in row and len(row) > 76] == []


def test_rows_with_encoded_words_are_filled() -> None:
    rows = written(to_name="ż" * 60, author_name="ż" * 60, subject="ż" * 60)[0].data.split(b"\r\n")
    first = {row.partition(b":")[0].decode(): len(row) for row in rows if b": =?" in row}
    assert set(first) == {"From", "To", "Subject"}
    assert all(72 < length <= 76 for length in first.values()), first


@pytest.mark.parametrize(("number", "local"), [("M-1.a", "M-1.a"), ("Ü/b_c", "--b-c"), ("", "reply")])
def test_the_message_id_is_made_of_what_an_id_may_hold(number: str, local: str) -> None:
    out, message = written(message_id=number)
    assert out.message_id == message["Message-ID"] == f"<{local}@nimbus.example>"


def test_a_local_part_in_quotes_may_hold_an_at_sign() -> None:
    out, message = written(to='"anna@home"@bücher.example')
    assert out.recipients == ('"anna@home"@xn--bcher-kva.example',)
    assert message["To"].addresses[0].addr_spec == out.recipients[0]
    own = s.NIMBUS.model_copy(update={"addresses": ('"help@desk"@nimbus.example',)})
    assert compose(s.reply(to="anna@example.pl"), own, TAGGED).message_id == "<m-1@nimbus.example>"
