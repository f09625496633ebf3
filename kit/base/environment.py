"""Where settings come from: variables of the environment and files of secrets. Which settings there are is not here."""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)

SHARED = "DESKBUS_"
"""What names of variables begin with that may be the same in all services."""


class Environment(BaseSettings):
    """Settings from variables: a service's own, such as DESKBUS_SLA_KAFKA, before those that all services share."""

    model_config = SettingsConfigDict(
        env_prefix=SHARED,
        env_ignore_empty=True,  # `NAME=` in an .env file, or a template without a value, is not set
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    @classmethod
    def shared(cls) -> Collection[str]:
        """Return the names of the fields that may be the same in all services."""
        return cls.model_fields

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, *_files(settings_cls), _Unnamed(settings_cls, cls.shared())


class _Unnamed(EnvSettingsSource):
    """DESKBUS_<FIELD>, for the fields that may be the same in all services."""

    def __init__(self, settings: type[BaseSettings], shared: Collection[str]) -> None:
        super().__init__(settings, env_prefix=SHARED)
        self._shared = shared

    def __call__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__call__().items() if name in self._shared}


def variables(settings: type[BaseSettings], field: str) -> tuple[str, ...]:
    """Return the variables that may set a field, the one that takes precedence first."""
    return tuple(dict.fromkeys(f"{prefix}{field.upper()}" for prefix in _prefixes(settings)))


def _prefixes(settings: type[BaseSettings]) -> tuple[str, str]:
    """Return what names of variables begin with: a service's own first, then what all services share."""
    return settings.model_config.get("env_prefix", ""), SHARED


def _files(settings: type[BaseSettings]) -> tuple[PydanticBaseSettingsSource, ...]:
    """Secrets mounted as files named like the variables (`deskbus_mongo`), in the folder DESKBUS_SECRETS_DIR."""
    folder = os.environ.get("DESKBUS_SECRETS_DIR")
    if not folder:
        return ()
    return tuple(SecretsSettingsSource(settings, folder, env_prefix=prefix) for prefix in _prefixes(settings))


def secret_file(settings: type[BaseSettings], field: str) -> Path | None:
    """Return the file in DESKBUS_SECRETS_DIR that sets a field; None if a variable or nothing does."""
    own, *shared = variables(settings, field)
    folder = os.environ.get("DESKBUS_SECRETS_DIR")
    if not folder or os.environ.get(own):
        return None
    files = (Path(folder) / name.lower() for name in (own, *shared))
    return next((file for file in files if file.is_file()), None)


def explain(error: ValidationError, settings: type[BaseSettings]) -> list[str]:
    """Return what is wrong with each variable of the environment, without its value, which may be a secret."""
    faults = []
    for fault in error.errors(include_input=False):
        if fault["type"] == "default_factory_not_called":
            continue  # it depends on another field, whose fault is reported
        field = "_".join(map(str, fault["loc"]))
        names = variables(settings, field)
        name = next((name for name in names if name in os.environ), names[0])
        faults.append(f"{name}: {fault['msg']}" if field else fault["msg"])
    return faults
