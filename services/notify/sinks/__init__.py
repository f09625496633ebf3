"""The table of sinks. A sink is one file: the keys of its receivers, and the class that sends to them.

A sink returns an outcome of `core.settle` and raises no errors that it can foresee. Every attempt carries the same ids.
No rules of escalation here.
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
    """What the sinks share to send with."""

    http_client: HttpClient
    relay: Relay
    secrets: Secrets


@dataclass(frozen=True, slots=True)
class SinkKind:
    """A kind of sink: the model of its receivers in the policy file, and how to build it."""

    receiver: type[Receiver]
    build: Callable[[Transports], Sink]


SINKS: Mapping[str, SinkKind] = {
    SinkName.WEBHOOK: SinkKind(WebhookReceiver, lambda by: WebhookSink(by.http_client, by.secrets)),
    SinkName.SLACK: SinkKind(SlackReceiver, lambda by: SlackSink(by.http_client, by.secrets)),
    SinkName.EMAIL: SinkKind(EmailReceiver, lambda by: EmailSink(by.relay, by.secrets)),
}
"""Every sink, by its name in policy files, events and metrics."""


def build_sinks(transports: Transports) -> dict[str, Sink]:
    """Build all sinks, by name."""
    return {name: kind.build(transports) for name, kind in SINKS.items()}
