"""Unauthenticated senders cannot stop a service: their dead letters are kept, and do not count towards stopping."""

from __future__ import annotations

import importlib
import json
from itertools import count
from typing import Any

import pytest

from kit.base.metrics import UNFORESEEN
from kit.protocol.record import Unread
from tests.ingest.channels import samples as s
from tests.ingest.worker_rig import Worker
from tests.kit.raw import Raw

NOBODY = b"Subject: x\r\n\r\nnobody wrote this"


def strangers(worker: Worker, count: int) -> list[Raw]:
    return [worker.raw(NOBODY, "support-nimbus", "email", verified=False) for _ in range(count)]


async def test_unreadable_mails_of_strangers_do_not_stop_the_worker() -> None:
    worker = Worker()
    assert await worker.take(*strangers(worker, 300)) == set()
    assert worker.delivery.stopped is None
    assert len(worker.dead()) == 300


@pytest.mark.parametrize("name", ["services.ingest.channels.email.parse", "services.ingest.handlers.decide"])
@pytest.mark.parametrize("account", ["support-nimbus", "first-hop"])
async def test_mails_that_our_own_code_fails_on_do_not_stop_the_worker(
    name: str, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker()
    good = await _failing_on(worker, "poison", name, account, monkeypatch)
    assert worker.delivery.stopped is None
    assert [event.data.message.text for event in worker.events()] == ["good"]
    assert good == set()
    assert len(worker.dead()) == 60
    assert b"IndexError" in dict(worker.dead()[0].headers)["deskbus_dlq_error"]


async def test_faults_of_our_own_are_counted_apart_from_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    before = UNFORESEEN._value.get()
    worker = Worker()
    await worker.take(*strangers(worker, 3))
    assert UNFORESEEN._value.get() == before
    await _failing_on(worker, "poison", "services.ingest.channels.email.parse", "support-nimbus", monkeypatch)
    assert UNFORESEEN._value.get() == before + 60


async def _failing_on(worker: Worker, word: str, name: str, account: str, monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Let a function of ours fail on 60 mails with a word in them, of 61."""
    _fail_on(word, name, monkeypatch)
    mails = [worker.mails(word, f"<m{n}@x>", f"a{n}@example.org", account=account) for n in range(60)]
    return await worker.take(*mails, worker.mails("good", "<g@x>", "jan@example.org", account=account))


def _fail_on(word: str, name: str, monkeypatch: pytest.MonkeyPatch, *, nth: int | None = None) -> None:
    """Let a function of ours fail on what has a word in it, or the nth time."""
    module, _, function = name.rpartition(".")
    inner, calls = getattr(importlib.import_module(module), function), count(1)

    def fails(*given: Any, **more: Any) -> Any:
        bad = any(word in repr(each) for each in given) if nth is None else next(calls) == nth
        if bad:
            raise IndexError("list index out of range")
        return inner(*given, **more)

    monkeypatch.setattr(name, fails)


@pytest.mark.parametrize("name", ["services.ingest.channels.generic.parse", "services.ingest.handlers.decide"])
async def test_signed_bodies_that_our_own_code_fails_on_do_not_stop_it_either(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their text is a customer's."""
    before = UNFORESEEN._value.get()
    _fail_on("poison", name, monkeypatch)
    worker = Worker()
    texts = [json.dumps({"type": "message", "id": f"m{n}", "from": {"id": "jan"}, "text": "poison"}) for n in range(60)]
    assert await worker.take(*(worker.raw(text.encode(), verified=True) for text in texts)) == set()
    assert worker.delivery.stopped is None
    assert len(worker.dead()) == 60
    assert UNFORESEEN._value.get() == before + 60


@pytest.mark.parametrize(
    "name",
    [
        "services.ingest.channels.meta.text_or_empty",
        "services.ingest.handlers.defaults_of",
        "services.ingest.handlers.decide",
    ],
)
async def test_an_element_that_our_own_code_fails_on_leaves_the_others_of_its_webhook_alone(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker()
    _fail_on("poison", name, monkeypatch, nth=2 if name.endswith("defaults_of") else None)
    messages = [s.wa_text(text, f"wamid.{n}") for n, text in enumerate(("first", "poison", "last"))]
    read = {"id": "wamid.Y", "status": "read", "timestamp": "1795253401", "recipient_id": "66811111111"}
    body = s.whatsapp(*messages, statuses=[read])
    before = UNFORESEEN._value.get()
    assert await worker.take(worker.raw(body, "wa-th", "whatsapp", verified=True)) == set()
    assert [event.data.message.text for event in worker.events()] == ["first", "last"]
    (letter,) = worker.dead()
    assert letter.value == body
    assert dict(letter.headers)["deskbus_dlq_error"].startswith(b"IndexError")
    assert UNFORESEEN._value.get() == before + 1


@pytest.mark.parametrize("bad", ["messages", "statuses"])
async def test_elements_that_our_own_code_fails_on_do_not_stop_the_worker(
    bad: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker()
    _fail_on("poison", "services.ingest.channels.meta.instant", monkeypatch)
    message, status = s.wa_text("x"), {"id": "wamid.Y", "status": "read", "timestamp": "poison"}
    poisoned = [{**message, "timestamp": "poison"}] if bad == "messages" else []
    body = s.whatsapp(*poisoned, statuses=[status] if bad == "statuses" else [])
    assert await worker.take(*(worker.raw(body, "wa-th", "whatsapp", verified=True) for _ in range(60))) == set()
    assert worker.delivery.stopped is None
    assert len(worker.dead()) == 60


async def test_as_many_unreadable_bodies_that_were_verified_do() -> None:
    worker = Worker()
    rows = [worker.raw(b"junk", "coupang-kr", verified=True) for _ in range(60)]
    assert await worker.take(*rows)
    assert worker.delivery.stopped is not None


async def test_webhooks_about_a_number_that_is_not_ours_do_not_stop_the_worker() -> None:
    worker = Worker()
    foreign = s.whatsapp(s.wa_text("theirs"), number="999")
    assert await worker.take(*(worker.raw(foreign, "wa-th", "whatsapp", verified=True) for _ in range(120))) == set()
    assert worker.delivery.stopped is None
    assert (len(worker.dead()), worker.events()) == (120, [])


@pytest.mark.parametrize("bad_first", [True, False])
async def test_one_bad_element_does_not_take_the_good_ones_of_its_webhook_with_it(bad_first: bool) -> None:
    worker = Worker()
    bad: dict[str, str] = {"type": "text", "from": "66811111111"}
    messages = [bad, s.wa_text("good")] if bad_first else [s.wa_text("good"), bad]
    assert await worker.take(worker.raw(s.whatsapp(*messages), "wa-th", "whatsapp", verified=True)) == set()
    assert [event.data.message.text for event in worker.events()] == ["good"]
    assert len(worker.dead()) == 1


@pytest.mark.parametrize("topic", ["deskbus.inbound.v1", "deskbus.commands.v1"])
async def test_a_record_that_the_client_cannot_read_is_a_dead_letter_that_names_its_place(topic: str) -> None:
    worker = Worker()
    assert await worker.delivery.handle([Unread(topic, 2, 7, "the name of a header is not valid UTF-8")]) == set()
    (letter,) = worker.dead()
    told = dict(letter.headers)
    assert (told["deskbus_dlq_topic"], told["deskbus_dlq_offset"]) == (topic.encode(), b"7")
    assert b"not valid UTF-8" in told["deskbus_dlq_error"]
