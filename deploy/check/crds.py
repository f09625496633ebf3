"""The definitions of other operators' resources that the chart makes, in pinned versions: what their servers accept.

Most projects carry them in their Go module, which Go verifies; Strimzi generates them from its Java classes.
"""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deploy.local import cache
from deploy.local.process import LocalError


@dataclass(frozen=True)
class Module:
    path: str
    version: str
    checksum: str
    files: tuple[str, ...]


MODULES = (
    Module(
        "sigs.k8s.io/gateway-api",
        "v1.4.1",
        "h1:NPxFutNkKNa8UfLd2CMlEuhIPMQgDQ6DXNKG9sHbJU8=",
        tuple(
            f"config/crd/standard/gateway.networking.k8s.io_{kind}.yaml"
            for kind in ("httproutes", "backendtlspolicies")
        ),
    ),
    Module(
        "github.com/kedacore/keda/v2",
        "v2.18.3",
        "h1:PY3o80tzBAzCffS8J6eBZctT4B+g/r26zErNSMleC50=",
        ("config/crd/bases/keda.sh_scaledobjects.yaml", "config/crd/bases/keda.sh_triggerauthentications.yaml"),
    ),
    Module(
        "github.com/prometheus-operator/prometheus-operator",
        "v0.85.0",
        "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
        tuple(
            f"example/prometheus-operator-crd/monitoring.coreos.com_{kind}.yaml"
            for kind in ("podmonitors", "servicemonitors", "prometheusrules", "probes")
        ),
    ),
    Module(
        "github.com/external-secrets/external-secrets",
        "v1.3.2",
        "h1:u2J8RjlHIeF0oZCqtl92adI/uZWUwOesJIDkfql6LqQ=",
        tuple(f"config/crds/bases/external-secrets.io_{kind}.yaml" for kind in ("externalsecrets", "secretstores")),
    ),
)
STRIMZI = "1.2.0"
_STRIMZI_KINDS = {"KafkaTopic": "topic.KafkaTopic", "KafkaUser": "user.KafkaUser"}
_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>deskbus.check</groupId><artifactId>crds</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>io.strimzi</groupId><artifactId>api</artifactId><version>{version}</version></dependency>
    <dependency><groupId>io.strimzi</groupId><artifactId>crd-generator</artifactId><version>{version}</version></dependency>
  </dependencies>
</project>
"""
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"


def _name() -> str:
    return "crds-" + hashlib.sha256(repr((MODULES, STRIMZI)).encode()).hexdigest()[:12]


def at_hand() -> Path | None:
    entry = cache.directory() / _name()
    return entry / "crds" if (entry / "complete").exists() else None


def get(java: Callable[[], Path]) -> Path:
    """Return the directory of the definitions, which are fetched and generated once. Strimzi needs Java 21 or newer."""
    with cache.locked_entry(_name()) as entry:
        crds = entry / "crds"
        if not (entry / "complete").exists():
            cache.say("fetching the definitions of KEDA, Strimzi and other operators (once, a minute or two)")
            crds.mkdir(exist_ok=True)
            for module in MODULES:
                _copy(module, entry, crds)
            _strimzi(java(), entry, crds)
            (entry / "complete").touch()
    return crds


def _copy(module: Module, entry: Path, crds: Path) -> None:
    go = shutil.which("go")
    if go is None:
        raise LocalError("definitions of operators are fetched with Go, which is not on PATH")
    command = [go, "mod", "download", "-json", f"{module.path}@{module.version}"]
    done = subprocess.run(command, cwd=entry, capture_output=True, text=True, check=False, env=os.environ)
    if done.returncode != 0:
        raise LocalError(f"{' '.join(command)} failed\n{done.stdout}{done.stderr}")
    found = json.loads(done.stdout)
    if found["Sum"] != module.checksum:
        raise LocalError(f"{module.path} {module.version} is not what was pinned: {found['Sum']}")
    for file in module.files:
        shutil.copyfile(Path(found["Dir"]) / file, crds / Path(file).name)


def _strimzi(java: Path, entry: Path, crds: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise LocalError("Strimzi is fetched with Maven, which is not on PATH (Debian: apt-get install maven)")
    pom, jars = entry / "pom.xml", entry / "jars"
    pom.write_text(_POM.format(version=STRIMZI), encoding="utf-8")
    copy = [maven, "-q", "-B", "-f", str(pom), _COPY, f"-DoutputDirectory={jars}", "-DincludeScope=runtime"]
    cache.run(copy, "fetching Strimzi's model")
    made = [
        f"io.strimzi.api.kafka.model.{path}={crds}/strimzi_{kind.lower()}.yaml" for kind, path in _STRIMZI_KINDS.items()
    ]
    generator = [str(java), "-cp", f"{jars}/*", "io.strimzi.crdgenerator.CrdGenerator", "--yaml", *made]
    cache.run(generator, "generating Strimzi's definitions")
