"""A certificate authority for tests, and what it issues: servers on this machine, and clients. Files are PEM."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_ORGANISATION = "Deskbus tests"


@dataclass(frozen=True)
class Issued:
    """A certificate and its key, and one file with both."""

    certificate: Path
    key: Path
    both: Path
    expires: datetime

    def replace_by(self, other: "Issued") -> None:
        """Put the other's content into these files, each in one step, as a rotated secret is."""
        for mine, its in ((self.certificate, other.certificate), (self.key, other.key), (self.both, other.both)):
            new = mine.with_suffix(".new")
            new.write_bytes(its.read_bytes())
            new.replace(mine)


class Authority:
    """Its own certificate is `ca`, which clients and servers trust."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._count = folder, 0
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _subject(f"{name} of tests")
        usage = x509.KeyUsage(
            digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
            data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        self.ca = folder / f"{name}.pem"
        built = self._builder(self._name, self._key.public_key(), days=1).add_extension(usage, critical=True)
        built = built.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.ca.write_bytes(built.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def issue(
        self, name: str, *, hosts: Sequence[str] = ("127.0.0.1",), days: float = 1, begins: float = -30
    ) -> Issued:
        """Issue a certificate for a server at these addresses, which is a client with this common name as well.

        It is valid from `begins` to `days`, in days from now.
        """
        self._count += 1
        key = ec.generate_private_key(ec.SECP256R1())
        uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        names = [x509.DNSName("localhost"), *(x509.IPAddress(ip_address(host)) for host in hosts)]
        builder = (
            self._builder(_subject(name), key.public_key(), days=days, begins=begins)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        )
        made = builder.sign(self._key, hashes.SHA256())
        certificate = made.public_bytes(serialization.Encoding.PEM)
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        stem = self._folder / f"{name}-{self._count}"
        paths = stem.with_suffix(".pem"), stem.with_suffix(".key"), stem.with_suffix(".both")
        for path, content in zip(paths, (certificate, secret, certificate + secret), strict=True):
            path.write_bytes(content)
        return Issued(*paths, made.not_valid_after_utc)

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, days: float, begins: float = -30
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)  # noqa: TID251 - OpenSSL looks at the real clock
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + timedelta(days=begins))
            .not_valid_after(now + timedelta(days=days))
        )


def _subject(name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, _ORGANISATION),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )
