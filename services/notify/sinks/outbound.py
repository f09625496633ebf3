"""One outgoing POST of a sink, and what its answer means where the sink has no rule of its own."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from kit.http_client import Answer, Forbidden, HttpClient, Unreached
from services.notify.core.settle import PermanentFailure, TemporaryFailure


async def post(
    http_client: HttpClient, url: str, headers: Mapping[str, str], body: bytes
) -> Answer | TemporaryFailure | PermanentFailure:
    """Send it once; what no answer came to is an outcome already."""
    try:
        return await http_client.call("POST", url, headers, body)
    except Forbidden as fault:
        return PermanentFailure(str(fault))
    except Unreached as fault:
        return TemporaryFailure(str(fault), unsure=fault.unsure)


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds that the receiver asks us to wait: a number or a date."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds())


def refusal(answer: Answer, now: datetime) -> TemporaryFailure | PermanentFailure:
    """What a status that is no success means, where the sink has no rule of its own."""
    said = f"status {answer.status}: {answer.excerpt()}" if answer.body else f"status {answer.status}"
    if answer.status == 410:
        return PermanentFailure(said, 410, gone=True)
    if 300 <= answer.status < 400:
        return PermanentFailure(f"redirects are not followed: {said}", answer.status)
    # A receiver that is being repaired answers 401, 404 or 5xx for hours: only 410 says that it will not come back.
    return TemporaryFailure(said, answer.status, retry_after(answer.headers, now))
