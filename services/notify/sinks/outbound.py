"""HTTP for sinks: one POST, and what its response means unless the sink has rules of its own."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from kit.http_client import Answer, Forbidden, HttpClient, Unreached
from services.notify.core.settle import PermanentFailure, TemporaryFailure


async def post(
    http_client: HttpClient, url: str, headers: Mapping[str, str], body: bytes
) -> Answer | TemporaryFailure | PermanentFailure:
    """Make one request; return the response, or the outcome if there is none."""
    try:
        return await http_client.call("POST", url, headers, body)
    except Forbidden as fault:
        return PermanentFailure(str(fault))
    except Unreached as fault:
        return TemporaryFailure(str(fault), unsure=fault.unsure)


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the seconds to wait by the Retry-After header: a number or a date. None without a valid one."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds())


def refusal(answer: Answer, now: datetime) -> TemporaryFailure | PermanentFailure:
    """Return the outcome for a response without a success status."""
    error = f"status {answer.status}: {answer.excerpt()}" if answer.body else f"status {answer.status}"
    if answer.status == 410:
        return PermanentFailure(error, 410, gone=True)
    if 300 <= answer.status < 400:
        return PermanentFailure(f"redirects are not followed: {error}", answer.status)
    # A receiver under repair may answer 401, 404 or 5xx for hours; only 410 is final.
    return TemporaryFailure(error, answer.status, retry_after(answer.headers, now))
