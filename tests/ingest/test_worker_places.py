"""Where a mail goes is claimed before it goes there: what such a claim grants, and how often it makes ingest wait."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kit.base.errors import TransientError
from kit.protocol.ports import Guarded, WriteOutcome
from services.ingest.core.threading import message_anchor, placement_anchor
from services.ingest.store import THREADS, TICKETS
from tests.ingest.worker_rig import Worker
from tests.kit.fake_store import FakeStore, Row

JAN, EWA = "jan@example.org", "ewa@example.org"


class Watched(FakeStore):
    """Notes what is asked of the claims. `stuck`: writes of tickets fail, as when a process ends before them."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.claimed: list[str] = []
        self.stuck = False

    async def fetch(self, collection: str, ids: Sequence[str]) -> list[Row]:
        if collection == THREADS and ids:
            self.asked.append("fetch")
        return await super().fetch(collection, ids)

    async def write(self, collection: str, writes: Sequence[Guarded]) -> WriteOutcome:
        if self.stuck and collection == TICKETS:
            raise TransientError("stuck")
        if collection == THREADS and writes:
            self.asked.append("write")
            self.claimed += [write.id for write in writes]
        return await super().write(collection, writes)

    async def insert(self, collection: str, documents: Sequence[Mapping[str, Any]]) -> set[str]:
        if collection == THREADS and documents:
            self.asked.append("insert")
            self.claimed += [document["_id"] for document in documents]
        return await super().insert(collection, documents)


def mail(worker: Worker, number: int, sender: str, *answers: int, said: str | None = "pass") -> Any:
    more: dict[str, Any] = {"References": " ".join(f"<{n}@x>" for n in answers)} if answers else {}
    return worker.mails(f"mail {number}", f"<{number}@x>", sender, account="help-korale", said=said, **more)


async def test_a_mail_goes_where_it_was_admitted_although_its_sender_would_no_longer_be() -> None:
    """Another replica may have it in hand, admitted."""
    store = Watched()
    worker = Worker(store)
    await worker.take(mail(worker, 1, JAN, said=None))
    answer = mail(worker, 2, JAN, 1, said=None)
    store.stuck = True
    assert await worker.take(answer) == {answer.offset}
    store.stuck = False
    await worker.take(mail(worker, 3, JAN, 1))  # from now on, an unproven mail of this sender is refused
    assert await worker.take(answer) == set()
    assert len(worker.opened()) == 1
    assert worker.ticket().message_count == 3
    await worker.take(mail(worker, 4, JAN, 1, said=None))
    assert len(worker.opened()) == 2


async def test_a_place_in_a_ticket_that_somebody_else_opened_admits_nobody() -> None:
    store = Watched()
    worker = Worker(store)
    answer = mail(worker, 2, JAN, 1, said=None)
    store.stuck = True
    assert await worker.take(answer) == {answer.offset}
    store.stuck = False
    await worker.take(mail(worker, 1, EWA))
    assert await worker.take(answer) == set()
    first, second = worker.opened()
    assert (first.contact.address, second.contact.address) == (EWA, JAN)
    assert second.linked_to == first.id


async def test_an_aside_that_was_not_opened_yet_is_linked_when_the_mail_comes_again() -> None:
    store = Watched()
    worker = Worker(store)
    await worker.take(mail(worker, 1, EWA))
    stranger = mail(worker, 2, JAN, 1, said=None)
    store.stuck = True
    assert await worker.take(stranger) == {stranger.offset}
    store.stuck = False
    assert await worker.take(stranger) == set()
    first, second = worker.opened()
    assert second.linked_to == first.id


async def test_an_ordinary_mail_makes_ingest_wait_for_one_claim() -> None:
    store = Watched()
    worker = Worker(store)
    for each, asked in (
        (mail(worker, 1, JAN), ["fetch", "write"]),
        (mail(worker, 3, EWA, 1, 2), ["fetch", "insert"]),
        (mail(worker, 2, JAN, 1), ["fetch", "write"]),  # named by another one before: the place has a claim of its own
    ):
        store.asked.clear()
        assert await worker.take(each) == set()
        assert store.asked == asked
    assert len(worker.opened()) == 1


async def test_the_id_of_a_mail_is_claimed_before_its_place() -> None:
    """Else another replica could make its place of the id, which nobody has claimed yet."""
    store = Watched()
    worker = Worker(store)
    await worker.take(mail(worker, 1, JAN))
    own = message_anchor("email", "help-korale", "<2@x>")
    store.claimed.clear()
    await worker.take(mail(worker, 3, EWA, 1, 2), mail(worker, 2, JAN, 1))
    assert placement_anchor(worker.events()[-1].data.message.id) == store.claimed[store.claimed.index(own) + 1]
    assert store.claimed.count(own) == 1
