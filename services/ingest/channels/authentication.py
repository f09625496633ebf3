"""Whether the sender of a mail is who its From says: what our own mail server found, or DKIM that was checked here.

Rule (RFC 8601, sections 1.2 and 5): an Authentication-Results header counts only if the configured host of ours wrote
it; anybody may write one in the name of another host. Pure: signatures are checked elsewhere, with DNS.
"""

from __future__ import annotations

from email.message import Message

import authres

from contracts.ticket import Authentication
from services.ingest.accounts import Account
from services.ingest.channels import headers as heads

_HEADER = "authentication-results"
_LONGEST = 16_000


def authentication(
    headers: Message, address: str, account: Account, signed_by: tuple[str, ...] | None
) -> Authentication | None:
    """Return what is known about the sender `address`; None where the account neither reads nor checks.

    `signed_by` are the domains whose DKIM signatures are right, where Deskbus checks them itself.
    """
    if account.authserv_id is None and not account.check_dkim:
        return None
    authors = heads.addresses(heads.every(headers, "from"))
    if len(heads.every(headers, "from")) != 1 or [author for _, author in authors] != [address]:
        return Authentication.NONE  # what is proven is proven of one From address, and of nothing else
    domain = address.rpartition("@")[2].lower()
    if account.authserv_id is not None:
        return _told(headers, domain, account.authserv_id)
    return Authentication.PASS if any(_aligned(domain, each) for each in signed_by or ()) else Authentication.NONE


def _told(headers: Message, domain: str, own: str) -> Authentication:
    """Read the topmost header of our own host. One below it may have come in with the mail."""
    for value in heads.every(headers, _HEADER, _LONGEST):
        if _host(value) == own.lower():
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
    for method, result, said in results:
        if method == "dmarc" and _domain(said.get("header.from", domain)) == domain:
            if result == "pass":
                return Authentication.PASS
            if result == "fail":
                return Authentication.FAIL
    proven = any(result == "pass" and _aligned(domain, _signer(method, said)) for method, result, said in results)
    return Authentication.PASS if proven else Authentication.NONE


def _signer(method: str, said: dict[str, str | None]) -> str:
    """Return the domain that a method speaks for."""
    names = {"dkim": ("header.d", "header.i"), "spf": ("smtp.mailfrom",)}.get(method, ())
    return next((_domain(value) for name in names if (value := said.get(name))), "")


def _domain(value: str | None) -> str:
    return (value or "").rpartition("@")[2].strip(". ").lower()


def _aligned(domain: str, signer: str) -> bool:
    """Whether who signed may speak for the domain: the domain itself, or one that it is below of.

    Narrower than DMARC's relaxed alignment (RFC 7489, section 3.1), which needs the list of public suffixes.
    """
    signer = signer.lower()
    return "." in signer and (domain == signer or domain.endswith(f".{signer}"))
