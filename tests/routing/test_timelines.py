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
def replica() -> Replica:
    return Replica(FakeStore(), fake_clock(), Log())


def pass_time(replica: Replica, seconds: float) -> None:
    replica.clock.advance(seconds)  # type: ignore[attr-defined]


async def test_ticket_is_queued_and_assigned_in_one_write(replica: Replica) -> None:
    await replica.put(profile("ann"))
    await replica.hear(opened(ticket()))
    assert replica.log.said("t1") == ["queued", "assigned"]
    assert (await replica.tickets.load(["t1"]))["t1"].version == 1
    told = replica.log.last("t1")
    assert (told.agent.id, told.load_before, told.load_after, told.waited_ms) == ("ann", 0, 1, 0)
    assert await replica.holders("ann") == {"ann": ["t1"]}


async def test_waiting_ticket_goes_to_the_agent_who_comes_online(replica: Replica) -> None:
    await replica.put(profile("ann", presence="offline"))
    await replica.hear(opened(ticket()))
    assert replica.log.said("t1") == ["queued"]
    pass_time(replica, 5)
    await replica.presence("ann", "online")
    await replica.turn()
    assert replica.log.said("t1") == ["queued", "assigned"]
    assert replica.log.last("t1").waited_ms == 5000


async def test_most_urgent_then_oldest_is_served_first_when_room_comes(replica: Replica) -> None:
    await replica.put(profile("ann", presence="offline", capacity=2))
    for number, made in enumerate((ticket("old"), ticket("young"), urgent("urgent"))):
        pass_time(replica, number)
        await replica.hear(opened(made))
    await replica.presence("ann", "online")
    await replica.turn()
    assert await replica.holders("ann") == {"ann": ["old", "urgent"]}


async def test_newcomer_does_not_overtake_those_who_wait(replica: Replica) -> None:
    await replica.put(profile("ann", capacity=1))
    await replica.hear(opened(ticket("first")))
    await replica.hear(opened(ticket("second")))
    pass_time(replica, 1)
    await replica.hear(status(ticket("first", 2, status=Status.SOLVED)))
    await replica.hear(opened(ticket("third")))
    assert await replica.holders("ann") == {"ann": []}
    await replica.turn()
    assert await replica.holders("ann") == {"ann": ["second"]}


@pytest.mark.parametrize("channel", ["email", "whatsapp"])
async def test_capacity_is_never_passed_within_one_batch(replica: Replica, channel: str) -> None:
    await replica.put(profile("ann", capacity=3))
    await replica.put(profile("bob", capacity=1))
    await replica.hear(*(opened(ticket(f"t{n}", channel=channel)) for n in range(6)))
    agents = [await replica.agent("ann"), await replica.agent("bob")]
    assert [a.load for a in agents] == ([3, 1] if channel == "email" else [2, 0])


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (status(ticket("t1", 2, status=Status.SOLVED)), "solved"),
        (status(ticket("t1", 2, status=Status.CLOSED)), "closed"),
        (merged(ticket("t1", 2, merged_into="t0")), "merged"),
    ],
)
async def test_end_of_the_work_frees_the_agent(replica: Replica, event: object, reason: str) -> None:
    await replica.put(profile("ann"))
    await replica.hear(opened(ticket()))
    await replica.hear(event)  # type: ignore[arg-type]
    assert replica.log.said("t1")[-1] == "unassigned"
    assert replica.log.last("t1").reason == reason
    assert await replica.holders("ann") == {"ann": []}


async def test_pending_keeps_the_agent_and_the_room_it_takes(replica: Replica) -> None:
    await replica.put(profile("ann"))
    await replica.hear(opened(ticket()), status(ticket("t1", 2, status=Status.PENDING)))
    assert (await replica.ticket("t1")).agent == "ann"
    assert await replica.holders("ann") == {"ann": ["t1"]}


async def test_bot_in_front_waits_for_the_hand_off(replica: Replica) -> None:
    await replica.put(profile("ann"))
    await replica.hear(opened(ticket(handled_by_bot=True)), message(ticket("t1", 2, handled_by_bot=True)))
    assert replica.log.said("t1") == []
    pass_time(replica, 60)
    await replica.hear(handed_off(ticket("t1", 3, handed_off_at=at(60))))
    assert replica.log.said("t1") == ["queued", "assigned"]
    assert replica.log.last("t1").queued_at == at(60)


