"""A MongoDB server with TLS and authentication, started for a test: users with a password or a certificate.

All three servers that `deploy.local` knows check passwords, certificates and each user's databases.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from deploy.local.mongo import MongoServer, choose
from tests.pki import Authority, Issued

_ROOT = ("root", "pass of root")


class SecureMongo(MongoServer):
    def __init__(self, directory: Path, port: int, authority: Authority) -> None:
        super().__init__(directory, port, choose())
        self.authority, self.issued = authority, authority.issue("mongo-server")
        self._checks = False

    @property
    def address(self) -> str:
        return f"{super().address}&tls=true&tlsCAFile={quote_plus(str(self.authority.ca))}"

    def command(self) -> list[str]:
        issued, ca = self.issued, str(self.authority.ca)
        if self.kind == "mongod":
            tls = ["--tlsMode", "requireTLS", "--tlsCertificateKeyFile", str(issued.both), "--tlsCAFile", ca]
            return [*super().command(), *self._auth(), *tls, "--tlsAllowConnectionsWithoutCertificates"]
        tls = ["--tls-cert-file", str(issued.certificate), "--tls-key-file", str(issued.key), "--tls-ca-file", ca]
        return [*super().command(), *self._auth(), *tls]

    def _auth(self) -> list[str]:
        return ["--auth"] if self._checks else []

    def answers(self) -> bool:
        try:
            with MongoClient[dict[str, Any]](self.address, serverSelectionTimeoutMS=500) as client:
                return bool(client.admin.command("hello")["isWritablePrimary"])
        except PyMongoError:
            return False

    def begin(self) -> None:
        """Start, with an administrator: created while nobody is checked, as not every server lets the first user in."""
        self.start()
        self.wait_ready()
        with MongoClient[dict[str, Any]](self.address) as client:
            client.admin.command("createUser", _ROOT[0], pwd=_ROOT[1], roles=["root"])
        self.stop()
        self._checks = True
        self.start()
        self.wait_ready()

    def ask(self, database: str, command: str, value: str, **options: Any) -> None:
        """Run a command as an administrator."""
        with MongoClient[dict[str, Any]](self.address, username=_ROOT[0], password=_ROOT[1]) as client:
            client[database].command(command, value, **options)

    def make_user(self, name: str, password: str, databases: Sequence[str]) -> None:
        """Create a user who may read and write these databases."""
        roles = [{"role": "readWrite", "db": database} for database in databases]
        self.ask("admin", "createUser", name, pwd=password, roles=roles)

    def make_certificate_user(self, subject: str, database: str) -> None:
        """Create a user that a certificate with this subject proves."""
        options = {"mechanisms": ["MONGODB-X509"]} if self.kind == "pip" else {}  # which wants to be told
        self.ask("$external", "createUser", subject, roles=[{"role": "readWrite", "db": database}], **options)

    def url(self, user: str, password: str) -> str:
        """Return the connection string of a user with a password."""
        credentials = f"{quote_plus(user)}:{quote_plus(password)}@"
        return self.address.replace("mongodb://", f"mongodb://{credentials}", 1)

    def certificate_url(self, issued: Issued) -> str:
        """Return the connection string of a user with a certificate."""
        key_file = quote_plus(str(issued.both))
        return f"{self.address}&authMechanism=MONGODB-X509&tlsCertificateKeyFile={key_file}"
