"""From the topics to the receivers, over a store in memory: what is stored is sent, and what was sent is told."""

import asyncio

import pytest

from contracts.notifications import NotificationFailed, NotificationSent
from kit.base.errors import TransientError
from services.notify import metrics, ticker
from services.notify.core.settle import Outcome, PermanentFailure, Sent, TemporaryFailure
from services.notify.core.state import dedup_key
from services.notify.sinks.base import Notification
from tests.kit.fake_store import Contested
from tests.notify.examples import ESCALATION, assigned, breached, cancelled, met, solved, unroutable
from tests.notify.rig import Rig


async def test_a_breach_is_sent_and_told_on_the_topic() -> None:
    rig = Rig()
    await rig.take(breached(0))
    await rig.wait(0)
    assert rig.sink.told() == [("lead", "firing")]
    (sent,) = rig.sender.events("notification.sent")
    assert isinstance(sent.data, NotificationSent)
    assert sent.subject == ESCALATION
    assert sent.data.dedup_key == dedup_key(ESCALATION, rig.sink.letters[0].planned.alarm)
    assert [event.sequence for event in [*rig.sender.events("escalation.opened"), sent]] == [1, 3]
    assert sent.data.target.name == "lead"


async def test_events_of_all_three_topics_are_counted_on_one_document() -> None:
    rig = Rig()
    await rig.take(assigned(0), breached(1), solved(2))
    await rig.take(assigned(0), breached(1), solved(2))
    doc = (await rig.documents.load([ESCALATION]))[ESCALATION]
    assert {source: seen.upto for source, seen in doc.seen.items()} == {
        "/deskbus/routing": 1,
        "/deskbus/sla": 1,
        "/deskbus/ingest": 1,
    }
    assert len(rig.sender.events("escalation.opened")) == 1


async def test_the_chain_goes_on_in_time_and_a_crash_forgets_nothing() -> None:
    rig = Rig()
    await rig.take(breached(0))
    await rig.wait(0)
    later = Rig(rows=rig.store)  # another process over the same database
    later.clock.set(rig.clock.now())
    await later.wait(59)
    assert later.sink.told() == []
    await later.wait(2)
    assert later.sink.told() == [("oncall", "firing")]


async def test_who_does_not_own_the_partition_neither_fires_nor_sends() -> None:
    rig = Rig()
    await rig.take(breached(0))
    rig.owner.partitions = []
    await rig.wait(100)
    assert rig.sink.told() == []


async def taken_and_not_written(rig: Rig) -> None:
    """Let a breach be sent and taken while the store goes away, so that the outcome is lost."""
    await rig.take(breached(0))

    def database_goes_away(_: Notification) -> Outcome:
        rig.store.away = True
        return Sent(200)

    rig.sink.answer = database_goes_away
    await rig.deliverer.turn()
    await rig.deliverer.finish()


async def test_an_outcome_that_was_not_written_is_sent_again_under_the_same_id() -> None:
    rig = Rig()
    await taken_and_not_written(rig)
    assert rig.sender.events("notification.sent") == []
    with pytest.raises(TransientError):
        await rig.deliverer.turn()
    rig.store.away = False
    rig.sink.answer = lambda _: Sent(200)
    await rig.wait(2)
    first, second = rig.sink.letters
    assert first.planned.id == second.planned.id
    assert len(rig.sender.events("notification.sent")) == 1


async def test_what_was_taken_while_the_store_went_away_is_followed_by_its_end() -> None:
    rig = Rig()
    await taken_and_not_written(rig)
    rig.store.away = False
    rig.sink.answer = lambda _: Sent(200)
    await rig.take(cancelled(1, sequence=2))
    later = Rig(rows=rig.store)  # it need not be the process that knows what it sent
    later.clock.set(rig.clock.now())
    await later.wait(2)
    assert later.sink.told() == [("lead", "resolved")]
    (withdrawn,) = later.sender.events("notification.withdrawn")
    assert withdrawn.data.notification_id == rig.sink.letters[0].planned.id


