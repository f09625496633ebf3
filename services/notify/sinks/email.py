"""Email through the relay of the settings.

The Message-ID is made from the notification's id, so a resend is the same mail. All mails of an escalation refer to one
root, so that mail programs show them as a thread.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from email.errors import MessageError
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from typing import Annotated, Literal

import aiosmtplib
from pydantic import Field

from contracts.values import OneOrMany
from kit.policy.address import Address
from kit.policy.secrets import Secrets, Unresolved
from kit.relay import RelaySession, TlsOptions, tls_options
from services.notify.core import text
from services.notify.core.policy import Receiver, Template
from services.notify.core.settle import Outcome, PermanentFailure, Sent, TemporaryFailure
from services.notify.settings import NotifySettings
from services.notify.sinks.base import Notification

MAX_SUBJECT = 200


@dataclass(frozen=True, slots=True)
class Relay:
    """The mail relay. The operator sets its address, so private ones are allowed."""

    host: str
    port: int
    sender: str
    user: str = ""
    password: str = ""
    """`env:NAME` or `file:/path`."""
    tls: TlsOptions = field(default_factory=lambda: tls_options("none"))
    seconds: float = 30.0

    @classmethod
    def from_settings(cls, settings: NotifySettings) -> Relay:
        """Return the relay that the settings name. Raises OSError if its CA file cannot be read."""
        tls = tls_options(settings.smtp_tls, settings.smtp_ca)
        return cls(
            settings.smtp_host,
            settings.smtp_port,
            settings.smtp_from,
            settings.smtp_user,
            settings.smtp_password,
            tls,
        )


class EmailReceiver(Receiver):
    """Mail addresses. The mail relay is configured in the service's settings."""

    sink: Literal["email"]
    """`email`."""
    to: Annotated[OneOrMany[Address], Field(min_length=1, max_length=20)]
    """Up to 20 addresses."""
    subject: Template = text.LINE
    """Template with facts by name, such as `$summary`, `$ticket`, `$agent`, `$queue`, `$priority`."""
    text: Template = text.LONG
    """Template with facts by name, such as `$summary`, `$ticket`, `$agent`, `$queue`, `$priority`."""


class EmailSink:
    """Sends mails."""

    def __init__(self, relay: Relay, secrets: Secrets) -> None:
        self._relay, self._secrets = relay, secrets

    async def deliver(self, notification: Notification) -> Outcome:
        """Make one attempt. A mail that one of several addresses accepts counts as sent."""
        relay = self._relay
        try:
            message = render(notification, relay.sender)
            session = RelaySession(
                hostname=relay.host,
                port=relay.port,
                username=relay.user or None,
                password=self._secrets.secret(relay.password) if relay.password else None,
                timeout=relay.seconds,
                **relay.tls,
            )
        except Unresolved as fault:
            return TemporaryFailure(str(fault))
        except (MessageError, ValueError) as fault:
            return PermanentFailure(f"{type(fault).__name__}: {fault}"[:300])
        try:
            async with session:
                await session.send_message(message, sender=parseaddr(relay.sender)[1])
        except aiosmtplib.SMTPRecipientsRefused as fault:
            codes = [refused.code for refused in fault.recipients]
            return _refusal(min(codes, default=550), "every address was refused")
        except aiosmtplib.SMTPAuthenticationError as fault:
            return TemporaryFailure(
                f"SMTP {fault.code}: {fault.message}"[:300], fault.code
            )  # until the password is fixed
        except aiosmtplib.SMTPResponseException as fault:
            return _refusal(fault.code, fault.message)
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as fault:
            return TemporaryFailure(f"{type(fault).__name__}: {fault}"[:300], unsure=session.left)
        except (MessageError, ValueError) as fault:
            return PermanentFailure(f"{type(fault).__name__}: {fault}"[:300])
        return Sent(250)


def _refusal(code: int, words: str) -> TemporaryFailure | PermanentFailure:
    error = f"SMTP {code}: {words}"[:300]
    return PermanentFailure(error, code) if 500 <= code < 600 else TemporaryFailure(error, code)


def render(notification: Notification, sender: str) -> EmailMessage:
    """Return the mail. The same notification gives the same mail."""
    receiver, planned, facts = notification.receiver, notification.planned, notification.facts()
    assert isinstance(receiver, EmailReceiver)
    domain = parseaddr(sender)[1].rpartition("@")[2]
    root = f"<{_local(notification.escalation_id)}@{domain}>"
    message = EmailMessage()
    message["From"] = sender
    message["To"] = ", ".join(receiver.to)
    message["Subject"] = text.one_line(text.render(receiver.subject, facts), MAX_SUBJECT)
    message["Date"] = format_datetime(planned.planned_at)
    message["Message-ID"] = f"<{planned.id}@{domain}>"
    message["In-Reply-To"] = root
    message["References"] = root
    message["Auto-Submitted"] = "auto-generated"
    message["X-Deskbus-Dedup-Key"] = text.one_line(notification.dedup_key, 200)
    message.set_content(text.render(receiver.text, facts))
    return message


def _local(value: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "-._") else "-" for c in value)[:100]
