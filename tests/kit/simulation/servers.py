"""The simulated servers: a store, a broker's log and a group's positions, with the faults that they may have."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from aiokafka import TopicPartition

from kit.errors import Passing
from kit.mongo import Guarded, WriteOutcome
from kit.producer import Outgoing
from tests.kit.simulation.world import step

if TYPE_CHECKING:
    from tests.kit.simulation.pipe import Pipe

IN = "in"


class SimStore:
    """One collection. With `replicated`, what is acknowledged without a majority can be rolled back."""

    def __init__(self, world: Pipe) -> None:
        self.w = world

    async def fetch(self, _: str, ids: Sequence[str]) -> list[dict[str, Any]]:
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
            raise Passing("cleared nothing")
        for doc_id, ids in confirmed.items():
            doc = self.w.docs[doc_id]
            doc["outbox"] = [e for e in doc["outbox"] if e["id"] not in ids and self.w.on("clear-confirmed")]
            doc["flag"] = False

    async def stale(self, _: str, older_than: datetime, limit: int) -> list[dict[str, Any]]:
        by = "outbox" if self.w.on("find-by-outbox") else "flag"
        return [copy.deepcopy(d) for d in self.w.major.values() if d.get(by) and d["outbox"]]

    async def due(self, _: str, partitions: Sequence[int], until: datetime, limit: int) -> list[dict[str, Any]]:
        await step("look for due")
        return [copy.deepcopy(d) for d in self.w.major.values() if d.get("due") and d["due"] <= until]

    async def find(self, *_: Any, **__: Any) -> list[dict[str, Any]]:
        raise NotImplementedError

    async def insert(self, *_: Any) -> set[str]:
        raise NotImplementedError


class Wire(Protocol):
    """What a broker's log asks of its world."""

    log: list[Outgoing]
    limbo: list[Outgoing]

    def on(self, rule: str) -> bool: ...


class SimSender:
    """The broker's log, with lost records, lost confirmations and late appends."""

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
    """What Consumer asks of aiokafka. The coordinator refuses no commit, not even a zombie's."""

    def __init__(self, world: Pipe, me: str) -> None:
        self.w, self.me = world, me

    def assignment(self) -> set[Any]:
        return {TopicPartition(IN, p) for p, owner in enumerate(self.w.owners) if owner == self.me}

    async def commit(self, offsets: Mapping[Any, int]) -> None:
        await step("commit")
        for tp, offset in offsets.items():
            self.w.committed[tp.partition] = offset

    def seek(self, tp: Any, offset: int) -> None:
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
