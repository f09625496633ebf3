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


def replica(text: bytes = POLICY) -> Replica:
    return Replica(FakeStore(), fake_clock(), Log(), text)


@pytest.fixture
def desk() -> Replica:
    return replica()


@pytest.mark.parametrize("presence", ["online", "offline", "away"])
async def test_ticket_that_is_answered_while_it_waits_is_given_to_who_answered(desk: Replica, presence: str) -> None:
    await desk.hear(opened(ticket()))
    await desk.put(profile("zoe", capacity=1, skills={}, presence=presence))
    pass_time(desk, 7)
    await desk.hear(sent(ticket("t1", 2, status=Status.OPEN), "zoe"), status(ticket("t1", 3, status=Status.PENDING)))
    told = desk.log.last("t1")
    assert (told.agent.id, told.reason, told.waited_ms, told.load_after) == ("zoe", "answered", 7000, 0)


async def test_answered_ticket_is_not_handed_out_before_its_status_says_so(desk: Replica) -> None:
    await desk.hear(opened(ticket()))
    await desk.put(profile("ann"))
    await desk.put(profile("zoe", capacity=1))
    await desk.hear(opened(ticket("t2", required_skills={"lang-en": 3})))
    await desk.hear(sent(ticket("t1", 2, status=Status.OPEN), "zoe"))
    await desk.turn()
    assert (await desk.ticket("t1")).agent in ("zoe", None)


async def test_answer_by_an_agent_who_is_full_keeps_the_ticket_for_them_until_it_is_pending(desk: Replica) -> None:
    await desk.put(profile("zoe", capacity=1))
    await desk.hear(opened(ticket("t2")))
    await desk.hear(opened(ticket("t1")))
    await desk.put(profile("ann"))
    await desk.hear(sent(ticket("t1", 2, status=Status.OPEN), "zoe"))
    await desk.turn()
    assert (await desk.ticket("t1")).phase == "waiting"
    await desk.hear(status(ticket("t1", 3, status=Status.PENDING)))
    assert (await desk.ticket("t1")).agent == "zoe"
    assert "transfer_answered" not in desk.log.said("t1")


async def test_wait_for_who_answered_ends_in_time_however_late_the_next_look_would_be(desk: Replica) -> None:
    await desk.put(profile("zoe", capacity=0))
    await desk.hear(opened(ticket()))
    await turns(desk, 100)
    desk.policy = replica(POLICY + b"transfer: {wait: 3s}").policy
    await desk.hear(sent(ticket("t1", 2, status=Status.OPEN), "zoe"))
    await desk.put(profile("ann"))
    pass_time(desk, 2.9)
    await desk.turn()
    assert (await desk.ticket("t1")).phase == "waiting"
    pass_time(desk, 0.2)
    await desk.turn()
    assert (await desk.ticket("t1")).agent == "ann"


@pytest.mark.parametrize("who", ["a lead who is no agent", "bot", "machine", "contact"])
async def test_answer_of_nobody_whom_routing_knows_changes_nothing(desk: Replica, who: str) -> None:
    await desk.hear(opened(ticket()))
    if who != "a lead who is no agent":
        await desk.put(profile("zoe", skills={}))
    authors: dict[str, Any] = {"bot": Author(kind="bot", id="zoe"), "contact": Author(kind="contact", id="zoe")}
    await desk.hear(sent(ticket("t1", 2), authors.get(who, "zoe"), automated=who == "machine"))
    await desk.put(profile("ann"))
    await desk.turn()
    assert (desk.log.last("t1").agent.id, desk.log.last("t1").reason) == ("ann", "best_match")


@pytest.mark.parametrize(("presence", "automated", "who"), [
    ("offline", False, "ann"), ("away", False, "ann"), ("online", False, None), ("offline", True, None),
])  # fmt: skip
async def test_ticket_is_not_kept_for_who_answered_and_is_gone_when_the_customer_writes_again(
    desk: Replica, presence: str, automated: bool, who: str | None
) -> None:
    await desk.put(profile("zoe", capacity=0, presence=presence))
    await desk.hear(opened(ticket()))
    await desk.hear(sent(ticket("t1", 2, status=Status.OPEN), "zoe"))
    await desk.put(profile("ann"))
    await desk.turn()
    assert (await desk.ticket("t1")).agent is None
    await desk.hear(message(ticket("t1", 3, status=Status.OPEN), automated=automated))
    await desk.turn()
    assert (await desk.ticket("t1")).agent == who
