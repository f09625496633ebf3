"""A variable that an account names and that is not set: never an empty text in a URL, a login or a signature."""

from typing import Any

import pytest

from kit.policy.secrets import Unresolved
from services.ingest.accounts import Account
from services.ingest.channels import CHANNELS
from services.ingest.channels.channel import Request
from services.ingest.channels.twilio import verify
from tests.ingest.channels import samples as s

UNSET = "${NOT_SET}"


@pytest.mark.parametrize(
    ("account", "change"),
    [
        (s.ALLEGRO, {"base_url": UNSET}),
        (s.WA, {"base_url": f"{UNSET}/v25.0"}),
        (s.LINE, {"base_url": UNSET}),
        (s.SMS, {"base_url": UNSET}),
        (s.SMS, {"public_url": f"{UNSET}/v1"}),
        (s.SMS, {"username": UNSET}),
    ],
)
def test_a_reply_waits_for_a_variable_that_is_not_set(account: Account, change: dict[str, Any]) -> None:
    reply, incomplete = s.reply("Hello", to="+66812345678"), account.model_copy(update=change)
    with pytest.raises(Unresolved, match="the variable NOT_SET is not set"):
        CHANNELS[account.channel].render(reply, incomplete, s.SECRETS)
    CHANNELS[account.channel].render(reply, account, s.SECRETS)


def test_a_signature_over_a_url_that_is_not_known_is_nobody_s_forgery() -> None:
    account = s.SMS.model_copy(update={"public_url": f"{UNSET}/v1/channels/sms/webhook"})
    with pytest.raises(Unresolved, match="the variable NOT_SET is not set"):
        verify(Request(b"", {"x-twilio-signature": "AAAA"}), account, s.SECRETS, s.NOW)


def test_a_slash_at_the_end_of_the_provider_s_url_makes_no_other_url() -> None:
    for account in (s.WA, s.LINE, s.SMS):
        reply, slash = (
            s.reply("Hello", to="+66812345678"),
            account.model_copy(update={"base_url": "https://p.example/"}),
        )
        rendered: Any = CHANNELS[account.channel].render(reply, slash, s.SECRETS)
        assert "https://p.example/" in rendered.url
        assert "//" not in rendered.url.removeprefix("https://")
