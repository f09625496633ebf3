"""Made-up traffic passes the channels' own verification and parsers, so it is of the real formats."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from cli.traffic import Hook, Mail, Piece, Traffic, secrets_environment, standard_webhook, tokens, webhook_secret
from contracts.inbound import InboundRecord
from kit.base.tokens import parse_tokens
from kit.policy.file import load
from kit.policy.secrets import Secrets
from services.ingest.accounts import Accounts
from services.ingest.channels import WEBHOOKS
from services.ingest.channels.channel import Forged, Request, Webhook
from services.ingest.core.messages import InboundMessage
from services.ingest.policy_file import AccountsFile

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def _traffic(seed: int = 1) -> Traffic:
    return Traffic(seed, lambda: NOW)


@pytest.fixture(scope="module")
def accounts() -> Accounts:
    return load(Path("deploy/config/ingest.yaml"), AccountsFile)


def _request(hook: Hook) -> Request:
    parts = urlsplit(hook.path)
    return Request(hook.body, hook.headers, dict(parse_qsl(parts.query)), parts.query)


def _channel(hook: Hook) -> tuple[str, Webhook]:
    name = hook.path.split("/")[3]
    return name, WEBHOOKS[name]


HOOKS = {
    "whatsapp text": lambda t: t.whatsapp(),
    "whatsapp image": lambda t: t.whatsapp_image("ภาพ"),
    "whatsapp location": lambda t: t.whatsapp_location(),
    "whatsapp status": lambda t: t.whatsapp_status("wamid.1"),
    "line text": lambda t: t.line(),
    "line image": lambda t: t.line_image(),
    "sms": lambda t: t.sms(),
    "sms with media": lambda t: t.sms("look", media=["https://media.example/1.jpg"]),
    "coupang": lambda t: t.webhook("coupang-kr", order_ref="K-1"),
    "allegro": lambda t: t.webhook("allegro-pl"),
}


@pytest.mark.parametrize("kind", HOOKS)
def test_every_hook_is_signed_so_that_its_channel_takes_it_and_reads_it(kind: str, accounts: Accounts) -> None:
    hook: Hook = HOOKS[kind](_traffic())
    name, channel = _channel(hook)
    account = accounts.named(name, hook.account)
    assert account is not None
    request, secrets = _request(hook), Secrets(secrets_environment())
    named = channel.account_id(request)
    assert named is None or accounts.external(name, named) == account
    channel.verify(request, account, secrets, NOW)
    record = InboundRecord(
        receipt="r", channel=name, account=account.name, key="k", received_at=NOW, body=hook.body, size=len(hook.body)
    )
    found = channel.parse(record, account, accounts, secrets)
    assert len(found) == 1
    if isinstance(found[0], InboundMessage):
        assert found[0].message_id == hook.message_id


@pytest.mark.parametrize("kind", HOOKS)
def test_a_changed_body_is_no_longer_signed(kind: str, accounts: Accounts) -> None:
    hook: Hook = HOOKS[kind](_traffic())
    name, channel = _channel(hook)
    account = accounts.named(name, hook.account)
    assert account is not None
    request = _request(hook._replace(body=hook.body.replace(b"1", b"2", 1)))
    with pytest.raises(Forged):
        channel.verify(request, account, Secrets(secrets_environment()), NOW)


def _ids(pieces: list[Piece]) -> list[str]:
    return [piece.message_id for piece in pieces]


def test_message_ids_are_unique_within_and_between_seeds_and_repeat_with_the_seed() -> None:
    ours, again, others = (_ids(list(_traffic(seed).stream(300))) for seed in (1, 1, 2))
    assert ours == again
    assert len({*ours, *others}) == 600


def test_a_stream_uses_every_account(accounts: Accounts) -> None:
    assert {piece.account for piece in _traffic().stream(14)} == {account.name for account in accounts.accounts}


def test_a_mail_is_addressed_to_its_account_and_quotes_what_it_answers(accounts: Accounts) -> None:
    first = _traffic().mail(language="pl", attachments={"zdjęcie.jpg": b"\xff\xd8"})
    reply = _traffic(2).mail(in_reply_to=first.message_id, sender=first.sender)
    for mail in (first, reply):
        found = accounts.addressed(mail.recipients[0])
        assert found is not None
        assert found.name == mail.account
        assert b"\n" not in mail.data.replace(b"\r\n", b"")
    assert f"In-Reply-To: {first.message_id}".encode() in reply.data
    assert isinstance(first, Mail)


def test_every_secret_that_the_example_accounts_name_is_there(accounts: Accounts) -> None:
    missing = [ref for ref in accounts.secret_refs() if ref.removeprefix("env:") not in secrets_environment()]
    assert missing == []


def test_the_token_setting_is_what_services_read() -> None:
    token = tokens("me", ["a:read", "b:write"])
    (read,) = parse_tokens(token.setting)
    assert (read.name, read.scopes) == ("me", frozenset({"a:read", "b:write"}))


def test_our_webhook_signature_is_the_reference_librarys() -> None:
    reference = pytest.importorskip("standardwebhooks").Webhook(webhook_secret("x"))
    signature = standard_webhook("msg_1", int(NOW.timestamp()), b"{}", webhook_secret("x"))["webhook-signature"]
    assert signature == reference.sign("msg_1", NOW, "{}")
