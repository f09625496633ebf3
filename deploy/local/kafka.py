"""Apache Kafka as one KRaft process, from its Maven artifacts. No topics here."""

import base64
import hashlib
import shutil
from pathlib import Path

from deploy.local import cache, probes
from deploy.local.process import LocalError, Server, free_port

VERSION = "4.1.1"
_HEAP = "-Xmx512m"
# Without the optimising compiler, a broker that lives for minutes takes half the CPU time (measured).
_COMPILER = "-XX:TieredStopAtLevel=1"
_PLUGIN = "3.8.1"

_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>deskbus.local</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{version}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>{version}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.24.3</version>
    </dependency>
  </dependencies>
</project>
"""

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

_PROPERTIES = """process.roles=broker,controller
node.id=1
listeners=BROKER://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=BROKER://127.0.0.1:{advertised}
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=BROKER
controller.listener.names=CONTROLLER
controller.quorum.voters=1@127.0.0.1:{controller}
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=2
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
num.network.threads=2
num.io.threads=4
"""


class KafkaServer(Server):
    name = "kafka"

    def __init__(self, directory: Path | str, port: int, *, advertised_port: int | None = None) -> None:
        """Prepare the server. `advertised_port` is the port that clients are sent to, such as that of a proxy."""
        super().__init__(directory, port)
        self._advertised_port = advertised_port or port

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def answers(self) -> bool:
        return probes.kafka_answers(self.host, self.port)

    def command(self) -> list[str]:
        java = _java()
        properties = self.directory / "server.properties"
        logging = self.directory / "log4j2.yaml"
        data = self.directory / "data"
        values = {"port": self.port, "advertised": self._advertised_port, "controller": self._controller_port()}
        properties.write_text(_PROPERTIES.format(**values, data=data), encoding="utf-8")
        logging.write_text(_LOGGING, encoding="utf-8")
        base = [*java, f"-Dlog4j2.configurationFile={logging}"]
        if not (data / "meta.properties").exists():
            identity = base64.urlsafe_b64encode(hashlib.sha256(str(self.directory).encode()).digest()[:16])
            cluster = identity.decode().rstrip("=").replace("-", "x")
            cache.run(
                [*base, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(properties)],
                "formatting Kafka's storage",
            )
        return [*base[:1], _HEAP, _COMPILER, "-XX:+UseSerialGC", *base[1:], "kafka.Kafka", str(properties)]

    def _controller_port(self) -> int:
        """Return the controller's port, which must not change while the data exists."""
        file = self.directory / "controller.port"
        if not file.exists():
            file.write_text(str(free_port()), encoding="ascii")
        return int(file.read_text(encoding="ascii"))


def _java() -> list[str]:
    java = shutil.which("java")
    if java is None:
        raise LocalError("Kafka requires Java 17 or newer on PATH (Debian: apt-get install default-jre-headless)")
    return [java, "-cp", f"{fetch()}/*"]


def fetch() -> Path:
    """Return the directory of Kafka's jars, which are downloaded once."""
    with cache.locked_entry(f"kafka-{VERSION}") as entry:
        libraries, done = entry / "libs", entry / "complete"
        if done.exists():
            return libraries
        maven = shutil.which("mvn")
        if maven is None:
            raise LocalError("Kafka is downloaded with Maven, which is not on PATH (Debian: apt-get install maven)")
        cache.say(f"fetching Apache Kafka {VERSION} (once, about a minute)")
        pom = entry / "pom.xml"
        pom.write_text(_POM.format(version=VERSION), encoding="utf-8")
        copy = [
            maven,
            "-q",
            "-B",
            "-f",
            str(pom),
            f"org.apache.maven.plugins:maven-dependency-plugin:{_PLUGIN}:copy-dependencies",
        ]
        cache.run([*copy, f"-DoutputDirectory={libraries}", "-DincludeScope=runtime"], "fetching Kafka")
        done.touch()
        return libraries
