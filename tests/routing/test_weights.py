"""What a ticket takes of its agent, by status: room that is free is given away, and must be there when it is needed."""

import pytest

from contracts.ticket import Status
from tests.kit.fake_store import FakeStore
from tests.routing.scenario import (
    POLICY,
    Log,
    Replica,
    at,
    fake_clock,
    message,
    opened,
    profile,
    reopened,
    status,
    ticket,
    turns,
)

NEW, OPEN, PENDING, ON_HOLD, SOLVED = Status.NEW, Status.OPEN, Status.PENDING, Status.ON_HOLD, Status.SOLVED


def made(more: bytes = b"") -> Replica:
    return Replica(FakeStore(), fake_clock(), Log(), POLICY + more)


@pytest.fixture
def replica() -> Replica:
    return made()


def pass_time(replica: Replica, seconds: float) -> None:
    replica.clock.advance(seconds)  # type: ignore[attr-defined]


async def weights(replica: Replica, agent: str = "ann") -> dict[str, float]:
    return {name: claim.weight for name, claim in (await replica.agent(agent)).claims.items()}


async def test_pending_work_leaves_its_room_to_who_waits(replica: Replica) -> None:
    await replica.put(profile("ann", capacity=1))
    await replica.hear(opened(ticket("t1")), opened(ticket("t2")))
    await replica.hear(status(ticket("t1", 2, status=PENDING)))
    await replica.turn()
    assert await weights(replica) == {"t1": 0, "t2": 1}
    told = replica.log.last("t2")
    assert (told.agent.id, told.load_before, told.load_after) == ("ann", 0, 1)
    assert replica.log.said("t1") == ["queued", "assigned"], "it stays theirs"


async def test_answered_work_takes_its_room_again(replica: Replica) -> None:
    await replica.put(profile("ann", capacity=1))
    await replica.hear(opened(ticket("t1")), status(ticket("t1", 2, status=PENDING)))
    assert await weights(replica) == {"t1": 0}
    await replica.hear(status(ticket("t1", 3, status=OPEN)), message(ticket("t1", 3, status=OPEN)))
    assert await weights(replica) == {"t1": 1}
    await replica.hear(opened(ticket("t2")))
    assert (await replica.ticket("t2")).phase == "waiting"


async def test_answered_work_for_which_there_is_no_room_waits_for_anybody_and_goes_back_if_that_is_first(
    replica: Replica,
) -> None:
    await replica.put(profile("ann", capacity=1))
    await replica.hear(opened(ticket("t1")), status(ticket("t1", 2, status=PENDING)))
    await replica.hear(opened(ticket("t2")))
    pass_time(replica, 60)
    await replica.hear(status(ticket("t1", 3, status=OPEN)))
    assert replica.log.said("t1") == ["queued", "assigned", "unassigned", "queued"]
    told = replica.log.last("t1")
    assert (told.reason, told.queued_at) == ("agent_full", at(0))
    assert await weights(replica) == {"t2": 1}
    pass_time(replica, 5)
    await replica.hear(status(ticket("t2", 2, status=SOLVED)))
    await replica.turn()
    told = replica.log.last("t1")
    assert (told.agent.id, told.reason, told.waited_ms) == ("ann", "sticky", 5000)


async def test_answered_work_goes_at_once_to_somebody_who_has_room(replica: Replica) -> None:
    await replica.put(profile("ann", capacity=1))
    await replica.hear(opened(ticket("t1")), status(ticket("t1", 2, status=PENDING)), opened(ticket("t2")))
    await replica.put(profile("bob", capacity=1))
    await replica.hear(status(ticket("t1", 3, status=OPEN)))
    assert await replica.holders("ann", "bob") == {"ann": ["t2"], "bob": ["t1"]}


async def test_many_answers_at_once_never_pass_the_limit(replica: Replica) -> None:
    await replica.put(profile("ann", capacity=2))
    for n in range(6):
        await replica.hear(opened(ticket(f"t{n}")), status(ticket(f"t{n}", 2, status=PENDING)))
    assert (await replica.agent("ann")).load == 0
    assert len(await weights(replica)) == 6
    await replica.hear(*(status(ticket(f"t{n}", 3, status=OPEN)) for n in range(6)))
    assert (await replica.agent("ann")).load == 2
    assert len(await weights(replica)) == 2
    phases = [(await replica.ticket(f"t{n}")).phase for n in range(6)]
    assert phases.count("waiting") == 4


async def test_work_that_nobody_here_owes_stays_though_it_would_weigh_more_than_there_is_room(replica: Replica) -> None:
    await replica.put(profile("ann", capacity=1))
    await replica.hear(opened(ticket("t1")), status(ticket("t1", 2, status=PENDING)), opened(ticket("t2")))
    await replica.hear(status(ticket("t1", 3, status=ON_HOLD)))
    assert await weights(replica) == {"t1": 0, "t2": 1}
    await replica.hear(status(ticket("t2", 2, status=SOLVED)))
    await replica.hear(status(ticket("t1", 4, status=OPEN)))
    assert await weights(replica) == {"t1": 1}


