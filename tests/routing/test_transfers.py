"""What becomes of transfers: carried out, waiting for the agent, fallen back, refused; once, and never in silence."""

from typing import Any

import pytest

from contracts.assignments import TicketTransferAnswered
from contracts.envelope import Event
from contracts.ticket import Status
from services.routing.handlers import RoutingHandling
from tests.kit.fake_store import FakeStore
from tests.routing.scenario import (
    Everywhere,
    Log,
    Replica,
    at,
    fake_clock,
    merged,
    opened,
    profile,
    sent,
    status,
    ticket,
    transfer,
)


@pytest.fixture
def replica() -> Replica:
    return Replica(FakeStore(), fake_clock(), Log())


def pass_time(replica: Replica, seconds: float) -> None:
    replica.clock.advance(seconds)  # type: ignore[attr-defined]


def answers(replica: Replica) -> list[tuple[str, str, str]]:
    """Command, outcome and reason of every answer to a transfer, in order, each once."""
    events: dict[str, Event] = {event.id: event for event in replica.log.events}
    told = [event.data for event in sorted(events.values(), key=lambda e: e.sequence)]
    return [(d.command_id, d.outcome, d.reason) for d in told if isinstance(d, TicketTransferAnswered)]


async def held_by(replica: Replica, **agents: float) -> None:
    """Ann has the ticket; the others are there with this capacity."""
    await replica.put(profile("ann"))
    await replica.hear(opened(ticket()))
    for name, capacity in agents.items():
        await replica.put(profile(name, capacity=capacity))


async def test_transfer_to_a_full_agent_waits_for_them_though_others_are_free(replica: Replica) -> None:
    await held_by(replica, bob=0, cat=5)
    assert await replica.command("t1", transfer(agent_id="bob")) == set()
    assert replica.log.said("t1")[2:] == ["unassigned", "queued", "transfer_answered"]
    told = replica.log.last("t1")
    assert (told.outcome, told.reason, told.to_agent.id, told.until) == ("waiting", "agent_full", "bob", at(300))
    assert told.detail == "0 of 0 in use, 1 wanted"
    for _ in range(20):
        pass_time(replica, 10)
        await replica.turn()
    assert answers(replica) == [("c-1", "waiting", "agent_full")]
    await replica.put(profile("bob", capacity=1))
    await replica.turn()
    told = replica.log.last("t1")
    assert (told.agent.id, told.reason, told.queued_at, told.waited_ms) == ("bob", "transferred", at(0), 200_000)


@pytest.mark.parametrize(("presence", "reason"), [("offline", "agent_offline"), ("away", "agent_away")])
async def test_transfer_falls_back_to_the_queue_when_the_agent_has_not_come_in_time(
    replica: Replica, presence: str, reason: str
) -> None:
    await held_by(replica, bob=2, cat=2)
    await replica.presence("bob", presence)
    await replica.command("t1", transfer(agent_id="bob"))
    pass_time(replica, 299)
    await replica.turn()
    assert (await replica.ticket("t1")).phase == "waiting"
    pass_time(replica, 1.1)
    await replica.turn()
    assert answers(replica) == [("c-1", "waiting", reason), ("c-1", "fell_back", reason)]
    assert replica.log.said("t1")[-2:] == ["transfer_answered", "assigned"]
    assert replica.log.last("t1").reason == "best_match"


async def test_transfer_falls_back_as_soon_as_the_agent_is_removed(replica: Replica) -> None:
    await held_by(replica, bob=0, cat=2)
    await replica.command("t1", transfer(agent_id="bob"))
    await replica.remove("bob")
    pass_time(replica, 5)
    await replica.turn()
    assert answers(replica) == [("c-1", "waiting", "agent_full"), ("c-1", "fell_back", "agent_removed")]
    assert replica.log.last("t1").agent.id == "cat"


