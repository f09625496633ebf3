"""The table of sinks. A sink is one file: the keys of its receivers, and the class that delivers to them.

A sink returns an outcome of core.settle and raises nothing that it can foresee. A resend has the ids of the first try.
No rule of escalation is here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from contracts.notifications import SinkName
from kit.http_client import HttpClient
from kit.policy.secrets import Secrets
from services.notify.core.policy import Receiver
from services.notify.sinks.base import Notification, Sink
from services.notify.sinks.email import EmailReceiver, EmailSink, Relay
from services.notify.sinks.slack import SlackReceiver, SlackSink
from services.notify.sinks.webhook import WebhookReceiver, WebhookSink

__all__ = ["SINKS", "Notification", "Relay", "Sink", "Transports", "build_sinks"]


@dataclass(frozen=True, slots=True)
class Transports:
    """What sinks send by."""

    http_client: HttpClient
    relay: Relay
    secrets: Secrets


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of sink: what a receiver of it is in the policy file, and how the sink is made."""

    receiver: type[Receiver]
    build: Callable[[Transports], Sink]


SINKS: Mapping[str, Kind] = {
    SinkName.WEBHOOK: Kind(WebhookReceiver, lambda by: WebhookSink(by.http_client, by.secrets)),
    SinkName.SLACK: Kind(SlackReceiver, lambda by: SlackSink(by.http_client, by.secrets)),
    SinkName.EMAIL: Kind(EmailReceiver, lambda by: EmailSink(by.relay, by.secrets)),
}
"""Every sink by its name in policy files, events and metrics; all of these follow from this table."""


def build_sinks(transports: Transports) -> dict[str, Sink]:
    """Make all sinks, by name."""
    return {name: kind.build(transports) for name, kind in SINKS.items()}
