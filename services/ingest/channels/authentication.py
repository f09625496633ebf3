"""Whether the From address of a mail is authenticated, according to our own mail server or to verified DKIM domains.

Rule (RFC 8601, sections 1.2 and 5): an Authentication-Results header counts only if it has the configured authserv-id,
since anybody can add one with another. Pure: `signatures.py` verifies DKIM, with DNS.
"""

from __future__ import annotations

from email.message import Message

import authres

from contracts.ticket import Authentication
from services.ingest.accounts import Account
from services.ingest.channels import headers as heads

_HEADER = "authentication-results"
_MAX_CHARACTERS = 16_000


def authentication(
    headers: Message, address: str, account: Account, signed_by: tuple[str, ...] | None
) -> Authentication | None:
    """Return whether `address` is authenticated; None if the account has neither `authserv_id` nor `check_dkim`.

    `signed_by` are the domains with valid DKIM signatures, if Deskbus verified them itself.
    """
    if account.authserv_id is None and not account.check_dkim:
        return None
    authors = heads.addresses(heads.every(headers, "from"))
    if len(heads.every(headers, "from")) != 1 or [author for _, author in authors] != [address]:
        return Authentication.NONE  # results are about a single From address
    domain = address.rpartition("@")[2].lower()
    if account.authserv_id is not None:
        return _from_results(headers, domain, account.authserv_id)
    return Authentication.PASS if any(_aligned(domain, each) for each in signed_by or ()) else Authentication.NONE


def _from_results(headers: Message, domain: str, authserv_id: str) -> Authentication:
    """Read the topmost header with our authserv-id. Those below it may have been part of the received mail."""
    for value in heads.every(headers, _HEADER, _MAX_CHARACTERS):
        if _host(value) == authserv_id.lower():
            return _verdict(value, domain)
    return Authentication.NONE


def _host(value: str) -> str:
    return (value.split(";", 1)[0].split() or [""])[0].lower()


def _verdict(value: str, domain: str) -> Authentication:
    try:
        found = authres.AuthenticationResultsHeader.parse_value(value).results
    except (authres.AuthResError, ValueError, IndexError, RecursionError):
        return Authentication.NONE
    results = [
        (
            str(each.method).lower(),
            str(each.result).lower(),
            {f"{p.type}.{p.name}".lower(): p.value for p in each.properties},
        )
        for each in found
    ]
    for method, result, properties in results:
        if method == "dmarc" and _domain(properties.get("header.from", domain)) == domain:
            if result == "pass":
                return Authentication.PASS
            if result == "fail":
                return Authentication.FAIL
    proven = any(
        result == "pass" and _aligned(domain, _signer(method, properties)) for method, result, properties in results
    )
    return Authentication.PASS if proven else Authentication.NONE


def _signer(method: str, properties: dict[str, str | None]) -> str:
    """Return the domain that a method authenticated; "" for an unknown method."""
    names = {"dkim": ("header.d", "header.i"), "spf": ("smtp.mailfrom",)}.get(method, ())
    return next((_domain(value) for name in names if (value := properties.get(name))), "")


def _domain(value: str | None) -> str:
    return (value or "").rpartition("@")[2].strip(". ").lower()


def _aligned(domain: str, signer: str) -> bool:
    """Whether `signer` is the domain itself or a parent of it.

    Stricter than DMARC's relaxed alignment (RFC 7489, section 3.1), which requires the public suffix list.
    """
    signer = signer.lower()
    return "." in signer and (domain == signer or domain.endswith(f".{signer}"))
