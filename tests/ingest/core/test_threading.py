"""What the core asks again when a ticket was opened by another process while a mail was on its way to it."""

from __future__ import annotations

import pytest

from contracts.ticket import Authentication
from kit.base.errors import TransientError
from services.ingest.core.messages import Mail
from services.ingest.core.ticket import decide
from tests.ingest.core.timeline import POLICY, Story, minute


def mail(authentication: Authentication | None) -> Mail:
    return Mail(
        "<1@x>", generated_id=False, in_reply_to=(), references=(), sender="jan@example.org", reply_to=None,
        return_path=None, recipients=(), authentication=authentication,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("contact", "authentication", "brand", "admitted", "taken"),
    [
        ("C1", None, None, False, True),
        ("C2", None, None, False, False),
        ("C2", None, None, True, True),
        ("C2", Authentication.PASS, None, False, True),
        ("C2", Authentication.NONE, None, False, False),
        ("C1", Authentication.FAIL, None, False, True),  # nobody was ever proven to be C1 here
        ("C1", None, "nimbus", False, True),
        ("C1", None, "korale", False, False),
        ("C1", None, "korale", True, True),
    ],
)
def test_a_mail_whose_admission_is_open_is_looked_up_again_unless_the_ticket_admits_it(
    contact: str, authentication: Authentication | None, brand: str | None, admitted: bool, taken: bool
) -> None:
    story = Story()
    story.writes(0)
    late = story.arrival(1, mail=mail(authentication), brand=brand)
    late.contact_id, late.admitted = contact, admitted
    if not taken:
        with pytest.raises(TransientError, match="may not join"):
            decide(story.state, late, POLICY, minute(1))
        return
    assert [event.type for event in decide(story.state, late, POLICY, minute(1)).events] == [
        "deskbus.message.received.v1"
    ]