async def test_reopened_goes_back_to_the_agent_who_had_it(replica: Replica) -> None:
    await replica.put(profile("zoe"))
    await replica.hear(opened(ticket()))
    await replica.hear(status(ticket("t1", 2, status=Status.SOLVED)))
    await replica.put(profile("ann"))
    pass_time(replica, 10)
    await replica.hear(reopened(ticket("t1", 3, status=Status.OPEN)))
    told = replica.log.last("t1")
    assert (told.agent.id, told.sticky, told.reason, told.queued_at) == ("zoe", True, "sticky", at(10))


@pytest.mark.parametrize("presence", ["offline", "away"])
async def test_reopened_never_goes_back_to_who_is_not_there(replica: Replica, presence: str) -> None:
    await replica.put(profile("zoe"))
    await replica.hear(opened(ticket()))
    await replica.hear(status(ticket("t1", 2, status=Status.SOLVED)))
    await replica.presence("zoe", presence)
    await replica.put(profile("ann"))
    await replica.hear(reopened(ticket("t1", 3, status=Status.OPEN)))
    assert (replica.log.last("t1").agent.id, replica.log.last("t1").sticky) == ("ann", False)


async def test_work_of_who_goes_offline_is_requeued_with_its_age(replica: Replica) -> None:
    await replica.put(profile("zoe"))
    await replica.hear(opened(ticket()))
    await replica.put(profile("ann"))
    pass_time(replica, 100)
    await replica.presence("zoe", "offline")
    await replica.turn()
    assert replica.log.said("t1") == ["queued", "assigned", "unassigned", "queued", "assigned"]
    told = replica.log.last("t1")
    assert (told.agent.id, told.queued_at, told.waited_ms) == ("ann", at(0), 0)
    assert await replica.holders("ann", "zoe") == {"ann": ["t1"], "zoe": []}


async def test_what_waits_on_the_customer_stays_with_who_is_offline_until_they_write(replica: Replica) -> None:
    await replica.put(profile("zoe"))
    await replica.hear(opened(ticket()), status(ticket("t1", 2, status=Status.PENDING)))
    await replica.put(profile("ann"))
    await replica.presence("zoe", "offline")
    await replica.turn()
    assert (await replica.ticket("t1")).agent == "zoe"
    await replica.hear(message(ticket("t1", 3, status=Status.OPEN)))
    assert (await replica.ticket("t1")).agent == "ann"
    assert await replica.holders("ann", "zoe") == {"ann": ["t1"], "zoe": []}


async def test_work_of_who_is_away_is_requeued_after_the_time_the_policy_gives(replica: Replica) -> None:
    await replica.put(profile("zoe"))
    await replica.hear(opened(ticket()))
    await replica.presence("zoe", "away")
    pass_time(replica, 599)
    await replica.absence.sweep()
    assert (await replica.ticket("t1")).agent == "zoe"
    pass_time(replica, 1)
    await replica.absence.sweep()
    assert (await replica.ticket("t1")).agent is None


async def test_all_work_of_who_is_removed_is_requeued(replica: Replica) -> None:
    await replica.put(profile("zoe"))
    await replica.hear(opened(ticket()), status(ticket("t1", 2, status=Status.PENDING)))
    await replica.remove("zoe")
    await replica.turn()
    assert replica.log.said("t1")[-2:] == ["unassigned", "queued"]
    assert (await replica.ticket("t1")).phase == "waiting"
    assert await replica.holders("zoe") == {"zoe": []}


