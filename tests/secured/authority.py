"""Certificates and tokens for tests: a CA that signs servers and clients, and an issuer of JWTs with its JWKS."""

from __future__ import annotations

import base64
import ipaddress
import json
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID

from kit.base.clock import SystemClock

_DAY = timedelta(days=1)


class Authority:
    """A certificate authority."""

    def __init__(self, name: str = "test authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        self.certificate = self._signed(self._name, self._key.public_key(), ca=True)

    @property
    def pem(self) -> str:
        """The authority's own certificate."""
        return _pem(self.certificate)

    def issue(self, name: str, *, lasts: timedelta = _DAY, password: bytes | None = None) -> tuple[str, str]:
        """Return a certificate for 127.0.0.1, for servers and clients, and its key. `password` encrypts it."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._signed(_named(name), key.public_key(), lasts=lasts)
        hidden = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        form = serialization.PrivateFormat.PKCS8
        return _pem(certificate), key.private_bytes(serialization.Encoding.PEM, form, hidden).decode()

    def renew(self, certificate: str) -> str:
        """Return another certificate for the same name and key."""
        former = x509.load_pem_x509_certificate(certificate.encode())
        key = former.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        return _pem(self._signed(former.subject, key))

    def _signed(
        self, name: x509.Name, key: ec.EllipticCurvePublicKey, *, ca: bool = False, lasts: timedelta = _DAY
    ) -> x509.Certificate:
        now = SystemClock().now()
        local = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _DAY)
            .not_valid_after(now + lasts)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if not ca:
            builder = builder.add_extension(local, critical=False)
        return builder.sign(self._key, hashes.SHA256())


class Issuer:
    """An issuer of tokens, which a broker checks by the issuer's public key in a JWKS file."""

    url = "https://login.invalid"
    audience = "deskbus-kafka"

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())

    def jwks(self) -> str:
        """Return the key set."""
        numbers = self._key.public_key().public_numbers()
        point = {axis: _base64(value.to_bytes(32)) for axis, value in (("x", numbers.x), ("y", numbers.y))}
        return json.dumps({"keys": [{"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": "1", **point}]})

    def token(self, user: str, *, lasts: float = 600) -> str:
        """Return a token for a user; one that has ended already, if `lasts` is negative."""
        now = SystemClock().now().timestamp()
        claims = {"sub": user, "iss": self.url, "aud": self.audience, "iat": int(now - 3600), "exp": int(now + lasts)}
        head = {"alg": "ES256", "kid": "1", "typ": "JWT"}
        signed = ".".join(_base64(json.dumps(part).encode()) for part in (head, claims))
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_base64(r.to_bytes(32) + s.to_bytes(32))}"


def write(folder: Path, **contents: str) -> dict[str, Path]:
    """Write files that only their owner may read, such as `ca`; return where they are."""
    files = {name: folder / f"{name}.pem" for name in contents}
    for name, file in files.items():
        file.touch(mode=0o600)
        file.write_text(contents[name], encoding="utf-8")
    return files


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
