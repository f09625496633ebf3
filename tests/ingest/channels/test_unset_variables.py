"""A variable that an account names and that is not set: never an empty text in a URL, a login or a signature."""

import contextlib
from typing import Any

import pytest

from kit.policy.secrets import Unresolved
from services.ingest.accounts import Account
from services.ingest.channels import CHANNELS
from services.ingest.channels.channel import Request
from services.ingest.channels.twilio import verify
from services.ingest.core.messages import HttpCall, Unsendable, Upload
from tests.ingest.channels import samples as s
from tests.ingest.channels.cases import CASES, Case

UNSET = "${NOT_SET}"


def _rendered(case: Case, account: Account) -> Any:
    """A reply to the case's message; None if the channel takes no such reply."""
    with contextlib.suppress(Unsendable):
        return CHANNELS[case.name].render(case.reply(), account, case.secrets)


def _with(account: Account, key: str, value: str) -> Account:
    return account.model_copy(update={key: value})


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_reply_waits_for_a_variable_that_is_not_set(case: Case) -> None:
    whole = _rendered(case, case.account)
    for key in ("base_url", "public_url", "username"):
        if (value := getattr(case.account, key)) is None:
            continue
        used = whole is not None and whole != _rendered(case, _with(case.account, key, value.replace("1", "2") + "9"))
        assert used or whole is None or key != "base_url"
        with pytest.raises(Unresolved, match="the variable NOT_SET is not set") if used else contextlib.nullcontext():
            _rendered(case, _with(case.account, key, f"{UNSET}/v1"))


def test_a_signature_over_a_url_that_is_not_known_is_nobody_s_forgery() -> None:
    account = s.SMS.model_copy(update={"public_url": f"{UNSET}/v1/channels/sms/webhook"})
    with pytest.raises(Unresolved, match="the variable NOT_SET is not set"):
        verify(Request(b"", {"x-twilio-signature": "AAAA"}), account, s.SECRETS, s.NOW)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_slash_at_the_end_of_the_provider_s_url_makes_no_other_url(case: Case) -> None:
    call = _rendered(case, _with(case.account, "base_url", "https://p.example/api/"))
    call = call.call if isinstance(call, Upload) else call
    if isinstance(call, HttpCall):
        assert call.url.startswith("https://p.example/api/")
        assert "//" not in call.url.removeprefix("https://")
