"""The base of all models of policy files: frozen, without extra keys, with descriptions from docstrings."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """A mapping in a policy file."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
    renamed_keys: ClassVar[Mapping[str, str]] = {}
    """On the model of a file: former key -> present key. A file with a former key is refused with a hint."""
