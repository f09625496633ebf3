"""The index of channels, docs/channels/README.md, from the table in services/ingest/channels/."""

import inspect

from services.ingest.channels import CHANNELS, WEBHOOKS, Channel, Webhook

_HEAD = """\
# Channels

Generated from the code by `python -m deploy.reference`; do not edit. The page of a channel says how to set it up, what
is mapped, and its limits. [How to write a new one](../../CONTRIBUTING.md#add-a-channel).

## Add an account

1. Put the account into ingest's policy file, `DESKBUS_INGEST_POLICY`. The YAML of a page is a complete file;
   [policies.md](../policies.md) has all keys. Set the secrets that it names as `env:NAME` or `file:/path`
   ([on Kubernetes](../install.md#in-production)). `deskbus check config DIR` checks it, beside the other three.
2. Changes of the file and of secrets in files are loaded within seconds, environment variables at startup only.
3. If the channel has a webhook, register `https://<your host>/v1/channels/<name>/webhook` with the provider. It needs a
   public address and a certificate that the provider trusts. `?account=NAME` names the account; without it, Deskbus
   takes the one whose `external_id` the body names. Some providers verify the URL at once, so add the account first.
4. Write to the account: `deskbus_ingest_accepted_total` of the channel rises, and `GET /v1/tickets` lists a ticket.
   If not, `deskbus_ingest_refused_total` has the reason
   ([DeskbusSignaturesRefused](../runbooks/DeskbusSignaturesRefused.md)), or the message is a
   [dead letter](../operations.md#dead-letters). If neither counter rises, the provider does not reach Deskbus.

The name is used in URLs, in `channel` of an account, and in metrics of what arrives. *Tickets* is the channel of its
tickets: rules match on that (`channel: marketplace`), and on the provider by `marketplace` or `account`
([ADR 22](../adr/0022-a-channel-is-not-its-provider.md)).

## All channels

*Accepted* and *refused* are the answers to a webhook with a right and a wrong signature, *verification* is the method
of verification requests, *repeats* says whether a reply that may have arrived is sent again, since the channel
deduplicates.
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
