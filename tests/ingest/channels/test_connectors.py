"""docs/connectors.md tells the truth: its code signs as the door wants it, its documents are read, no field lacks."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from kit.base.clock import SystemClock
from services.ingest.channels import generic
from services.ingest.channels.channel import Request
from services.ingest.core.messages import DeliveryStatus, File, HttpCall, InboundMessage, SendFailure
from services.ingest.handlers import policy_of
from services.ingest.policy_file import AccountsFile
from tests.ingest.channels import samples as s


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "docs" / "connectors.md").read_text("utf-8")


def blocks(page: str, language: str) -> list[str]:
    found = re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)
    assert found
    return found


def documents(page: str) -> dict[str, dict[str, Any]]:
    """By type: message, reply, status."""
    return {document["type"]: document for document in map(json.loads, blocks(page, "json"))}


def test_the_code_signs_as_the_door_wants_it(page: str) -> None:
    (code,) = blocks(page, "python")
    names: dict[str, Any] = {"__name__": "connector"}
    exec(code, names)
    body = json.dumps(documents(page)["message"]).encode()
    headers = names["sign"]("msg-1", body, s.WHSEC)
    generic.verify(Request(body, headers), s.COUPANG, s.SECRETS, SystemClock().now())


def test_the_documents_are_read_whole(page: str) -> None:
    shown = documents(page)
    (message,) = generic.parse(s.record(s.ALLEGRO, s.encode(shown["message"])), s.ALLEGRO, s.ACCOUNTS, s.SECRETS)
    (status,) = generic.parse(s.record(s.ALLEGRO, s.encode(shown["status"])), s.ALLEGRO, s.ACCOUNTS, s.SECRETS)
    assert isinstance(message, InboundMessage)
    assert (message.message_id, message.conversation, message.order_ref) == (
        "msg-20261121-0001",
        "dispute-4711",
        "A-4711",
    )
    assert isinstance(status, DeliveryStatus)
    assert status.channel_message_id == shown["reply"]["id"]


@pytest.mark.parametrize(
    "model", [generic.MessageDocument, generic.StatusDocument, generic.Person, generic.FileDocument]
)
def test_every_field_is_described(model: type[generic.MessageDocument], page: str) -> None:
    names = {field.alias or name for name, field in model.model_fields.items()}
    assert {name for name in names if f"`{name}`" not in page and f'"{name}":' not in page} == set()


def test_a_reply_has_the_fields_that_are_shown(page: str) -> None:
    shown = documents(page)["reply"]
    files = (File("receipt.pdf", "application/pdf", content=b"%PDF-0"),)
    whole = s.reply(
        to_name="Jan", author_name="Anna", files=files, html="<p>", conversation="c", in_reply_to="m", order_ref="A"
    )
    call = generic.render(whole, s.ALLEGRO, s.SECRETS)
    assert isinstance(call, HttpCall)
    body = json.loads(call.body)
    assert set(body) == {*shown, "html"}
    assert set(body["attachments"][0]) == set(shown["attachments"][0])
    bare = generic.render(replace(whole, html=None, order_ref=None), s.ALLEGRO, s.SECRETS)
    assert set(json.loads(bare.body)) == {*shown} - {"order_ref"}


def test_the_answers_that_are_tried_again_are_the_ones_named(page: str) -> None:
    (named,) = re.findall(r"After ([\d, ]+), 5xx or no response", page)
    refused = {status: generic.outcome(status, {}, b"") for status in range(400, 600)}
    again = {status for status, told in refused.items() if isinstance(told, SendFailure) and not told.permanent}
    assert again == {*map(int, named.split(", ")), *range(500, 600)}


def test_the_account_is_one_that_the_policy_takes(page: str) -> None:
    (account,) = blocks(page, "yaml")
    assert AccountsFile.model_validate(yaml.safe_load(account)).named("webhook", "allegro-pl") is not None


def test_a_reply_is_tried_as_often_and_for_as_long_as_is_told(page: str) -> None:
    policy = policy_of(s.ALLEGRO)
    assert "for 12 hours (`retry_for` of the account)" in page
    assert policy.send_for == timedelta(hours=12)
    assert policy_of(s.ALLEGRO.model_copy(update={"retry_for": timedelta(hours=2)})).send_for == timedelta(hours=2)
    assert "Process a reply with the same `id` only once" in page
    assert generic.IDEMPOTENT
