"""How a command reaches Kafka, and what it says if it cannot."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

import typer
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    TopicAuthorizationFailedError,
)
from pydantic import ValidationError

from cli.screen import say
from kit.base.environment import explain
from kit.base.errors import TransientError
from kit.base.kafka_settings import KafkaSettings
from kit.kafka.connection import Connection, KafkaRefused

_NOT_ALLOWED = (ClusterAuthorizationFailedError, GroupAuthorizationFailedError, TopicAuthorizationFailedError)
T = TypeVar("T")


def settings_of(variables: Mapping[str, str]) -> KafkaSettings:
    """Return how to reach Kafka; exit with a message if a variable is wrong."""
    try:
        return KafkaSettings.of(variables)
    except ValidationError as error:
        raise fail("; ".join(explain(error, KafkaSettings))) from None


def reached(variables: Mapping[str, str]) -> Connection:
    """Return the way to Kafka by these variables."""
    return Connection(settings_of(variables))


def at(kafka: str) -> Connection:
    """Return the way to these servers, by the variables that the services read, too."""
    return reached({**os.environ, "DESKBUS_KAFKA": kafka})


def connected(work: Coroutine[Any, Any, T]) -> T:
    """Run work that needs Kafka; exit with a message if no broker answers, or it does not allow this."""
    try:
        return asyncio.run(work)
    except KafkaRefused as fault:
        raise fail(str(fault)) from fault
    except (TransientError, KafkaConnectionError) as fault:
        raise fail(f"{fault} (is Kafka running? `make up` starts it)") from fault
    except _NOT_ALLOWED as fault:
        raise fail(f"Kafka does not allow that to this user: {fault}") from fault
    except KafkaError as fault:  # too few brokers for the copies, no authorizer, a setting it does not take
        raise fail(f"Kafka refuses that: {fault}") from fault


def fail(text: str) -> typer.Exit:
    """Say what is wrong; return the exit that the caller raises."""
    say(f"deskbus: {text}", error=True)
    return typer.Exit(2)