async def test_pending_and_open_again_in_one_batch_changes_nothing(replica: Replica) -> None:
    await replica.put(profile("ann", capacity=1))
    await replica.hear(opened(ticket("t1")))
    await replica.hear(status(ticket("t1", 2, status=PENDING)), status(ticket("t1", 3, status=OPEN)))
    assert await weights(replica) == {"t1": 1}
    assert replica.log.said("t1") == ["queued", "assigned"]


async def test_a_raise_is_no_assignment(replica: Replica) -> None:
    await replica.put(profile("ann"))
    await replica.hear(opened(ticket("t1")), status(ticket("t1", 2, status=PENDING)))
    before = (await replica.agent("ann")).last_assigned_at
    pass_time(replica, 60)
    await replica.hear(status(ticket("t1", 3, status=OPEN)))
    assert (await replica.agent("ann")).last_assigned_at == before


async def test_room_that_another_replica_gave_back_is_found_before_work_is_taken_away(replica: Replica) -> None:
    await replica.put(profile("ann", capacity=1))
    await replica.hear(opened(ticket("t1")), status(ticket("t1", 2, status=PENDING)), opened(ticket("t2")))
    other = Replica(replica.store, replica.clock, replica.log)
    await other.roster.load_all()
    await replica.hear(status(ticket("t2", 2, status=SOLVED)))
    [record] = other.records(status(ticket("t1", 3, status=OPEN)), sequences={"t1": 2})
    assert await other.delivery.handle([record]) == set()
    assert (await replica.ticket("t1")).agent == "ann"


@pytest.mark.parametrize(
    ("policy", "channel", "state", "weight"),
    [
        (b"", "email", NEW, 1),
        (b"", "email", OPEN, 1),
        (b"", "email", PENDING, 0),
        (b"", "email", ON_HOLD, 1),
        (b"", "whatsapp", PENDING, 0),
        (b"", "phone", PENDING, 1),
        (b"", "chat", PENDING, 1),
        (b"live_channels: [whatsapp]", "whatsapp", PENDING, 2),
        (b"live_channels: []", "chat", PENDING, 0),
        (b"status_weights: {pending: 0.25, on_hold: 0}", "whatsapp", PENDING, 0.5),
        (b"status_weights: {pending: 0.25, on_hold: 0}", "email", ON_HOLD, 0),
        (b"status_weights: {open: 0.5}", "email", OPEN, 0.5),
    ],
)
async def test_weight_by_status_and_channel(policy: bytes, channel: str, state: Status, weight: float) -> None:
    replica = made(policy)
    await replica.put(profile("ann"))
    await replica.hear(opened(ticket(channel=channel, status=state)))
    assert await weights(replica) == {"t1": weight}
    await replica.hear(status(ticket("t1", 2, channel=channel, status=SOLVED)))
    await replica.hear(reopened(ticket("t1", 3, channel=channel, status=OPEN)))
    await replica.hear(status(ticket("t1", 4, channel=channel, status=state)))
    assert await weights(replica) == {"t1": weight}


async def test_pending_work_finds_an_agent_though_all_are_full(replica: Replica) -> None:
    await replica.put(profile("ann", capacity=1))
    await replica.hear(opened(ticket("t1")))
    await replica.hear(opened(ticket("t2", status=PENDING)))
    assert await weights(replica) == {"t1": 1, "t2": 0}
    assert (await replica.ticket("t2")).share == 0


