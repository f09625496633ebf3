"""Generates docs/policies.md from the models of the policy files: every key with its default and meaning."""

import types
from collections.abc import Iterator, Mapping
from datetime import timedelta
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from cli.checking import models
from kit.policy import duration
from services.sla.core.targets import Target

FILES = models()
"""Service -> model of its policy file."""
_INTRO = """# Policy files

Generated from the code by `python -m deploy.reference`; do not edit. Commented examples are in `deploy/config/`.
`deskbus check config DIR` reports every invalid value and unknown key with its line. In the paths below, `*` is a name
that you choose and `[]` stands for each element of a list.

Durations: one or more numbers with units (`d`, `h`, `m`, `s`, `ms`), largest unit first: `90s`, `1h30m`, `2d`. The
last number may have a fraction: `1.5h`. `0` needs no unit. The maximum is `3650d`.

Secrets are references, never the secret itself: `env:NAME` or `file:/path`; list several while rotating one. URLs and
`username` may contain variables: `${NAME}`, `${NAME:-default}`. A variable that is not set and has no default is an
error when it is used, never an empty string. Mail addresses are converted to lower case.

Conditions (`match`): every key given must match by at least one of its values; a single value needs no brackets. `*`
matches any value, `""` matches if there is none; a key without values is refused. A language also matches its regions,
ignoring case: `pt` matches `pt-BR`, but `pt-BR` does not match `pt`. Country codes ignore case; all other values are
case-sensitive.
"""


def page() -> str:
    """Return the document."""
    lines = [_INTRO]
    for service, model in FILES.items():
        lines += [f"## {service}.yaml", ""]
        for path, part in parts(model):
            if path:
                lines += [f"### {service}: `{path}`", ""]
            if part is not model:
                lines += [_first_paragraph(part), ""]
            lines += ["| key | default | meaning |", "|---|---|---|"]
            lines += [_row(field.alias or name, field) for name, field in part.model_fields.items()]
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def parts(
    model: type[BaseModel], path: str = "", seen: set[type] | None = None
) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield the model and the models of its fields, recursively, each once, with its path in the file."""
    seen = {Target} if seen is None else seen  # documented as a value: a duration, or one per priority
    if model in seen:
        return
    seen.add(model)
    yield path, model
    for name, field in model.model_fields.items():
        at = f"{path}.{field.alias or name}" if path else field.alias or name
        for place, part in _models_in(field.annotation, at):
            yield from parts(part, place, seen)


def _models_in(annotation: Any, path: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield the models in a type, with the path of each: `*` stands for keys, `[]` for elements."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield path, annotation
        return
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is None:
        return
    plain = origin in {Union, types.UnionType, Annotated, Literal}
    mapping = not plain and issubclass(origin, Mapping)
    for inner in arguments[1:] if mapping else arguments:
        yield from _models_in(inner, path if plain else f"{path}.*" if mapping else f"{path}[]")


def _row(key: str, field: FieldInfo) -> str:
    meaning = " ".join((field.description or "").split()).replace("|", "\\|")
    return f"| `{key}` | {_default(field)} | {meaning} |"


def _first_paragraph(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").strip().split("\n\n")[0].split())


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, BaseModel) or value in (None, (), {}, ""):
        return ""
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, timedelta):
        value = duration.write(value)
    if isinstance(value, tuple):
        value = ", ".join(map(str, value))
    if isinstance(value, bool):
        value = str(value).lower()
    return "(several lines)" if "\n" in str(value) else f"`{value}`"
