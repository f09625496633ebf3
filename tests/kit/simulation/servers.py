"""The simulated servers and their faults: a store, a broker's log, a consumer group's positions."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol

from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError, KafkaConnectionError

from kit.base.errors import TransientError
from kit.protocol.ports import Guarded, Outgoing, WriteOutcome
from tests.kit.simulation.world import step

if TYPE_CHECKING:
    from tests.kit.simulation.pipe import Pipe

IN = "in"


class SimStore:
    """One collection. With `replicated`, writes acknowledged without a majority can be rolled back."""

    def __init__(self, world: Pipe) -> None:
        self.w = world

    async def fetch(self, _: str, ids: Sequence[str]) -> list[dict[str, Any]]:
        if ids:
            await step("load")
        return [copy.deepcopy(self.w.major[i]) for i in ids if i in self.w.major]

    async def write(self, _: str, writes: Sequence[Guarded]) -> WriteOutcome:
        out, term = await step("write", "fails", "unknown outcome"), self.w.term
        if out == "fails":
            return WriteOutcome(unknown=True)
        lost = frozenset(g.id for g in writes if not self._write_one(g))
        if out == "ok" and self.w.replicated and self.w.on("majority"):
            await step("await majority", when=lambda: self.w.term != term or self.w.docs == self.w.major)
            if self.w.term != term:
                return WriteOutcome(unknown=True)
        return WriteOutcome(lost, unknown=out != "ok")

    def _write_one(self, g: Guarded) -> bool:
        doc = self.w.docs.setdefault(g.id, {"_id": g.id, "version": 0, "outbox": []})
        if doc["version"] != g.version:
            return False
        doc |= copy.deepcopy(dict(g.set)) | {"version": g.version + 1}
        doc["outbox"] = doc["outbox"] + [dict(e) for e in g.push_outbox]
        doc["flag"] = doc.get("flag", False) or bool(g.push_outbox)
        return True

    async def clear(self, _: str, confirmed: Mapping[str, Sequence[str]]) -> None:
        if await step(f"clear {sorted(confirmed)}", "fails") != "ok":
            raise TransientError("cleared nothing")
        for doc_id, ids in confirmed.items():
            doc = self.w.docs[doc_id]
            doc["outbox"] = [e for e in doc["outbox"] if e["id"] not in ids and self.w.on("clear-confirmed")]
            doc["flag"] = False

    async def stale(self, *_: Any, **__: Any) -> list[dict[str, Any]]:
        by = "outbox" if self.w.on("find-by-outbox") else "flag"
        return [copy.deepcopy(d) for d in self.w.major.values() if d.get(by) and d["outbox"]]

    async def due(self, _: str, partitions: Sequence[int], until: datetime, limit: int) -> list[dict[str, Any]]:
        await step("look for due")
        return [copy.deepcopy(d) for d in self.w.major.values() if d.get("due") and d["due"] <= until]

    async def find(self, *_: Any, **__: Any) -> list[dict[str, Any]]:
        raise NotImplementedError

    async def tally(self, *_: Any) -> list[dict[str, Any]]:
        raise NotImplementedError

    async def insert(self, *_: Any) -> set[str]:
        raise NotImplementedError


class Wire(Protocol):
    """What SimSender requires of its world."""

    log: list[Outgoing]
    limbo: list[Outgoing]

    def on(self, rule: str) -> bool: ...


class SimSender:
    """A producer whose records may be lost, unconfirmed or appended late."""

    def __init__(self, world: Wire) -> None:
        self.w = world

    async def partitions(self, _: str) -> int:
        return 1

    async def send_runs(self, runs: Sequence[Sequence[Outgoing]]) -> list[int]:
        counts = []
        for run in runs:
            confirmed = 0
            for record in run:
                out = await step(f"send to {record.topic}", "lost", "ack lost", "timed out, appended later")
                if out != "lost":
                    (self.w.limbo if out.startswith("timed") else self.w.log).append(record)
                confirmed += out == "ok"
                if out != "ok" and self.w.on("stop-at-first-failure"):
                    break
            counts.append(confirmed)
        return counts


class SimClient:
    """The part of aiokafka that Consumer uses. The coordinator accepts all commits, even a zombie's.

    An unreadable record fails the whole poll. As in aiokafka, the positions of the partitions polled before it have
    advanced although their records were not returned, and only the ended reader identifies the record.
    """

    def __init__(self, world: Pipe, me: str) -> None:
        self.w, self.me = world, me
        self._fetcher = SimpleNamespace(_records={})
        self._coordinator = SimpleNamespace(fetch_committed_offsets=self._committed)

    async def getmany(self, *only: Any, timeout_ms: int, max_records: int) -> dict[Any, list[Any]]:
        partitions = [tp.partition for tp in only]
        await step(
            "poll", when=lambda: bool(only or self.w.waiting(self.me))
        )  # a poll of given partitions does not wait
        polled = {}
        for p in self.w.waiting(self.me):
            if partitions and p not in partitions:
                continue
            tp, records = TopicPartition(IN, p), self.w.next_records(self.me, p, max_records)
            for record in records:
                if record.unreadable:
                    ended = SimpleNamespace(gi_frame=None)
                    reader = SimpleNamespace(_records_iterator=ended, next_fetch_offset=record.offset)
                    self._fetcher._records = {tp: SimpleNamespace(_partition_records=reader)}
                    raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
            self.seek(tp, records[-1].offset + 1)
            polled[tp] = records
        return polled

    async def committed(self, tp: Any) -> int | None:
        if await step("ask for what is committed", "fails") != "ok":
            raise KafkaConnectionError("fails")
        at: int = self.w.committed[tp.partition]
        return at

    def assignment(self) -> set[Any]:
        return {TopicPartition(IN, p) for p, owner in enumerate(self.w.owners) if owner == self.me}

    async def _committed(self, tps: Iterable[Any]) -> dict[Any, tuple[int, str]]:
        if await step("ask for what is committed, and who began", "fails") != "ok":
            raise KafkaConnectionError("fails")
        return {tp: (self.w.committed[tp.partition], self.w.begun.get(tp.partition, "")) for tp in tps}

    async def commit(self, offsets: Mapping[Any, int | tuple[int, str]]) -> None:
        await step("commit")
        for tp, offset in offsets.items():
            self.w.committed[tp.partition], begun = (offset, "") if isinstance(offset, int) else offset
            self.w.begun[tp.partition] = begun if self.w.on("count-starts") else ""

    def seek(self, tp: Any, offset: int) -> None:
        if tp not in self.assignment():
            raise IllegalStateError(f"{tp} is not ours")
        self.w.positions[self.me, tp.partition] = self.w.generation[tp.partition], offset

    async def position(self, tp: Any) -> int:
        return self.w.position(self.me, tp.partition)

    async def end_offsets(self, tps: Iterable[Any]) -> dict[Any, int]:
        await step("ask for ends")
        return {tp: len(self.w.inputs[tp.partition]) for tp in tps}

    def pause(self, *_: Any) -> None: ...
    def resume(self, *_: Any) -> None: ...

    def paused(self) -> set[Any]:
        return set()