async def test_weight_that_a_crash_left_is_given_up_by_the_reconciler(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    await replica.put(profile("ann", capacity=1))
    await replica.hear(opened(ticket("t1")))
    records = replica.records(status(ticket("t1", 2, status=PENDING)))

    async def crash(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(replica.assigner.claims, "release", crash)
    await replica.delivery.handle(records)
    monkeypatch.undo()
    assert await weights(replica) == {"t1": 1}
    pass_time(replica, 11)
    await replica.reconciler.turn()
    assert await weights(replica) == {"t1": 0}


async def test_policy_that_weighs_pending_work_again_counts_from_the_next_event(replica: Replica) -> None:
    await replica.put(profile("ann", capacity=1))
    await replica.hear(opened(ticket("t1")), status(ticket("t1", 2, status=PENDING)))
    replica.policy = made(b"status_weights: {pending: 1}").policy
    await replica.hear(message(ticket("t1", 3, status=PENDING), automated=True))
    assert await weights(replica) == {"t1": 1}


# -- who keeps what when they are gone ---------------------------------------------------------------------------------


@pytest.mark.parametrize("old", [OPEN, PENDING])
async def test_automatic_mail_takes_no_work_from_an_agent_who_is_away(replica: Replica, old: Status) -> None:
    await replica.put(profile("zoe"))
    await replica.hear(opened(ticket()), status(ticket("t1", 2, status=old)))
    await replica.put(profile("ann"))
    await replica.presence("zoe", "away")
    await replica.hear(message(ticket("t1", 3, status=old), automated=True))
    await replica.absence.turn()
    assert (await replica.ticket("t1")).agent == "zoe"


async def test_one_more_message_leaves_open_work_with_who_is_away_as_long_as_the_policy_says(replica: Replica) -> None:
    await replica.put(profile("zoe"))
    await replica.hear(opened(ticket(status=OPEN)))
    await replica.presence("zoe", "away")
    await replica.hear(message(ticket("t1", 2, status=OPEN)))
    assert (await replica.ticket("t1")).agent == "zoe"


@pytest.mark.parametrize("presence", ["away", "offline"])
async def test_what_the_customer_answers_goes_at_once_from_who_is_gone(replica: Replica, presence: str) -> None:
    await replica.put(profile("zoe"))
    await replica.hear(opened(ticket()), status(ticket("t1", 2, status=PENDING)))
    await replica.put(profile("ann"))
    await replica.presence("zoe", presence)
    await replica.hear(status(ticket("t1", 3, status=OPEN)), message(ticket("t1", 3, status=OPEN)))
    assert (await replica.ticket("t1")).agent == "ann"


async def test_null_leaves_open_work_with_who_is_offline() -> None:
    replica = Replica(
        FakeStore(), fake_clock(), Log(), POLICY.replace(b"{offline: 0s, away: 10m}", b"{offline: null, away: null}")
    )
    await replica.put(profile("zoe"))
    await replica.hear(opened(ticket()))
    await replica.presence("zoe", "offline")
    pass_time(replica, 86_400)
    await replica.turn()
    await replica.absence.sweep()
    assert (await replica.ticket("t1")).agent == "zoe"


async def test_room_that_only_an_agents_own_weight_leaves_is_found_at_once(replica: Replica) -> None:
    await replica.put(profile("ann", capacity=1.5, channel_weights={"fax": 0.5}))
    await replica.hear(opened(ticket("t1")), opened(ticket("t2", channel="fax")), opened(ticket("t3", channel="fax")))
    await replica.turn()
    assert await weights(replica) == {"t1": 1, "t2": 0.5}
    await replica.hear(status(ticket("t2", 2, channel="fax", status=SOLVED)))
    await replica.turn()
    assert await weights(replica) == {"t1": 1, "t3": 0.5}


async def test_room_for_a_status_that_weighs_less_is_found_at_once() -> None:
    replica = made(b"status_weights: {open: 0.5}")
    await replica.put(profile("ann", capacity=1))
    await replica.hear(*(opened(ticket(name, status=OPEN)) for name in ("t1", "t2", "t3")))
    pass_time(replica, 100)
    await replica.turn()
    await replica.hear(status(ticket("t1", 2, status=SOLVED)))
    await replica.turn()
    assert await weights(replica) == {"t2": 0.5, "t3": 0.5}


async def test_time_in_somebodys_hands_is_no_waiting(replica: Replica) -> None:
    await replica.hear(opened(ticket("t1")))
    pass_time(replica, 10)
    await replica.put(profile("zoe", capacity=1))
    await replica.turn()
    assert replica.log.last("t1").waited_ms == 10_000
    pass_time(replica, 3600)
    await replica.hear(opened(ticket("t2")))
    pass_time(replica, 60)
    await replica.presence("zoe", "offline")
    await replica.turn()
    pass_time(replica, 7)
    await replica.put(profile("ann", capacity=1))
    await replica.turn()
    told = replica.log.last("t1")
    assert (told.agent.id, told.queued_at, told.waited_ms) == ("ann", at(0), 7000), (
        "its age goes first, its wait is 7 s"
    )
    assert (await replica.ticket("t2")).phase == "waiting"


async def test_what_becomes_pending_while_it_waits_takes_no_room_and_overtakes_nobody(replica: Replica) -> None:
    await replica.put(profile("ann", capacity=1))
    await replica.hear(opened(ticket("t1")), opened(ticket("t2")), opened(ticket("t3")))
    await replica.hear(status(ticket("t3", 2, status=PENDING)))
    assert await weights(replica) == {"t1": 1, "t3": 0}
    await replica.hear(status(ticket("t1", 2, status=SOLVED)))
    await replica.turn()
    assert await weights(replica) == {"t2": 1, "t3": 0}


@pytest.mark.parametrize("behind", [False, True], ids=["alone", "behind one that nobody can serve"])
async def test_what_waits_while_pending_is_looked_at_at_once_when_the_customer_writes(
    replica: Replica, behind: bool
) -> None:
    """Its own next look is minutes away by then."""
    if behind:
        await replica.hear(opened(ticket("t0", required_skills={"lang-th": 5})))
    await replica.hear(opened(ticket("t1")), status(ticket("t1", 2, status=PENDING)))
    await turns(replica, 1000)
    other = Replica(replica.store, replica.clock, replica.log)
    await other.put(profile("bob", capacity=1))
    await replica.hear(status(ticket("t1", 3, status=OPEN)), message(ticket("t1", 3, status=OPEN)))
    await replica.turn()
    assert (await replica.ticket("t1")).agent == "bob"
