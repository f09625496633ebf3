"""The schema of ingest.yaml: the accounts of accounts.py, checked for the keys that their channel requires."""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from services.ingest.accounts import Account, Accounts
from services.ingest.channels import CHANNELS


def _known(name: str) -> str:
    if name not in CHANNELS:
        raise ValueError(f"{name!r} is not a channel: {', '.join(CHANNELS)}")
    return name


class ChannelAccount(Account):
    """One of the company's accounts on a channel."""

    channel: Annotated[str, AfterValidator(_known)] = Field(description=f"One of {', '.join(CHANNELS)}.")

    @property
    def carries(self) -> str:
        """The channel of the account's tickets."""
        return CHANNELS[self.channel].CHANNEL

    @model_validator(mode="after")
    def _complete(self) -> Self:
        missing = [key for key in CHANNELS[self.channel].NEEDS if not getattr(self, key)]
        if missing:
            raise ValueError(f"a {self.channel} account requires {', '.join(missing)}")
        return self


class AccountsFile(Accounts):
    """The whole file."""

    accounts: tuple[ChannelAccount, ...] = Field(min_length=1)
    """The accounts; names must be unique."""
