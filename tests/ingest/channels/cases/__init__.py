"""What tests that hold for every channel need to know of one: one file per channel here, with a `CASE`.

Its account is the first YAML block of its page in the folder channels of docs/, so that what the page says is tested.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import yaml

from contracts.inbound import InboundRecord
from kit.policy.secrets import Secrets
from services.ingest.accounts import Account, Accounts
from services.ingest.channels import CHANNELS, OAUTH
from services.ingest.channels.channel import Request, VerifyKey
from services.ingest.channels.originals import token_ref
from services.ingest.core.messages import Inbound, InboundMessage, OutgoingReply
from services.ingest.policy_file import AccountsFile
from tests.ingest.channels.samples import NOW, reply

PAGES = Path(__file__).parents[4] / "docs" / "channels"
_YAML = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Case:
    """A channel with webhooks in its provider's format. Bodies are as a provider sends them, not as we would like."""

    name: str
    environ: Mapping[str, str]
    """Values of the secrets that the account on the page refers to."""
    sign: Callable[[bytes, datetime], Request]
    """The signed request for a body, at an instant. Channels without a webhook: a request with the body alone."""
    message: bytes
    """A body with one text message of a customer."""
    message_id: str
    """The provider's id of that message."""
    text: str
    """Its text."""
    another: bytes
    """A body with another message in the same conversation."""
    silent: tuple[bytes, ...] = ()
    """Bodies that are accepted and have no message: statuses, events that are ignored, empty lists."""
    several: Mapping[bytes, tuple[str, ...]] = field(default_factory=dict)
    """More bodies, with the ids of their messages: batches, files, locations, stickers."""
    unreadable: tuple[bytes, ...] = (b"", b"[]", b"{}", b"\xff\xfe", b'{"a":')
    """Signed bodies that become dead letters."""
    keys: Mapping[str, VerifyKey] = field(default_factory=dict)
    """The provider's public keys by id, for a channel that signs with its own."""
    timed: bool = False
    """Whether the signature contains an instant, so that an old request is refused."""
    reply_id: tuple[int, bytes, str] | None = None
    """A response to a sent reply: status, body, and the provider's id of the message in it. None for mail, and for a
    channel without replies."""
    delivered: bytes | None = None
    """A body that says that the message of `reply_id` has been delivered, if the provider does."""
    signs_body: bool = True
    """Whether the signature covers the body. A token that is sent along does not."""
    unsigned_headers: frozenset[str] = frozenset({"content-type", "user-agent"})
    """Headers of a signed request that are neither a signature nor covered by one."""
    strangers: Mapping[str, str] | None = None
    """Values of `environ` for an account with other secrets, if `changed` makes none that are valid."""

    @cached_property
    def accounts(self) -> Accounts:
        """The accounts on the channel's page."""
        found = _YAML.search((PAGES / f"{self.name}.md").read_text("utf-8"))
        assert found is not None, f"docs/channels/{self.name}.md has no YAML block with an account"
        return AccountsFile.model_validate(yaml.safe_load(found[1]))

    @property
    def account(self) -> Account:
        """The first of them."""
        return self.accounts.accounts[0]

    @property
    def secrets(self) -> Secrets:
        """The secrets of the environment, and an access token where the channel takes one."""
        return Secrets(self.environ, {token_ref(self.account): "access"} if self.name in OAUTH else {})

    @property
    def other_secrets(self) -> Secrets:
        """Secrets of the same form with other values."""
        return Secrets(self.strangers or {name: changed(value) for name, value in self.environ.items()})

    @property
    def read(self) -> tuple[bytes, ...]:
        """All bodies that can be read."""
        return (self.message, self.another, *self.silent, *self.several, *filter(None, [self.delivered]))

    def record(self, body: bytes, at: datetime = NOW) -> InboundRecord:
        """The record of a body that the door has written without headers or query."""
        return InboundRecord(
            receipt="r1",
            channel=self.name,
            account=self.account.name,
            key="k",
            received_at=at,
            body=body,
            size=len(body),
        )

    def parsed(self, body: bytes) -> Sequence[Inbound]:
        """What the channel finds in a body."""
        return CHANNELS[self.name].parse(self.record(body), self.account, self.accounts, self.secrets)

    def reply(self, text: str = "On its way", **more: Any) -> OutgoingReply:
        """A reply to the message."""
        (message,) = (each for each in self.parsed(self.message) if isinstance(each, InboundMessage))
        to = {"to": message.sender.address, "conversation": message.conversation, "in_reply_to": self.message_id}
        return reply(text, **{**to, **more})


def changed(text: str) -> str:
    """The text with another letter or digit in the middle, which no decoder ignores there."""
    middle = len(text) // 2
    place = next(n for n in sorted(range(len(text)), key=lambda n: abs(n - middle)) if text[n].isalnum())
    return text[:place] + ("1" if text[place] == "0" else "0") + text[place + 1 :]


CASES: dict[str, Case] = {
    module.name: import_module(f"{__name__}.{module.name}").CASE for module in iter_modules(__path__)
}
"""Channel's name -> its case."""
