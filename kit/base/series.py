"""Counters, gauges and histograms that state how many label sets they may have, and never have more.

Rule: what comes after the last is counted under `other`, so the number of series of a service is known beforehand,
whatever customers, callers and policy files bring. Histograms attach the trace that they observe as an exemplar.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self, TypeVar

import prometheus_client
from prometheus_client.metrics import MetricWrapperBase

K = TypeVar("K", bound=tuple[str, ...])

OTHER = "other"
#: The longest label value; anything longer is `other`.
LONGEST = 80

_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f][13579bdf]")  # the last bit: sampled


def _no_trace() -> str | None:
    return None


_current: Callable[[], str | None] = _no_trace


def exemplars_from(current: Callable[[], str | None] = _no_trace) -> None:
    """Take exemplars from here: `current` returns the id of the trace that the caller runs in, or None.

    None also stands for a trace that is not sampled: nobody could look at it.
    """
    global _current  # noqa: PLW0603 - like the registry, one for the process
    _current = current


def exemplar(traceparent: str | None) -> dict[str, str] | None:
    """Return the exemplar of what a `traceparent` belongs to; None unless it is sampled."""
    found = _TRACEPARENT.fullmatch(traceparent or "")
    return {"trace_id": found[1]} if found else None


def _shortened(labelvalues: Iterable[object]) -> tuple[str, ...]:
    return tuple(value if len(value) <= LONGEST else OTHER for value in map(str, labelvalues))


class _Bounded(MetricWrapperBase):
    """At most `most` label sets, `other` among them."""

    lines = 1
    """Samples of one label set."""

    def __init__(
        self, name: str, documentation: str, labelnames: Iterable[str] = (), *, most: int = 1, **options: Any
    ) -> None:
        super().__init__(name, documentation, labelnames, **options)
        if self._labelnames and not self._labelvalues and most < 2:
            raise ValueError(f"{name} has labels, so it must say how many label sets there are at most")
        self.most = most

    @property
    def series(self) -> int:
        """How many series there are at most."""
        return self.most * self.lines

    def labels(self, *labelvalues: object, **labelkwargs: object) -> Self:
        """Return the child of these values, or of `other` for each if there are too many."""
        children: dict[Any, Any] = self._metrics
        known: Self | None = children.get(labelvalues)  # what is not text is not found, and is looked at below
        if known is not None:
            return known
        if labelkwargs:
            labelvalues = tuple(labelkwargs[name] for name in self._labelnames)
        key = _shortened(labelvalues)
        if key not in self._metrics and len(self._metrics) >= self.most - 1:
            key = (OTHER,) * len(key)
        return super().labels(*key)


class Counter(_Bounded, prometheus_client.Counter):
    """A counter with a bounded number of series."""


class Gauge(_Bounded, prometheus_client.Gauge):
    """A gauge with a bounded number of series."""

    def replace(self, values: Mapping[K, float], fold: Callable[[Sequence[float]], float] = sum) -> None:
        """Set exactly these label sets. Those for which there is no room, the last ones, are folded into `other`.

        So are values that are too long, each in its label set.
        """
        own: dict[tuple[str, ...], list[float]] = {}
        other = (OTHER,) * len(self._labelnames)
        for key, value in values.items():
            told = _shortened(key)
            own.setdefault(told if told in own or len(own) < self.most - 1 else other, []).append(value)
        self.clear()
        for told, found in own.items():
            self.labels(*told).set(fold(found))


class Histogram(_Bounded, prometheus_client.Histogram):
    """A histogram with a bounded number of series, and exemplars."""

    def __init__(
        self, name: str, documentation: str, labelnames: Iterable[str] = (), *, buckets: Sequence[float], **options: Any
    ) -> None:
        self.lines = len(buckets) + (buckets[-1] != float("inf")) + 2  # +Inf, _sum and _count
        super().__init__(name, documentation, labelnames, buckets=buckets, **options)

    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None:
        """Observe an amount, with the trace that the caller runs in as its exemplar unless another is given."""
        if exemplar is None and (trace := _current()) is not None:
            exemplar = {"trace_id": trace}
        super().observe(amount, exemplar)
