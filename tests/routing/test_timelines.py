"""What becomes of tickets as time passes: timelines of one replica over a fake store."""

from dataclasses import replace
from datetime import timedelta

import pytest

from contracts.ticket import Status
from kit.base.errors import TooLarge
from kit.protocol.document import Decision
from services.routing import metrics
from services.routing.core.need import needs_of
from services.routing.core.state import TicketState
from tests.kit.fake_store import Contested, FakeStore
from tests.routing.scenario import (
    Log,
    Replica,
    at,
    fake_clock,
    handed_off,
    merged,
    message,
    opened,
    profile,
    reopened,
    status,
    ticket,
    transfer,
    urgent,
)


@pytest.fixture
def desk() -> Replica:
    return Replica(FakeStore(), fake_clock(), Log())


def pass_time(desk: Replica, seconds: float) -> None:
    desk.clock.advance(seconds)  # type: ignore[attr-defined]


async def test_ticket_is_queued_and_assigned_in_one_write(desk: Replica) -> None:
    await desk.put(profile("ann"))
    await desk.hear(opened(ticket()))
    assert desk.log.said("t1") == ["queued", "assigned"]
    assert (await desk.tickets.load(["t1"]))["t1"].version == 1
    told = desk.log.last("t1")
    assert (told.agent.id, told.load_before, told.load_after, told.waited_ms) == ("ann", 0, 1, 0)
    assert await desk.holders("ann") == {"ann": ["t1"]}


async def test_waiting_ticket_goes_to_the_agent_who_comes_online(desk: Replica) -> None:
    await desk.put(profile("ann", presence="offline"))
    await desk.hear(opened(ticket()))
    assert desk.log.said("t1") == ["queued"]
    pass_time(desk, 5)
    await desk.presence("ann", "online")
    await desk.turn()
    assert desk.log.said("t1") == ["queued", "assigned"]
    assert desk.log.last("t1").waited_ms == 5000


async def test_most_urgent_then_oldest_is_served_first_when_room_comes(desk: Replica) -> None:
    await desk.put(profile("ann", presence="offline", capacity=2))
    for number, made in enumerate((ticket("old"), ticket("young"), urgent("urgent"))):
        pass_time(desk, number)
        await desk.hear(opened(made))
    await desk.presence("ann", "online")
    await desk.turn()
    assert await desk.holders("ann") == {"ann": ["old", "urgent"]}


async def test_newcomer_does_not_overtake_those_who_wait(desk: Replica) -> None:
    await desk.put(profile("ann", capacity=1))
    await desk.hear(opened(ticket("first")))
    await desk.hear(opened(ticket("second")))
    pass_time(desk, 1)
    await desk.hear(status(ticket("first", 2, status=Status.SOLVED)))
    await desk.hear(opened(ticket("third")))
    assert await desk.holders("ann") == {"ann": []}
    await desk.turn()
    assert await desk.holders("ann") == {"ann": ["second"]}


@pytest.mark.parametrize("channel", ["email", "whatsapp"])
async def test_capacity_is_never_passed_within_one_batch(desk: Replica, channel: str) -> None:
    await desk.put(profile("ann", capacity=3))
    await desk.put(profile("bob", capacity=1))
    await desk.hear(*(opened(ticket(f"t{n}", channel=channel)) for n in range(6)))
    agents = [await desk.agent("ann"), await desk.agent("bob")]
    assert [a.load for a in agents] == ([3, 1] if channel == "email" else [2, 0])


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (status(ticket("t1", 2, status=Status.SOLVED)), "solved"),
        (status(ticket("t1", 2, status=Status.CLOSED)), "closed"),
        (merged(ticket("t1", 2, merged_into="t0")), "merged"),
    ],
)
async def test_end_of_the_work_frees_the_agent(desk: Replica, event: object, reason: str) -> None:
    await desk.put(profile("ann"))
    await desk.hear(opened(ticket()))
    await desk.hear(event)  # type: ignore[arg-type]
    assert desk.log.said("t1")[-1] == "unassigned"
    assert desk.log.last("t1").reason == reason
    assert await desk.holders("ann") == {"ann": []}


async def test_pending_keeps_the_agent_and_the_room_it_takes(desk: Replica) -> None:
    await desk.put(profile("ann"))
    await desk.hear(opened(ticket()), status(ticket("t1", 2, status=Status.PENDING)))
    assert (await desk.ticket("t1")).agent == "ann"
    assert await desk.holders("ann") == {"ann": ["t1"]}


