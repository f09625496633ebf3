"""Policy files: YAML validated by a pydantic model, faults reported with file and line, reloaded when the file changes.

Rule: an invalid file never replaces the policy in force. Secrets do not belong in these files.
"""

import asyncio
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import structlog
import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from kit.base import metrics
from kit.base.clock import Clock
from kit.base.errors import InvalidPolicy
from kit.base.files import state
from kit.base.turns import every
from kit.policy import keys

T = TypeVar("T", bound=BaseModel)
log = structlog.get_logger(__name__)

MAX_BYTES = 1024 * 1024
MAX_NODES = 100_000  # counting each use of an alias: a few lines of nested aliases can expand to billions
_MAX_DEPTH = 100


class _Loader(yaml.SafeLoader):
    """The safe loader with the scalar types of YAML 1.2: in YAML 1.1, `10:30` is the number 630 and `NO` is false."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - as its base declares it


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("merge", r"<<", "<"),
):
    _firsts = ["" if first == "\0" else first for first in _first]
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})\\Z"), _firsts)


class _Fault(Exception):
    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line, self.reason = line, reason


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _inspect(node: yaml.Node, depth: int = 0) -> int:
    """Refuse duplicate or complex keys, deep nesting and too many nodes; return the number of nodes."""
    if depth > _MAX_DEPTH:
        raise _Fault(_line(node), f"nested deeper than {_MAX_DEPTH} levels")
    count = 1
    if isinstance(node, yaml.MappingNode):
        names = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _Fault(_line(key), "a key must be a plain scalar")
            if key.value in names:
                raise _Fault(_line(key), f"duplicate key {key.value!r}")
            names.add(key.value)
            count += _inspect(value, depth + 1)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            count += _inspect(value, depth + 1)
    if count > MAX_NODES:
        raise _Fault(_line(node), f"more than {MAX_NODES} values")
    return count


def _locate(node: yaml.Node | None, loc: Sequence[int | str]) -> int:
    """Return the line of pydantic's `loc`, as far as it exists in the file. Steps that the file lacks are skipped."""
    line = _line(node) if node else 1
    for step in loc:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(step):
                    line, node = _line(key), value
                    break
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = _line(node)
    return line


def parse(name: str, content: bytes, model: type[T]) -> T:
    """Parse and validate a file's content. Raises InvalidPolicy with all faults found."""
    if len(content) > MAX_BYTES:
        raise InvalidPolicy(name, 1, f"larger than {MAX_BYTES} bytes")
    root: yaml.Node | None = None
    try:
        loader = _Loader(content.decode())
        root = loader.get_single_node()
        if root is None:
            raise _Fault(1, "the file is empty")
        _inspect(root)
        data = loader.construct_document(root)
        return model.model_validate(data)
    except UnicodeDecodeError as error:
        raise InvalidPolicy(name, content[: error.start].count(b"\n") + 1, "not UTF-8") from error
    except _Fault as fault:
        raise InvalidPolicy(name, fault.line, fault.reason) from fault
    except RecursionError as error:
        raise InvalidPolicy(name, 1, "nested too deeply") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise InvalidPolicy(name, mark.line + 1 if mark else 1, f"not valid YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise InvalidPolicy(name, 1, f"not valid YAML: {error}") from error
    except ValidationError as error:
        faults = sorted((_locate(root, e["loc"]), _reason(e, model)) for e in _causes(error.errors()))
        raise InvalidPolicy(name, *faults[0], *faults[1:]) from error


def _causes(errors: Sequence[ErrorDetails]) -> Iterator[ErrorDetails]:
    """Leave out lists that pydantic calls too short only because it dropped their invalid items, which it names too."""
    above = {error["loc"][:end] for error in errors for end in range(len(error["loc"]))}
    return (error for error in errors if error["type"] != "too_short" or error["loc"] not in above)


def _reason(error: ErrorDetails, model: type[BaseModel]) -> str:
    where = ".".join(map(str, error["loc"]))
    text = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        new_name = getattr(model, "renamed_keys", {}).get(str(error["loc"][-1]))
        text = f"was renamed to {new_name}" if new_name else keys.unknown(model, error["loc"])
    if error["type"] == "too_short":
        least = error["ctx"]["min_length"]
        text = f"must have at least {least} item{'s' if least > 1 else ''}"
    return f"{where}: {text}" if where else text


def load(path: Path, model: type[T]) -> T:
    """Load a policy file once. Raises InvalidPolicy."""
    return parse(str(path), _content(path), model)


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InvalidPolicy(str(path), 1, f"cannot be read: {error.strerror}") from error


class PolicyFile(Generic[T]):
    """A policy file and the policy in force."""

    def __init__(self, path: Path, model: type[T]) -> None:
        """Load the file. Raises InvalidPolicy: a service does not start without a valid policy."""
        self.path = path
        self._model = model
        self._stat = state(path)
        content = _content(path)
        self._digest = self._seen = hashlib.sha256(content).hexdigest()
        self.current: T = parse(str(path), content, model)
        self._count = 1
        self.version = self._name()

    def _name(self) -> str:
        return f"{self._count}-{self._digest[:12]}"

    def reload(self) -> bool:
        """Load the file if it changed; return whether the policy in force changed. An invalid file is logged once."""
        stat = state(self.path)
        if stat == self._stat:
            return False
        self._stat = stat
        try:
            content = _content(self.path)
            digest = hashlib.sha256(content).hexdigest()
            if digest == self._digest:
                self._seen = digest
                metrics.POLICY_REFUSED.set(0)
                return False
            if digest == self._seen:
                return False
            self._seen = digest
            self.current = parse(str(self.path), content, self._model)
            self._digest = digest
        except InvalidPolicy as fault:
            metrics.POLICY_RELOADS.labels("refused").inc()
            metrics.POLICY_REFUSED.set(1)
            log.error("the policy file is invalid, keeping the previous policy", faults=str(fault).splitlines())
            return False
        self._count += 1
        self.version = self._name()
        metrics.POLICY_RELOADS.labels("accepted").inc()
        metrics.POLICY_REFUSED.set(0)
        log.info("policy reloaded", file=str(self.path), version=self.version)
        return True

    async def watch(self, clock: Clock, changed: Callable[[], object] = lambda: None) -> None:
        """Reload the file when it changes, checking every second until cancelled; call `changed` for a new policy."""

        async def reload() -> None:
            if await asyncio.to_thread(self.reload):
                changed()

        await every(clock, 1.0, reload, "policy file")()
