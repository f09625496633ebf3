"""The life of a local server process: start, suspend, kill, and nothing left behind."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local import LocalError, Stack, free_port, probes, stack
from deploy.local.guardian import started
from deploy.local.process import Server

LISTENER = """
import socket
listener = socket.create_server(("127.0.0.1", {port}))
while True:
    connection, _ = listener.accept()
    connection.sendall(b"here")
    connection.close()
"""


class Listener(Server):
    name = "listener"

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def command(self) -> list[str]:
        return [sys.executable, "-c", LISTENER.format(port=self.port)]

    def answers(self) -> bool:
        import socket

        try:
            with socket.create_connection((self.host, self.port), 0.2) as connection:
                return connection.recv(4) == b"here"
        except OSError:
            return False


@pytest.fixture
def listener(tmp_path: Path) -> Listener:
    return Listener(tmp_path / "listener", free_port())


def test_a_second_start_is_harmless_and_stop_leaves_no_process(listener: Listener) -> None:
    listener.start()
    listener.wait_ready(10)
    first = listener.pid()
    listener.start()
    assert listener.pid() == first is not None

    listener.stop()
    listener.stop()
    assert listener.pid() is None
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


def test_another_object_for_the_same_directory_finds_and_ends_the_process(listener: Listener) -> None:
    listener.start()
    listener.wait_ready(10)
    other = Listener(listener.directory, listener.port)
    assert other.pid() == listener.pid()
    other.kill()
    assert not listener.answers()


def test_a_server_that_runs_on_another_port_is_not_taken_for_the_one_asked_for(listener: Listener) -> None:
    listener.start()
    try:
        with pytest.raises(LocalError, match=f"is running on port {listener.port}"):
            Listener(listener.directory, free_port()).start()
    finally:
        listener.kill()


def test_a_suspended_server_accepts_and_is_silent_until_it_is_resumed(listener: Listener) -> None:
    listener.start()
    try:
        listener.wait_ready(10)
        listener.suspend()
        assert not listener.answers()
        listener.resume()
        listener.wait_ready(10)
    finally:
        listener.kill()


def test_a_stopped_server_can_be_stopped_while_suspended(listener: Listener) -> None:
    listener.start()
    listener.wait_ready(10)
    listener.suspend()
    listener.stop()
    assert listener.pid() is None


def test_a_pid_that_belongs_to_somebody_else_now_is_left_alone(listener: Listener) -> None:
    listener.directory.mkdir()
    listener.pid_file.write_text(f"{os.getpid()} 12345\n", encoding="ascii")
    assert listener.pid() is None
    listener.kill()


def test_a_port_in_use_is_said_and_not_waited_for(listener: Listener, tmp_path: Path) -> None:
    listener.start()
    try:
        listener.wait_ready(10)
        with pytest.raises(LocalError, match=f"port {listener.port} is in use"):
            Listener(tmp_path / "second", listener.port).start()
    finally:
        listener.kill()


def test_a_server_that_ends_while_starting_is_reported_with_its_log(tmp_path: Path) -> None:
    class Broken(Listener):
        def command(self) -> list[str]:
            return [sys.executable, "-c", "print('no disk left', flush=True)"]

    broken = Broken(tmp_path / "broken", free_port())
    broken.start()
    with pytest.raises(LocalError, match="no disk left"):
        broken.wait_ready(10)


def test_a_free_port_is_given_once_and_can_be_listened_on_again_and_again() -> None:
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == 50
    for _ in range(3):
        with socket.create_server(("127.0.0.1", ports[0])) as server:
            assert 20_000 <= server.getsockname()[1] < 32_000


def test_a_free_port_is_not_given_to_another_process() -> None:
    first = free_port()
    drawn = [first - 20_000, 1, 2, 3]
    script = (
        "from unittest import mock; from deploy.local import process; import sys; d = iter(map(int, sys.argv[1:]))\n"
    )
    script += "with mock.patch.object(process.secrets, 'randbelow', lambda _: next(d)): print(process.free_port())"
    other = subprocess.run(
        [sys.executable, "-c", script, *map(str, drawn)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert 20_000 < int(other.stdout) <= 20_003


def test_nothing_answers_where_nothing_listens() -> None:
    port = free_port()
    assert not probes.kafka_answers("127.0.0.1", port)
    assert not probes.mongo_answers("127.0.0.1", port)


def test_addresses_of_the_environment_win(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DESKBUS_KAFKA", "kafka.example:9092")
    monkeypatch.delenv("DESKBUS_MONGO", raising=False)
    stack = Stack(tmp_path, 1, 2)
    assert stack.addresses().environment() == {
        "DESKBUS_KAFKA": "kafka.example:9092",
        "DESKBUS_MONGO": "mongodb://127.0.0.1:2/?directConnection=true",
    }


def test_the_servers_of_the_session_speak_their_protocols(kafka: str, mongo: str) -> None:
    host, _, port = kafka.partition(":")
    assert probes.kafka_answers(host, int(port))
    assert not probes.mongo_answers(host, int(port))
    assert mongo.startswith("mongodb://")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory in place of `.local/`, where nothing runs yet."""
    monkeypatch.setattr(stack, "DATA", tmp_path)
    for variable in ("DESKBUS_KAFKA", "DESKBUS_MONGO", "DESKBUS_LOCAL_STACK", stack.BROKERS_VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


def runs(server: Server) -> None:
    """Make this process look like the server's."""
    server.pid_file.parent.mkdir(parents=True, exist_ok=True)
    server.pid_file.write_text(f"{os.getpid()} {started(os.getpid())}\n{server.port}\n", encoding="ascii")


def test_stacks_of_one_and_three_brokers_share_no_data(here: Path) -> None:
    one, three = stack.stacks().values()
    assert [len(each.brokers) for each in (one, three)] == [1, 3]
    places = [server.directory for each in (one, three) for server in (each.mongo, *each.brokers)]
    assert len({*places}) == len(places) == 6
    assert three.addresses().kafka.count(":") == 3


def test_the_stack_that_runs_is_the_one_that_is_meant(here: Path) -> None:
    assert len(stack.chosen().brokers) == 1
    runs(stack.stacks()[3].brokers[0])
    assert len(stack.chosen().brokers) == 3


def test_the_other_stack_is_not_started_beside_it(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs(stack.stacks()[1].mongo)
    monkeypatch.setenv(stack.BROKERS_VARIABLE, "3")
    with pytest.raises(LocalError, match="the stack with one broker runs here"):
        stack.chosen()


@pytest.mark.parametrize("told", ["2", "three", "0"])
def test_another_number_of_brokers_is_refused(here: Path, monkeypatch: pytest.MonkeyPatch, told: str) -> None:
    monkeypatch.setenv(stack.BROKERS_VARIABLE, told)
    with pytest.raises(LocalError, match="expected 1 or 3"):
        stack.chosen()
