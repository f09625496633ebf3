"""What of a text is new, at the edges: signatures, quotes and markers that almost are some."""

import pytest

from services.ingest.channels import quoting
from services.ingest.channels.quoting import newest

WROTE = "On Fri, 20 Nov 2026 at 10:12, Nimbus <support@nimbus.example> wrote:"


@pytest.mark.parametrize(
    "rest",
    [
        f"{WROTE}\n> Hello\n> there\n-- \nAnna",
        f"{WROTE}\n> Hello\n\n--\nAnna",
        f"{WROTE}\n> Hello\n-- \r\nAnna",
        f"{WROTE}\n\n> Hello",
        f"{WROTE}\nHello\nthere\nyou\n> and deeper",
        f"{WROTE}\nHello",
        "*From:* Nimbus\n*Sent:* Friday\nHello",
        "From: Nimbus\nReply-To: x\nX: y\nSent: Friday\nHello",
        "> Hello\n\n> there\n  > deeper\n",
        "-- \nAnna\n" + "line\n" * 23,
        "--\nAnna",
        "Sent from my " + "x" * 107,
    ],
)
def test_what_is_not_new_is_cut(rest: str) -> None:
    assert newest(f"Thanks.\n\n{rest}") == "Thanks."


@pytest.mark.parametrize(
    "text",
    [
        f"Thanks.\n{WROTE}\n> Hello\nYes.",
        f"Thanks.\n{WROTE}\n> Hello\n--- yes",
        f"Thanks.\n{WROTE}\nHello\nthere\n> quoted\nYes.",
        f"Thanks.\n> {WROTE}\nYes.",
        f"Thanks.\nOn Friday {'x' * 400} wrote:\nYes.",
        "Thanks.\nFrom: Nimbus\na\nb\nc\nSent: Friday",
        "Thanks.\n-- \n" + "line\n" * 25 + "end",
        "Thanks.\n --\nYes.",
        "Thanks.\nSent from my " + "x" * 108 + "\nYes.",
        "Thanks.\n-----Original Message\nYes.",
    ],
)
def test_what_may_be_new_is_kept(text: str) -> None:
    assert newest(text) == text


def test_a_signature_that_is_all_there_is_stays() -> None:
    assert newest("-- \nAnna") == "-- \nAnna"
    assert newest("\n  \n") == ""


def test_a_text_of_very_many_lines_is_not_looked_through() -> None:
    long = "x\n" * (quoting._MAX_LINES - 2)
    assert newest(f"{long}> quoted") == long.strip()
    assert newest(f"{long}y\ny\n> quoted") == f"{long}y\ny\n> quoted"
