"""The accounts policy: what it refuses, whose address is whose, and that secrets come from outside only."""

from datetime import timedelta

import pytest

from kit.base.errors import InvalidPolicy
from kit.policy import rate
from kit.policy.file import parse
from services.ingest.channels import meta
from services.ingest.core.policy import TicketPolicy
from services.ingest.handlers import defaults_of, policy_of
from services.ingest.policy_file import AccountsFile
from tests.ingest.channels import samples as s


@pytest.mark.parametrize(
    ("account", "reason"),
    [
        ("{name: a, channel: fax, signing: env:X}", "channel"),
        ("{name: a, channel: webhook}", "requires signing"),
        ("{name: a, channel: webhook, signing: hunter2}", "signing"),
        ("{name: a, channel: sms, signing: env:X, external_id: '+1'}", "requires public_url"),
        ("{name: a, channel: sms, signing: env:X, public_url: 'https://x.example'}", "requires external_id"),
        ("{name: a, channel: whatsapp, signing: env:X}", "requires external_id"),
        ("{name: a, channel: line}", "requires signing"),
        ("{name: a, channel: email, addresses: [a@b.example]}", "requires signing"),
        ("{name: a, channel: email, signing: env:X}", "requires addresses"),
        ("{name: a, channel: email, signing: env:X, addresses: [nobody]}", "not a mail address"),
        ("{name: a, channel: webhook, signing: env:X, base_url: ftp://x}", "http"),
        (
            "{name: a, channel: webhook, signing: env:X, base_url: 'https://u:hunter2@x.example/r'}",
            "must not contain a user or password",
        ),
        (
            "{name: a, channel: webhook, signing: env:X, base_url: 'https://token@x.example'}",
            "must not contain a user or password",
        ),
        (
            "{name: a, channel: webhook, signing: env:X, base_url: '${U:-https://u:p@x.example}'}",
            "must not contain a user or password",
        ),
        ("{name: a, channel: webhook, signing: env:X, quiet_after: 0}", "quiet_after: must be longer than 0"),
        ("{name: A B, channel: webhook, signing: env:X}", "name"),
        ("{name: a, channel: webhook, signing: env:X, secrets: y}", "secrets"),
    ],
)
def test_a_wrong_account_is_refused_with_line_and_reason(account: str, reason: str) -> None:
    text = f"accounts:\n  - {{name: fine, channel: webhook, signing: env:X}}\n  - {account}\n"
    with pytest.raises(InvalidPolicy, match=reason) as refusal:
        parse("ingest.yaml", text.encode(), AccountsFile)
    assert refusal.value.line == 3


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("name: a, channel: webhook", "name: a, channel: webhook"),
        ("name: a, channel: line, external_id: U1", "name: b, channel: line, external_id: U1"),
        ("name: a, channel: email, addresses: [x@y.pl]", "name: b, channel: email, addresses: [X+tag@y.pl]"),
    ],
)
def test_two_accounts_never_claim_the_same(first: str, second: str) -> None:
    text = f"accounts:\n  - {{{first}, signing: env:X}}\n  - {{{second}, signing: env:X}}\n"
    with pytest.raises(InvalidPolicy):
        parse("ingest.yaml", text.encode(), AccountsFile)


@pytest.mark.parametrize(
    ("address", "owner"),
    [
        ("support@nimbus.example", "support-nimbus"),
        ("SUPPORT+x.y@Nimbus.Example", "support-nimbus"),
        ("shop-uk@nimbus.example", "support-nimbus"),
        ("help@korale.example", "help-korale"),
        ("help@nimbus.example", None),
        ("", None),
    ],
)
def test_mail_finds_its_account_by_address(address: str, owner: str | None) -> None:
    found = s.ACCOUNTS.addressed(address)
    assert (found.name if found else None) == owner


def test_the_example_names_its_secrets_and_holds_none() -> None:
    assert {ref.partition(":")[0] for ref in s.ACCOUNTS.secret_refs()} == {"env"}


def test_an_accounts_keys_are_the_policy_and_the_defaults_of_its_tickets() -> None:
    text = b"""
accounts:
  - name: a
    channel: whatsapp
    signing: env:X
    external_id: "1"
    quiet_after: 1h
    reopen_window: 2d
    retry_for: 3h
    rate: 80/s
    brand: nimbus
    market: {country: PL}
    language: pl
    tags: [vip]
    bot: true
"""
    (account,) = parse("ingest.yaml", text, AccountsFile).accounts
    assert policy_of(account) == TicketPolicy(
        quiet=timedelta(hours=1),
        reopen_window=timedelta(days=2),
        send_for=timedelta(hours=3),
        one_file_per_message=True,
        window=meta.WINDOW,
        rate=rate.parse("80/s"),
    )
    found = defaults_of(account)
    assert (found.brand, found.market.country, found.language) == ("nimbus", "PL", "pl")
    assert (found.tags, found.bot) == (("vip",), True)
