"""When a new client replaces the former one, and what becomes of that. No server: what a server does is elsewhere."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from pymongo import ReadPreference

from kit import mongo_client
from kit.base import metrics
from kit.base.errors import InvalidCertificate, InvalidConnectionString
from kit.mongo_client import MongoConnection


class Client:
    """What of the driver's client is used here."""

    made: list[Client]

    def __init__(self, url: str, **options: Any) -> None:
        self.url, self.options, self.closed = url, options, False
        self.made.append(self)

    def get_database(self, name: str, **options: Any) -> Database:
        return Database(self, options)

    def close(self) -> None:
        self.closed = True


class Database(defaultdict[str, object]):
    def __init__(self, client: Client, options: dict[str, Any]) -> None:
        super().__init__(object)
        self.client, self.options = client, options


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Client]:
    """The clients, in the order in which they were made."""
    monkeypatch.setattr(Client, "made", [], raising=False)
    monkeypatch.setattr(mongo_client, "AsyncIOMotorClient", Client)
    monkeypatch.setattr(mongo_client, "LOOK_SECONDS", 0.0)
    return Client.made


def pem(folder: Path, name: str, text: str = "first") -> Path:
    file = folder / f"{name}.pem"
    file.write_text(text)
    return file


def connection(address: str | Path) -> MongoConnection:
    return MongoConnection(address, "deskbus_sla", away_after_ms=700)


def test_waits_are_bounded_and_reads_and_writes_are_safe_whatever_the_string_says(made: list[Client]) -> None:
    database: Any = connection("mongodb://m/?readPreference=secondary&w=1&retryWrites=true").database()
    (client,) = made
    waits = ("serverSelectionTimeoutMS", "connectTimeoutMS", "socketTimeoutMS", "waitQueueTimeoutMS")
    assert [client.options[each] for each in waits] == [700, 700, 10_000, 5_000]
    assert client.options["maxPoolSize"] == 8
    assert client.options["retryWrites"] is False
    assert client.options["tz_aware"] is True
    assert database.options["read_concern"].level == "majority"
    assert database.options["write_concern"].document == {"w": "majority", "j": True, "wtimeout": 8_000}
    assert database.options["read_preference"] is ReadPreference.PRIMARY


async def test_nothing_is_made_anew_while_no_file_changes(made: list[Client], tmp_path: Path) -> None:
    opened = connection(f"mongodb://m/?tls=true&tlsCAFile={pem(tmp_path, 'ca')}")
    collection = opened.collection("clocks")
    assert opened.collection("clocks") is collection
    assert len(made) == 1


@pytest.mark.parametrize("option", ["tlsCAFile", "tlscafile", "tlsCRLFile"])
@pytest.mark.parametrize("before", ["?tls=true&", "?tls=true;", "?"])
async def test_a_file_that_the_string_names_may_be_replaced(
    made: list[Client], tmp_path: Path, option: str, before: str
) -> None:
    file = pem(tmp_path, "file")
    opened = connection(f"mongodb://m/{before}{option}={file}")
    former = opened.collection("clocks")
    pem(tmp_path, "file", "another")
    assert opened.collection("clocks") is not former
    assert len(made) == 2
    database: Any = opened.database()
    assert database.client is made[1]


async def test_files_that_a_new_string_names_are_watched_from_then_on(made: list[Client], tmp_path: Path) -> None:
    url = tmp_path / "url"
    url.write_text(f"mongodb://m/?tlsCAFile={pem(tmp_path, 'ca1')}")
    opened = connection(url)
    url.write_text(f"mongodb://m/?tlsCAFile={pem(tmp_path, 'ca2')}")
    opened.database()
    pem(tmp_path, "ca1", "another")
    opened.database()
    assert len(made) == 2
    pem(tmp_path, "ca2", "another")
    opened.database()
    assert len(made) == 3


async def test_an_invalid_new_string_changes_nothing_and_is_exported(made: list[Client], tmp_path: Path) -> None:
    url = tmp_path / "url"
    url.write_text("mongodb://one/")
    opened = connection(url)
    refused = metrics.CERTIFICATE_REFUSED.labels("mongo")
    for content, expected in (("postgres://one/", (1, 1)), ("mongodb://another/\n", (2, 0))):
        url.write_text(content)
        opened.database()
        assert (len(made), refused._value.get()) == expected
    assert made[-1].url == "mongodb://another/"


async def test_a_former_client_ends_when_nothing_can_wait_for_it_any_more(
    made: list[Client], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mongo_client, "_RETIRED_SECONDS", 0.1)
    url = tmp_path / "url"
    url.write_text("mongodb://one/")
    opened = connection(url)
    url.write_text("mongodb://another/")
    opened.database()
    for _ in range(3):
        await asyncio.sleep(0)
    assert [client.closed for client in made] == [False, False], "an operation that was begun may go on"
    async with asyncio.timeout(10):
        while not made[0].closed:  # noqa: ASYNC110 - the loop closes it
            await asyncio.sleep(0.01)
    assert [client.closed for client in made] == [True, False]
    assert opened._retired == []
    opened.close()
    assert [client.closed for client in made] == [True, True]


async def test_closing_ends_former_clients_at_once(made: list[Client], tmp_path: Path) -> None:
    url = tmp_path / "url"
    url.write_text("mongodb://one/")
    opened = connection(url)
    url.write_text("mongodb://another/")
    opened.database()
    opened.close()
    assert [client.closed for client in made] == [True, True]


async def test_a_refusal_makes_one_new_client_in_a_while(made: list[Client]) -> None:
    opened = connection("mongodb://m/")
    for _ in range(3):
        opened.refused("authentication failed")
    assert len(made) == 2
    opened._again -= mongo_client.AGAIN_SECONDS
    opened.refused("authentication failed")
    assert len(made) == 3


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"postgres://secret@host/", "does not begin with mongodb://"), (b"\xff", "cannot be read: not UTF-8")],
)
def test_a_file_without_a_connection_string_is_refused_and_not_quoted(
    made: list[Client], tmp_path: Path, content: bytes, reason: str
) -> None:
    url = tmp_path / "url"
    url.write_bytes(content)
    with pytest.raises(InvalidConnectionString, match=reason) as fault:
        connection(url)
    assert "secret" not in str(fault.value)
    assert fault.value.__cause__ is None
    assert made == []


def test_a_client_certificate_that_is_none_is_refused_by_name(made: list[Client], tmp_path: Path) -> None:
    with pytest.raises(InvalidCertificate, match=r"client\.pem has no certificate"):
        connection(f"mongodb://m/?tlsCertificateKeyFile={pem(tmp_path, 'client')}")
    assert made == []
