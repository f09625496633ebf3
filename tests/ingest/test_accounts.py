"""The accounts policy: what it refuses, whose address is whose, and that secrets come from outside only."""

import pytest

from kit.base.errors import InvalidPolicy
from kit.policy.file import parse
from services.ingest.policy_file import AccountsFile
from tests.ingest.channels import samples as s


@pytest.mark.parametrize(
    ("account", "reason"),
    [
        ("{name: a, channel: fax, signing: env:X}", "channel"),
        ("{name: a, channel: webhook}", "requires signing"),
        ("{name: a, channel: webhook, signing: hunter2}", "signing"),
        ("{name: a, channel: sms, signing: env:X, external_id: '+1'}", "requires public_url"),
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
