"""Policy files: faults are told with file and line, and a bad file never takes the good policy away."""

import asyncio
import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, model_validator

from kit.base import metrics
from kit.base.errors import InvalidPolicy
from kit.policy import file as policy
from tests.fake_clock import FakeClock
from tests.kit.test_clock import START


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Slack(Strict):
    kind: Literal["slack"]
    room: str


class Mail(Strict):
    kind: Literal["mail"]
    to: str


class Queue(Strict):
    name: str
    limit: int = Field(1, ge=1)
    markets: list[str] = []
    opens: str = "00:00"
    holidays: list[date] = []
    sink: Annotated[Slack | Mail, Field(discriminator="kind")] | None = None


class Routing(Strict):
    queues: tuple[Queue, ...] = Field(min_length=1)
    default: str

    @model_validator(mode="after")
    def default_is_there(self) -> "Routing":
        if self.default not in {queue.name for queue in self.queues}:
            raise ValueError(f"the default queue {self.default!r} is not among the queues")
        return self


GOOD = """\
# who answers what
default: first
queues:
  - name: first
    limit: 3
    markets: [NO, TH]
    opens: 10:30
    holidays: [2026-12-25]
  - name: second
    sink: {kind: slack, room: "#help"}
"""


def faults(content: str | bytes) -> list[tuple[int, str]]:
    with pytest.raises(InvalidPolicy) as refused:
        policy.parse("routing.yaml", content.encode() if isinstance(content, str) else content, Routing)
    assert str(refused.value).startswith(f"routing.yaml:{refused.value.line}: ")
    return list(refused.value.faults)


def test_words_and_times_mean_what_they_say() -> None:
    first = policy.parse("routing.yaml", GOOD.encode(), Routing).queues[0]
    assert (first.markets, first.opens, first.holidays) == (["NO", "TH"], "10:30", [date(2026, 12, 25)])


@pytest.mark.parametrize(
    ("old", "new", "line", "reason"),
    [
        ("limit: 3", "limit: 0", 5, "greater than or equal to 1"),
        ("limit: 3", "limti: 3", 5, "limti"),
        ("limit: 3", "name: again", 5, "duplicate key"),
        ("default: first\n", "", 2, "default"),
        ("  - name: second\n    sink", "  - sink", 9, "name"),
        ("room:", "romo:", 10, "room"),
        ("kind: slack", "kind: pager", 10, "pager"),
        ("TH]", "[TH]]", 6, "string"),
        ("default: first", "default: third", 2, "third"),
        ("limit: 3", "limit: {a: 1", 6, "expected"),
        ("limit: 3", "\tlimit: 3", 5, "token"),
        ("limit: 3", "limit: !!python/object/apply:os.getcwd []", 5, "python"),
        ("limit: 3", "? [a]\n    : 3", 5, "plain scalar"),
        ("limit: 3", "limit: *nothing", 5, "alias"),
    ],
)
def test_fault_is_told_with_its_line(old: str, new: str, line: int, reason: str) -> None:
    assert old in GOOD
    told = faults(GOOD.replace(old, new))
    assert [at for at, _ in told][:1] == [line]
    assert reason in str(told)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("limit: 3", "limti: 3", (5, "queues.0.limti: unknown key, did you mean limit?")),
        ("limit: 3", "Limit: 3", (5, "queues.0.Limit: unknown key, did you mean limit?")),
        (
            "limit: 3",
            "whatever: 3",
            (5, "queues.0.whatever: unknown key; known keys: holidays, limit, markets, name, opens, sink"),
        ),
        ("room:", "romo:", (10, "queues.1.sink.slack.romo: unknown key, did you mean room?")),
        ("default: first", "default: first\nqueue: []", (3, "queue: unknown key, did you mean queues?")),
    ],
)
def test_a_key_that_is_none_is_told_with_the_one_that_was_meant(old: str, new: str, told: tuple[int, str]) -> None:
    assert told in faults(GOOD.replace(old, new))


def test_a_key_of_any_length_is_told() -> None:
    ((line, told),) = faults(GOOD.replace("limit: 3", f"{'x' * 1_000}: 3"))
    assert (line, "known keys: holidays, limit" in told) == (5, True)


def test_every_fault_is_told_at_once() -> None:
    told = faults(GOOD.replace("limit: 3", "limit: 0").replace("room:", "romo:"))
    assert [line for line, _ in told] == [5, 10, 10]


