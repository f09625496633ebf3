"""Overflow adds queues and takes none away; what nobody can serve is said, and so is that somebody can again."""

from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from contracts.assignments import TicketRoutable, TicketUnroutable
from contracts.envelope import Event
from contracts.ticket import Status
from kit.policy.file import load
from services.routing import ticker
from services.routing.core.need import needs_of
from services.routing.core.policy import RoutingPolicy
from tests.kit.fake_store import FakeStore
from tests.routing.scenario import (
    POLICY,
    Log,
    Replica,
    at,
    fake_clock,
    message,
    opened,
    pass_time,
    profile,
    status,
    ticket,
    transfer,
    turns,
)

CHAIN = b"""
unroutable_after: 30s
look: {first: 1s, most: 60s}
queues:
  vip: {preferred: {vip: 3}, relax_after: [20s], overflow: {after: 60s, to: spoken, keep_required: true}}
  spoken: {required: {calm: 1}, overflow: {after: 60s, to: all}}
  all: {}
rules:
  - {match: {tier: gold}, queue: vip, required: {gold: 1}}
  - {queue: all}
"""


def made(text: bytes = POLICY) -> Replica:
    return Replica(FakeStore(), fake_clock(), Log(), text)


@pytest.fixture
def replica() -> Replica:
    return made()


def words(replica: Replica, subject: str = "t1") -> list[str]:
    """What was said of a ticket that nobody can serve, and its queue."""
    once: dict[str, Event] = {e.id: e for e in replica.log.events if e.subject == subject}
    told = [event.data for event in sorted(once.values(), key=lambda e: e.sequence)]
    kept = [d for d in told if isinstance(d, TicketUnroutable | TicketRoutable)]
    return [f"{d.type.split('.')[2]} {d.queue} {d.reason}" for d in kept]


# -- overflow ----------------------------------------------------------------------------------------------------------


async def test_an_agent_of_the_own_queue_who_comes_after_the_overflow_takes_the_ticket(replica: Replica) -> None:
    await replica.hear(opened(ticket(language="th")))
    await turns(replica, 121)
    assert (await replica.ticket("t1")).queue == "thai"
    told = replica.log.last("t1")
    assert (told.reason, told.queue, told.overflow_queues, told.queued_at) == ("overflow", "thai", ("english",), at(0))
    await replica.put(profile("bua", skills={"lang-th": 3}))
    await replica.turn()
    told = replica.log.last("t1")
    assert (told.agent.id, told.queue, told.overflow_queue) == ("bua", "thai", None)


async def test_the_own_queue_goes_first_when_both_could_serve(replica: Replica) -> None:
    await replica.hear(opened(ticket(language="th")))
    await turns(replica, 121)
    await replica.put(profile("ann", capacity=9))
    await replica.put(profile("bua", skills={"lang-th": 3}, capacity=1))
    await replica.turn()
    assert replica.log.last("t1").agent.id == "bua"
    passed = {c.agent_id: c.passed_over for c in replica.log.last("t1").decision.candidates}
    assert passed == {"bua": None, "ann": "only_overflow"}


async def test_queues_are_added_one_after_the_other_and_each_asks_for_its_own() -> None:
    replica = made(CHAIN)
    await replica.hear(opened(ticket(language="th", tier="gold")))
    own = (("gold", 1), ("lang-th", 1))
    seen = []
    for seconds in (0, 20, 40.1, 60.1):
        pass_time(replica, seconds)
        await replica.turn()
        seen.append(
            [(n.queue, n.required) for n in needs_of(await replica.ticket("t1"), replica.policy, replica.clock.now())]
        )
    assert seen == [
        [("vip", (*own, ("vip", 3)))],
        [("vip", own)],
        [("vip", own), ("spoken", (("calm", 1), *own))],
        [("vip", own), ("spoken", (("calm", 1), *own)), ("all", ())],
    ]


async def test_requeued_work_keeps_the_queues_that_it_has_overflowed_to(replica: Replica) -> None:
    await replica.put(profile("ann"))
    await replica.hear(opened(ticket(language="th")))
    await turns(replica, 121)
    assert replica.log.last("t1").agent.id == "ann"
    await replica.put(profile("bob"))
    await replica.presence("ann", "offline")
    await replica.turn()
    told = replica.log.last("t1")
    assert (told.agent.id, told.queue, told.overflow_queue) == ("bob", "thai", "english")


