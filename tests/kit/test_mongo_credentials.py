"""The store on a server with TLS, passwords, certificates and rights: what is let through, refused, and rotated."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from deploy.local import free_port
from kit import mongo_client
from kit.base.errors import InvalidCertificate, InvalidConnectionString, TransientError
from kit.mongo import MongoRefused, MongoStore
from kit.mongo_client import MongoConnection
from kit.protocol.ports import Guarded, WriteOutcome
from tests.fake_clock import FakeClock
from tests.pki import Authority
from tests.secure_mongo import SecureMongo

pytestmark = pytest.mark.timeout(180)  # the slowest of the servers takes long to start
OWN, OTHER = "deskbus_routing", "deskbus_sla"
SUBJECT = "CN=routing,O=Deskbus tests"
FIRST, SECOND = "first: p@ss/word", "second: p@ss/word"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def server(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureMongo]:
    server = SecureMongo(tmp_path_factory.mktemp("secure") / "mongo", free_port(), authority)
    try:
        server.begin()
        server.make_user("routing", FIRST, [OWN])
        server.make_user("rotated", FIRST, [OWN])
        server.make_user("nothing", FIRST, [])
        server.make_certificate_user(SUBJECT, OWN)
        yield server
    finally:
        server.kill()


@pytest.fixture(autouse=True)
def looks_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mongo_client, "LOOK_SECONDS", 0.0)


@pytest.fixture
def url_file(tmp_path: Path) -> Path:
    return tmp_path / "url"


def put(file: Path, text: str) -> None:
    """Replace the file in one step, as a mounted secret is."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)


async def works(store: MongoStore) -> None:
    assert await store.write("things", [Guarded("a", 0, {}), Guarded("b", 0, {})]) in (
        WriteOutcome(),
        WriteOutcome(lost=frozenset("ab")),
    )
    assert {row["_id"] for row in await store.fetch("things", ["a", "b"])} == {"a", "b"}
    await store.ping()


@pytest.mark.stack
async def test_a_user_does_its_work_and_reaches_no_other_database(server: SecureMongo) -> None:
    own, other = MongoStore(server.url("routing", FIRST), OWN), MongoStore(server.url("routing", FIRST), OTHER)
    await own.ensure_outbox_indexes("things")
    await works(own)
    with pytest.raises(MongoRefused, match="needs readWrite on the service's own database"):
        await other.fetch("things", ["a"])
    with pytest.raises(MongoRefused):
        await other.insert("things", [{"_id": "a"}])
    assert await other.write("things", [Guarded("a", 0, {})]) == WriteOutcome(unknown=True)
    for store in (own, other):
        store.close()


@pytest.mark.stack
async def test_a_certificate_proves_the_user(server: SecureMongo, authority: Authority) -> None:
    issued = authority.issue("routing", days=5)
    own = MongoStore(server.certificate_url(issued), OWN)
    other = MongoStore(server.certificate_url(issued), OTHER)
    await works(own)
    with pytest.raises(MongoRefused):
        await other.fetch("things", ["a"])
    expiry = REGISTRY.get_sample_value("deskbus_certificate_expiry_timestamp_seconds", {"name": "mongo"})
    assert expiry == issued.expires.timestamp()
    for store in (own, other):
        store.close()


@pytest.mark.stack
async def test_a_server_whose_certificate_is_not_trusted_gets_no_password(server: SecureMongo, tmp_path: Path) -> None:
    url = server.url("routing", FIRST).replace(
        str(server.authority.ca).replace("/", "%2F"), str(Authority(tmp_path).ca)
    )
    store = MongoStore(url, OWN, away_after_ms=500)
    with pytest.raises(TransientError, match="CERTIFICATE_VERIFY_FAILED"):
        await store.ping()
    store.close()


@pytest.mark.stack
async def test_an_expired_certificate_is_refused_until_it_is_replaced(
    server: SecureMongo, authority: Authority
) -> None:
    issued = authority.issue("routing", days=-1)
    store = MongoStore(server.certificate_url(issued), OWN, away_after_ms=500)
    with pytest.raises(TransientError, match=r"CERTIFICATE_EXPIRED|unavailable"):
        await store.fetch("things", ["a"])
    issued.replace_by(authority.issue("routing"))
    await works(store)
    store.close()


