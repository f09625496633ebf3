"""Kafka's program, downloaded once with Maven."""

import shutil
from pathlib import Path

from deploy.local import cache
from deploy.local.process import LocalError

VERSION = "4.1.1"
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


def java() -> list[str]:
    """Return the start of a Java command with Kafka's classes."""
    found = shutil.which("java")
    if found is None:
        raise LocalError("Kafka requires Java 17 or newer on PATH (Debian: apt-get install default-jre-headless)")
    return [found, "-cp", f"{fetch()}/*"]


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