async def test_reopened_ticket_begins_in_its_own_queue_alone(replica: Replica) -> None:
    await replica.put(profile("ann"))
    await replica.hear(opened(ticket(language="th")))
    await turns(replica, 121)
    await replica.hear(status(ticket("t1", 2, language="th", status=Status.SOLVED)))
    await replica.hear(status(ticket("t1", 3, language="th", status=Status.OPEN)))
    assert (replica.log.last("t1").queue, replica.log.last("t1").overflow_queues) == ("thai", ())


async def test_transfer_to_a_queue_leaves_the_overflow_behind(replica: Replica) -> None:
    await replica.hear(opened(ticket(language="th")))
    await turns(replica, 121)
    await replica.command("t1", transfer(queue="returns"))
    assert (replica.log.last("t1").queue, replica.log.last("t1").overflow_queues) == ("returns", ())


async def test_newcomer_does_not_overtake_who_has_overflowed_into_the_queue(replica: Replica) -> None:
    await replica.put(profile("ann", capacity=1))
    await replica.hear(opened(ticket("busy")), opened(ticket("thai", language="th")))
    await turns(replica, 121)
    await replica.hear(status(ticket("busy", 2, status=Status.SOLVED)))
    await replica.hear(opened(ticket("late")))
    await replica.turn()
    assert await replica.holders("ann") == {"ann": ["thai"]}


async def test_who_has_overflowed_is_found_behind_many_whom_nobody_serves_now(replica: Replica) -> None:
    await replica.hear(*(opened(ticket(f"r{n:03}", tags=("returns",))) for n in range(60)))
    pass_time(replica, 1)
    await replica.hear(opened(ticket("thai", language="th")))
    await turns(replica, 125)
    await replica.put(profile("ann"))
    await replica.dispatcher.look()
    assert await replica.holders("ann") == {"ann": ["thai"]}


async def test_what_one_overflow_gave_up_the_next_does_not_ask_for_again() -> None:
    chain = CHAIN.replace(b"to: spoken, keep_required: true", b"to: spoken").replace(
        b"to: all}", b"to: all, keep_required: true}"
    )
    replica = made(chain)
    await replica.hear(opened(ticket(language="th", tier="gold")))
    await turns(replica, 65)
    await turns(replica, 65)
    needs = needs_of(await replica.ticket("t1"), replica.policy, replica.clock.now())
    assert [(n.queue, n.required) for n in needs[1:]] == [("spoken", (("calm", 1),)), ("all", ())]


async def test_the_shipped_vip_queue_never_asks_for_two_languages(root: Path) -> None:
    replica = made()
    replica.policy = load(root / "deploy" / "config" / "routing.yaml", RoutingPolicy)
    for tags, number in (((), "vip"), (("returns",), "returns")):
        await replica.hear(opened(ticket(number, language="th", tier="gold" if number == "vip" else None, tags=tags)))
    pass_time(replica, 3600)
    await replica.turn()
    for number in ("vip", "returns"):
        needs = needs_of(await replica.ticket(number), replica.policy, replica.clock.now())
        assert len(needs) == 2
        asked = [sorted(skill for skill, _ in need.required if skill.startswith("lang-")) for need in needs]
        assert asked == [["lang-th"], ["lang-th"]]


# -- nobody can serve it -----------------------------------------------------------------------------------------------


async def test_that_nobody_can_serve_it_is_said_once_all_queues_were_added() -> None:
    replica = made(CHAIN)
    await replica.put(profile("ann", queues=("elsewhere",)))
    await replica.hear(opened(ticket(tier="gold")))
    await turns(replica, 149)
    assert words(replica) == []
    await turns(replica, 20)
    assert words(replica) == ["unroutable vip no_agent_in_queue"]
    assert "nor in spoken, all" in replica.log.last("t1").detail


async def test_unroutable_is_said_again_in_a_second_queue_and_taken_back_in_between(replica: Replica) -> None:
    await replica.put(profile("ann", skills={}))
    await replica.hear(opened(ticket(tags=("returns",))))
    await turns(replica, 80)
    await turns(replica, 80)
    assert words(replica) == ["unroutable returns no_agent_with_language"]
    await replica.command("t1", transfer(queue="thai"))
    await replica.hear(message(ticket("t1", 2, tags=("returns",), required_skills={"juggling": 1})))
    await turns(replica, 160)
    said = ["unroutable returns no_agent_with_language", "routable thai moved"]
    assert words(replica)[:2] == said
    await replica.command("t1", transfer(queue="english"), "c-2")
    await turns(replica, 40)
    assert words(replica)[2:] == ["unroutable thai no_agent_with_skills", "routable english moved",
                               "unroutable english no_agent_with_skills"]  # fmt: skip


