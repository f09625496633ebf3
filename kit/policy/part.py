"""What every part of a policy file is: frozen, with no keys but its own, described by docstrings. No values here."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """A mapping in a policy file."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
    renamed_keys: ClassVar[Mapping[str, str]] = {}
    """Of a whole file: key that it had once -> what to write today. A file with an old key is refused with this."""