async def test_what_is_withdrawn_while_its_try_is_being_noted_is_not_sent() -> None:
    rig = Rig()
    await rig.take(breached(0))
    assert await rig.deliverer.turn() == 1
    await rig.take(cancelled(0, sequence=2))
    await rig.deliverer.finish()
    await rig.wait(1)
    assert rig.sink.letters == []


async def test_two_replicas_that_send_at_once_write_one_outcome() -> None:
    rig = Rig()
    await rig.take(breached(0))
    other, both, plain = rig.another_deliverer(), asyncio.Barrier(2), rig.sink.deliver

    async def deliver(notification: Notification) -> Outcome:
        await both.wait()
        return await plain(notification)

    rig.sink.deliver = deliver  # type: ignore[method-assign]
    await rig.deliverer.turn()
    await other.turn()
    await asyncio.gather(rig.deliverer.finish(), other.finish())
    assert len(rig.sink.letters) == 2
    assert rig.sink.letters[0].planned.id == rig.sink.letters[1].planned.id
    assert len(rig.sender.events("notification.sent")) == 1


async def test_who_comes_to_a_notification_that_is_settled_does_not_send_it() -> None:
    rig = Rig()
    await rig.take(breached(0))
    other = rig.another_deliverer()
    await rig.deliverer.turn()
    await other.turn()
    await rig.deliverer.finish()
    await other.finish()
    assert len(rig.sink.letters) == 1


async def test_one_notification_is_not_on_its_way_twice() -> None:
    rig = Rig()
    await rig.take(breached(0))
    assert await rig.deliverer.turn() == 1
    assert await rig.deliverer.turn() == 0
    await rig.deliverer.finish()
    assert len(rig.sink.letters) == 1


async def test_news_does_not_wait_for_older_news_that_is_being_tried_again() -> None:
    rig = Rig()
    await rig.take(breached(0, clock="c1"))
    rig.sink.answer = lambda _: TemporaryFailure("away")
    await rig.wait(0)
    rig.sink.answer = lambda _: Sent(200)
    await rig.take(breached(1, clock="c2", sequence=2))
    await rig.wait(1)
    assert len(rig.sender.events("notification.sent")) == 1


async def test_resolved_that_is_not_out_yet_is_withdrawn_when_it_is_true_no_more() -> None:
    rig = Rig()
    await rig.take(unroutable(0))
    await rig.wait(0)
    rig.sink.answer = lambda _: TemporaryFailure("away")
    await rig.take(assigned(1, sequence=2))
    await rig.wait(1)
    await rig.take(unroutable(2, sequence=3))
    rig.sink.answer = lambda _: Sent(200)
    await rig.wait(1000)
    assert [kind for _, kind in rig.sink.told()] == ["firing", "resolved", "firing"], "the one try that failed"
    await rig.take(assigned(3, sequence=4))
    await rig.wait(1)
    assert [kind for _, kind in rig.sink.told()] == ["firing", "resolved", "firing", "resolved"]


async def test_to_one_receiver_an_escalation_talks_one_after_the_other_in_one_thread() -> None:
    rig = Rig()
    rig.sink.answer = lambda notification: Sent(200, notification.thread or notification.planned.id)
    await rig.take(breached(0, clock="c1"), breached(0, clock="c2", sequence=2))
    assert await rig.deliverer.turn() == 1
    await rig.deliverer.finish()
    await rig.wait(0)
    first, second = rig.sink.letters
    assert (first.thread, second.thread) == (None, first.planned.id)


async def test_a_receiver_that_hangs_leaves_room_for_the_others() -> None:
    rig = Rig()
    gate = asyncio.Event()
    plain = rig.sink.deliver

    async def deliver(notification: Notification) -> Outcome:
        if notification.planned.receiver == "lead":
            await gate.wait()
        return await plain(notification)

    rig.sink.deliver = deliver  # type: ignore[method-assign]
    await rig.take(*(breached(0, ticket=f"t{n}") for n in range(50)), unroutable(0))
    begun = await rig.deliverer.turn()
    assert begun == 8 + 1, "a quarter for one receiver, and the other"
    gate.set()
    await rig.deliverer.finish()
    await rig.wait(1)
    assert len(rig.sink.letters) == 51


