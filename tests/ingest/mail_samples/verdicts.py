"""What a mail becomes in Deskbus, in a few words, and the table of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from contracts.dlq import DeadLetter
from contracts.inbound import HttpRequest
from services.ingest.channels import address_token, email
from services.ingest.core.messages import Delivery, DeliveryStatus, InboundMessage
from tests.ingest.channels.cases import CASES
from tests.ingest.worker_rig import Worker

TICKET = "0190163d-8694-739b-aea5-966c26f8ad91"
_CASE = CASES["email"]
TABLE = Path(__file__).parent / "table.md"
_HEAD = """\
# What sample mails become

Written by `python -m tests.ingest.mail_samples`. Each mail goes through the worker, and comes to the signed
address of a ticket. A *bounce* becomes facts about the mail that we sent, and an automatic message with its text. An
*automatic* message affects no clock and reopens nothing. CPython's mails are those of Python 3.11.
"""


async def verdict(raw: bytes) -> tuple[str, str]:
    """Return what becomes of a mail, and why. It goes through the worker, which must open a ticket or refuse it."""
    worker = Worker(accounts=_CASE.accounts, secrets=_CASE.secrets)
    assert await worker.take(worker.raw(raw, account=_CASE.account.name, channel=_CASE.name)) == set()
    if dead := worker.dead():
        assert worker.events() == []
        return "dead letter", DeadLetter.from_kafka(None, dead[0].value or b"", list(dead[0].headers)).error
    (_,) = worker.opened()
    return described(raw)


def described(raw: bytes) -> tuple[str, str]:
    """Return what a readable mail is. It comes to the address of a ticket, as a report on a reply of ours does."""
    to = address_token.mint(_CASE.account.addresses[0], TICKET, _CASE.secrets.secret(_CASE.account.signing))
    record = _CASE.record(raw).model_copy(update={"http": HttpRequest(method="SMTP", query={"rcpt_to": to})})
    found = email.parse(record, _CASE.account, _CASE.accounts, _CASE.secrets)
    (message,) = (each for each in found if isinstance(each, InboundMessage))
    told = [_status(each) for each in found if isinstance(each, DeliveryStatus)]
    if told:
        return "bounce", ", ".join(sorted(set(told)))
    return ("automatic", message.automated_because) if message.automated_because else ("message", "")


def _status(status: DeliveryStatus) -> str:
    state = (
        status.state.value if status.state is not Delivery.BOUNCED else "permanent" if status.permanent else "temporary"
    )
    return f"{state}: {status.recipient}"


def table(verdicts: Mapping[str, Mapping[str, tuple[str, str]]]) -> str:
    """Return the page for verdicts by source and file."""
    lines = [_HEAD.rstrip()]
    for source, rows in verdicts.items():
        lines += ["", f"## {source}", "", "| mail | becomes | because |", "|---|---|---|"]
        lines += [f"| {name} | {kind} | {_cell(why)} |" for name, (kind, why) in rows.items()]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def read_table() -> dict[str, dict[str, tuple[str, str]]]:
    """Return the committed table."""
    found: dict[str, dict[str, tuple[str, str]]] = {}
    source = ""
    for line in TABLE.read_text("utf-8").splitlines():
        if line.startswith("## "):
            source = line.removeprefix("## ")
            found[source] = {}
        elif line.startswith("| ") and not line.startswith("| mail |"):
            name, kind, why = (cell.strip() for cell in line.strip("|").split(" | "))
            found[source][name] = kind, why
    return found