async def test_nobody_else_gets_a_ticket_whose_agent_was_removed_before_that_is_said(replica: Replica) -> None:
    await held_by(replica, bob=0)
    await replica.command("t1", transfer(agent_id="bob"))
    await replica.remove("bob")
    await replica.put(profile("cat"))
    await replica.dispatcher.turn()
    assert answers(replica)[1:] == [("c-1", "fell_back", "agent_removed")]
    assert replica.log.said("t1")[-2:] == ["transfer_answered", "assigned"]


async def test_what_waits_for_one_agent_does_not_hold_up_the_queue(replica: Replica) -> None:
    await held_by(replica, bob=0)
    await replica.command("t1", transfer(agent_id="bob"))
    await replica.hear(opened(ticket("t2")))
    assert (await replica.ticket("t2")).agent == "ann"


async def test_transfer_to_an_agent_with_room_overtakes_who_waits_for_anybody(replica: Replica) -> None:
    await held_by(replica)
    await replica.hear(opened(ticket("t2")), opened(ticket("t3")))
    await replica.put(profile("bob", skills={}))
    await replica.command("t1", transfer(agent_id="bob"))
    assert (await replica.ticket("t1")).agent == "bob"
    assert answers(replica) == []


async def test_a_second_transfer_takes_the_place_of_one_that_waits(replica: Replica) -> None:
    await held_by(replica, bob=0, cat=2)
    await replica.command("t1", transfer(agent_id="bob"))
    await replica.command("t1", transfer(agent_id="cat"), "c-2")
    assert answers(replica) == [("c-1", "waiting", "agent_full"), ("c-1", "superseded", "transferred")]
    assert replica.log.last("t1").agent.id == "cat"


async def test_solving_a_ticket_ends_its_wait_for_an_agent(replica: Replica) -> None:
    await held_by(replica, bob=0)
    await replica.command("t1", transfer(agent_id="bob"))
    await replica.hear(status(ticket("t1", 2, status=Status.SOLVED)))
    assert answers(replica)[1:] == [("c-1", "superseded", "solved")]


async def test_an_answer_by_the_agent_waited_for_ends_the_wait_aloud_and_the_ticket_is_theirs(replica: Replica) -> None:
    await held_by(replica, bob=0)
    await replica.command("t1", transfer(agent_id="bob"))
    await replica.hear(sent(ticket("t1", 2, status=Status.OPEN), "bob"))
    assert answers(replica) == [("c-1", "waiting", "agent_full"), ("c-1", "superseded", "answered")]
    await replica.put(profile("bob", capacity=1))
    await replica.turn()
    assert (replica.log.last("t1").agent.id, replica.log.last("t1").reason) == ("bob", "answered")


async def test_an_answer_by_somebody_else_ends_the_wait_for_an_agent(replica: Replica) -> None:
    await held_by(replica, bob=0, cat=2)
    await replica.command("t1", transfer(agent_id="bob"))
    await replica.hear(sent(ticket("t1", 2), "cat"))
    assert answers(replica)[1:] == [("c-1", "superseded", "answered")]
    assert (replica.log.last("t1").agent.id, replica.log.last("t1").reason) == ("cat", "answered")


SOLVED, CLOSED = (status(ticket("t1", 2, status=s)) for s in (Status.SOLVED, Status.CLOSED))


