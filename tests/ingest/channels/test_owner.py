"""Whose account a verified body is about: what one app's secret proves about other accounts, and what not."""

from __future__ import annotations

from typing import Any

import pytest

from services.ingest.accounts import Accounts
from services.ingest.channels import WEBHOOKS
from services.ingest.core.messages import Faulty, InboundMessage
from tests.ingest.channels.cases import CASES
from tests.ingest.channels.cases.ebay import notification
from tests.ingest.channels.cases.x import activity

#: Channels whose provider signs for several accounts with one secret. LINE has a secret for each account.
SHARED = sorted({name for name, channel in WEBHOOKS.items() if channel.ACCOUNT_BY_SECRET} - {"line"})
ELSEWHERE = "99"
every = pytest.mark.parametrize("name", SHARED)


def parse(name: str, body: bytes, **second: Any) -> list[Any]:
    """What a body has if there is a second account, which differs from the first in these keys."""
    case = CASES[name]
    more = (case.account.model_copy(update={"name": "second", **second}),) if second else ()
    accounts = Accounts.model_construct(accounts=(case.account, *more))
    return list(WEBHOOKS[name].parse(case.record(body), case.account, accounts, case.secrets))


def about_another(name: str) -> bytes:
    """The case's message, as the provider sends it for another user, page or shop of the app."""
    ours = str(CASES[name].account.external_id).encode()
    assert ours in CASES[name].message
    return CASES[name].message.replace(ours, ELSEWHERE.encode())


@every
def test_a_message_for_somebody_without_an_account_is_foreign(name: str) -> None:
    (found,) = parse(name, about_another(name))
    assert isinstance(found, Faulty)
    assert found.foreign


@every
def test_a_message_for_another_account_of_the_app_is_that_accounts(name: str) -> None:
    (found,) = parse(name, about_another(name), external_id=ELSEWHERE)
    assert isinstance(found, InboundMessage)
    assert found.account == found.sender.identities[0].account == "second"


@every
def test_a_secret_proves_nothing_about_the_account_of_another_app(name: str) -> None:
    (found,) = parse(name, about_another(name), external_id=ELSEWHERE, signing=("env:ANOTHER_APP",))
    assert isinstance(found, Faulty)
    assert found.foreign


def test_other_activities_of_a_user_without_an_account_are_silent() -> None:
    assert parse("x", activity(for_user_id=ELSEWHERE, direct_message_indicate_typing_events=[{}])) == []


def test_a_message_that_ebay_signed_for_another_seller_is_that_sellers() -> None:
    (found,) = parse("ebay", notification(1, recipientUserName="korale"), external_id="korale")
    assert (found.account, found.shop) == ("second", "korale")


def test_a_sellers_name_at_ebay_has_no_case() -> None:
    assert parse("ebay", notification(1, senderUserName="Nimbus-Shop", recipientUserName="pwz796")) == []