async def test_bot_in_front_waits_for_the_hand_off(desk: Replica) -> None:
    await desk.put(profile("ann"))
    await desk.hear(opened(ticket(handled_by_bot=True)), message(ticket("t1", 2, handled_by_bot=True)))
    assert desk.log.said("t1") == []
    pass_time(desk, 60)
    await desk.hear(handed_off(ticket("t1", 3, handed_off_at=at(60))))
    assert desk.log.said("t1") == ["queued", "assigned"]
    assert desk.log.last("t1").queued_at == at(60)


async def test_reopened_goes_back_to_the_agent_who_had_it(desk: Replica) -> None:
    await desk.put(profile("zoe"))
    await desk.hear(opened(ticket()))
    await desk.hear(status(ticket("t1", 2, status=Status.SOLVED)))
    await desk.put(profile("ann"))
    pass_time(desk, 10)
    await desk.hear(reopened(ticket("t1", 3, status=Status.OPEN)))
    told = desk.log.last("t1")
    assert (told.agent.id, told.sticky, told.reason, told.queued_at) == ("zoe", True, "sticky", at(10))


@pytest.mark.parametrize("presence", ["offline", "away"])
async def test_reopened_never_goes_back_to_who_is_not_there(desk: Replica, presence: str) -> None:
    await desk.put(profile("zoe"))
    await desk.hear(opened(ticket()))
    await desk.hear(status(ticket("t1", 2, status=Status.SOLVED)))
    await desk.presence("zoe", presence)
    await desk.put(profile("ann"))
    await desk.hear(reopened(ticket("t1", 3, status=Status.OPEN)))
    assert (desk.log.last("t1").agent.id, desk.log.last("t1").sticky) == ("ann", False)


async def test_work_of_who_goes_offline_is_requeued_with_its_age(desk: Replica) -> None:
    await desk.put(profile("zoe"))
    await desk.hear(opened(ticket()))
    await desk.put(profile("ann"))
    pass_time(desk, 100)
    await desk.presence("zoe", "offline")
    await desk.turn()
    assert desk.log.said("t1") == ["queued", "assigned", "unassigned", "queued", "assigned"]
    told = desk.log.last("t1")
    assert (told.agent.id, told.queued_at, told.waited_ms) == ("ann", at(0), 0)
    assert await desk.holders("ann", "zoe") == {"ann": ["t1"], "zoe": []}


async def test_what_waits_on_the_customer_stays_with_who_is_offline_until_they_write(desk: Replica) -> None:
    await desk.put(profile("zoe"))
    await desk.hear(opened(ticket()), status(ticket("t1", 2, status=Status.PENDING)))
    await desk.put(profile("ann"))
    await desk.presence("zoe", "offline")
    await desk.turn()
    assert (await desk.ticket("t1")).agent == "zoe"
    await desk.hear(message(ticket("t1", 3, status=Status.OPEN)))
    assert (await desk.ticket("t1")).agent == "ann"
    assert await desk.holders("ann", "zoe") == {"ann": ["t1"], "zoe": []}


async def test_work_of_who_is_away_is_requeued_after_the_time_the_policy_gives(desk: Replica) -> None:
    await desk.put(profile("zoe"))
    await desk.hear(opened(ticket()))
    await desk.presence("zoe", "away")
    pass_time(desk, 599)
    await desk.absence.sweep()
    assert (await desk.ticket("t1")).agent == "zoe"
    pass_time(desk, 1)
    await desk.absence.sweep()
    assert (await desk.ticket("t1")).agent is None


async def test_all_work_of_who_is_removed_is_requeued(desk: Replica) -> None:
    await desk.put(profile("zoe"))
    await desk.hear(opened(ticket()), status(ticket("t1", 2, status=Status.PENDING)))
    await desk.remove("zoe")
    await desk.turn()
    assert desk.log.said("t1")[-2:] == ["unassigned", "queued"]
    assert (await desk.ticket("t1")).phase == "waiting"
    assert await desk.holders("zoe") == {"zoe": []}