@pytest.mark.parametrize(
    ("events", "target", "reason"),
    [
        ([opened(ticket())], {"agent_id": "nobody"}, "unknown_agent"),
        ([opened(ticket())], {"agent_id": "gone"}, "agent_removed"),
        ([opened(ticket())], {"queue": "nowhere"}, "unknown_queue"),
        ([opened(ticket(handled_by_bot=True))], {"agent_id": "bob"}, "with_bot"),
        ([opened(ticket()), SOLVED], {"agent_id": "bob"}, "solved"),
        ([opened(ticket()), SOLVED], {"queue": "thai"}, "solved"),
        ([opened(ticket()), CLOSED], {"agent_id": "bob"}, "closed"),
        ([opened(ticket()), merged(ticket("t1", 2, merged_into="t0"))], {"agent_id": "bob"}, "merged"),
    ],
)
async def test_transfer_that_cannot_be_is_refused_with_the_reason_and_changes_nothing(
    replica: Replica, events: list[Any], target: dict[str, Any], reason: str
) -> None:
    for name in ("ann", "bob", "gone"):
        await replica.put(profile(name))
    await replica.remove("gone")
    await replica.hear(*events)
    before = await replica.ticket("t1")
    assert await replica.command("t1", transfer(**target)) == set()
    told = replica.log.last("t1")
    assert (told.command_id, told.outcome, told.reason) == ("c-1", "refused", reason)
    assert (told.to_queue, told.to_agent.id if told.to_agent else None) == (target.get("queue"), target.get("agent_id"))
    after = await replica.ticket("t1")
    assert (after.phase, after.agent, after.queue) == (before.phase, before.agent, before.queue)
    await replica.command("t1", transfer(**target))
    assert len(answers(replica)) == 1, "the same command is answered once"
    await replica.command("t1", transfer(**target), "c-2")
    assert len(answers(replica)) == 2
    assert not [e for e in replica.log.events if e.type.startswith("deskbus.dead")]


async def test_agent_who_was_made_by_another_replica_just_now_is_known(replica: Replica) -> None:
    await held_by(replica)
    other = Replica(replica.store, replica.clock, replica.log)
    await other.put(profile("new"))
    assert await replica.command("t1", transfer(agent_id="new")) == set()
    assert replica.log.last("t1").agent.id == "new"


async def test_transfer_is_carried_out_once_whatever_comes_after_it(replica: Replica) -> None:
    await held_by(replica, bob=2, cat=2)
    await replica.command("t1", transfer(agent_id="bob"), "c-1")
    await replica.command("t1", transfer(agent_id="cat"), "c-2")
    said = replica.log.said("t1")
    await replica.command("t1", transfer(agent_id="bob"), "c-1")
    assert (await replica.ticket("t1")).agent == "cat"
    assert replica.log.said("t1") == said


async def test_commands_of_two_sources_are_told_apart_though_they_have_one_id(replica: Replica) -> None:
    await held_by(replica, bob=2, cat=2)
    await replica.command("t1", transfer(agent_id="bob"), "1", source="/one")
    await replica.command("t1", transfer(agent_id="cat"), "1", source="/two")
    assert (await replica.ticket("t1")).agent == "cat"


async def test_the_last_twenty_transfers_of_a_ticket_are_remembered(replica: Replica) -> None:
    await held_by(replica, bob=2, cat=2)
    for number in range(21):
        await replica.command("t1", transfer(agent_id=("bob", "cat")[number % 2]), f"c-{number}")
    said = replica.log.said("t1")
    await replica.command("t1", transfer(agent_id="cat"), "c-1")
    assert replica.log.said("t1") == said
    assert len((await replica.ticket("t1")).commands) == 20, "a document has its limit"


async def test_transfer_names_the_command_as_its_cause(replica: Replica) -> None:
    await held_by(replica, bob=0)
    await replica.command("t1", transfer(agent_id="bob"))
    await replica.put(profile("bob"))
    pass_time(replica, 1)
    await replica.turn()
    caused = {e.type.split(".")[2]: e.causationid for e in replica.log.events if e.subject == "t1"}
    assert caused["transfer_answered"] == caused["unassigned"] == caused["assigned"] == "c-1"


async def test_transfer_waits_for_a_ticket_that_may_be_underway_and_is_then_carried_out(replica: Replica) -> None:
    await replica.put(profile("ann"))
    record = replica.asked("t1", transfer(queue="returns"))
    for _ in range(4):
        assert await replica.delivery.handle([record]) == {("deskbus.commands.v1", 0, record.offset)}
        pass_time(replica, 0.5)
    await replica.hear(opened(ticket()))
    assert await replica.delivery.handle([record]) == set()
    assert (replica.log.last("t1").queue, replica.log.last("t1").reason) == ("returns", "transferred")


