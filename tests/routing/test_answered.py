"""A ticket that is answered while it waits is for who answered: not handed out, and not kept for them for long."""

from typing import Any

import pytest

from contracts.ticket import Author, Status
from tests.kit.fake_store import FakeStore
from tests.routing.scenario import (
    POLICY,
    Log,
    Replica,
    fake_clock,
    message,
    opened,
    pass_time,
    profile,
    sent,
    status,
    ticket,
    turns,
)


def made(text: bytes = POLICY) -> Replica:
    return Replica(FakeStore(), fake_clock(), Log(), text)


@pytest.fixture
def replica() -> Replica:
    return made()


@pytest.mark.parametrize("presence", ["online", "offline", "away"])
async def test_ticket_that_is_answered_while_it_waits_is_given_to_who_answered(replica: Replica, presence: str) -> None:
    await replica.hear(opened(ticket()))
    await replica.put(profile("zoe", capacity=1, skills={}, presence=presence))
    pass_time(replica, 7)
    await replica.hear(sent(ticket("t1", 2, status=Status.OPEN), "zoe"), status(ticket("t1", 3, status=Status.PENDING)))
    told = replica.log.last("t1")
    assert (told.agent.id, told.reason, told.waited_ms, told.load_after) == ("zoe", "answered", 7000, 0)


async def test_answered_ticket_is_not_handed_out_before_its_status_says_so(replica: Replica) -> None:
    await replica.hear(opened(ticket()))
    await replica.put(profile("ann"))
    await replica.put(profile("zoe", capacity=1))
    await replica.hear(opened(ticket("t2", required_skills={"lang-en": 3})))
    await replica.hear(sent(ticket("t1", 2, status=Status.OPEN), "zoe"))
    await replica.turn()
    assert (await replica.ticket("t1")).agent in ("zoe", None)


async def test_answer_by_an_agent_who_is_full_keeps_the_ticket_for_them_until_it_is_pending(replica: Replica) -> None:
    await replica.put(profile("zoe", capacity=1))
    await replica.hear(opened(ticket("t2")))
    await replica.hear(opened(ticket("t1")))
    await replica.put(profile("ann"))
    await replica.hear(sent(ticket("t1", 2, status=Status.OPEN), "zoe"))
    await replica.turn()
    assert (await replica.ticket("t1")).phase == "waiting"
    await replica.hear(status(ticket("t1", 3, status=Status.PENDING)))
    assert (await replica.ticket("t1")).agent == "zoe"
    assert "transfer_answered" not in replica.log.said("t1")


async def test_wait_for_who_answered_ends_in_time_however_late_the_next_look_would_be(replica: Replica) -> None:
    await replica.put(profile("zoe", capacity=0))
    await replica.hear(opened(ticket()))
    await turns(replica, 100)
    replica.policy = made(POLICY + b"transfer: {wait: 3s}").policy
    await replica.hear(sent(ticket("t1", 2, status=Status.OPEN), "zoe"))
    await replica.put(profile("ann"))
    pass_time(replica, 2.9)
    await replica.turn()
    assert (await replica.ticket("t1")).phase == "waiting"
    pass_time(replica, 0.2)
    await replica.turn()
    assert (await replica.ticket("t1")).agent == "ann"


@pytest.mark.parametrize("who", ["a lead who is no agent", "bot", "machine", "contact"])
async def test_answer_of_nobody_whom_routing_knows_changes_nothing(replica: Replica, who: str) -> None:
    await replica.hear(opened(ticket()))
    if who != "a lead who is no agent":
        await replica.put(profile("zoe", skills={}))
    authors: dict[str, Any] = {"bot": Author(kind="bot", id="zoe"), "contact": Author(kind="contact", id="zoe")}
    await replica.hear(sent(ticket("t1", 2), authors.get(who, "zoe"), automated=who == "machine"))
    await replica.put(profile("ann"))
    await replica.turn()
    assert (replica.log.last("t1").agent.id, replica.log.last("t1").reason) == ("ann", "best_match")


@pytest.mark.parametrize(("presence", "automated", "who"), [
    ("offline", False, "ann"), ("away", False, "ann"), ("online", False, None), ("offline", True, None),
])  # fmt: skip
async def test_ticket_is_not_kept_for_who_answered_and_is_gone_when_the_customer_writes_again(
    replica: Replica, presence: str, automated: bool, who: str | None
) -> None:
    await replica.put(profile("zoe", capacity=0, presence=presence))
    await replica.hear(opened(ticket()))
    await replica.hear(sent(ticket("t1", 2, status=Status.OPEN), "zoe"))
    await replica.put(profile("ann"))
    await replica.turn()
    assert (await replica.ticket("t1")).agent is None
    await replica.hear(message(ticket("t1", 3, status=Status.OPEN), automated=automated))
    await replica.turn()
    assert (await replica.ticket("t1")).agent == who
