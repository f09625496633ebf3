"""Tickets in addresses: every key that is in force opens them, the first makes them, and nothing else does."""

import pytest

from kit.policy.secrets import Secrets
from services.ingest.accounts import Account
from services.ingest.channels import address_token
from services.ingest.channels import email as mail
from services.ingest.core.messages import InboundMessage, MailOut
from tests.ingest.channels import samples as s

TICKET = "0190163d-8694-739b-aea5-966c26f8ad91"
SECRETS = Secrets({"NEW": "the new key", "OLD": "the old key"})


def account(*signing: str) -> Account:
    return s.NIMBUS.model_copy(update={"signing": tuple(f"env:{name}" for name in signing)})


def ticket_of(address: str, own: Account) -> str | None:
    raw = f"From: anna@example.pl\r\nTo: {address}\r\n\r\nx".encode()
    (message,) = mail.parse(s.record(own, raw), own, s.ACCOUNTS, SECRETS)
    assert isinstance(message, InboundMessage)
    assert message.mail is not None
    return message.mail.ticket_by_address


@pytest.mark.parametrize(
    ("key", "signing", "known"),
    [
        ("the new key", ("NEW", "OLD"), True),
        ("the old key", ("NEW", "OLD"), True),
        ("the old key", ("NEW",), False),
        ("the old key", ("GONE", "OLD"), True),
        ("the old key", ("GONE",), False),
    ],
)
def test_an_address_stays_good_while_its_key_is_named(key: str, signing: tuple[str, ...], *, known: bool) -> None:
    token = address_token.mint("support@nimbus.example", TICKET, key)
    assert ticket_of(token, account(*signing)) == (TICKET if known else None)


def test_the_first_key_makes_addresses() -> None:
    out = mail.render(s.reply(to="anna@example.pl", ticket_id=TICKET), account("NEW", "OLD"), SECRETS)
    assert isinstance(out, MailOut)
    assert ticket_of(out.sender, account("NEW")) == TICKET
    assert ticket_of(out.sender, account("OLD")) is None


def test_the_first_rightly_signed_address_counts() -> None:
    wrong = address_token.mint("support@nimbus.example", TICKET, "wrong")
    right = address_token.mint("support@nimbus.example", TICKET, "k")
    other = address_token.mint("support@nimbus.example", "t-1", "k")
    assert address_token.ticket_in(["support@nimbus.example", wrong, right, other], ["k"]) == TICKET
    assert address_token.ticket_in([right], []) is None


@pytest.mark.parametrize(
    "address",
    ["support@nimbus.example", "support+x@nimbus.example", "a+b+t-1.aaaaaaaaaaaaaaaa@x", "+t-1.aaaaaaaaaaaaaaaa@x"],
)
def test_an_address_without_a_token_names_nothing(address: str) -> None:
    assert address_token.ticket_in([address], ["k"]) is None


def test_a_token_that_would_not_fit_is_left_out() -> None:
    assert address_token.mint("support@nimbus.example", "t" * 50, "k") == "support@nimbus.example"
    longest = "x" * (64 - 1 - 26 - 1 - 16)
    assert address_token.mint(f"{longest}@a.b", TICKET, "k") != f"{longest}@a.b"
    assert address_token.mint(f"{longest}y@a.b", TICKET, "k") == f"{longest}y@a.b"


def test_a_tag_of_the_account_gives_way_to_the_ticket() -> None:
    assert address_token.mint("support+shop@a.b", TICKET, "k") == address_token.mint("support@a.b", TICKET, "k")