@pytest.mark.stack
async def test_a_wrong_password_is_refused_with_a_reason_until_the_file_has_the_right_one(
    server: SecureMongo, url_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(url_file, server.url("routing", "wrong"))
    store = MongoStore(url_file, OWN)
    with pytest.raises(MongoRefused, match="refuses the user name, password or certificate"):
        await store.ping()
    put(url_file, f"{server.url('routing', FIRST)}\n")
    await works(store)
    store.close()
    said = capsys.readouterr().out
    assert "MongoDB refuses this service" in said
    assert "connecting to MongoDB anew" in said
    assert "wrong" not in said
    assert "mongodb://" not in said


@pytest.mark.stack
async def test_a_rotated_password_is_taken_from_the_file_without_a_restart(server: SecureMongo, url_file: Path) -> None:
    put(url_file, server.url("rotated", FIRST))
    store = MongoStore(url_file, OWN)
    await works(store)
    server.ask("admin", "updateUser", "rotated", pwd=SECOND)
    await works(store)  # connections that are open stay
    put(url_file, server.url("rotated", SECOND))
    await asyncio.gather(*(store.fetch("things", ["a"]) for _ in range(8)))  # more connections than were open
    store.close()


@pytest.mark.stack
async def test_a_server_that_refuses_is_asked_with_few_new_clients(server: SecureMongo) -> None:
    store = MongoStore(server.url("nothing", FIRST), OWN)
    for _ in range(10):
        with pytest.raises(MongoRefused):
            await store.fetch("things", ["a"])
    assert len(store._connection._retired) == 1
    store.close()


@pytest.mark.stack
async def test_an_invalid_new_string_keeps_the_previous_connections(
    server: SecureMongo, url_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(url_file, server.url("routing", FIRST))
    store = MongoStore(url_file, OWN)
    await works(store)
    for bad in ("", "mongodb://routing:pa/ss@host/", "mongodb://routing:secret@host:port/", "postgres://secret@host"):
        put(url_file, bad)
        await works(store)
        assert REGISTRY.get_sample_value("deskbus_certificate_refused", {"name": "mongo"}) == 1
    put(url_file, server.url("routing", FIRST))
    await works(store)
    assert REGISTRY.get_sample_value("deskbus_certificate_refused", {"name": "mongo"}) == 0
    store.close()
    said = capsys.readouterr().out
    assert said.count("keeping the previous connections") == 4
    for secret in ("secret", "pa/ss", "ss@"):
        assert secret not in said


async def test_files_are_looked_at_once_a_second_however_many_statements_there_are(
    url_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mongo_client, "LOOK_SECONDS", 1.0)
    put(url_file, "mongodb://127.0.0.1:1/")
    clock = FakeClock(datetime(2026, 1, 1, tzinfo=UTC))
    monkeypatch.setattr(mongo_client, "_CLOCK", clock)
    connection = MongoConnection(url_file, OWN, away_after_ms=100)
    looks = 0

    def changed() -> bool:
        nonlocal looks
        looks += 1
        return False

    monkeypatch.setattr(connection._own, "changed", changed)
    for _ in range(250):
        connection.collection("things")
        clock.advance(0.01)
    connection.close()
    assert looks == 3


@pytest.mark.parametrize(
    "url", ["mongodb://u:secret@host:port/", "mongodb://u:a/secret@host/", "mongodb://u:secret@ho@st/", "mongodb://"]
)
def test_a_start_with_an_invalid_string_does_not_quote_it(url: str) -> None:
    with pytest.raises(InvalidConnectionString) as fault:
        MongoStore(url, OWN)
    assert "secret" not in str(fault.value)
    assert fault.value.__cause__ is None


def test_a_start_names_the_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InvalidConnectionString, match="absent cannot be read"):
        MongoStore(tmp_path / "absent", OWN)
    with pytest.raises(InvalidCertificate, match=r"ca\.pem cannot be read"):
        MongoStore(f"mongodb://127.0.0.1/?tls=true&tlsCAFile={tmp_path}/ca.pem", OWN)
