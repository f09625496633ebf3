"""A reply as the messages that carry it."""

from __future__ import annotations

from dataclasses import replace

from contracts.ticket import Attachment, Direction, Message, Status
from kit.base.ids import stable_id
from services.ingest.core.pieces import split_reply
from services.ingest.core.state import Pending
from tests.ingest.core.timeline import AGENT, minute


def reply(files: int) -> Pending:
    attachments = tuple(Attachment(name=f"{n}.pdf", media_type="application/pdf", ref=f"f{n}") for n in range(files))
    message = Message(
        id="r1", direction=Direction.OUT, author=AGENT, text="Here", attachments=attachments, sent_at=minute(0)
    )
    return Pending(message, "c1", minute(0), minute(0), html="<p>Here</p>", status=Status.SOLVED)


def test_a_reply_is_one_message_where_files_go_with_the_text_or_where_there_are_none() -> None:
    assert split_reply(reply(2), one_file_per_message=False) == (reply(2),)
    assert split_reply(reply(0), one_file_per_message=True) == (reply(0),)
    assert split_reply(reply(0), one_file_per_message=False) == (reply(0),)


def test_where_files_leave_by_themselves_the_text_goes_first_and_the_status_comes_last() -> None:
    text, first, last = split_reply(reply(2), one_file_per_message=True)
    assert (text.message.id, text.message.text, text.message.attachments, text.html) == (
        "r1",
        "Here",
        (),
        "<p>Here</p>",
    )
    for n, file in enumerate((first, last)):
        assert (file.message.text, file.html, [each.name for each in file.message.attachments]) == (
            "",
            None,
            [f"{n}.pdf"],
        )
    assert [each.status for each in (text, first, last)] == [None, None, Status.SOLVED]
    assert len({each.message.id for each in (text, first, last)}) == 3
    assert {each.command for each in (text, first, last)} == {"c1"}


def test_a_piece_has_the_same_id_whenever_the_reply_is_taken_apart() -> None:
    assert split_reply(reply(3), one_file_per_message=True) == split_reply(reply(3), one_file_per_message=True)


def test_pieces_are_the_reply_but_for_what_each_carries() -> None:
    whole = replace(reply(2), attempts=3, next_at=minute(9))
    message = whole.message
    files = [
        replace(
            whole,
            message=message.model_copy(
                update={"id": stable_id("file of", "r1", str(n)), "text": "", "attachments": (message.attachments[n],)}
            ),
            html=None,
            status=None,
        )
        for n in range(2)
    ]
    text = replace(whole, message=message.model_copy(update={"attachments": ()}), status=None)
    assert split_reply(whole, one_file_per_message=True) == (text, files[0], replace(files[1], status=Status.SOLVED))
