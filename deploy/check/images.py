"""Images: each is built, looked into, and run as a cluster would: uid 10001, read-only root, no capabilities.

The base image is made of Debian's packages, as no registry of images is asked; from there on the Dockerfile decides.
`boxes.py` runs what was built.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from contracts.topics import SERVICES
from deploy.check.boxes import try_services
from deploy.check.context import Context, Failed
from deploy.local import cache

TOOLS_IMAGE = "tools"
IMAGES = (*SERVICES, TOOLS_IMAGE)
SBOM = "usr/share/deskbus/sbom.cdx.json"
_BASE = "docker.io/library/python:3.11-slim-bookworm"
_BASE_PACKAGES = "python3,python3-venv,python-is-python3,ca-certificates"
_SITE = "opt/venv/lib/python3.11/site-packages"
_LABELS = {"title", "description", "version", "revision", "licenses", "base.name"}


class Buildah:
    """Buildah, with the images and layers that it keeps for later runs."""

    def __init__(self, context: Context, store: Path) -> None:
        self._context = context
        for driver in ("overlay", "vfs"):  # vfs copies everything for each layer, but needs no mounts
            options = ["--root", store / driver, "--runroot", context.work / "buildah", "--storage-driver", driver]
            self._command = [str(word) for word in (context.tool("buildah"), *options)]
            if context.attempt([*self._command, "info"]).returncode == 0:
                return
        raise Failed("buildah can use neither the overlay nor the vfs driver here")

    def run(self, *words: str | Path, timeout: float = 1800) -> str:
        return self._context.run([*self._command, *words], timeout=timeout).strip()

    def has(self, image: str) -> bool:
        return self._context.attempt([*self._command, "inspect", "--type", "image", image]).returncode == 0

    def make_base(self, entry: Path) -> None:
        """Make the base image, unless it is here."""
        if self.has(_BASE):
            return
        files = entry / "rootfs.tar"
        if not files.exists():
            cache.say("making a base image of Debian's packages (once, two minutes)")
            part = files.with_suffix(".part.tar")
            make = [
                str(self._context.tool("mmdebstrap")),
                "--quiet",
                "--variant=minbase",
                f"--include={_BASE_PACKAGES}",
            ]
            self._context.run([*make, "bookworm", part], timeout=1800)
            part.rename(files)
        container = self.run("from", "scratch")
        self.run("add", "--quiet", container, files, "/")
        self.run("config", "--env", "PATH=/usr/local/bin:/usr/bin:/bin", container)
        self.run("commit", "--quiet", "--rm", container, _BASE)

    def build(self, image: str) -> None:
        """Build an image from the Dockerfile. The build may use the package index of this machine."""
        chosen = ["--target", image] if image == TOOLS_IMAGE else ["--build-arg", f"SERVICE={image}"]
        mounts = [word for path in _index_files() for word in ("--volume", f"{path}:{path}:ro")]
        build = ["bud", "--quiet", "--isolation", "chroot", "--pull-never", "--layers", *chosen, *mounts]
        self.run(*build, "-f", "deploy/Dockerfile", "-t", f"deskbus-{image}", ".")

    def config(self, image: str) -> dict[str, Any]:
        """Return the configuration that the image gives its containers."""
        described = json.loads(self.run("inspect", "--type", "image", f"localhost/deskbus-{image}"))
        config: dict[str, Any] = described["OCIv1"]["config"]
        return config

    @contextmanager
    def mounted(self, image: str) -> Iterator[Path]:
        """Give the root file system of a new container."""
        container = self.run("from", "--pull-never", f"localhost/deskbus-{image}")
        try:
            yield Path(self.run("mount", container))
        finally:
            self.run("umount", container)
            self.run("rm", container)


def _index_files() -> list[Path]:
    """Where pip finds packages, and whom it trusts, if this machine has something of its own."""
    named = ("/etc/pip.conf", os.environ.get("PIP_CERT", ""), os.environ.get("SSL_CERT_FILE", ""))
    return [path for path in dict.fromkeys(Path(name) for name in named if name) if path.is_file()]


def check_images(context: Context) -> None:
    """Every image is built, holds its own code only, and runs as uid 10001 on a read-only root."""
    if os.geteuid() != 0:
        raise Failed("needs root: it builds and mounts file systems")
    with cache.locked_entry("images-1") as entry:
        buildah = Buildah(context, entry)
        buildah.make_base(entry)
        for image in IMAGES:
            buildah.build(image)
            with buildah.mounted(image) as root:
                inspect(image, root, buildah.config(image))
        try_services(context, buildah.mounted, buildah.config)


def inspect(image: str, root: Path, config: dict[str, Any]) -> None:
    """Raise Failed unless the image holds what it should and nothing else."""
    faults = [*_code_faults(image, root / "app"), *_package_faults(root), *_config_faults(config)]
    if faults:
        raise Failed(f"deskbus-{image}:\n" + "\n".join(faults))


def _code_faults(image: str, app: Path) -> Iterator[str]:
    rooms = {"contracts", "kit", "services", *(["cli"] if image == TOOLS_IMAGE else [])}
    services = set(SERVICES) if image == TOOLS_IMAGE else {image}
    for folder, wanted in ((app, rooms), (app / "services", services)):
        found = {path.name for path in folder.iterdir() if path.is_dir()} - {"__pycache__"}
        if found != wanted:
            yield f"/{folder.relative_to(app.parent)} holds {sorted(found)}, not {sorted(wanted)}"
    for source in app.rglob("*.py"):
        if not list((source.parent / "__pycache__").glob(f"{source.stem}.*.pyc")):
            yield f"{source.relative_to(app)} is not compiled, and a container cannot write"


def _package_faults(root: Path) -> Iterator[str]:
    for pattern in ("usr/local/lib/python3*/*-packages/*", "usr/bin/pip*", "usr/local/bin/pip*", "opt/venv/bin/pip*"):
        yield from (f"{path.relative_to(root)} installs, or is not locked" for path in root.glob(pattern))
    installed = {path.name.partition("-")[0].lower().replace("_", "-") for path in (root / _SITE).glob("*.dist-info")}
    unwanted = installed & {"pip", "setuptools", "wheel", "pytest", "ruff", "mypy"}
    if unwanted:
        yield f"packages that do not run: {sorted(unwanted)}"
    bill = json.loads((root / SBOM).read_text("utf-8"))
    listed = {component["name"].lower().replace("_", "-").replace(".", "-") for component in bill["components"]}
    missing = {name.replace(".", "-") for name in installed} - listed
    if bill.get("bomFormat") != "CycloneDX" or missing:
        yield f"the SBOM lacks {sorted(missing)}"


def _config_faults(config: dict[str, Any]) -> Iterator[str]:
    if config.get("User") != "10001:10001":
        yield f"runs as {config.get('User')}"
    if config.get("Entrypoint", [""])[0] != "python" or config.get("StopSignal") != "SIGTERM":
        yield f"entrypoint {config.get('Entrypoint')}, stop signal {config.get('StopSignal')}"
    missing = _LABELS - {name.removeprefix("org.opencontainers.image.") for name in config.get("Labels", {})}
    if missing:
        yield f"labels are missing: {sorted(missing)}"
