"""`deskbus access`: gives Kafka's users their passwords and what contracts/access.py lists. Takes nothing away.

aiokafka's administration can neither, so this speaks Kafka's protocol itself.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from aiokafka.errors import for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Array,
    CompactArray,
    CompactBytes,
    CompactString,
    Int8,
    Int16,
    Int32,
    Schema,
    String,
    TaggedFields,
)

from cli.topics import client
from contracts.access import USERS, Access, access
from kit.kafka.connection import Kafka

_RESOURCES = {"topic": 2, "group": 3}
_OPERATIONS = {"Read": 3, "Write": 4, "Create": 5, "Describe": 8, "DescribeConfigs": 10, "AlterConfigs": 11}
_LITERAL, _ALLOW, _SHA512, _ITERATIONS = 3, 3, 2, 4096


class _AclsCreated(Response):  # type: ignore[misc]
    API_KEY, API_VERSION = 30, 1
    SCHEMA = Schema(("throttle", Int32), ("results", Array(("error", Int16), ("message", String("utf-8")))))


class _CreateAcls1(RequestStruct):  # type: ignore[misc]
    API_KEY, API_VERSION = 30, 1
    RESPONSE_TYPE = _AclsCreated
    SCHEMA = Schema(
        (
            "creations",
            Array(
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
                ("pattern", Int8),
                ("principal", String("utf-8")),
                ("host", String("utf-8")),
                ("operation", Int8),
                ("permission", Int8),
            ),
        )
    )


class _CreateAcls(Request[_CreateAcls1]):  # type: ignore[misc]
    API_KEY: ClassVar[int] = 30

    def __init__(self, acls: list[tuple[Any, ...]]) -> None:
        self._acls = acls

    def build(self, request_struct_class: type[_CreateAcls1]) -> _CreateAcls1:
        return request_struct_class(self._acls)


class _ScramAltered(Response):  # type: ignore[misc]
    API_KEY, API_VERSION = 51, 0
    SCHEMA = Schema(
        ("throttle", Int32),
        (
            "results",
            CompactArray(
                ("user", CompactString("utf-8")),
                ("error", Int16),
                ("message", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _AlterScram0(RequestStruct):  # type: ignore[misc]
    API_KEY, API_VERSION, FLEXIBLE_VERSION = 51, 0, True
    RESPONSE_TYPE = _ScramAltered
    SCHEMA = Schema(
        ("deletions", CompactArray(("name", CompactString("utf-8")), ("mechanism", Int8), ("tags", TaggedFields))),
        (
            "upsertions",
            CompactArray(
                ("name", CompactString("utf-8")),
                ("mechanism", Int8),
                ("iterations", Int32),
                ("salt", CompactBytes),
                ("salted_password", CompactBytes),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _AlterScram(Request[_AlterScram0]):  # type: ignore[misc]
    API_KEY: ClassVar[int] = 51

    def __init__(self, passwords: Mapping[str, str]) -> None:
        self._passwords = passwords

    def build(self, request_struct_class: type[_AlterScram0]) -> _AlterScram0:
        upsertions: list[tuple[Any, ...]] = []
        for user, password in self._passwords.items():
            salt = secrets.token_bytes(16)
            salted = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ITERATIONS)
            upsertions.append((user, _SHA512, _ITERATIONS, salt, salted, {}))
        return request_struct_class([], upsertions, {})


def passwords(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the users whose password is in the environment, DESKBUS_KAFKA_PASSWORD_<USER>."""
    given = {user: variables.get(f"DESKBUS_KAFKA_PASSWORD_{user.upper()}") for user in USERS}
    return {user: password for user, password in given.items() if password}


async def give(kafka: Kafka, prefix: str, variables: Mapping[str, str], *, user_prefix: str = "") -> str:
    """Give every user its rights, and a password where the environment has one; return what was done."""
    given = {user_prefix + user: password for user, password in passwords(variables).items()}
    if given:
        await set_passwords(kafka, given)
    await allow(kafka, {user_prefix + user: access(user, prefix) for user in USERS})
    return f"{len(USERS)} users allowed, {len(given)} passwords set"


async def set_passwords(kafka: Kafka, given: Mapping[str, str]) -> None:
    """Create users for SCRAM-SHA-512, or give them another password."""
    await _send(kafka, _AlterScram(given))


async def allow(kafka: Kafka, grants: Mapping[str, Iterable[Access]]) -> None:
    """Allow users what is listed. With an authorizer, everything else is refused."""
    acls = [
        (_RESOURCES[each.resource], each.name, _LITERAL, f"User:{user}", "*", _OPERATIONS[operation], _ALLOW)
        for user, accesses in grants.items()
        for each in accesses
        for operation in each.operations
    ]
    await _send(kafka, _CreateAcls(acls))


async def _send(kafka: Kafka, request: Request[Any]) -> None:
    """Raise TransientError if no broker answers, KafkaError if it refuses."""
    async with client(kafka) as opened:
        answer = await opened.send(opened.get_random_node(), request)
    for result in answer.results:
        *_, code, message = result[:3] if len(result) > 2 else result
        if code:
            raise for_code(code)(message or "")
