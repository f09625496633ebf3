"""Deciding changes nothing: what a service decides may be lost to another writer, and is decided again then.

Two ways to see it. In the sources: a decision stores nothing, counts nothing and calls nothing for its effect alone.
On the services' own handlings: decided twice, the same comes out, and no metric has moved.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY

from contracts.commands import AddNote, SetStatus
from contracts.ticket import Status
from contracts.topics import TICKETS
from kit.base.errors import TransientError
from kit.protocol.delivery import Delivery
from kit.protocol.document import Decision
from kit.protocol.handling import Handling, Incoming
from tests.ingest.worker_rig import AGENT, Worker
from tests.kit.fake_store import FakeStore
from tests.kit.raw import Raw
from tests.notify.examples import at_risk, breached, cancelled, met
from tests.notify.rig import Rig as Notify
from tests.routing.scenario import Log, Replica, fake_clock, opened, profile, reopened, sent, status, ticket, transfer
from tests.sla.desk import SIMPLE, Writer, book
from tests.sla.rig import Rig as Sla

DECIDING = {"decide", "fire", "rebase"}
#: Names whose use in a decision means that it counts, tells or asks what time it is.
OUTSIDE = {"metrics", "log", "_clock", "monotonic"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def root_of(node: ast.AST) -> str | None:
    """The name that an expression begins with: `a` of `a.b[0].c()`."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call | ast.Starred):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def effects(function: Function) -> Iterator[str]:
    """What a function does besides returning a value. What it has made itself it may change."""
    nodes = list(ast.walk(function))
    made = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    made -= {arg.arg for arg in ast.walk(function.args) if isinstance(arg, ast.arg)}
    for node in nodes:
        match node:
            case ast.Await() | ast.Global() | ast.Nonlocal() | ast.AsyncFunctionDef():
                yield f"{node.lineno}: {type(node).__name__}"
            case ast.Expr(value=ast.Call() as call):
                changed = {root_of(part) for part in (call.func, *call.args)}
                if not changed & made:
                    yield f"{node.lineno}: {ast.unparse(call)}"
            case ast.Attribute(ctx=ast.Store() | ast.Del()) | ast.Subscript(ctx=ast.Store() | ast.Del()):
                if root_of(node) not in made:
                    yield f"{node.lineno}: {ast.unparse(node)} ="
            case ast.Name(id=name) | ast.Attribute(attr=name) if name in OUTSIDE:
                yield f"{node.lineno}: {name}"


def decisions(source: str, *, core: bool) -> Iterator[Function]:
    """The functions that decide: by name, and in a class with the methods of `self` that they call."""
    tree = ast.parse(source)
    for scope in ast.walk(tree):
        if not isinstance(scope, ast.ClassDef | ast.Module) or (isinstance(scope, ast.Module) and not core):
            continue
        functions = {each.name: each for each in scope.body if isinstance(each, Function)}
        wanted = [name for name in functions if name in DECIDING]
        for name in wanted:
            yield functions[name]
            for node in ast.walk(functions[name]):
                called = node.attr if isinstance(node, ast.Attribute) and root_of(node) == "self" else ""
                if called in functions and called not in wanted:
                    wanted.append(called)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("return Decision(replace(state, a=1), [event])", []),
        ("draft = Draft(state)\n    draft.take(1)\n    draft.a = 1\n    close(draft)\n    return draft", []),
        ("metrics.SEEN.labels(x).inc()", ["2: metrics.SEEN.labels(x).inc()", "2: metrics"]),
        ("self._assigner.note(state)", ["2: self._assigner.note(state)"]),
        ("self._left = state", ["2: self._left ="]),
        ("state.agents['a'] = 1", ["2: state.agents['a'] ="]),
        ("return self._clock.now()", ["2: _clock"]),
        ("nonlocal seen", ["2: Nonlocal"]),
    ],
)
def test_an_effect_is_found(body: str, found: list[str]) -> None:
    (function,) = ast.parse(f"def decide(self, state):\n    {body}").body
    assert isinstance(function, Function)
    assert sorted(effects(function)) == sorted(found)


