"""The client of MongoDB's driver: what it connects with, and a new one when a password or a certificate is rotated.

Rule: the connection string is never logged, nor what the driver says about one that it cannot parse: both hold secrets.
"""

import asyncio
import os
from collections.abc import Mapping
from datetime import UTC
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import parse_qsl

os.environ.setdefault("MOTOR_MAX_WORKERS", "4")  # motor reads it once, on import; a worker is a thread

import structlog
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorCollection, AsyncIOMotorDatabase
from pymongo import ReadPreference, WriteConcern
from pymongo.errors import ConfigurationError, InvalidURI
from pymongo.read_concern import ReadConcern

from kit.base import metrics
from kit.base.certificates import WatchedFiles, note_expiry
from kit.base.clock import Clock, SystemClock
from kit.base.errors import InvalidCertificate, InvalidConnectionString
from kit.base.files import UTF8

log = structlog.get_logger(__name__)
Row = dict[str, Any]
Collection: TypeAlias = "AsyncIOMotorCollection[Row]"
_SCHEMES = ("mongodb://", "mongodb+srv://")
_MAX_LENGTH = 64 * 1024
_NAME = "mongo"
_CLOCK: Clock = SystemClock()
#: Seconds between two looks at the files: statements are many.
LOOK_SECONDS = 1.0
#: Seconds between two new clients while the server refuses: a server that refuses everything must not cost more.
AGAIN_SECONDS = 5.0
#: Seconds after which nothing waits for a former client: its longest waits together.
_RETIRED_SECONDS = 20.0


class MongoConnection:
    """The collections of one database, through the client in force."""

    def __init__(self, address: str | Path, database: str, *, away_after_ms: int) -> None:
        """Connect on first use. `address` is a connection string, or a file that contains it.

        Raises InvalidConnectionString or InvalidCertificate.
        """
        self._address, self._name, self._away_after_ms = address, database, away_after_ms
        self._own = WatchedFiles([address] if isinstance(address, Path) else [])
        url = self._read()
        self._named = WatchedFiles(_files_of(url).values())
        self._client = self._connect(url)
        self._retired: list[AsyncIOMotorClient[Row]] = []
        self._again = 0.0
        self._look = float("-inf")
        self._collections: dict[str, Collection] = {}
        self._database = self._open()
        metrics.CERTIFICATE_REFUSED.labels(_NAME)

    def database(self) -> "AsyncIOMotorDatabase[Row]":
        """Return the database, of a new client if what the former one connected with has changed."""
        now = _CLOCK.monotonic()
        if now >= self._look:
            self._look = now + LOOK_SECONDS
            if any([self._own.changed(), self._named.changed()]):
                self._renew()
        return self._database

    def collection(self, name: str) -> Collection:
        """Return a collection of the database."""
        database = self.database()
        if name not in self._collections:  # motor wraps a new one at every look
            self._collections[name] = database[name]
        return self._collections[name]

    def refused(self, reason: str) -> None:
        """Make a new client after the server has refused this one; at most one in `AGAIN_SECONDS`.

        Its files may have changed unseen. And a server refuses the open connections of a user who was made anew.
        """
        now = asyncio.get_running_loop().time()
        if now < self._again:
            return
        self._again = now + AGAIN_SECONDS
        log.error("MongoDB refuses this service", reason=reason, database=self._name)
        self._renew()

    def close(self) -> None:
        """Let go of all connections."""
        for client in (self._client, *self._retired):
            client.close()
        self._retired.clear()

    def _renew(self) -> None:
        former = self._client
        try:
            url = self._read()
            self._named = WatchedFiles(_files_of(url).values())
            self._client = self._connect(url)
        except (InvalidConnectionString, InvalidCertificate) as fault:
            metrics.CERTIFICATE_REFUSED.labels(_NAME).set(1)
            log.error("what MongoDB is reached with is invalid, keeping the previous connections", fault=str(fault))
            return
        metrics.CERTIFICATE_REFUSED.labels(_NAME).set(0)
        self._collections.clear()
        self._database = self._open()
        self._retired.append(former)
        asyncio.get_running_loop().call_later(_RETIRED_SECONDS, self._retire, former)
        log.info("connecting to MongoDB anew")

    def _retire(self, former: "AsyncIOMotorClient[Row]") -> None:
        former.close()
        self._retired = [client for client in self._retired if client is not former]  # equal ones share an address

    def _read(self) -> str:
        if isinstance(self._address, str):
            return self._address
        try:
            with self._address.open(encoding=UTF8) as file:
                url = file.read(_MAX_LENGTH).strip()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "not UTF-8"
            raise InvalidConnectionString(f"{self._address} cannot be read: {why}") from None
        if not url.startswith(_SCHEMES):
            raise InvalidConnectionString(f"{self._address} does not begin with mongodb:// or mongodb+srv://")
        return url

    def _connect(self, url: str) -> "AsyncIOMotorClient[Row]":
        for option, path in _files_of(url).items():
            _check(option, path)
        try:
            return AsyncIOMotorClient(
                url,
                tz_aware=True,
                tzinfo=UTC,
                appname=f"deskbus-{self._name}",
                maxPoolSize=8,
                serverSelectionTimeoutMS=self._away_after_ms,
                connectTimeoutMS=self._away_after_ms,
                socketTimeoutMS=10_000,
                waitQueueTimeoutMS=5_000,
                # Ours do not need the driver's: a guarded write that is tried again loses to itself and is loaded anew.
                # Servers without transactions, which `make up` may run, refuse them.
                retryWrites=False,
            )
        except (InvalidURI, ValueError, TypeError):
            reason = "the connection string cannot be parsed; a user name and password must be percent-encoded"
            raise InvalidConnectionString(reason) from None
        except (ConfigurationError, OSError) as error:
            raise InvalidConnectionString(f"the connection string cannot be used: {error}") from None

    def _open(self) -> "AsyncIOMotorDatabase[Row]":
        return self._client.get_database(
            self._name,
            read_concern=ReadConcern("majority"),
            write_concern=WriteConcern(w="majority", j=True, wtimeout=8_000),
            # Whatever the connection string says: a document from a secondary may be old, and its guarded write loses.
            read_preference=ReadPreference.PRIMARY,
        )


def _files_of(url: str) -> Mapping[str, Path]:
    """Return the files that a connection string names, by option."""
    options = parse_qsl(url.partition("?")[2].replace(";", "&"))
    wanted = {"tlscafile", "tlscertificatekeyfile", "tlscrlfile"}
    return {option.lower(): Path(path) for option, path in options if option.lower() in wanted}


def _check(option: str, path: Path) -> None:
    """Raise InvalidCertificate with a reason that names the file, which the driver's does not."""
    try:
        path.open("rb").close()
    except OSError as error:
        raise InvalidCertificate(f"{path} cannot be read: {error.strerror}") from None
    if option == "tlscertificatekeyfile":
        note_expiry(_NAME, path)
