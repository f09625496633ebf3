"""What is measured of assignments."""

from datetime import timedelta

from prometheus_client import REGISTRY

from tests.kit.fake_store import FakeStore
from tests.routing.scenario import Log, Replica, fake_clock, opened, profile, ticket


async def test_the_way_from_the_accepted_message_to_an_agent_is_measured_but_no_wait_for_one() -> None:
    def measured() -> list[float]:
        name = "deskbus_routing_accepted_to_assigned_seconds"
        return [REGISTRY.get_sample_value(f"{name}_{part}") or 0 for part in ("count", "sum")]

    clock = fake_clock()
    replica, before = Replica(FakeStore(), clock, Log()), measured()
    await replica.hear(opened(ticket("waits")))
    clock.advance(60)
    await replica.put(profile("ann", capacity=2))
    await replica.turn()
    assert await replica.holders("ann") == {"ann": ["waits"]}
    assert measured() == before
    begun = ticket("served", created_at=replica.clock.now() - timedelta(seconds=3))
    (record,) = replica.records(opened(begun))
    for _ in range(2):  # the second time it is known
        assert await replica.delivery.handle([record]) == set()
    assert await replica.holders("ann") == {"ann": ["served", "waits"]}
    assert measured() == [before[0] + 1, before[1] + 3]
