"""A real Kubernetes API server with etcd, the other operators' definitions and a way to talk to it. No controllers run.

So objects are validated, defaulted, admitted and stored as in a cluster; no Deployment makes a pod and no Job runs.
"""

import json
import secrets
import ssl
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from deploy.check.context import Context, Failed
from deploy.local.process import Server, free_port

NEEDS = ("etcd", "kube-apiserver", "kubectl", "helm", "crds")
_SECONDS = 60.0
_RESTRICTED = ("enforce", "warn", "audit")


class Etcd(Server):
    name = "etcd"

    def __init__(self, directory: Path, program: Path) -> None:
        super().__init__(directory, free_port())
        self._program = program
        self._peer = free_port()

    @property
    def address(self) -> str:
        return f"http://{self.host}:{self.port}"

    def command(self) -> list[str]:
        peer = f"http://{self.host}:{self._peer}"
        clients = ["--listen-client-urls", self.address, "--advertise-client-urls", self.address]
        peers = ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
        members = ["--initial-cluster", f"default={peer}"]
        return [str(self._program), "--data-dir", str(self.directory / "data"), *clients, *peers, *members]

    def answers(self) -> bool:
        return _get(f"{self.address}/health")


class ApiServer(Server):
    name = "kube-apiserver"

    def __init__(self, directory: Path, program: Path, etcd: str) -> None:
        super().__init__(directory, free_port())
        self._program = program
        self._etcd = etcd
        self.token = secrets.token_urlsafe(32)

    @property
    def address(self) -> str:
        return f"https://{self.host}:{self.port}"

    @property
    def certificate(self) -> Path:
        return self.directory / "apiserver.crt"

    def command(self) -> list[str]:
        key = self.directory / "service-accounts.key"
        made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        key.write_bytes(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        tokens = self.directory / "tokens.csv"
        tokens.write_text(f"{self.token},check,check,system:masters\n", encoding="ascii")
        options = {
            "etcd-servers": self._etcd,
            "bind-address": self.host,
            "secure-port": self.port,
            "cert-dir": self.directory,
            "token-auth-file": tokens,
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-key-file": key,
            "service-account-signing-key-file": key,
            "service-cluster-ip-range": "10.0.0.0/24",
            "authorization-mode": "RBAC",
            "allow-privileged": "true",  # so that it is the namespace's standard that refuses
            # Without controllers no account gets its token or a namespace its `default` account.
            "disable-admission-plugins": "ServiceAccount",
        }
        return [str(self._program), *(f"--{name}={value}" for name, value in options.items())]

    def answers(self) -> bool:
        return self.certificate.exists() and _get(f"{self.address}/readyz", self.certificate, self.token)


def _get(url: str, certificate: Path | None = None, token: str = "") -> bool:
    """Whether a server answers 200."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    trust = ssl.create_default_context(cafile=str(certificate)) if certificate else False
    try:
        with httpx.Client(verify=trust, trust_env=False, timeout=2) as client:  # no proxy: it is on this machine
            return client.get(url, headers=headers).status_code == 200
    except httpx.HTTPError:
        return False


class Cluster:
    """Runs kubectl and helm against the server, with nothing of the user's own configuration."""

    def __init__(self, context: Context, server: ApiServer) -> None:
        self._context = context
        home = context.work / "home"
        home.mkdir()
        configuration = home / "kubeconfig"
        named = {"cluster": "check", "user": "check"}
        configuration.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "check",
                    "contexts": [{"name": "check", "context": named}],
                    "clusters": [
                        {
                            "name": "check",
                            "cluster": {"server": server.address, "certificate-authority": str(server.certificate)},
                        }
                    ],
                    "users": [{"name": "check", "user": {"token": server.token}}],
                }
            ),
            encoding="utf-8",
        )
        self._environment = {"KUBECONFIG": str(configuration), "HOME": str(home), "HELM_DRIVER": "secret"}

    def kubectl(self, *words: str | Path, text: str | None = None) -> subprocess.CompletedProcess[str]:
        return self._attempt("kubectl", words, text)

    def must(self, *words: str | Path, text: str | None = None) -> None:
        """Run kubectl for what no check is about."""
        done = self.kubectl(*words, text=text)
        if done.returncode != 0:
            raise Failed(f"kubectl {words[0]}: {done.stderr}")

    def helm(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        return self._attempt("helm", words, None)

    def _attempt(self, tool: str, words: Sequence[str | Path], text: str | None) -> subprocess.CompletedProcess[str]:
        return self._context.attempt([self._context.tool(tool), *words], env=self._environment, text=text)

    def namespace(self, name: str) -> str:
        """Create a namespace in which only pods of the `restricted` standard may run; return its name."""
        labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in _RESTRICTED}
        made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        self.must("apply", "-f", "-", text=json.dumps(made))
        return name


def cluster(context: Context) -> Cluster:
    """Return the run's API server, which the first check that asks starts."""
    return context.once("cluster", _start)


def _start(context: Context) -> Cluster:
    directory = context.work / "cluster"
    directory.mkdir()
    etcd = Etcd(directory / "etcd", context.tool("etcd"))
    server = ApiServer(directory / "apiserver", context.tool("kube-apiserver"), etcd.address)
    for part in (etcd, server):
        context.stack.callback(part.stop)
        part.start()
        part.wait_ready(120)
    made = Cluster(context, server)
    # Not `apply`, whose annotation would be larger than the server allows.
    made.must("create", "-f", context.tool("crds"))
    deadline = time.monotonic() + _SECONDS
    while not _established(made):
        if time.monotonic() > deadline:
            raise Failed(f"the server does not serve all definitions after {_SECONDS:.0f} s")
        time.sleep(0.2)
    return made


def _established(server: Cluster) -> bool:
    """Whether the server serves all definitions. `kubectl wait` takes one that has no conditions yet for an error."""
    listed = json.loads(server.kubectl("get", "crd", "-o", "json").stdout)
    conditions = [item["status"].get("conditions") or [] for item in listed["items"]]
    return all(any(one["type"] == "Established" and one["status"] == "True" for one in each) for each in conditions)