async def test_that_somebody_could_serve_it_again_is_said_before_they_are_free(replica: Replica) -> None:
    await replica.put(profile("ann"))
    await replica.hear(opened(ticket(tags=("returns",))))
    await turns(replica, 80)
    await replica.put(profile("bea", skills={"lang-en": 1, "returns": 2}, presence="offline"))
    await turns(replica, 80)
    assert words(replica) == ["unroutable returns no_agent_with_skills", "routable returns agent_found"]
    await replica.put(profile("bea", skills={"lang-en": 1}, presence="offline"))
    await turns(replica, 80)
    assert words(replica)[2:] == ["unroutable returns no_agent_with_skills"], "and when nobody can, it is said again"


async def test_who_comes_now_need_not_queue_up_behind_what_nobody_can_serve(replica: Replica) -> None:
    await replica.put(profile("ann", capacity=5))
    await replica.hear(opened(ticket("t1", required_skills={"juggling": 1})))
    await turns(replica, 40)
    assert words(replica) == ["unroutable english no_agent_with_skills"]
    await replica.put(profile("ann", capacity=6))
    await replica.turn()
    await replica.hear(opened(ticket("t2")))
    assert (await replica.ticket("t2")).agent == "ann"


async def test_assignment_and_solving_leave_nothing_to_take_back(replica: Replica) -> None:
    await replica.hear(opened(ticket("t1")), opened(ticket("t2")))
    await turns(replica, 40)
    await replica.hear(status(ticket("t2", 2, status=Status.SOLVED)))
    await replica.put(profile("ann"))
    await replica.turn()
    for name in ("t1", "t2"):
        assert words(replica, name) == ["unroutable english no_agent_in_queue"]
        assert (await replica.ticket(name)).unroutable is None
    await replica.remove("ann")
    await replica.hear(status(ticket("t2", 3, status=Status.OPEN)))
    await turns(replica, 40)
    assert words(replica, "t2") == ["unroutable english no_agent_in_queue"] * 2


async def test_ticket_that_no_rule_wants_is_unroutable_until_a_rule_does(replica: Replica) -> None:
    text = b"queues: {a: {}}\nrules: [{match: {brand: nimbus}, queue: a}]\nunroutable_after: 30s"
    replica = made(text)
    await replica.put(profile("ann"))
    await replica.hear(opened(ticket(brand="korale")))
    await turns(replica, 40)
    assert words(replica) == ["unroutable None no_queue"]
    await replica.hear(message(ticket("t1", 2, brand="nimbus")))
    assert words(replica)[1:] == ["routable a moved"]
    assert replica.log.last("t1").agent.id == "ann"


# -- rules that change -------------------------------------------------------------------------------------------------


async def test_changed_rules_move_who_waits_at_once_but_not_what_somebody_put_there(replica: Replica) -> None:
    await replica.hear(opened(ticket("t1", language="th")), opened(ticket("t2")), opened(ticket("t3")))
    await replica.command("t2", transfer(queue="returns"))
    await replica.turn()
    replica.policy = made(POLICY.replace(b"language: th}, queue: thai", b"language: en}, queue: thai")).policy
    await replica.turn()
    queues = {name: (await replica.ticket(name)).queue for name in ("t1", "t2", "t3")}
    assert queues == {"t1": "english", "t2": "returns", "t3": "thai"}
    assert replica.log.last("t1").reason == replica.log.last("t3").reason == "rules_changed"
    assert replica.log.said("t2").count("queued") == 2


async def test_rules_that_changed_while_routing_was_down_move_who_waits(replica: Replica) -> None:
    await replica.hear(*(opened(ticket(f"t{n:03}")) for n in range(230)))
    other = Replica(
        replica.store, replica.clock, replica.log, POLICY.replace(b"  - {queue: english}", b"  - {queue: returns}")
    )
    await other.turn()
    assert {(await other.ticket(f"t{n:03}")).queue for n in range(230)} == {"returns"}