async def test_transfer_of_a_ticket_that_is_not_there_is_refused_once_all_that_was_said_has_been_handled(
    replica: Replica,
) -> None:
    record = replica.asked("t1", transfer(queue="returns"))
    assert len(await replica.delivery.handle([record])) == 1
    pass_time(replica, 2.1)
    for _ in range(2):
        assert await replica.delivery.handle([record]) == set()
    assert answers(replica) == [("c-1", "refused", "unknown_ticket")]
    assert replica.log.last("t1").facts is None
    await replica.hear(opened(ticket()))
    assert replica.log.said("t1") == ["transfer_answered", "queued"], "should the ticket come after all, it is routed"


async def test_transfer_of_a_ticket_that_is_not_there_is_refused_whatever_the_limits_of_the_token(
    replica: Replica,
) -> None:
    records = [replica.asked("t1", transfer(queue="returns"), f"c-{n}", brands="korale") for n in range(2)]
    pass_time(replica, 3)
    for record in records:
        assert await replica.delivery.handle([record]) == set()
    assert answers(replica) == [(f"c-{n}", "refused", "unknown_ticket") for n in range(2)]


async def test_transfer_of_a_ticket_whose_events_are_behind_is_not_refused(replica: Replica) -> None:
    record = replica.asked("t1", transfer(queue="returns"))
    assert isinstance(replica.delivery.handling, RoutingHandling)
    replica.delivery.handling.positions = Everywhere(lambda: at(1))
    pass_time(replica, 60)
    assert len(await replica.delivery.handle([record])) == 1
    assert answers(replica) == []


async def test_agent_gets_what_is_meant_for_them_as_soon_as_they_have_room_also_from_a_queue_they_do_not_serve(
    replica: Replica,
) -> None:
    await replica.put(profile("bob", capacity=1, queues=("english",)))
    await replica.hear(opened(ticket("t0")), opened(ticket("t1", language="th")))
    await replica.command("t1", transfer(agent_id="bob"))
    for _ in range(8):
        pass_time(replica, 5)
        await replica.turn()
    assert "unroutable" not in replica.log.said("t1"), "bob will serve it"
    await replica.hear(status(ticket("t0", 2, status=Status.SOLVED)))
    await replica.turn()
    assert (await replica.ticket("t1")).agent == "bob"


async def test_ticket_that_no_rule_wants_can_be_given_to_an_agent_and_to_nobody_else() -> None:
    text = b"queues: {a: {}}\nrules: [{match: {brand: korale}, queue: a}]\nunroutable_after: 30s"
    replica = Replica(FakeStore(), fake_clock(), Log(), text)
    await replica.put(profile("ann", queues=("a",)))
    await replica.put(profile("bob", capacity=0))
    await replica.hear(opened(ticket("t1")), opened(ticket("t2")))
    await replica.command("t1", transfer(agent_id="ann"), "c-1")
    assert (replica.log.last("t1").agent.id, replica.log.last("t1").reason) == ("ann", "transferred")
    await replica.command("t2", transfer(agent_id="bob"), "c-2")
    assert answers(replica) == [("c-2", "waiting", "agent_full")]
    await replica.remove("bob")
    pass_time(replica, 40)
    await replica.turn()
    assert answers(replica)[1:] == [("c-2", "fell_back", "agent_removed")]
    assert (await replica.ticket("t2")).phase == "waiting"
    assert replica.log.said("t2")[-1] == "unroutable"


async def test_others_get_what_was_meant_for_an_agent_at_once_when_they_are_removed(replica: Replica) -> None:
    await held_by(replica, bob=0, cat=1)
    await replica.command("t1", transfer(agent_id="bob"))
    pass_time(replica, 32)
    for _ in range(2):
        await replica.turn()
    await replica.remove("bob")
    await replica.turn()
    assert answers(replica)[1:] == [("c-1", "fell_back", "agent_removed")]
    assert (await replica.ticket("t1")).agent == "cat"