async def test_preferred_skills_are_required_until_their_step(desk: Replica) -> None:
    await desk.put(profile("ann", skills={"lang-en": 3, "returns": 3}))
    await desk.put(profile("bob", skills={"lang-en": 3, "returns": 3, "vip": 4}, presence="offline"))
    await desk.hear(opened(ticket(tags=("returns",))))
    for seconds, dropped in ((19, ()), (1, ("billing",)), (19, ("billing",)), (1, ("billing", "vip"))):
        pass_time(desk, seconds)
        assert needs_of(await desk.ticket("t1"), desk.policy, desk.clock.now())[0].dropped == dropped
        await desk.turn()
    assert desk.log.said("t1") == ["queued"]
    pass_time(desk, 0.1)
    await desk.turn()
    assert desk.log.last("t1").agent.id == "ann"
    assert desk.log.last("t1").decision.skills_dropped == ("billing", "vip")


async def test_step_of_the_wait_lets_in_who_has_what_is_left(desk: Replica) -> None:
    await desk.put(profile("bob", skills={"lang-en": 3, "returns": 3, "vip": 4}))
    await desk.hear(opened(ticket(tags=("returns",))))
    assert desk.log.said("t1") == ["queued"]
    pass_time(desk, 20.1)
    await desk.turn()
    assert desk.log.said("t1") == ["queued", "assigned"]


async def test_nobody_in_time_means_overflow_with_the_same_age(desk: Replica) -> None:
    await desk.put(profile("ann"))
    await desk.hear(opened(ticket(language="th")))
    pass_time(desk, 119)
    await desk.turn()
    assert desk.log.said("t1") == ["queued"]
    pass_time(desk, 1.1)
    await desk.turn()
    assert desk.log.said("t1") == ["queued", "queued", "assigned"]
    told = desk.log.last("t1")
    assert (told.queue, told.overflow_queue, told.agent.id, told.queued_at) == ("thai", "english", "ann", at(0))


async def test_that_nobody_can_serve_it_is_said_once_and_why(desk: Replica) -> None:
    await desk.put(profile("ann"))
    await desk.hear(opened(ticket(required_skills={"juggling": 2})))
    for _ in range(40):
        pass_time(desk, 5)
        await desk.turn()
    assert desk.log.said("t1") == ["queued", "unroutable"]
    told = desk.log.last("t1")
    assert told.reason == "no_agent_with_skills"
    assert "juggling at 2" in told.detail
    await desk.put(profile("bea", skills={"lang-en": 1, "juggling": 2}))
    await desk.turn()
    assert desk.log.last("t1").agent.id == "bea"


async def test_that_nobody_can_serve_it_is_counted_once_however_often_it_is_decided() -> None:
    store = Contested()
    desk, counter = Replica(store, fake_clock(), Log()), metrics.UNROUTABLE.labels("no_agent_with_skills")
    before = counter._value.get()
    await desk.put(profile("ann"))
    await desk.hear(opened(ticket(required_skills={"juggling": 2})))
    for _ in range(40):
        store.loses["t1"] = 1
        pass_time(desk, 5)
        await desk.turn()
        await desk.turn()
    assert desk.log.said("t1") == ["queued", "unroutable"]
    assert counter._value.get() == before + 1


async def test_full_agents_are_no_reason_to_call_it_unroutable(desk: Replica) -> None:
    await desk.put(profile("ann", capacity=1))
    await desk.hear(opened(ticket("t0")), opened(ticket("t1")))
    pass_time(desk, 3600)
    await desk.turn()
    assert desk.log.said("t1") == ["queued"]


async def test_looks_come_later_and_later_up_to_the_most(desk: Replica) -> None:
    await desk.hear(opened(ticket()))
    pauses = []
    for _ in range(12):
        due = (await desk.ticket("t1")).next_look
        assert due is not None
        pass_time(desk, (due - desk.clock.now()).total_seconds() + 0.06)
        before = desk.clock.now()
        await desk.turn()
        after = (await desk.ticket("t1")).next_look
        assert after is not None
        pauses.append((after - before) / timedelta(seconds=1))
    assert 3 < pauses[0] < 5
    assert 12 < pauses[1] < 20
    assert all(pause <= 72 for pause in pauses)
    assert pauses[-1] >= 47


async def test_changed_facts_move_who_waits_but_not_who_is_served(desk: Replica) -> None:
    await desk.hear(opened(ticket()))
    await desk.hear(message(ticket("t1", 2, tags=("returns",))))
    assert desk.log.last("t1").reason == "rules_changed"
    assert (await desk.ticket("t1")).queue == "returns"
    await desk.put(profile("ann", skills={"lang-en": 3, "returns": 3, "billing": 2, "vip": 3}))
    await desk.turn()
    await desk.hear(message(ticket("t1", 3)))
    assert ((await desk.ticket("t1")).queue, (await desk.ticket("t1")).agent) == ("returns", "ann")


