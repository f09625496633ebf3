"""The checks that the demo must pass, from events, receivers and the audit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from cli.collector import Report
from cli.demo.receivers import Inbox
from cli.traffic import provider_urls
from contracts import assignments, notifications, sla, tickets
from contracts.envelope import Event
from kit.policy.file import load
from services.ingest.policy_file import AccountsFile

POLICY = Path(__file__).parents[2] / "deploy" / "config" / "demo" / "ingest.yaml"
PROVIDERS = (*(path.strip("/") for path in provider_urls("").values()), "mail")


def checks(
    events: Iterable[Event], inbox: Inbox, report: Report, *, sent: int, twice: int, retries: int, settled: bool
) -> Iterator[tuple[str, bool]]:
    """Yield each check and whether it passed."""
    payloads = [event.data for event in events]

    def seen(kind: type) -> bool:
        return any(isinstance(data, kind) for data in payloads)

    answers = [data for data in payloads if isinstance(data, tickets.MessageSent)]
    taken = sum(isinstance(data, tickets.TicketOpened | tickets.MessageReceived) for data in payloads)
    replies = sum(len(inbox.of(name)) for name in PROVIDERS) - len(_notices(inbox))
    languages = {data.ticket.language for data in payloads if isinstance(data, tickets.TicketOpened)}
    channels = {data.ticket.channel for data in payloads if isinstance(data, tickets.TicketOpened)}
    expected = {account.carries for account in load(POLICY, AccountsFile).accounts}
    came = report.counts["inbound"]
    repeated = f"{twice} sent twice on purpose" + (f", {came - twice - sent} by a retry" if came > twice + sent else "")
    yield (
        f"{came} messages received ({repeated}); {taken} handled",
        received(came, taken, sent=sent, twice=twice, retries=retries),
    )
    yield f"tickets from every channel: {', '.join(sorted(channels))}", channels == expected
    yield f"in four languages: {', '.join(sorted(filter(None, languages)))}", {"th", "pl", "ko", "en"} <= languages
    yield "a clock ran out and was announced", seen(sla.ClockBreached)
    yield "the escalation reached its second step", _second_step(payloads)
    firing = [each for name in ("lead", "oncall") for each in inbox.of(name) if _kind(each.document) == "firing"]
    yield "the alarm reached the local receivers with valid signatures", len(firing) >= 3
    yield "the escalation was acknowledged over REST", seen(notifications.EscalationAcknowledged)
    late = [data for data in payloads if isinstance(data, notifications.EscalationResolved)]
    yield "the late reply ended the escalation", any(data.reason == "stopped_late" for data in late)
    yield "replies stopped clocks", seen(sla.ClockMet)
    yield f"every reply reached its customer once: {len(answers)} sent, {replies} arrived", len(answers) == replies > 0
    yield "nothing was refused by the receivers", not inbox.refused
    requeued = [
        d.ticket_id for d in payloads if isinstance(d, assignments.TicketUnassigned) and d.reason == "agent_offline"
    ]
    assigned = [d.ticket_id for d in payloads if isinstance(d, assignments.TicketAssigned)]
    reassigned = bool(requeued) and all(assigned.count(ticket) > 1 for ticket in requeued)
    yield f"all tickets of the agent who left were assigned to others: {len(requeued)}", reassigned
    yield "no work was left unfinished", settled
    yield "audit: clean, every message accounted for, gaps 0, duplicates in effect 0", report.holds(settled=True)


def received(came: int, taken: int, *, sent: int, twice: int, retries: int) -> bool:
    """Whether ingest handled each message once, though it may have accepted one again for each retry of a client."""
    return taken == sent > 0 and 0 <= came - twice - sent <= retries


def _second_step(payloads: list[object]) -> bool:
    return any(isinstance(data, notifications.EscalationStepReached) and data.step == 1 for data in payloads)


def _kind(document: object) -> str:
    data = document.get("data") if isinstance(document, dict) else None
    return str(data.get("kind")) if isinstance(data, dict) else ""


def _notices(inbox: Inbox) -> list[object]:
    """Return the mails of notify, which are not replies to customers."""
    return [each for each in inbox.of("mail") if each.document["to"] == ["workforce@nimbus.example"]]