async def test_preferred_skills_are_required_until_their_step(replica: Replica) -> None:
    await replica.put(profile("ann", skills={"lang-en": 3, "returns": 3}))
    await replica.put(profile("bob", skills={"lang-en": 3, "returns": 3, "vip": 4}, presence="offline"))
    await replica.hear(opened(ticket(tags=("returns",))))
    for seconds, dropped in ((19, ()), (1, ("billing",)), (19, ("billing",)), (1, ("billing", "vip"))):
        pass_time(replica, seconds)
        assert needs_of(await replica.ticket("t1"), replica.policy, replica.clock.now())[0].dropped == dropped
        await replica.turn()
    assert replica.log.said("t1") == ["queued"]
    pass_time(replica, 0.1)
    await replica.turn()
    assert replica.log.last("t1").agent.id == "ann"
    assert replica.log.last("t1").decision.skills_dropped == ("billing", "vip")


async def test_step_of_the_wait_lets_in_who_has_what_is_left(replica: Replica) -> None:
    await replica.put(profile("bob", skills={"lang-en": 3, "returns": 3, "vip": 4}))
    await replica.hear(opened(ticket(tags=("returns",))))
    assert replica.log.said("t1") == ["queued"]
    pass_time(replica, 20.1)
    await replica.turn()
    assert replica.log.said("t1") == ["queued", "assigned"]


async def test_nobody_in_time_means_overflow_with_the_same_age(replica: Replica) -> None:
    await replica.put(profile("ann"))
    await replica.hear(opened(ticket(language="th")))
    pass_time(replica, 119)
    await replica.turn()
    assert replica.log.said("t1") == ["queued"]
    pass_time(replica, 1.1)
    await replica.turn()
    assert replica.log.said("t1") == ["queued", "queued", "assigned"]
    told = replica.log.last("t1")
    assert (told.queue, told.overflow_queue, told.agent.id, told.queued_at) == ("thai", "english", "ann", at(0))


async def test_that_nobody_can_serve_it_is_said_once_and_why(replica: Replica) -> None:
    await replica.put(profile("ann"))
    await replica.hear(opened(ticket(required_skills={"juggling": 2})))
    for _ in range(40):
        pass_time(replica, 5)
        await replica.turn()
    assert replica.log.said("t1") == ["queued", "unroutable"]
    told = replica.log.last("t1")
    assert told.reason == "no_agent_with_skills"
    assert "juggling at 2" in told.detail
    await replica.put(profile("bea", skills={"lang-en": 1, "juggling": 2}))
    await replica.turn()
    assert replica.log.last("t1").agent.id == "bea"


async def test_that_nobody_can_serve_it_is_counted_once_however_often_it_is_decided() -> None:
    store = Contested()
    replica, counter = Replica(store, fake_clock(), Log()), metrics.UNROUTABLE.labels("no_agent_with_skills")
    before = counter._value.get()
    await replica.put(profile("ann"))
    await replica.hear(opened(ticket(required_skills={"juggling": 2})))
    for _ in range(40):
        store.loses["t1"] = 1
        pass_time(replica, 5)
        await replica.turn()
        await replica.turn()
    assert replica.log.said("t1") == ["queued", "unroutable"]
    assert counter._value.get() == before + 1


async def test_full_agents_are_no_reason_to_call_it_unroutable(replica: Replica) -> None:
    await replica.put(profile("ann", capacity=1))
    await replica.hear(opened(ticket("t0")), opened(ticket("t1")))
    pass_time(replica, 3600)
    await replica.turn()
    assert replica.log.said("t1") == ["queued"]


async def test_looks_come_later_and_later_up_to_the_most(replica: Replica) -> None:
    await replica.hear(opened(ticket()))
    pauses = []
    for _ in range(12):
        due = (await replica.ticket("t1")).next_look
        assert due is not None
        pass_time(replica, (due - replica.clock.now()).total_seconds() + 0.06)
        before = replica.clock.now()
        await replica.turn()
        after = (await replica.ticket("t1")).next_look
        assert after is not None
        pauses.append((after - before) / timedelta(seconds=1))
    assert 3 < pauses[0] < 5
    assert 12 < pauses[1] < 20
    assert all(pause <= 72 for pause in pauses)
    assert pauses[-1] >= 47


