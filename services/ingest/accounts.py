"""The policy of channel accounts: their identities, markets, defaults and references to secrets.

`policy_file.py` checks the channel and the keys that it requires, since channels import this module.

Rule: secrets are referred to, never contained (kit/policy/secrets.py).
"""

from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property
from typing import ClassVar, Self

from pydantic import Field, model_validator

from contracts.languages import Language
from contracts.ticket import Market
from contracts.values import Country, OneOrMany
from kit.policy.address import Address, Hosts, Url
from kit.policy.duration import Duration, PositiveDuration
from kit.policy.part import Part
from kit.policy.rate import Rate
from kit.policy.secrets import SecretRefs


class MarketPolicy(Part):
    """Where the account sells."""

    marketplace: str | None = Field(None, description="Marketplace, e.g. shopee; leave it out for your own shop.")
    country: Country | None = Field(None, description="Country, ISO 3166-1 alpha-2.")

    def market(self) -> Market:
        """Return the market as events contain it."""
        return Market(marketplace=self.marketplace, country=self.country)


class Alias(Part):
    """A mail address with a market, brand, language or tags of its own."""

    address: Address
    """The address."""
    brand: str | None = None
    """Brand of mail to this address; defaults to the account's."""
    market: MarketPolicy | None = None
    """Market of mail to this address; defaults to the account's."""
    language: Language | None = None
    """Language to assume, BCP 47; defaults to the account's."""
    tags: OneOrMany[str] = ()
    """Tags for every ticket opened by mail to this address, in addition to the account's."""


class Account(Part):
    """One of the company's accounts on a channel."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$", description="Name of the account in events and URLs.")
    channel: str
    """`NAME` of the channel's module: the channel, or its provider (ADR 22)."""
    brand: str | None = None
    """Brand that the account sells."""
    market: MarketPolicy = MarketPolicy()
    """Where the account sells."""
    language: Language | None = Field(None, description="Language to assume, BCP 47.")
    tags: OneOrMany[str] = Field((), description="Tags for every ticket that this account opens.")

    external_id: str | None = Field(
        None,
        description="The provider's id of the account: of a phone number, page, bot, workspace, shop, seller or user.",
    )
    addresses: OneOrMany[Address] = Field((), description="Mail addresses; replies are sent from the first.")
    aliases: tuple[Alias, ...] = Field(
        (), description="More mail addresses, with their own market, brand, language or tags."
    )
    display_name: str | None = Field(None, description="Sender name of replies.")
    username: str | None = Field(
        None, description="User name at the provider (Twilio: account SID), or the application's id."
    )

    signing: SecretRefs = Field(
        (),
        description="Secret that the provider signs with, or the application's; for mail, the key for plus-addresses.",
    )
    access: SecretRefs = Field((), description="Credentials for the provider's API: a token, or the client secret.")
    refresh: SecretRefs = Field(
        (), description="First OAuth refresh token; Deskbus stores those that the provider issues later."
    )
    verify_token: SecretRefs = Field((), description="Verification token of the webhook (Meta, eBay).")

    base_url: Url | None = Field(None, description="Base URL of the provider's API.")
    public_url: Url | None = Field(
        None, description="URL of our webhook as the provider calls it, without the account."
    )

    authserv_id: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,250}$",
        description="Mail: name that our mail server uses in Authentication-Results. The server must remove such "
        "headers from incoming mail (RFC 8601, section 5). Without this and `check_dkim`, no sender is authenticated.",
    )
    check_dkim: bool = Field(
        default=False, description="Mail: check DKIM in Deskbus, using DNS; if mail reaches Deskbus directly."
    )

    poll_every: PositiveDuration = timedelta(minutes=1)
    """Providers without webhooks: interval between two polls."""
    bot: bool = Field(default=False, description="A bot answers first; agents get the ticket when it hands over.")
    quiet_after: PositiveDuration = timedelta(hours=12)
    """Chat: inactivity after which a message opens a new ticket."""
    reopen_window: Duration = timedelta(days=14)
    """A message that arrives later than this after the ticket was solved opens a new, linked ticket."""
    retry_for: Duration = timedelta(hours=12)
    """How long to retry a reply that has certainly not arrived (no connection, 503); at least 8 attempts. Attempts that
    may have arrived are limited to 8, since each may deliver another copy."""
    rate: Rate | None = None
    """Maximum rate of outgoing messages, per second, minute, hour or day (80/s, 30/m, 500/h, 10000/d), over all
    replicas. Further messages wait. The burst is what one second allows, at least one message."""

    @property
    def carries(self) -> str:
        """The channel of the account's tickets."""
        return self.channel

    def alias(self, address: str) -> Alias | None:
        """Return the alias for an address, or None. An address with a plus-tag only matches an alias with that tag."""
        address = address.lower()
        return next((alias for alias in self.aliases if alias.address == address), None)

    def takes(self, address: str) -> bool:
        """Whether mail to this address belongs to this account. Plus-tags are ignored."""
        plain = without_tag(address)
        return any(plain == without_tag(own) for own in (*self.addresses, *(alias.address for alias in self.aliases)))

    @model_validator(mode="after")
    def _one_authority(self) -> Self:
        if self.authserv_id is not None and self.check_dkim:
            raise ValueError("authserv_id and check_dkim are mutually exclusive")
        return self


