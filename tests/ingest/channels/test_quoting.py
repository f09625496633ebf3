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
        f"{WROTE}\na\nb\nc\nd\n> and deeper\nyes",
        "On\n Fri 20 Nov 2026, Nimbus\n <support@nimbus.example> wrote:\n> Hello",
        f"{'-' * 192}Original Message{'-' * 192}\nHello",
        f"From: Nimbus\nSent: {'x' * 394}\nHello",
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
        f"Thanks.\n{WROTE}\na\nb\nc\n> quoted\nYes.",
        f"Thanks.\n{WROTE}\n  > Hello\nYes.",
        f"Thanks.\n{WROTE}\n> Hello\n--   \nYes.",
        f"Thanks.\n{WROTE}\n> Hello\n--X",
        "Thanks.\n-----Original Message-----\n> Hello\nYes.",
        "Thanks.\nFrom: Nimbus\n> Hello\nSent: Friday",
        "Thanks.\nDate: Friday\nFrom: Nimbus\nHello",
        f"Thanks.\n{'-' * 193}Original Message{'-' * 192}\nYes.",
        f"Thanks.\nFrom: Nimbus\nSent: {'x' * 395}\nYes.",
        f"Thanks.\n> {WROTE}\nYes.",
        "Thanks.\n> Nimbus napisał(a):\nYes.",
        "Thanks.\n-- \n" + "line\n" * 24 + "end",
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


def test_quotes_above_do_not_keep_what_is_quoted_below() -> None:
    assert newest(f"> Hello\nThanks.\n{WROTE}\nHello") == "> Hello\nThanks."


def test_a_signature_that_is_all_there_is_stays() -> None:
    assert newest("-- \nAnna") == "-- \nAnna"
    assert newest("-- \nAnna\n-- \nNimbus") == "-- \nAnna\n-- \nNimbus"
    assert newest("\n  \n") == ""


def test_a_text_of_very_many_lines_is_not_looked_through() -> None:
    long = "x\n" * (quoting._MAX_LINES - 2)
    assert newest(f"{long}> quoted") == long.strip()
    assert newest(f"{long}x\n> quoted") == f"{long}x"
    assert newest(f"{long}y\ny\n> quoted") == f"{long}y\ny\n> quoted"
