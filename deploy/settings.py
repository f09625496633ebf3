"""Finds the settings of a service by its name, for what is generated from them."""

import importlib
from typing import cast

from kit.base.settings import ServiceSettings


def settings_class(service: str) -> type[ServiceSettings]:
    """Return the class of a service's settings."""
    found = getattr(importlib.import_module(f"services.{service}.settings"), f"{service.capitalize()}Settings")
    return cast("type[ServiceSettings]", found)
