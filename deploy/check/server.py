"""Checks by a real API server: what it says of rendered objects, and whether Helm installs, upgrades and goes back."""

import re
import shutil
import subprocess
from pathlib import Path

from deploy.check.cluster import Cluster, cluster
from deploy.check.context import Context, Failed
from deploy.check.rendered import overlays, render, require_chart, supported

_BAD = Path(__file__).with_name("bad")
#: Warnings as kubectl prints them, and as Helm logs them.
_WARNING = re.compile(r"(?m)^(?:Warning:|W\d{4} .*warnings\.go|level=WARN).*$")
_REFUSED = re.compile(r"# refused: (.+)")


def check_dry_run(context: Context) -> None:
    """The API server accepts every object of chart and overlays, without a warning, where pods must be restricted."""
    server = cluster(context)
    for number, values in enumerate(context.values_files):
        namespace = server.namespace(f"dry-run-{number}")
        objects = render(context, values, namespace=namespace)
        judge(_apply(server, namespace, objects), values.name)
    namespace = server.namespace("deskbus")  # the overlays' own
    for name, objects in overlays(context).items():
        judge(_apply(server, namespace, objects), f"overlay {name}")


def check_install(context: Context) -> None:
    """Helm installs every file of values, upgrades to a later chart and goes back; the server then has the old objects.

    Without hooks and without waiting: nothing runs their Jobs, and no pod becomes ready.
    """
    server = cluster(context)
    later = _later_chart(context)
    for number, values in enumerate(context.values_files):
        namespace = server.namespace(f"install-{number}")
        options = ["--namespace", namespace, "--values", str(values), "--no-hooks"]
        judge(server.helm("install", "deskbus", context.chart, *options), f"{values.name}: install")
        before, secrets = _manifest(server, namespace), _secrets(server, namespace)
        judge(server.helm("upgrade", "deskbus", later, *options), f"{values.name}: upgrade")
        if _secrets(server, namespace) != secrets:
            raise Failed(f"{values.name}: the upgrade changed generated secrets")
        if _manifest(server, namespace) == before:
            raise Failed(f"{values.name}: the upgrade changed nothing, so it has proven nothing")
        judge(
            server.helm("rollback", "deskbus", "1", "--namespace", namespace, "--no-hooks"), f"{values.name}: rollback"
        )
        if _manifest(server, namespace) != before:
            raise Failed(f"{values.name}: after the rollback, the release is not what was installed")
        difference = server.kubectl("diff", "--namespace", namespace, "-f", "-", text=before)
        if difference.returncode != 0:
            raise Failed(f"{values.name}: after the rollback, objects differ:\n{difference.stdout}{difference.stderr}")
        judge(server.helm("uninstall", "deskbus", "--namespace", namespace, "--no-hooks"), f"{values.name}: uninstall")


def check_bad(context: Context) -> None:
    """The server refuses bad objects, and the chart bad values, each for the reason in the file's first line."""
    server = cluster(context)
    namespace = server.namespace("bad")
    require_chart(context)
    for file in sorted((_BAD / "objects").glob("*.yaml")):
        done = _apply(server, namespace, file.read_text("utf-8"))
        refuse(file, done, warned=_WARNING.search(done.stderr) is not None)
    good = ["--kube-version", supported(context)[-1], "--values", str(context.chart / "ci" / "minimal.yaml")]
    for file in sorted((_BAD / "values").glob("*.yaml")):
        done = server.helm("template", context.chart, *good, "--values", file)
        refuse(file, done, warned=False)


def judge(done: subprocess.CompletedProcess[str], what: str) -> None:
    """Raise Failed if a program failed or passed on a warning of the server."""
    warnings = [found.group() for found in _WARNING.finditer(done.stderr)]
    if done.returncode != 0 or warnings:
        raise Failed(f"{what}:\n" + ("\n".join(warnings) or (done.stderr + done.stdout).strip()[-4000:]))


def refuse(file: Path, done: subprocess.CompletedProcess[str], *, warned: bool) -> None:
    """Raise Failed unless it was refused for the reason that the file's first line gives."""
    expected = _REFUSED.match(file.read_text("utf-8"))
    if expected is None:
        raise Failed(f"{file.name}: the first line says no reason (# refused: …)")
    if done.returncode == 0 and not warned:
        raise Failed(f"{file.name} was accepted")
    if expected[1] not in done.stderr:
        raise Failed(f"{file.name} was refused for another reason:\n{done.stderr.strip()}")


def _apply(server: Cluster, namespace: str, objects: str) -> subprocess.CompletedProcess[str]:
    options = ["--dry-run=server", "--validate=strict", "--namespace", namespace]
    return server.kubectl("apply", *options, "-f", "-", text=objects)


def _manifest(server: Cluster, namespace: str) -> str:
    return server.helm("get", "manifest", "deskbus", "--namespace", namespace).stdout


def _secrets(server: Cluster, namespace: str) -> str:
    """Return the contents of the release's Secrets, which a database may know already."""
    ours = ["--selector", "app.kubernetes.io/name=deskbus", "--output", "jsonpath={.items[*].data}"]
    return server.kubectl("get", "secrets", "--namespace", namespace, *ours).stdout


def _later_chart(context: Context) -> Path:
    """Return a copy of the chart as a later release would be: other versions, so other labels and another image."""
    require_chart(context)
    copy = context.work / "later"
    shutil.copytree(context.chart, copy)
    chart = copy / "Chart.yaml"
    text = re.sub(r"(?m)^version:.*$", "version: 999.0.0", chart.read_text("utf-8"))
    chart.write_text(re.sub(r"(?m)^appVersion:.*$", 'appVersion: "999.0.0"', text), encoding="utf-8")
    return copy