async def test_transfer_to_a_queue_keeps_the_age_and_does_not_come_straight_back(desk: Replica) -> None:
    await desk.put(profile("ann", skills={"lang-en": 3, "lang-th": 3}))
    await desk.hear(opened(ticket()))
    pass_time(desk, 60)
    assert await desk.command("t1", transfer(queue="thai")) == set()
    assert desk.log.said("t1") == ["queued", "assigned", "unassigned", "queued"]
    assert (desk.log.last("t1").queue, desk.log.last("t1").queued_at) == ("thai", at(0))
    assert await desk.holders("ann") == {"ann": []}
    await desk.put(profile("bob", skills={"lang-en": 3, "lang-th": 3}))
    await desk.turn()
    assert desk.log.last("t1").agent.id == "bob"


async def test_transfer_to_an_agent_is_for_them_if_they_have_room(desk: Replica) -> None:
    for name in ("ann", "bob", "cat"):
        await desk.put(profile(name, skills={} if name == "cat" else {"lang-en": 1}))
    await desk.hear(opened(ticket()))
    assert await desk.command("t1", transfer(agent_id="cat")) == set()
    told = desk.log.last("t1")
    assert (told.agent.id, told.reason) == ("cat", "transferred")


async def test_transfer_to_who_has_the_ticket_changes_nothing(desk: Replica) -> None:
    for name in ("ann", "bob"):
        await desk.put(profile(name))
    await desk.hear(opened(ticket()))
    said = desk.log.said("t1")
    await desk.command("t1", transfer(agent_id="ann"))
    assert desk.log.said("t1") == said


@pytest.mark.parametrize(
    ("limits", "moved"),
    [
        ({"brands": "korale"}, False),
        ({"accounts": "help-korale"}, False),
        ({"brands": "nimbus", "accounts": "help-korale"}, False),
        ({"brands": "korale,nimbus", "accounts": "support-nimbus"}, True),
    ],
)
async def test_transfer_beyond_the_limits_of_its_token_is_left_to_ingest_to_refuse(
    desk: Replica, limits: dict[str, str], moved: bool
) -> None:
    await desk.hear(opened(ticket()))
    before = await desk.ticket("t1")
    assert await desk.command("t1", transfer(queue="thai"), **limits) == set()
    assert ((await desk.ticket("t1")).queue == "thai") == moved
    assert ((await desk.ticket("t1")) == before) != moved


async def test_older_picture_of_a_ticket_changes_nothing(desk: Replica) -> None:
    await desk.put(profile("ann"))
    await desk.hear(opened(ticket("t1", 5)))
    await desk.hear(status(ticket("t1", 6, status=Status.SOLVED)))
    await desk.hear(message(ticket("t1", 4, status=Status.OPEN)))
    assert desk.log.said("t1") == ["queued", "assigned", "unassigned"]
    assert (await desk.ticket("t1")).phase == "aside"


async def test_agents_are_announced_once_a_change_and_not_for_the_same_again(desk: Replica) -> None:
    await desk.put(profile("ann", presence="offline"))
    await desk.put(profile("ann", presence="online"))
    await desk.presence("ann", "online")
    await desk.presence("ann", "online")
    await desk.put(profile("ann", capacity=5))
    await desk.remove("ann")
    await desk.remove("ann")
    assert desk.log.said("ann") == ["updated", "presence_changed", "updated", "removed"]
    assert (await desk.agent("ann")).profile.capacity == 5


async def test_a_ticket_that_cannot_be_changed_is_left_as_it_is_and_stops_no_other(desk: Replica) -> None:
    await desk.hear(*(opened(ticket(name)) for name in ("t1", "t2", "t3")))

    def decide(state: TicketState) -> Decision[TicketState]:
        if state.id != "t3":
            raise ValueError("a bug") if state.id == "t1" else TooLarge("an event")
        return Decision(replace(state, urgency=3))

    before = (await desk.ticket("t3")).urgency
    assert await desk.desk.work(["t1", "t2", "t3"], decide) == 1
    assert before != 3
    assert [(await desk.ticket(name)).urgency for name in ("t1", "t2", "t3")] == [before, before, 3]
