"""The index of channels, docs/channels/README.md, from the table in services/ingest/channels/."""

import inspect

from services.ingest.channels import CHANNELS, WEBHOOKS, Channel, Webhook

_HEAD = """\
# Channels

Generated from the code by `python -m deploy.reference`; do not edit. The page of a channel says how to set it up, what
is mapped, and its limits. [How to add one](../../CONTRIBUTING.md#add-a-channel).

The name is the one in URLs (`/v1/channels/<name>/webhook`), accounts and metrics; *tickets* is the channel that its
tickets have. *Accepted* and *refused* are the answers to a webhook whose signature is right or wrong, *verification* is
the method of verification requests that are answered. *Repeats*: whether a reply that may have arrived is sent again,
since the other side recognises it.
"""


def page() -> str:
    """Return the page."""
    heads = ("channel", "tickets", "signature", "accepted", "refused", "verification", "repeats")
    rows = [_row(name, channel) for name, channel in sorted(CHANNELS.items())]
    table = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads), *(f"| {' | '.join(row)} |" for row in rows)]
    return _HEAD + "\n" + "\n".join(table) + "\n"


def _row(name: str, channel: Channel) -> tuple[str, ...]:
    hook = WEBHOOKS.get(name)
    answers = ("no webhook", "", "", "") if hook is None else _answers(hook)
    return (f"[{name}]({name}.md)", channel.CHANNEL, *answers, "yes" if channel.IDEMPOTENT else "no")


def _answers(hook: Webhook) -> tuple[str, ...]:
    success = hook.SUCCESS
    accepted = f"{success.status} {success.media_type}" if success.body else str(success.status)
    return (_signature(hook), accepted, str(hook.REFUSAL_STATUS), ", ".join(hook.CHALLENGES) or "none")


def _signature(hook: Webhook) -> str:
    """Return the first sentence of what `verify` says of itself."""
    first = " ".join((inspect.getdoc(hook.verify) or "").split("\n\n")[0].split()).split(". ")[0]
    said = first.removeprefix("Verify ").rstrip(".")
    return (said[:1].upper() + said[1:]).replace("|", "\\|")