def test_a_list_is_not_called_empty_for_an_item_that_is_invalid() -> None:
    first = GOOD[: GOOD.index("  - name: second")]
    ((line, told),) = faults(first.replace("limit: 3", "limit: 0"))
    assert (line, told.partition(":")[0]) == (5, "queues.0.limit")
    assert faults("queues: []\ndefault: x\n") == [(1, "queues: must have at least 1 item")]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "empty"),
        ("# nothing\n", "empty"),
        ("- a\n", "dictionary"),
        ("a: 1\n---\nb: 2\n", "document"),
        (b"default: caf\xe9\n", "UTF-8"),
        ("a: \x00\n", "YAML"),
        ("x" * (policy.MAX_BYTES + 1), "larger"),
        ("[" * 2000 + "]" * 2000, "nested"),
    ],
)
def test_what_is_no_policy_is_refused(content: str | bytes, reason: str) -> None:
    assert reason in str(faults(content))


def test_few_lines_that_stand_for_billions_are_refused_quickly() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "values" in str(faults("\n".join(lines)))


@given(st.text(max_size=60) | st.binary(max_size=60))
def test_nothing_but_an_invalid_policy_comes_out_of_rubbish(content: str | bytes) -> None:
    raw = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    with pytest.raises(InvalidPolicy):
        policy.parse("routing.yaml", raw, Routing)


def test_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidPolicy, match=r"nothing\.yaml:1: cannot be read"):
        policy.load(tmp_path / "nothing.yaml", Routing)


class Reloads:
    def read(self) -> tuple[float, float]:
        counter = metrics.POLICY_RELOADS
        return counter.labels("accepted")._value.get(), counter.labels("refused")._value.get()


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A file as a ConfigMap mounts it: behind two symbolic links, of which one is swapped."""
    (tmp_path / "v1").mkdir()
    (tmp_path / "v1" / "routing.yaml").write_text(GOOD)
    (tmp_path / "data").symlink_to("v1")
    (tmp_path / "routing.yaml").symlink_to("data/routing.yaml")
    yield tmp_path / "routing.yaml"
    metrics.POLICY_REFUSED.set(0)


def swap(mounted: Path, version: str, content: str) -> None:
    folder = mounted.parent / version
    folder.mkdir()
    (folder / "routing.yaml").write_text(content)
    link = mounted.parent / "new"
    link.symlink_to(version)
    link.rename(mounted.parent / "data")


def test_new_policy_comes_into_force_with_a_new_version(mounted: Path) -> None:
    file = policy.PolicyFile(mounted, Routing)
    first = file.version
    assert file.reload() is False
    swap(mounted, "v2", GOOD.replace("limit: 3", "limit: 7"))
    assert file.reload() is True
    assert (file.current.queues[0].limit, file.version != first) == (7, True)


def test_invalid_policy_is_counted_once_and_the_old_one_stays(mounted: Path) -> None:
    file = policy.PolicyFile(mounted, Routing)
    kept, version, (accepted, refused) = file.current, file.version, Reloads().read()
    swap(mounted, "v2", GOOD.replace("limit: 3", "limit: 0"))
    for _ in range(3):
        assert file.reload() is False
    assert (file.current, file.version) == (kept, version)
    assert Reloads().read() == (accepted, refused + 1)
    assert metrics.POLICY_REFUSED._value.get() == 1
    swap(mounted, "v3", GOOD.replace("limit: 3", "limit: 4"))
    assert file.reload() is True
    assert metrics.POLICY_REFUSED._value.get() == 0


def test_going_back_to_the_policy_in_force_ends_the_refusal(mounted: Path) -> None:
    file = policy.PolicyFile(mounted, Routing)
    swap(mounted, "v2", "nonsense")
    file.reload()
    swap(mounted, "v3", GOOD)
    file.reload()
    assert metrics.POLICY_REFUSED._value.get() == 0


def test_file_that_goes_away_takes_no_policy_with_it(mounted: Path) -> None:
    file = policy.PolicyFile(mounted, Routing)
    kept = file.current
    gone = mounted.rename(mounted.with_name("gone"))
    assert file.reload() is False
    assert (file.current, metrics.POLICY_REFUSED._value.get()) == (kept, 1)
    gone.rename(mounted)
    assert file.reload() is False
    assert (file.current, metrics.POLICY_REFUSED._value.get()) == (kept, 0)


def test_touching_the_file_changes_nothing(mounted: Path) -> None:
    file = policy.PolicyFile(mounted, Routing)
    version = file.version
    os.utime(mounted, (1, 1))
    assert file.reload() is False
    assert file.version == version


async def test_watch_takes_the_new_policy(mounted: Path) -> None:
    clock = FakeClock(START)
    file = policy.PolicyFile(mounted, Routing)
    told: list[int] = []
    watching = asyncio.create_task(file.watch(clock, lambda: told.append(file.current.queues[0].limit)))
    swap(mounted, "v2", GOOD.replace("limit: 3", "limit: 7"))
    async with asyncio.timeout(5):
        while not told:
            clock.advance(1)
            await asyncio.sleep(0)
    assert told == [7]
    watching.cancel()
