"""Apache Kafka in KRaft mode: one broker, or the brokers of a cluster. No topics here."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.local import cache, jars, probes
from deploy.local.process import Server, free_port

# Without the optimising compiler, a broker that lives for minutes takes half the CPU time (measured).
_COMPILER = "-XX:TieredStopAtLevel=1"
_LOGGING = """Configuration:
  status: ERROR
  Appenders:
    Console:
      name: out
      PatternLayout: {pattern: "%d %p %c{1}: %m%n"}
  Loggers:
    Root:
      level: WARN
      AppenderRef: {ref: out}
"""

_HEAP_MB = 512
_CLUSTER_HEAP_MB = 256
"""Brokers of a cluster share a machine and its load."""


@dataclass(frozen=True)
class Listener:
    """A port for clients beside the plaintext one, such as one with TLS or SASL."""

    name: str
    """In capitals, as Kafka names listeners: `listener.name.<lower case>.…` are its properties."""
    port: int
    protocol: str
    """SSL, SASL_PLAINTEXT, SASL_SSL or PLAINTEXT."""


class KafkaServer(Server):
    """One broker, which is also a controller; alone, unless it joins others."""

    name = "kafka"

    def __init__(
        self,
        directory: Path | str,
        port: int,
        *,
        advertised_port: int | None = None,
        listeners: Sequence[Listener] = (),
        properties: Mapping[str, str] | None = None,
        format_options: Sequence[str] = (),
        heap_mb: int = _HEAP_MB,
    ) -> None:
        """Prepare the server. `advertised_port` is the port that clients are sent to, such as that of a proxy.

        `listeners` are opened besides the plaintext listener on `port`, over which brokers talk to each other and
        readiness is probed; its principal is `User:ANONYMOUS`, a super user if there is to be an authorizer.
        `properties` are added to server.properties, and replace those of the same name: key stores, SASL mechanisms,
        `authorizer.class.name`. `format_options` go to `kafka-storage format`, once: `--add-scram …` makes first users.
        """
        super().__init__(directory, port)
        self._advertised_port = advertised_port or port
        self._listeners, self._properties = tuple(listeners), dict(properties or {})
        self._format_options, self._heap_mb = tuple(format_options), heap_mb
        self._node, self._home = 1, self.directory
        self._brokers: Sequence[KafkaServer] = [self]

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def answers(self) -> bool:
        return probes.kafka_answers(self.host, self.port)

    def advertise(self, port: int) -> None:
        """Send clients to another port, but not the other brokers."""
        self._advertised_port = port
        self._listeners = (*self._listeners, Listener("PEERS", free_port(), "PLAINTEXT"))
        self._properties["inter.broker.listener.name"] = "PEERS"

    def join(self, node: int, cluster: Sequence[KafkaServer], home: Path) -> None:
        """Make the server a broker of a cluster that is named after its directory, before its first start."""
        self.name = f"kafka-{node}"
        self._node, self._brokers, self._home = node, cluster, home.resolve()

    def command(self) -> list[str]:
        java = jars.java()
        properties = self.directory / "server.properties"
        logging = self.directory / "log4j2.yaml"
        lines = (f"{name}={value}\n" for name, value in self._server_properties().items())
        properties.write_text("".join(lines), encoding="utf-8")
        properties.chmod(0o600)  # it may hold passwords
        logging.write_text(_LOGGING, encoding="utf-8")
        base = [*java, f"-Dlog4j2.configurationFile={logging}"]
        if not (self.directory / "data" / "meta.properties").exists():
            tool = ["kafka.tools.StorageTool", "format", "-t", _cluster_id(self._home), "-c", str(properties)]
            cache.run([*base, *tool, *self._format_options], "formatting Kafka's storage")
        heap = f"-Xmx{self._heap_mb}m"
        return [*base[:1], heap, _COMPILER, "-XX:+UseSerialGC", *base[1:], "kafka.Kafka", str(properties)]

    def _server_properties(self) -> dict[str, str]:
        copies = len(self._brokers)
        in_sync = copies // 2 + 1
        clients = [Listener("BROKER", self.port, "PLAINTEXT"), *self._listeners]
        ports = {each.name: each.port for each in clients}
        advertised = ports | {"BROKER": self._advertised_port}
        protocols = {each.name: each.protocol for each in clients} | {"CONTROLLER": "PLAINTEXT"}
        return {
            "process.roles": "broker,controller",
            "node.id": str(self._node),
            "listeners": self._urls(ports | {"CONTROLLER": self.controller_port()}),
            "advertised.listeners": self._urls(advertised),
            "listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name, protocol in protocols.items()),
            "inter.broker.listener.name": "BROKER",
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.voters": ",".join(broker.voter for broker in self._brokers),
            "log.dirs": str(self.directory / "data"),
            "auto.create.topics.enable": "false",
            "unclean.leader.election.enable": "false",
            "default.replication.factor": str(copies),
            "min.insync.replicas": str(in_sync),
            "offsets.topic.replication.factor": str(copies),
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": str(copies),
            "transaction.state.log.min.isr": str(in_sync),
            "transaction.state.log.num.partitions": "2",
            "share.coordinator.state.topic.replication.factor": str(copies),
            "share.coordinator.state.topic.min.isr": str(in_sync),
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "1000",
            "num.network.threads": "2",
            "num.io.threads": "4",
            "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),  # 128 MiB would be half of a cluster's heap
            **self._properties,
        }

    def _urls(self, ports: Mapping[str, int]) -> str:
        return ",".join(f"{name}://{self.host}:{port}" for name, port in ports.items())

    @property
    def voter(self) -> str:
        """The server's place in the quorum of controllers."""
        return f"{self._node}@{self.host}:{self.controller_port()}"

    def controller_port(self) -> int:
        """Return the controller's port, which must not change while the data exists."""
        file = self.directory / "controller.port"
        if not file.exists():
            self.directory.mkdir(parents=True, exist_ok=True)
            file.write_text(str(free_port()), encoding="ascii")
        return int(file.read_text(encoding="ascii"))


def brokers(directory: Path, ports: Sequence[int], *, advertised: Sequence[int] = ()) -> list[KafkaServer]:
    """Return the brokers of one cluster, with their data in directories `1`, `2` … below `directory`.

    Every topic has a copy on each broker, and a write needs a majority of them. With `advertised` ports, those of
    proxies, brokers reach each other past these.
    """
    made = [KafkaServer(directory / str(node), port, heap_mb=_CLUSTER_HEAP_MB) for node, port in enumerate(ports, 1)]
    for broker, port in zip(made, advertised, strict=False):
        broker.advertise(port)
    for node, broker in enumerate(made, start=1):
        broker.join(node, made, directory)
    return made


def _cluster_id(directory: Path) -> str:
    identity = base64.urlsafe_b64encode(hashlib.sha256(str(directory).encode()).digest()[:16])
    return identity.decode().rstrip("=").replace("-", "x")