async def test_a_long_backlog_of_one_receiver_does_not_hide_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ticker, "PAGE", 10)
    rig = Rig()
    rig.sink.answer = lambda notification: (
        TemporaryFailure("busy", 429, 60) if notification.planned.receiver == "lead" else Sent(200)
    )
    for n in range(40):
        await rig.take(breached(n, ticket=f"t{n}"))
        rig.clock.advance(0.001)
    await rig.wait(0)
    await rig.take(unroutable(50))
    await rig.wait(0)
    assert ("mail", "firing") in rig.sink.told()


async def test_a_receiver_that_asks_for_a_pause_gets_one_from_everything() -> None:
    rig = Rig()
    rig.sink.answer = lambda _: TemporaryFailure("too many", 429, 30)
    await rig.take(breached(0, ticket="t1"))
    await rig.wait(0)
    rig.sink.answer = lambda _: Sent(200)
    await rig.take(breached(0, ticket="t2"))
    await rig.wait(10)
    assert len(rig.sink.letters) == 1
    await rig.wait(21)
    assert len(rig.sink.letters) == 3


async def test_a_sink_with_a_bug_is_tried_again() -> None:
    rig = Rig()

    def bug(_: Notification) -> Outcome:
        raise RuntimeError("oops")

    rig.sink.answer = bug
    await rig.take(breached(0))
    await rig.wait(0)
    rig.sink.answer = lambda _: Sent(200)
    await rig.wait(10)
    (sent,) = rig.sender.events("notification.sent")
    assert sent.data.attempts == 2


async def test_refused_for_good_is_told_as_failed_and_counted() -> None:
    rig = Rig()
    before = metrics.NOTIFICATIONS.labels("webhook", "failed")._value.get()
    rig.sink.answer = lambda notification: (
        PermanentFailure("no", 400) if notification.planned.receiver == "lead" else Sent(200)
    )
    await rig.take(breached(0))
    await rig.wait(0)
    (failed,) = rig.sender.events("notification.failed")
    assert isinstance(failed.data, NotificationFailed)
    assert (failed.data.status, failed.data.permanent) == (400, True)
    assert rig.sink.told() == [("lead", "firing"), ("oncall", "firing")]
    assert metrics.NOTIFICATIONS.labels("webhook", "failed")._value.get() == before + 1


async def test_a_chain_that_reached_nobody_is_counted() -> None:
    rig = Rig()
    before = metrics.EXHAUSTED._value.get()
    rig.sink.answer = lambda _: PermanentFailure("gone", 410, gone=True)
    await rig.take(breached(0))
    await rig.wait(0)
    await rig.wait(1000)
    assert metrics.EXHAUSTED._value.get() == before + 1


async def test_what_ended_before_it_was_sent_is_dropped() -> None:
    rig = Rig()
    await rig.take(breached(0), cancelled(0, sequence=2))
    await rig.wait(1)
    assert rig.sink.told() == []
    state = await rig.state(ESCALATION)
    assert state is not None
    assert state.planned == ()


async def test_a_ticket_that_raises_nothing_is_seen_and_nothing_else() -> None:
    rig = Rig()
    await rig.take(met(0))
    (row,) = rig.store.rows["escalations"].values()
    assert row["state"] is None
    assert row["due"] is None


async def test_an_alarm_is_counted_once_however_often_it_is_decided() -> None:
    rows = Contested()
    rig, alarms = Rig(rows=rows), metrics.ALARMS.labels("breached")
    before = alarms._value.get()
    rows.loses[ESCALATION] = 2
    await rig.take(breached(0))
    assert len(rig.sender.events("escalation.opened")) == 1
    assert alarms._value.get() == before + 1
