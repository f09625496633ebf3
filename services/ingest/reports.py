"""Reports about messages that nobody knows yet: a channel may say "delivered" before its own answer has reached us.

Who keeps a report looks once more for the claim, and who claims looks for reports: one of them sees the other's. What
is never claimed was sent by another system through the same account, and expires.
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
    """Keeps them until their message is known."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def keep(self, reports: Sequence[StatusReport]) -> None:
        """Keep reports whose message has no claim."""
        rows = {row["_id"]: row for row in (_row(report) for report in reports)}
        if rows:
            await self._store.insert(EARLY, list(rows.values()))

    async def about(self, channel: str, account: str, channel_id: str, message_id: str) -> list[StatusReport]:
        """Return what was kept about a message that has its claim now, in the order in which it came."""
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
