"""A MongoDB server without Docker: `mongod` if installed, else a compatible server from a package registry.

The kinds are `mongod`, `secantus` (fast, built with cargo) and `pip` (slow); `choose` picks one.
"""

import os
import shutil
from pathlib import Path

from deploy.local import cache, probes
from deploy.local.process import LocalError, Server

SECANTUS_VERSION = "0.5.3-beta.196"
_LOCK = Path(__file__).with_name("mongo-server.lock")
_KINDS = ("mongod", "secantus", "pip")


class MongoServer(Server):
    name = "mongo"

    def __init__(self, directory: Path | str, port: int, kind: str | None = None) -> None:
        super().__init__(directory, port)
        self.kind = kind

    @property
    def address(self) -> str:
        return f"mongodb://{self.host}:{self.port}/?directConnection=true"

    def answers(self) -> bool:
        return probes.mongo_answers(self.host, self.port)

    def environment(self) -> dict[str, str]:
        # Nothing here reads the oplog; writing it takes a quarter of the compatible servers' time.
        return {"SECANTUS_DISABLE_OPLOG": "1"}

    def command(self) -> list[str]:
        kind = self.kind or choose()
        data = self.directory / kind  # the kinds have different file formats
        data.mkdir(exist_ok=True)
        port = str(self.port)
        if kind == "mongod":
            binary = shutil.which("mongod") or "mongod"
            return [binary, "--dbpath", str(data), "--bind_ip", self.host, "--port", port, "--quiet"]
        program = secantus() if kind == "secantus" else pip_server()
        if kind == "pip" and shutil.which("cargo"):
            cache.say("this MongoDB server is slow; `make server` builds a fast one")
        # Without --sync-on-commit they acknowledge j:true before the journal is written, and a SIGKILL loses writes.
        return [str(program), "--host", self.host, "--port", port, "--storage-path", str(data), "--sync-on-commit"]


def choose() -> str:
    """Return the kind of server to use: `DESKBUS_MONGO_SERVER`, else the fastest that needs no long build."""
    setting = os.environ.get("DESKBUS_MONGO_SERVER", "")
    if setting:
        if setting not in _KINDS:
            raise LocalError(f"DESKBUS_MONGO_SERVER is {setting!r}; expected one of {', '.join(_KINDS)}")
        return setting
    if shutil.which("mongod"):
        return "mongod"
    return "secantus" if _secantus_binary().exists() else "pip"


def _secantus_binary() -> Path:
    return cache.directory() / f"secantus-{SECANTUS_VERSION}" / "bin" / "secantusd-rs"


def secantus() -> Path:
    """Return the Rust server, which is built once; that takes several minutes."""
    binary = _secantus_binary()
    with cache.locked_entry(f"secantus-{SECANTUS_VERSION}") as entry:
        if binary.exists():
            return binary
        cargo = shutil.which("cargo")
        if cargo is None:
            raise LocalError(
                "the secantus server is built with cargo, which is not on PATH; DESKBUS_MONGO_SERVER=pip works"
            )
        cache.say(f"building the MongoDB-compatible server secantus {SECANTUS_VERSION} (once, 5 to 10 minutes)")
        cache.run(
            [cargo, "install", "secantus-mdb", "--version", SECANTUS_VERSION, "--ignore-rust-version"],
            "building secantus",
            env={
                "CARGO_INSTALL_ROOT": str(entry),
                "CARGO_PROFILE_RELEASE_OPT_LEVEL": "2",
                "CARGO_PROFILE_RELEASE_LTO": "off",
                "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "16",
            },
        )
    return binary


def pip_server() -> Path:
    """Return the Python server, installed once in a virtual environment, with all packages pinned by hash."""
    return cache.environment("mongo-pip", _LOCK, "a MongoDB-compatible server") / "bin" / "secantusd-py"