def test_what_decides_has_no_effect(root: Path) -> None:
    looked_at, found = 0, {}
    for file in sorted((root / "services").rglob("*.py")):
        parts = file.relative_to(root).parts
        if "core" not in parts and parts[-1] != "handlers.py":
            continue
        for function in decisions(file.read_text("utf-8"), core="core" in parts):
            looked_at += 1
            if bad := list(effects(function)):
                found[f"{'/'.join(parts)}: {function.name}"] = bad
    assert found == {}
    assert looked_at >= 10


class Twice:
    """A service's handling that decides everything twice, and notes where that makes a difference."""

    def __init__(self, delivery: Delivery[Any], own: Callable[[], object] = lambda: None) -> None:
        self.handling, self.own = delivery.handling, own
        self.decided, self.wrong = 0, list[str]()
        delivery.handling = cast("Handling[Any]", self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.handling, name)

    def decide(self, state: Any, item: Incoming, now: Any) -> Decision[Any]:
        before = _counted(), self.own()
        outcomes = [self._outcome(state, item, now) for _ in range(2)]
        self.decided += 1
        if outcomes[0] != outcomes[1]:
            self.wrong.append(f"{item.value or item.event}: {outcomes}")
        if before != (_counted(), self.own()):
            self.wrong.append(f"{item.value or item.event}: something has changed")
        decided: Decision[Any] = self.handling.decide(state, item, now)
        return decided

    def _outcome(self, state: Any, item: Incoming, now: Any) -> object:
        try:
            return self.handling.decide(state, item, now)
        except TransientError as fault:
            return repr(fault)


def _counted() -> object:
    return [(s.name, s.labels, s.value) for metric in REGISTRY.collect() for s in metric.samples if "deskbus" in s.name]


def check(twice: Twice, least: int) -> None:
    assert twice.wrong == []
    assert twice.decided >= least


async def test_routing_decides_twice_the_same() -> None:
    assigner = Replica(FakeStore(), fake_clock(), Log())
    twice = Twice(
        assigner.delivery,
        lambda: (dict(assigner.assigner._left), dict(assigner.assigner._given), assigner.assigner.backlog),
    )
    for person in ("ann", "bob"):
        await assigner.put(profile(person))
    solved = status(ticket("t1", 3, status=Status.SOLVED))
    await assigner.hear(opened(ticket("t1")), opened(ticket("t2")), sent(ticket("t1", 2), "ann"))
    await assigner.command("t1", transfer(agent_id="bob"))
    await assigner.hear(solved, reopened(ticket("t1", 4, status=Status.OPEN)))
    check(twice, 6)


async def test_sla_decides_twice_the_same() -> None:
    rig, write = Sla(book(SIMPLE)), Writer()
    await rig.archive.refresh()
    await rig.take(write.opened(0))
    other = Sla(book("policies: [{name: default, targets: {first_reply: 5m}}]"), rig.store)
    twice = Twice(other.delivery, lambda: (set(other.archive._requested), set(other.archive._known)))
    replied, doc = write.replied(1), (await other.documents.load(["t-1"]))["t-1"]
    (item,) = twice.expand(Raw(TICKETS, 0, 0, replied.encode()))
    with pytest.raises(TransientError):  # the policies of the ticket are not known here yet
        twice.decide(doc.state, item, replied.time)
    for event in (replied, write.received(2), write.status(3, "pending"), write.closed(9)):
        await other.take(event)
    check(twice, 5)


async def test_notify_decides_twice_the_same() -> None:
    rig = Notify()
    await rig.prepare()
    twice = Twice(rig.delivery)
    for sequence, event in enumerate((breached(1), at_risk(2, "c2"), met(3), cancelled(4, "c2")), 1):
        await rig.take(event.model_copy(update={"sequence": sequence}))
    check(twice, 4)


async def test_ingest_decides_twice_the_same() -> None:
    worker = Worker()
    twice = Twice(worker.delivery)
    await worker.take(worker.says("hello", "m1"), worker.says("again", "m2"), worker.says("hello", "m1"))
    number = worker.ticket().id
    await worker.take(worker.asks(AddNote(by=AGENT, text="a note"), number))
    await worker.take(worker.asks(SetStatus(by=AGENT, status=Status.SOLVED), number, "c2"))
    check(twice, 4)