async def test_changed_facts_move_who_waits_but_not_who_is_served(replica: Replica) -> None:
    await replica.hear(opened(ticket()))
    await replica.hear(message(ticket("t1", 2, tags=("returns",))))
    assert replica.log.last("t1").reason == "rules_changed"
    assert (await replica.ticket("t1")).queue == "returns"
    await replica.put(profile("ann", skills={"lang-en": 3, "returns": 3, "billing": 2, "vip": 3}))
    await replica.turn()
    await replica.hear(message(ticket("t1", 3)))
    assert ((await replica.ticket("t1")).queue, (await replica.ticket("t1")).agent) == ("returns", "ann")


async def test_transfer_to_a_queue_keeps_the_age_and_does_not_come_straight_back(replica: Replica) -> None:
    await replica.put(profile("ann", skills={"lang-en": 3, "lang-th": 3}))
    await replica.hear(opened(ticket()))
    pass_time(replica, 60)
    assert await replica.command("t1", transfer(queue="thai")) == set()
    assert replica.log.said("t1") == ["queued", "assigned", "unassigned", "queued"]
    assert (replica.log.last("t1").queue, replica.log.last("t1").queued_at) == ("thai", at(0))
    assert await replica.holders("ann") == {"ann": []}
    await replica.put(profile("bob", skills={"lang-en": 3, "lang-th": 3}))
    await replica.turn()
    assert replica.log.last("t1").agent.id == "bob"


async def test_transfer_to_an_agent_is_for_them_if_they_have_room(replica: Replica) -> None:
    for name in ("ann", "bob", "cat"):
        await replica.put(profile(name, skills={} if name == "cat" else {"lang-en": 1}))
    await replica.hear(opened(ticket()))
    assert await replica.command("t1", transfer(agent_id="cat")) == set()
    told = replica.log.last("t1")
    assert (told.agent.id, told.reason) == ("cat", "transferred")


async def test_transfer_to_who_has_the_ticket_changes_nothing(replica: Replica) -> None:
    for name in ("ann", "bob"):
        await replica.put(profile(name))
    await replica.hear(opened(ticket()))
    said = replica.log.said("t1")
    await replica.command("t1", transfer(agent_id="ann"))
    assert replica.log.said("t1") == said


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
    replica: Replica, limits: dict[str, str], moved: bool
) -> None:
    await replica.hear(opened(ticket()))
    before = await replica.ticket("t1")
    assert await replica.command("t1", transfer(queue="thai"), **limits) == set()
    assert ((await replica.ticket("t1")).queue == "thai") == moved
    assert ((await replica.ticket("t1")) == before) != moved


async def test_older_picture_of_a_ticket_changes_nothing(replica: Replica) -> None:
    await replica.put(profile("ann"))
    await replica.hear(opened(ticket("t1", 5)))
    await replica.hear(status(ticket("t1", 6, status=Status.SOLVED)))
    await replica.hear(message(ticket("t1", 4, status=Status.OPEN)))
    assert replica.log.said("t1") == ["queued", "assigned", "unassigned"]
    assert (await replica.ticket("t1")).phase == "aside"


async def test_agents_are_announced_once_a_change_and_not_for_the_same_again(replica: Replica) -> None:
    await replica.put(profile("ann", presence="offline"))
    await replica.put(profile("ann", presence="online"))
    await replica.presence("ann", "online")
    await replica.presence("ann", "online")
    await replica.put(profile("ann", capacity=5))
    await replica.remove("ann")
    await replica.remove("ann")
    assert replica.log.said("ann") == ["updated", "presence_changed", "updated", "removed"]
    assert (await replica.agent("ann")).profile.capacity == 5


async def test_a_ticket_that_cannot_be_changed_is_left_as_it_is_and_stops_no_other(replica: Replica) -> None:
    await replica.hear(*(opened(ticket(name)) for name in ("t1", "t2", "t3")))

    def decide(state: TicketState) -> Decision[TicketState]:
        if state.id != "t3":
            raise ValueError("a bug") if state.id == "t1" else TooLarge("an event")
        return Decision(replace(state, urgency=3))

    before = (await replica.ticket("t3")).urgency
    assert await replica.assigner.work(["t1", "t2", "t3"], decide) == 1
    assert before != 3
    assert [(await replica.ticket(name)).urgency for name in ("t1", "t2", "t3")] == [before, before, 3]
