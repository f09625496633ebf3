"""Who vouches for the sender of a mail: our own mail server alone, in its topmost word, about the one From address."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from contracts.ticket import Authentication
from services.ingest.accounts import Account
from services.ingest.channels import headers as heads
from services.ingest.channels.authentication import authentication

OWN = "mx.nimbus.example"
JAN = "jan@example.org"
PASS, FAIL, NONE = Authentication.PASS, Authentication.FAIL, Authentication.NONE


def account(**fields: object) -> Account:
    own = {"name": "n", "channel": "email", "addresses": ["support@nimbus.example"], "signing": "env:S"}
    return Account.model_validate({**own, "authserv_id": OWN, **fields})


def verdict(*results: str, sender: str = f"Jan <{JAN}>", address: str = JAN, own: Account | None = None) -> str | None:
    block = "".join(f"Authentication-Results: {each}\n" for each in results) + f"From: {sender}\n"
    return authentication(heads.read(block.encode()), address, own or account(), None)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (f"{OWN}; dmarc=pass header.from=example.org", PASS),
        (f"{OWN}; dmarc=pass (p=reject) header.from=example.org; spf=fail smtp.mailfrom=a@b.example", PASS),
        (f"{OWN.upper()}; dmarc=pass header.from=EXAMPLE.org", PASS),
        (f"{OWN}; dmarc=pass", PASS),
        (f"{OWN}; dmarc=fail header.from=example.org; dkim=pass header.d=list.example", FAIL),
        (f"{OWN}; dmarc=fail header.from=example.org; dkim=pass header.d=example.org", FAIL),
        (f"{OWN}; dmarc=pass header.from=evil.example", NONE),
        (f"{OWN}; dmarc=none header.from=example.org", NONE),
        (f"{OWN}; dkim=pass header.d=example.org header.s=a", PASS),
        (f"{OWN}; dkim=pass header.i=@example.org", PASS),
        (f"{OWN}; dkim=fail header.d=example.org", NONE),
        (f"{OWN}; dkim=pass header.d=evil.example", NONE),
        (f"{OWN}; dkim=pass header.d=org", NONE),
        (f"{OWN}; dkim=pass header.d=ample.org", NONE),
        (f"{OWN}; dkim=pass header.d=mail.example.org", NONE),
        (f"{OWN}; spf=pass smtp.mailfrom=bounces@example.org", PASS),
        (f"{OWN}; spf=pass smtp.mailfrom=example.org", PASS),
        (f"{OWN}; spf=pass smtp.helo=example.org", NONE),
        (f"{OWN}; spf=softfail smtp.mailfrom=example.org", NONE),
        (f"{OWN} 1; none", NONE),
        (f"{OWN}", NONE),
        (f"{OWN}; dmarc", NONE),
        (f"{OWN} 99; dmarc=pass", NONE),
        (f"x{OWN}; dmarc=pass header.from=example.org", NONE),
        ("mx.evil.example; dmarc=pass header.from=example.org", NONE),
        (f"mx.evil.example; x={OWN}; dmarc=pass header.from=example.org", NONE),
    ],
)
def test_what_our_mail_server_says_counts_and_nothing_else(result: str, expected: Authentication) -> None:
    assert verdict(result) == expected


def test_only_the_topmost_word_of_our_server_counts() -> None:
    passed, failed = f"{OWN}; dmarc=pass header.from=example.org", f"{OWN}; dmarc=fail header.from=example.org"
    assert verdict("mx.evil.example; dmarc=pass", failed, passed) == FAIL
    assert verdict(f"{OWN}; none", passed) == NONE


def test_a_domain_speaks_for_those_below_it() -> None:
    assert (
        verdict(f"{OWN}; dkim=pass header.d=example.org", sender="a@eu.example.org", address="a@eu.example.org") == PASS
    )


@pytest.mark.parametrize(
    ("sender", "address"),
    [
        (f"{JAN}, eve@evil.example", JAN),
        (f"{JAN}\nFrom: eve@evil.example", JAN),
        ("support@nimbus.example", JAN),  # who is meant stands in another header, which nobody vouches for
        ("", JAN),
    ],
)
def test_only_the_one_address_of_the_one_from_header_is_proven(sender: str, address: str) -> None:
    assert verdict(f"{OWN}; dmarc=pass", sender=sender, address=address) == NONE


def test_where_nobody_is_asked_nothing_is_said() -> None:
    assert verdict(f"{OWN}; dmarc=pass", own=account(authserv_id=None)) is None


@pytest.mark.parametrize(
    ("signed_by", "expected"),
    [(None, NONE), ((), NONE), (("evil.example",), NONE), (("evil.example", "example.org"), PASS)],
)
def test_where_signatures_are_checked_here_headers_say_nothing(
    signed_by: tuple[str, ...] | None, expected: Authentication
) -> None:
    block = f"Authentication-Results: {OWN}; dmarc=pass header.from=example.org\nFrom: {JAN}\n"
    headers = heads.read(block.encode())
    assert authentication(headers, JAN, account(authserv_id=None, check_dkim=True), signed_by) == expected


def test_one_of_the_two_checks_senders() -> None:
    with pytest.raises(ValidationError, match="mutually exclusive"):
        account(check_dkim=True)


@given(st.text(max_size=200))
def test_whatever_stands_there_is_survived_and_proves_nothing(text: str) -> None:
    assert verdict(f"{OWN}; " + text.replace("dmarc", "").replace("dkim", "").replace("spf", "")) in {NONE, PASS}
    assert verdict(text) == NONE
