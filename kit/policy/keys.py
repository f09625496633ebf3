"""Error messages for unknown keys of policy files: similar keys, or the keys that exist in that place.

Pure: the keys come from the file's model. Where the model cannot be followed, nothing is suggested.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

_MAX_COMPARED = 60
"""Longest key to look up similar ones for: the comparison takes quadratic time."""
_MAX_LISTED = 12
"""Maximum number of keys listed if none is similar."""


def unknown(model: type[BaseModel], loc: Sequence[int | str]) -> str:
    """Return the message for an unknown key: the last step of `loc`, a path as in pydantic's errors."""
    *path, key = loc
    known = list(dict.fromkeys(name for part in _models_at(model, path) for name in _names(part)))
    if len(str(key)) <= _MAX_COMPARED and (similar := get_close_matches(str(key).lower(), known, n=2)):
        return f"unknown key, did you mean {' or '.join(similar)}?"
    if not known:
        return "unknown key"
    more = f" and {len(known) - _MAX_LISTED} more" if len(known) > _MAX_LISTED else ""
    return f"unknown key; known keys: {', '.join(sorted(known)[:_MAX_LISTED])}{more}"


def _models_at(model: type[BaseModel], path: Sequence[int | str]) -> Iterator[type[BaseModel]]:
    """Yield the models that validate the mapping at this path."""
    types: list[Any] = [model]
    for step in path:
        types = [inner for each in types for inner in _step_into(each, step)]
    for each in types:
        yield from (member for member in _members(each) if _is_model(member))


def _step_into(kind: Any, step: int | str) -> Iterator[Any]:
    """Yield the types that one step of a path leads to. A step may name the member of a union."""
    members = list(_members(kind))
    if len(members) > 1:
        yield from [each for each in members if step in _labels(each)] or members
        return
    for each in members:
        origin, inner = get_origin(each), get_args(each)
        if _is_model(each):
            yield from (field.annotation for name, field in each.model_fields.items() if step in {name, field.alias})
        elif isinstance(origin, type) and issubclass(origin, Mapping) and len(inner) > 1:
            yield inner[1]
        elif isinstance(origin, type) and issubclass(origin, Collection) and isinstance(step, int) and inner:
            yield inner[0]


def _members(kind: Any) -> Iterator[Any]:
    """Yield the members of a union, without annotations and None; a type that is no union is its own member."""
    if get_origin(kind) is Annotated:
        yield from _members(get_args(kind)[0])
    elif get_origin(kind) in {Union, UnionType}:
        for member in get_args(kind):
            yield from _members(member)
    elif kind is not NoneType:
        yield kind


def _labels(kind: Any) -> set[object]:
    """Return the names that a path may use for this member of a union: its class, or the values of its tag."""
    if not _is_model(kind):
        return set()
    tags = (
        get_args(field.annotation) for field in kind.model_fields.values() if get_origin(field.annotation) is Literal
    )
    return {kind.__name__, *(value for values in tags for value in values)}


def _names(part: type[BaseModel]) -> Iterator[str]:
    return (field.alias or name for name, field in part.model_fields.items())


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
