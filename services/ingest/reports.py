"""Delivery reports that arrive before the channel has returned the id of the message that they are about.

After storing a report, the worker looks for the claim once more. After claiming the id, the sender looks for reports.
So one of them finds the other's. Reports about messages that another system sent on the same account expire.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from contracts.values import to_instant
from kit.protocol.ports import Store
from services.ingest.core.arrivals import StatusReport
from services.ingest.core.messages import Delivery, DeliveryStatus
from services.ingest.core.threading import message_anchor
from services.ingest.store import EARLY


class EarlyReports:
    """Stores reports until their message is known."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def keep(self, reports: Sequence[StatusReport]) -> None:
        """Store reports whose message has no claim."""
        rows = {row["_id"]: row for row in (_row(report) for report in reports)}
        if rows:
            await self._store.insert(EARLY, list(rows.values()))

    async def about(self, channel: str, account: str, channel_id: str, message_id: str) -> list[StatusReport]:
        """Return the stored reports about a message, oldest first."""
        anchor = message_anchor(channel, account, channel_id)
        rows = await self._store.find(EARLY, {"anchor": anchor}, sort=[("at", 1)])
        return [StatusReport(_status(row), to_instant(row["at"]), message_id) for row in rows]


def _row(report: StatusReport) -> dict[str, Any]:
    status = report.status
    anchor = message_anchor(status.channel, status.account, status.channel_message_id)
    fields = {**asdict(status), "state": status.state.value}
    return {"_id": f"{anchor}:{status.state.value}", "anchor": anchor, "at": report.received_at, "status": fields}


def _status(row: dict[str, Any]) -> DeliveryStatus:
    fields = row["status"]
    return DeliveryStatus(**{**fields, "state": Delivery(fields["state"]), "at": to_instant(fields["at"])})
