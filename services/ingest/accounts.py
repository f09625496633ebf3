"""The policy of channel accounts: which there are, whose they are, where their secrets are. No channel's rules.

Rule: a secret is named, never written (kit/policy/secrets.py).
"""

from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from contracts.languages import Language
from contracts.ticket import Market
from contracts.values import Country, OneOrMany
from kit.policy.address import Address, Hosts, Url
from kit.policy.duration import Duration, PositiveDuration
from kit.policy.part import Part
from kit.policy.secrets import SecretRefs

ChannelKind = Literal["webhook", "whatsapp", "line", "sms", "email"]


class MarketPolicy(Part):
    """Where sales of an account take place."""

    marketplace: str | None = Field(None, description="Marketplace, e.g. shopee; nothing for an own shop.")
    country: Country | None = Field(None, description="ISO 3166-1 alpha-2.")

    def market(self) -> Market:
        """As events carry it."""
        return Market(marketplace=self.marketplace, country=self.country)


class Alias(Part):
    """A mail address that says more than the account does: which market, which brand, which tags."""

    address: Address
    """The address."""
    brand: str | None = None
    """Brand of what comes here; by default the account's."""
    market: MarketPolicy | None = None
    """Where the sale took place; by default the account's."""
    language: Language | None = None
    """Language to assume, BCP 47; by default the account's."""
    tags: OneOrMany[str] = ()
    """Tags of every ticket that comes here, besides the account's."""


class Account(Part):
    """One account of ours on a channel."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$", description="As events and URLs name it.")
    channel: ChannelKind
    """webhook, whatsapp, line, sms or email."""
    brand: str | None = None
    """Brand that is sold there."""
    market: MarketPolicy = MarketPolicy()
    """Where sales take place."""
    language: Language | None = Field(None, description="Language to assume, BCP 47.")
    tags: OneOrMany[str] = Field((), description="Tags of every ticket that comes in here.")

    external_id: str | None = Field(
        None, description="The provider's name for it: phone_number_id, destination, our number."
    )
    addresses: OneOrMany[Address] = Field((), description="Mail addresses; the first is the one to answer from.")
    aliases: tuple[Alias, ...] = Field((), description="More mail addresses, with what they say.")
    display_name: str | None = Field(None, description="Name to answer by.")
    username: str | None = Field(None, description="Log-in at the provider (Twilio: account SID).")

    signing: SecretRefs = Field((), description="What the channel signs with; for mail the key of plus-addresses.")
    access: SecretRefs = Field((), description="What we call the provider's API with.")
    verify_token: SecretRefs = Field((), description="What Meta's challenge must present.")

    base_url: Url | None = Field(None, description="The provider's API.")
    public_url: Url | None = Field(None, description="Our webhook as the provider calls it, without account.")

    authserv_id: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,250}$",
        description="Mail: name by which our mail server signs Authentication-Results. It must remove those that come "
        "in under its name (RFC 8601, section 5). Without it and `check_dkim` no sender is proven.",
    )
    check_dkim: bool = Field(
        default=False, description="Mail: check DKIM here, by DNS; for a Deskbus that mail reaches first."
    )

    bot: bool = Field(default=False, description="A bot answers first; people when it hands over.")
    quiet_after: PositiveDuration = timedelta(hours=12)
    """Chat: silence after which a message begins a new ticket."""
    reopen_window: Duration = timedelta(days=14)
    """A message that comes longer than this after the ticket was solved begins a new, linked one."""
    retry_for: Duration = timedelta(hours=12)
    """How long a reply is tried that surely has not arrived (no connection, 503); at least 8 times. Tries that may have
    arrived are made 8 times at most: each may be another copy."""

    def alias(self, address: str) -> Alias | None:
        """What the address that a customer wrote to says besides; plus-tags count only where an alias names them."""
        address = address.lower()
        return next((alias for alias in self.aliases if alias.address == address), None)

    def takes(self, address: str) -> bool:
        """Whether mail to this address is for this account, with or without a plus-tag."""
        plain = without_tag(address)
        return any(plain == without_tag(own) for own in (*self.addresses, *(alias.address for alias in self.aliases)))

    @model_validator(mode="after")
    def _complete(self) -> Self:
        needs: dict[str, tuple[str, ...]] = {
            "webhook": ("signing",),
            "whatsapp": ("signing", "external_id"),
            "line": ("signing",),
            "sms": ("signing", "external_id", "public_url"),
            "email": ("addresses", "signing"),
        }
        missing = [field for field in needs[self.channel] if not getattr(self, field)]
        if missing:
            raise ValueError(f"a {self.channel} account needs {', '.join(missing)}")
        if self.authserv_id is not None and self.check_dkim:
            raise ValueError("authserv_id and check_dkim exclude each other: one of the two checks senders")
        return self


def without_tag(address: str) -> str:
    """`Support+x@A.example` -> `support@a.example`."""
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
    """Every account, each with a name of its own."""
    allow_hosts: Hosts = ()
    """Hosts that may be called although private or without TLS: `host` or `host:port`, as in the URL."""

    @model_validator(mode="after")
    def _indexed(self) -> Self:
        _ = self._by_name, self._by_external, self._by_address  # each refuses what is there twice
        return self

    # Looked at for every request: pydantic's private attributes would be found by a detour.
    @cached_property
    def _by_name(self) -> dict[tuple[str, str], Account]:
        found: dict[tuple[str, str], Account] = {}
        names: set[str] = set()
        for account in self.accounts:
            if account.name in names:
                raise ValueError(f"two accounts are named {account.name}")
            names.add(account.name)
            found[account.channel, account.name] = account
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
                    raise ValueError(f"{account.name} and {other.name} both take {address}")
        return found

    def named(self, channel: str, name: str) -> Account | None:
        """The account of that name."""
        return self._by_name.get((channel, name))

    def external(self, channel: str, identifier: str) -> Account | None:
        """The account that the provider calls so."""
        return self._by_external.get((channel, identifier))

    def addressed(self, address: str) -> Account | None:
        """The account that mail to this address is for."""
        return self._by_address.get(without_tag(address))

    def channels(self) -> tuple[str, ...]:
        """Channels that have an account, each once."""
        return tuple(dict.fromkeys(account.channel for account in self.accounts))

    def secret_refs(self) -> tuple[str, ...]:
        """Every secret that is named, each once: for `deskbus check`."""
        refs = (ref for a in self.accounts for ref in (*a.signing, *a.access, *a.verify_token))
        return tuple(dict.fromkeys(refs))
