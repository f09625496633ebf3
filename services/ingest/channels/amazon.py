"""Amazon's buyer messages: mail from an alias that stands for one buyer of one seller. Built on `email`.

Rule: replies go to an alias only, and keep it as it is. Amazon writes the headers of every mail anew, so a conversation
is the buyer's alias and the order, not a thread of Message-IDs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from contracts.contacts import Identity
from contracts.inbound import InboundRecord
from contracts.ticket import Attachment, Authentication, Channel, Market
from kit.policy.secrets import Secrets
from services.ingest.accounts import Account, Accounts, without_tag
from services.ingest.channels import email
from services.ingest.channels import headers as heads
from services.ingest.channels.compose import compose
from services.ingest.core.messages import (
    DeliveryStatus,
    Faulty,
    HttpCall,
    Inbound,
    InboundMessage,
    MailOut,
    OutgoingReply,
    SendOutcome,
    Unsendable,
)

NAME = "amazon"
CHANNEL = Channel.MARKETPLACE.value
NEEDS: tuple[str, ...] = ("addresses",)
ONE_FILE_PER_MESSAGE = False
IDEMPOTENT = False
#: Amazon counts every day, weekends included.
ANSWER_WITHIN = timedelta(hours=24)
MAX_FILES_BYTES = 10 * 1000 * 1000

_COUNTRIES = {
    "ae": "AE", "ca": "CA", "co.jp": "JP", "co.uk": "GB", "co.za": "ZA", "com": "US", "com.au": "AU", "com.be": "BE",
    "com.br": "BR", "com.mx": "MX", "com.tr": "TR", "de": "DE", "eg": "EG", "es": "ES", "fr": "FR", "ie": "IE",
    "in": "IN", "it": "IT", "nl": "NL", "pl": "PL", "sa": "SA", "se": "SE", "sg": "SG",
}  # fmt: skip
_SITES = "|".join(map(re.escape, sorted(_COUNTRIES)))
_ALIAS = re.compile(rf"[^@\s]+@marketplace\.amazon\.({_SITES})")
_AMAZON = re.compile(rf"[^@\s]+@(?:[a-z0-9-]+\.)*amazon\.(?:{_SITES})")
_ORDER = re.compile(r"(?<![\d-])(\d{3}-\d{7}-\d{7})(?![\d-])")
_ASIN = re.compile(r"\bASIN\b[:\s#]{0,5}([0-9A-Z]{10})\b")
#: A line of its own, so that a sentence with these words is not taken for the notice.
_NO_RESPONSE = re.compile(
    r"^[ \t*\[(\"“„]*(?:(?:this )?(?:message|buyer)[^\n]{0,60}\b)?"
    r"(?:no response (?:is )?(?:needed|required|necessary)|keine antwort (?:erforderlich|notwendig|nötig)"
    r"|aucune réponse (?:n'est )?(?:nécessaire|requise)|no (?:se necesita|se requiere|es necesaria(?: una)?) respuesta"
    r"|(?:non è richiesta )?nessuna risposta (?:necessaria|richiesta)|odpowiedź nie jest wymagana|返信不要)"
    r"[\])\"”“.!。]*[ \t]*$",
    re.IGNORECASE | re.MULTILINE,
)


def contact_key(raw: bytes) -> str:
    """Return the author's address without its tag, so that the mails of one buyer stay in one partition."""
    headers = heads.read(raw[: email.HEADER_BYTES])
    authors = heads.addresses(heads.every(headers, "from"))
    return without_tag(authors[0][1]) if authors else email.contact_key(raw)


def parse(record: InboundRecord, account: Account, accounts: Accounts, secrets: Secrets) -> list[Inbound]:
    """Return the delivery statuses of a report, or the message."""
    found = email.parse(record, account, accounts, secrets)
    statuses: list[Inbound] = [replace(each, channel=CHANNEL) for each in found if isinstance(each, DeliveryStatus)]
    if statuses:
        return statuses  # the report's text names no buyer, so it would open a ticket of its own
    return [_message(each, account) if isinstance(each, InboundMessage) else each for each in found]


def _message(mail: InboundMessage, account: Account) -> InboundMessage | Faulty:
    assert mail.mail is not None
    author = mail.mail.sender
    site = _ALIAS.fullmatch(author)
    proven = mail.mail.authentication
    buyer = without_tag(author)
    body = mail.text_full or mail.text
    order = _ORDER.search(mail.subject or "") or _ORDER.search(body)
    asin = _ASIN.search(body) or _ASIN.search(mail.subject or "")
    # A mail that Amazon did not sign, although that is checked, does not join the buyer's conversation.
    trusted = proven in {None, Authentication.PASS}
    conversation = f"{buyer}:{order[1]}" if order else buyer
    because = mail.automated_because or _automated_because(mail, author)
    reply_to = mail.sender.address or author
    return replace(
        mail,
        channel=CHANNEL,
        sender=replace(
            mail.sender,
            identities=(Identity(channel=CHANNEL, id=buyer, verified=proven is Authentication.PASS),),
            address=reply_to if _ALIAS.fullmatch(reply_to) else author,
            email=None if site else author,
        ),
        conversation=conversation if trusted else f"unproven:{conversation}",
        in_reply_to=None,
        mail=None,
        automated_because=because,
        market=mail.market or _market(site, account),
        order_ref=order[1] if order else None,
        listing=asin[1] if asin else None,
        reply_by=mail.sent_at + ANSWER_WITHIN if site is not None and because is None else None,
    )


def _automated_because(mail: InboundMessage, author: str) -> str | None:
    """Return why a mail of Amazon's needs no answer; None if it does, or if its author is somebody else."""
    if not _ALIAS.fullmatch(author):
        return "a notice of Amazon" if _AMAZON.fullmatch(author) else None
    said = f"{mail.subject or ''}\n{mail.text_full or mail.text}"
    return "no response needed" if _NO_RESPONSE.search(said) else None


def _market(site: re.Match[str] | None, account: Account) -> Market | None:
    if site is None:
        return None
    own = account.market.market()
    return Market(marketplace=own.marketplace or NAME, country=_COUNTRIES[site[1]])


def render(reply: OutgoingReply, account: Account, secrets: Secrets) -> MailOut:  # noqa: ARG001 - the relay logs in
    """Return a mail from the authorised address to the alias. Raises Unsendable for any other recipient."""
    if not _ALIAS.fullmatch(reply.to.lower()):
        raise Unsendable("the recipient is not an alias of Amazon's, and replies go to those only")
    size = sum(len(file.content or b"") for file in reply.files)
    if size > MAX_FILES_BYTES:
        raise Unsendable("Amazon takes at most 10 MB of files per message, in total")
    return compose(reply, account, account.addresses[0])


def outcome(status: int, headers: Mapping[str, str], body: bytes) -> SendOutcome:
    """Return the outcome for an SMTP reply code. Amazon refuses a sender that is not authorised by a later report."""
    return email.outcome(status, headers, body)


def original(file: Attachment, account: Account, secrets: Secrets) -> HttpCall:
    """Return the request for a file with a URL; files of mails are stored already. Raises Unsendable without one."""
    return email.original(file, account, secrets)


def message_ids(body: bytes) -> list[str] | None:
    """Return the Message-ID, or None if the mail has none."""
    return email.message_ids(body)
