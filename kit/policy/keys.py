"""What to say about a key that a policy file does not have: which keys stand in its place, and which one was meant.

Pure: it reads the model that the file is checked against. Where that cannot be followed, nothing is suggested.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

_LONGEST = 60
"""Characters of a key that others are compared with: comparing takes the square of it."""
_NAMED = 12
"""Keys that are listed where none is near."""


def unknown(model: type[BaseModel], loc: Sequence[int | str]) -> str:
    """Say that the last step of `loc`, a path as pydantic gives it, is no key there, and what may have been meant."""
    *path, key = loc
    known = list(dict.fromkeys(name for part in _at(model, path) for name in _names(part)))
    told = "unknown key"
    if len(str(key)) <= _LONGEST and (near := get_close_matches(str(key).lower(), known, n=2)):
        return f"{told}, did you mean {' or '.join(near)}?"
    if not known:
        return told
    more = f" and {len(known) - _NAMED} more" if len(known) > _NAMED else ""
    return f"{told}; known keys: {', '.join(sorted(known)[:_NAMED])}{more}"


def _at(model: type[BaseModel], path: Sequence[int | str]) -> Iterator[type[BaseModel]]:
    """The models that a mapping at this path is checked against."""
    here: list[Any] = [model]
    for step in path:
        here = [inner for each in here for inner in _into(each, step)]
    for each in here:
        yield from (plain for plain in _plain(each) if _is_model(plain))


def _into(kind: Any, step: int | str) -> Iterator[Any]:
    """The types that one step of a path leads to; one that names a member of a union leads to that member."""
    members = list(_plain(kind))
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


def _plain(kind: Any) -> Iterator[Any]:
    """The types that a value may have, without what is only said about them."""
    if get_origin(kind) is Annotated:
        yield from _plain(get_args(kind)[0])
    elif get_origin(kind) in {Union, UnionType}:
        for member in get_args(kind):
            yield from _plain(member)
    elif kind is not NoneType:
        yield kind


def _labels(kind: Any) -> set[object]:
    """How a path names this member of a union: by its class, or by what its tag says."""
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
