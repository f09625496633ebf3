"""What holds for every channel with a webhook: whom the door lets in, whom it refuses and how, and that it counts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY

from kit.policy.secrets import Secrets
from services.ingest.channels import WEBHOOKS
from services.ingest.channels.channel import Forged, Request
from tests.ingest.channels.cases import CASES, Case, changed
from tests.ingest.channels.desk import AtHand, Desk
from tests.ingest.channels.samples import NOW
from tests.ingest.door_rig import MAX_BODY

HOOKED = [case for name, case in CASES.items() if name in WEBHOOKS]
NONE = ("", "=", "sha256=", "sha256=zz", "v1,", "v1,###", "AAAA", "sha1=00", "ä", "Basic", "e30=")
every = pytest.mark.parametrize("case", HOOKED, ids=lambda case: case.name)


def _counted(metric: str, case: Case) -> float:
    """The sum over all reasons."""
    family = next(each for each in REGISTRY.collect() if each.name == f"deskbus_ingest_{metric}")
    samples = (each for each in family.samples if each.name.endswith("_total"))
    return sum(each.value for each in samples if each.labels["channel"] == case.name)


def forgeries(case: Case) -> Iterator[Request]:
    """Signed requests of which one byte is another, and one without a signature."""
    signed = case.sign(case.message, NOW)
    covered = {name: value for name, value in signed.headers.items() if name not in case.unsigned_headers}
    for name, value in covered.items():
        yield replace(signed, headers={**signed.headers, name: changed(value)})
        yield replace(signed, headers={**signed.headers, name: ""})
        yield replace(signed, headers={k: v for k, v in signed.headers.items() if k != name})
    plain = {name: value for name, value in signed.headers.items() if name not in covered}
    yield replace(signed, headers=plain, body=case.message)
    if case.signs_body:
        body = signed.body
        for place in {0, len(body) // 3, len(body) // 2, len(body) - 1}:
            yield replace(signed, body=body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :])
        yield replace(signed, body=body + b" ")
        yield replace(signed, body=b"")


@every
async def test_a_forged_request_is_refused_and_counted(case: Case) -> None:
    desk, before, forged = Desk(case), _counted("refused", case), list(forgeries(case))
    answers = await desk.posts(*forged)
    others = AtHand({}) if case.keys else None
    answers += await desk.posts(case.sign(case.message, NOW), secrets=case.other_secrets, keys=others)
    assert {answer.status_code for answer in answers} == {WEBHOOKS[case.name].REFUSAL_STATUS}
    assert desk.kafka.taken == []
    assert _counted("refused", case) - before == len(answers)


@every
@pytest.mark.parametrize(
    "signature", ["", "=", "sha256=", "sha256=zz", "v1,", "v1,###", "AAAA", "sha1=00", "ä", "Basic", "e30="]
)
def test_a_signature_that_is_none_is_refused(case: Case, signature: str) -> None:
    signed = case.sign(case.message, NOW)
    forged = {name: value if name in case.unsigned_headers else signature for name, value in signed.headers.items()}
    with pytest.raises(Forged):
        WEBHOOKS[case.name].verify(replace(signed, headers=forged, body=case.message), case.account, case.secrets, NOW)


@every
@pytest.mark.parametrize(("late", "fresh"), [(299, True), (-299, True), (301, False), (-301, False)])
async def test_a_stale_request_is_refused_if_its_signature_has_an_instant(case: Case, late: int, fresh: bool) -> None:
    desk, channel = Desk(case), WEBHOOKS[case.name]
    (answer,) = await desk.posts(case.sign(case.message, NOW - timedelta(seconds=late)))
    accepted = fresh or not case.timed
    assert answer.status_code == (channel.SUCCESS.status if accepted else channel.REFUSAL_STATUS)
    assert len(desk.kafka.taken) == accepted


@every
async def test_an_oversized_body_is_refused_unread_and_counted(case: Case) -> None:
    desk, before = Desk(case), _counted("refused", case)
    (answer,) = await desk.posts(replace(case.sign(case.message, NOW), body=bytes(MAX_BODY + 1)))
    assert (answer.status_code, desk.kafka.taken) == (413, [])
    assert _counted("refused", case) == before + 1


@every
async def test_without_secret_or_key_an_account_calls_nobody_a_forger(case: Case) -> None:
    """503: the provider tries again, once the operators have set it, or the key was fetched."""
    desk = Desk(case)
    (answer,) = await desk.posts(case.sign(case.message, NOW), secrets=Secrets({}), keys=AtHand({}, more=True))
    assert (answer.status_code, desk.kafka.taken) == (503, [])


@every
async def test_messages_of_a_conversation_have_one_key_so_that_they_stay_in_order(case: Case) -> None:
    desk, before = Desk(case), _counted("accepted", case)
    await desk.posts(*(case.sign(body, NOW) for body in (case.message, case.another)))
    first, second = (record.key for record in desk.kafka.taken)
    assert first == second
    assert _counted("accepted", case) == before + 2


@every
async def test_a_body_that_names_its_account_needs_no_query(case: Case) -> None:
    signed: Any = case.sign(case.message, NOW)
    named = WEBHOOKS[case.name].account_id(signed)
    assert named in {None, case.account.external_id}
    if named is None or "account" in signed.query:
        return
    desk = Desk(case)
    (answer,) = await desk.posts(replace(signed, raw_query="from=provider"))
    assert (answer.status_code, len(desk.kafka.taken)) == (WEBHOOKS[case.name].SUCCESS.status, 1)


@every
async def test_an_unknown_account_is_refused(case: Case) -> None:
    desk = Desk(case)
    (answer,) = await desk.posts(replace(case.sign(case.message, NOW), raw_query="account=nobody-s"))
    assert (answer.status_code, desk.kafka.taken) == (404, [])
