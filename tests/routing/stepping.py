"""A store for races: between any two operations the others may go on, writes may fail, and each is looked at after."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kit.protocol.ports import Guarded, WriteOutcome
from tests.kit.fake_store import FakeStore, Row


class Gate:
    """Holds back the next write to a collection, until it is opened."""

    def __init__(self) -> None:
        self.reached, self.open = asyncio.Event(), asyncio.Event()


class Stepping(FakeStore):
    """A store in which anything else may happen before every operation, and whose writes may fail or not answer.

    After every write it looks at the invariant: work in hand is within capacity, and every piece of it has its claim.
    """

    def __init__(self, dice: random.Random | None = None, faults: float = 0.0) -> None:
        super().__init__()
        self.dice, self.faults = dice or random.Random(0), faults
        self.gates: dict[str, Gate] = {}
        self.fetched: Counter[str] = Counter()

    async def _step(self) -> None:
        for _ in range(self.dice.randrange(4)):
            await asyncio.sleep(0)

    def count_fetches(self, collection: str) -> Callable[[], int]:
        """Return what tells how often a collection was read by ids from now on."""
        before = self.fetched[collection]
        return lambda: self.fetched[collection] - before

    async def fetch(self, collection: str, ids: Sequence[str]) -> list[Row]:
        await self._step()
        self.fetched[collection] += 1
        return await super().fetch(collection, ids)

    async def find(self, collection: str, query: Mapping[str, Any], **options: Any) -> list[Row]:
        await self._step()
        return await super().find(collection, query, **options)

    async def write(self, collection: str, writes: Sequence[Guarded]) -> WriteOutcome:
        await self._step()
        gate = self.gates.pop(collection, None)
        if gate is not None:
            gate.reached.set()
            await gate.open.wait()
        if self.dice.random() < self.faults:
            return WriteOutcome(unknown=True)
        outcome = await super().write(collection, writes)
        self.check()
        if self.dice.random() < self.faults:
            return WriteOutcome(unknown=True)
        await self._step()
        return outcome

    def gate(self, collection: str) -> Gate:
        self.gates[collection] = Gate()
        return self.gates[collection]

    def check(self) -> None:
        loads: dict[str, float] = {}
        for row in self.rows.get("tickets", {}).values():
            state = row["state"]
            if state is None or state["agent"] is None:
                continue
            claims = self.rows["agents"][state["agent"]]["state"]["claims"]
            mine = [claim for claim in claims if claim["ticket"] == row["_id"]]
            assert mine, f"{row['_id']} is with {state['agent']} without a claim"
            assert mine[0]["weight"] >= weight(state), f"{row['_id']} weighs more than its claim"
            loads[state["agent"]] = loads.get(state["agent"], 0) + mine[0]["weight"]
        for agent_id, load in loads.items():
            capacity = self.rows["agents"][agent_id]["state"]["profile"]["capacity"]
            assert load <= capacity, f"{agent_id} has {load} of {capacity}"

    def heavy(self) -> list[str]:
        """Tickets whose claims weigh more than they do."""
        states = [row["state"] for row in self.rows.get("tickets", {}).values() if row["state"]["agent"]]
        claims = {
            (agent_id, claim["ticket"]): claim["weight"]
            for agent_id, row in self.rows.get("agents", {}).items()
            for claim in row["state"]["claims"]
        }
        return [state["id"] for state in states if claims[state["agent"], state["id"]] > weight(state)]

    def loose(self) -> list[tuple[str, str]]:
        """Claims whose ticket is not that agent's."""
        tickets = self.rows.get("tickets", {})
        return [
            (agent_id, claim["ticket"])
            for agent_id, row in self.rows.get("agents", {}).items()
            for claim in row["state"]["claims"]
            if ((tickets.get(claim["ticket"]) or {}).get("state") or {}).get("agent") != agent_id
        ]


def weight(state: Mapping[str, Any]) -> float:
    """What a ticket by mail takes of its agent."""
    return 0.0 if state["status"] == "pending" else 1.0