def without_tag(address: str) -> str:
    """Return the address in lower case without plus-tag: `Support+x@A.example` -> `support@a.example`."""
    local, at, domain = address.lower().rpartition("@")
    return local.split("+", 1)[0] + at + domain


class Accounts(Part):
    """The whole policy."""

    renamed_keys: ClassVar[Mapping[str, str]] = {
        "quiet_minutes": "quiet_after (a duration: 12h)",
        "reopen_days": "reopen_window (a duration: 14d)",
        "retry_hours": "retry_for (a duration: 12h)",
    }

    accounts: tuple[Account, ...] = Field(min_length=1)
    """The accounts; names must be unique."""
    allow_hosts: Hosts = ()
    """Hosts that may be called even if private or without TLS: `host` or `host:port`, as in the URL."""

    @model_validator(mode="after")
    def _indexed(self) -> Self:
        _ = self._by_name, self._by_external, self._by_address  # each raises ValueError for duplicates
        return self

    # Cached properties, since these are used for every request and pydantic's private attributes are slower.
    @cached_property
    def _by_name(self) -> dict[str, Account]:
        found: dict[str, Account] = {}
        for account in self.accounts:
            if found.setdefault(account.name, account) is not account:
                raise ValueError(f"duplicate account name {account.name}")
        return found

    @cached_property
    def _by_external(self) -> dict[tuple[str, str], Account]:
        found: dict[tuple[str, str], Account] = {}
        for account in self.accounts:
            if account.external_id is not None:
                other = found.setdefault((account.channel, account.external_id), account)
                if other is not account:
                    raise ValueError(f"{account.name} and {other.name} have the same external_id")
        return found

    @cached_property
    def _by_address(self) -> dict[str, Account]:
        found: dict[str, Account] = {}
        for account in self.accounts:
            for address in (*account.addresses, *(alias.address for alias in account.aliases)):
                other = found.setdefault(without_tag(address), account)
                if other is not account:
                    raise ValueError(f"{account.name} and {other.name} have the same address {address}")
        return found

    def named(self, channel: str, name: str) -> Account | None:
        """Return the account of that name, or None. `channel` is that of an inbound record, or that of a ticket."""
        account = self._by_name.get(name)
        return account if account is not None and channel in {account.channel, account.carries} else None

    def external(self, channel: str, identifier: str) -> Account | None:
        """Return the account with this id at the provider, or None."""
        return self._by_external.get((channel, identifier))

    def addressed(self, address: str) -> Account | None:
        """Return the account that mail to this address belongs to, or None."""
        return self._by_address.get(without_tag(address))

    def channels(self) -> tuple[str, ...]:
        """Return the channels that have an account, without duplicates."""
        return tuple(dict.fromkeys(account.channel for account in self.accounts))

    def secret_refs(self) -> tuple[str, ...]:
        """Return all references to secrets, without duplicates, for `deskbus check`."""
        refs = (ref for a in self.accounts for ref in (*a.signing, *a.access, *a.refresh, *a.verify_token))
        return tuple(dict.fromkeys(refs))
