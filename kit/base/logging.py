"""Logs: one JSON object a line on stdout, ours and every library's, with the event at hand and without secrets."""

import logging
import re
import sys
import threading
from collections.abc import Mapping, MutableMapping
from typing import Any, Protocol

import structlog

from kit.base import tracing

_SECRET_KEY = re.compile(r"token|secret|authorization|password|passwd|signature|cookie|api_?key", re.IGNORECASE)
_SECRET_IN_URL = re.compile(r"(?<=://)[^/\s@]+@")
_MASK = "***"
#: Seconds for which a library does not say the same again. aiokafka names a missing topic ten times a second.
REPEAT_SECONDS = 60.0
_MOST_SAID = 1_000


class Traced(Protocol):
    """What an event tells a log line about itself."""

    @property
    def id(self) -> str: ...
    @property
    def correlationid(self) -> str | None: ...
    @property
    def causationid(self) -> str | None: ...
    @property
    def traceparent(self) -> str | None: ...


def bind_event(event: Traced) -> None:
    """Put the event's ids on every line logged from here on in this task."""
    trace = event.traceparent.split("-") if event.traceparent else ()
    structlog.contextvars.bind_contextvars(
        event=event.id,
        correlation=event.correlationid,
        causation=event.causationid,
        trace_id=trace[1] if len(trace) == 4 else None,
    )


def clear_event() -> None:
    """Forget the event at hand."""
    structlog.contextvars.unbind_contextvars("event", "correlation", "causation", "trace_id")


def _masked(key: str, value: Any) -> Any:
    if isinstance(value, str):
        if _SECRET_KEY.search(key):
            return _MASK
        return _SECRET_IN_URL.sub(_MASK + "@", value) if "://" in value else value
    if isinstance(value, Mapping):
        return {inner: _masked(str(inner), entry) for inner, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(key, entry) for entry in value]
    return _MASK if isinstance(value, bytes) and _SECRET_KEY.search(key) else value


def mask_secrets(_: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Hide what is named like a secret, and credentials in addresses."""
    for key, value in line.items():
        line[key] = _masked(key, value)
    return line


def add_trace(_: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Name the span at hand, so that a trace leads to its log lines and back."""
    if (ids := tracing.ids()) is not None:
        line["trace_id"], line["span_id"] = ids
    return line


class Repeats(logging.Filter):
    """Lets a library say the same thing once in a while; the next time, `repeated` is how often it was left out."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, str, str], tuple[float, int]] = {}
        """What was said -> when, and how often it was left out since. What was asked for last is at the end."""
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to pass this line on."""
        what = record.name, record.getMessage(), repr(record.exc_info[1]) if record.exc_info else ""
        with self._lock:
            at, left_out = self._said.pop(what, (float("-inf"), 0))
            passes = not 0 <= record.created - at < REPEAT_SECONDS
            self._said[what] = (record.created, 0) if passes else (at, left_out + 1)
            if len(self._said) > _MOST_SAID:
                del self._said[next(iter(self._said))]
        if passes and left_out:
            record.repeated = left_out
        return passes


def configure(service: str, level: str = "info") -> None:
    """Set up logging for this process, once, before anything is logged."""

    def name_service(_: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        line["service"] = service
        return {key: value for key, value in line.items() if value is not None}

    number = logging.getLevelNamesMapping()[level.upper()]
    # `event` is the Kafka event's id: structlog's own `event`, the text, becomes `message` before ours is merged in.
    shared: list[structlog.typing.Processor] = [
        structlog.processors.EventRenamer("message"),
        structlog.contextvars.merge_contextvars,
        add_trace,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        structlog.processors.format_exc_info,
        name_service,
        mask_secrets,
    ]
    render = structlog.processors.JSONRenderer(ensure_ascii=False, default=str)
    structlog.configure(
        processors=[*shared, render],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.addFilter(Repeats())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)
    # uvicorn brings handlers of its own; its access log is off, our metrics count requests.
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