async def test_a_queue_that_is_gone_counts_nobody_any_more(replica: Replica) -> None:
    await replica.hear(opened(ticket()))
    names = [f"deskbus_routing_{name}" for name in ("waiting_tickets", "oldest_wait_seconds")]

    async def counted(queue: str) -> list[float | None]:
        await ticker.count(replica.assigner, replica.clock)
        return [REGISTRY.get_sample_value(name, {"queue": queue}) for name in names]

    pass_time(replica, 7)
    assert await counted("english") == [1, 7]
    replica.policy = made(b"queues: {a: {}}\nrules: [{queue: a}]").policy
    await replica.turn()
    assert await counted("english") == [None, None]
    assert await counted("a") == [1, 7]


async def test_a_queue_with_nobody_online_is_seen_and_who_waits_in_no_queue_is_counted(replica: Replica) -> None:
    def gauge(name: str, queue: str) -> float | None:
        return REGISTRY.get_sample_value(f"deskbus_routing_{name}", {"queue": queue})

    replica.policy = made(b"queues: {a: {}, b: {}}\nrules: [{queue: a, match: {brand: other}}]").policy
    await replica.hear(opened(ticket()))
    await replica.put(profile("ann", queues=("b",)))
    await replica.put(profile("ben", queues=("a",), presence="away"))
    await ticker.count(replica.assigner, replica.clock)
    assert [gauge("queue_agents", name) for name in ("a", "b")] == [0, 1]
    assert [gauge("waiting_tickets", name) for name in ("a", "b", "other")] == [0, 0, 1]


async def test_waits_are_counted_from_zero_in_every_queue(replica: Replica) -> None:
    """Else `increase` would overlook the first."""
    replica.policy = made(b"queues: {never waited for: {}}\nrules: [{queue: never waited for}]").policy
    await ticker.count(replica.assigner, replica.clock)
    waits = REGISTRY.get_sample_value("deskbus_routing_wait_seconds_count", {"queue": "never waited for"})
    assert waits == 0


async def test_ticket_stays_when_no_rule_wants_it_any_more_but_its_queue_is_there(replica: Replica) -> None:
    await replica.hear(opened(ticket()))
    await replica.turn()
    replica.policy = made(POLICY.replace(b"  - {queue: english}\n", b"")).policy
    await replica.turn()
    assert (await replica.ticket("t1")).queue == "english"


async def test_ticket_of_a_queue_that_is_gone_is_placed_by_the_rules_also_when_somebody_put_it_there(
    replica: Replica,
) -> None:
    await replica.hear(opened(ticket()))
    await replica.command("t1", transfer(queue="returns"))
    replica.policy = made(b"queues: {a: {}}\nrules: [{queue: a}]").policy
    await replica.turn()
    state = await replica.ticket("t1")
    assert (state.queue, state.pinned) == ("a", False)


@pytest.mark.parametrize(
    ("to", "overflow", "who"),
    [
        (b"to: vip", ["vip"], "val"),
        (b"to: spoken, keep_required: true", ["spoken"], None),
        (b"to: spoken", ["spoken"], "ann"),
        (b"", [], None),
    ],
)
async def test_changed_rules_change_the_queues_that_may_serve_who_waits_besides(
    to: bytes, overflow: list[str], who: str | None
) -> None:
    queues = b"  home: {overflow: {after: 60s, to: spoken}}\n  spoken: {}\n  vip: {}\n"
    replica = made(b"unroutable_after: 30s\nqueues:\n" + queues + b"rules: [{queue: home}]")
    await replica.hear(opened(ticket(required_skills={"calm": 1})))
    await turns(replica, 61)
    there = b"overflow: {after: 60s, to: spoken}"
    replica.policy = made(
        b"unroutable_after: 30s\nqueues:\n"
        + queues.replace(there, b"overflow: {after: 60s, " + to + b"}" if to else b"")
        + b"rules: [{match: {brand: korale}, queue: home}]"
    ).policy
    await turns(replica, 3)
    for name, serves in (("ann", "spoken"), ("val", "vip")):
        await replica.put(profile(name, queues=(serves,)))
    await replica.turn()
    state = await replica.ticket("t1")
    assert (state.queue, [more.queue for more in state.overflow], state.agent) == ("home", overflow, who)
