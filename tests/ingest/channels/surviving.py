"""What must hold for whatever a channel makes of a body that a stranger wrote."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator

from cli.contents import message_ids
from kit.policy.secrets import Unresolved
from services.ingest.channels import CHANNELS, WEBHOOKS
from services.ingest.channels.channel import Forged, Request
from services.ingest.core.messages import Faulty, Inbound, InboundMessage, Unreadable
from tests.ingest.channels.cases import Case
from tests.ingest.channels.samples import NOW

SECONDS = 5.0
"""What one hostile body may take: far more than any needs, far less than one that grows with a square."""


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """What is done within takes bounded time of this process."""
    begin = time.process_time()
    yield
    assert time.process_time() - begin < SECONDS


def parsed(case: Case, body: bytes) -> list[Inbound]:
    """Parse: nothing but Unreadable is raised, and what is found can be written as an event."""
    message_ids(case.record(body))
    try:
        found = list(case.parsed(body))
    except Unreadable:
        return []
    for each in found:
        if isinstance(each, InboundMessage):
            _check(each, CHANNELS[case.name].CHANNEL)
        elif isinstance(each, Faulty):
            assert each.bug is None, each
            each.reason.encode()
    return found


def _check(message: InboundMessage, channel: str) -> None:
    assert message.message_id
    assert message.sender.identities
    assert message.channel == channel
    assert (message.mail is None) != (message.conversation is None)
    texts = [
        message.text, message.text_full, message.subject, message.conversation, message.message_id,
        message.sender.name, message.sender.address,
    ]  # fmt: skip
    json.dumps(texts, ensure_ascii=False).encode()  # nothing that no encoder takes
    assert len((message.text + (message.text_full or "")).encode()) < 800_000
    assert message.sent_at.tzinfo is not None


def met(case: Case, request: Request) -> None:
    """Let the door look at a request: nothing is raised but Forged and Unresolved."""
    channel = WEBHOOKS[case.name]
    for found in (channel.account_id(request), channel.contact_key(request)):
        assert found is None or isinstance(found, str)
    with contextlib.suppress(Forged, Unresolved):
        channel.verify(request, case.account, case.secrets, NOW)
    for challenge in channel.CHALLENGES.values():
        with contextlib.suppress(Unresolved):
            challenge(request, case.account, case.secrets)
