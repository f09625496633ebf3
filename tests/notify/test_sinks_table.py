"""What follows from the table of sinks: a new sink is one file and one line in it."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Literal, get_args

import pytest
from prometheus_client import REGISTRY

from contracts.notifications import SinkName
from kit.base.errors import InvalidPolicy
from kit.http_client import HttpClient
from kit.policy.file import parse
from kit.policy.secrets import SecretRef, Secrets
from services.notify import policy_file
from services.notify.core.alerts import Kind as Alarm
from services.notify.core.policy import NotifyPolicy, Receiver
from services.notify.core.settle import Outcome, Sent, TemporaryFailure
from services.notify.sinks import SINKS, Notification, Relay, SinkKind, Transports, build_sinks
from services.notify.ticker import Deliverer
from tests.notify.examples import breached
from tests.notify.rig import Rig

POLICY = b"""
receivers:
  oncall: {sink: pagerduty, routing_key: "env:KEY"}
route: {name: all, receiver: oncall}
"""


class PagerReceiver(Receiver):
    sink: Literal["pagerduty"]
    routing_key: SecretRef


class PagerSink:
    def __init__(self, secrets: Secrets) -> None:
        self.secrets, self.paged = secrets, list[tuple[str, str]]()

    async def deliver(self, notification: Notification) -> Outcome:
        receiver = notification.receiver
        assert isinstance(receiver, PagerReceiver)
        self.paged.append((self.secrets.secret(receiver.routing_key), notification.dedup_key))
        return Sent(202) if len(self.paged) > 1 else TemporaryFailure("status 503", 503)


@pytest.fixture
def file_model(monkeypatch: pytest.MonkeyPatch) -> type[NotifyPolicy]:
    """What notify.yaml is once the table has one more sink."""
    monkeypatch.setitem(
        SINKS,
        SinkName.PAGERDUTY,
        SinkKind(PagerReceiver, lambda by: PagerSink(by.secrets)),
    )
    spec = spec_from_file_location("policy_file_of_the_test", Path(policy_file.__file__))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    found: type[NotifyPolicy] = module.NotifyFile
    return found


async def test_a_sink_of_the_table_is_all_that_notify_needs(file_model: type[NotifyPolicy]) -> None:
    rig = Rig(parse("notify.yaml", POLICY, file_model))
    http_client = HttpClient(set, agent="test")
    transports = Transports(http_client, Relay("127.0.0.1", 25, "a@b.example"), Secrets({"KEY": "k1"}))
    sinks = build_sinks(transports)
    rig.deliverer = Deliverer(rig.documents, rig.owner, sinks, lambda: rig.policy, rig.clock)
    await rig.take(breached(1))
    await rig.wait(0)
    await rig.wait(60)
    pager = sinks["pagerduty"]
    assert isinstance(pager, PagerSink)
    assert [key for key, _ in pager.paged] == ["k1", "k1"]
    assert len({alarm for _, alarm in pager.paged}) == 1
    (sent,) = rig.sender.events("notification.sent")
    assert (sent.data.sink, sent.data.status, sent.data.attempts) == ("pagerduty", 202, 2)
    await http_client.close()


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b'routing_key: "env:KEY"', b"url: https://x.example", "pagerduty.routing_key: Field required"),
        (b"pagerduty", b"pigeon", "'pigeon' found .* expected tags: 'webhook', .*'pagerduty'"),
    ],
)
def test_a_receiver_has_the_keys_of_its_sink(
    file_model: type[NotifyPolicy], old: bytes, new: bytes, reason: str
) -> None:
    with pytest.raises(InvalidPolicy, match=reason):
        parse("notify.yaml", POLICY.replace(old, new), file_model)


@pytest.mark.parametrize(("name", "kind"), SINKS.items())
def test_a_receiver_names_the_sink_that_the_table_gives_it(name: str, kind: SinkKind) -> None:
    assert get_args(kind.receiver.model_fields["sink"].annotation) == (name,)


async def test_a_sink_sends_to_the_receivers_of_its_own_file() -> None:
    http_client = HttpClient(set, agent="test")
    sinks = build_sinks(Transports(http_client, Relay("127.0.0.1", 25, "a@b.example"), Secrets({})))
    files = {name: (kind.receiver.__module__, type(sinks[name]).__module__) for name, kind in SINKS.items()}
    assert files == {name: (f"services.notify.sinks.{name}",) * 2 for name in SINKS}
    await http_client.close()


@pytest.mark.parametrize("name", SINKS)
def test_every_sink_is_counted_from_zero(name: str) -> None:
    for outcome in ("sent", "later", "failed", "dropped"):
        labels = {"sink": name, "outcome": outcome}
        assert REGISTRY.get_sample_value("deskbus_notify_notifications_total", labels) is not None
    for histogram in ("send_seconds", "delay_seconds"):
        assert REGISTRY.get_sample_value(f"deskbus_notify_{histogram}_count", {"sink": name}) is not None


@pytest.mark.parametrize("kind", [kind.value for kind in Alarm])
def test_every_kind_of_alert_is_counted_from_zero(kind: str) -> None:
    for counter in ("alarms", "resolved"):
        assert REGISTRY.get_sample_value(f"deskbus_notify_{counter}_total", {"kind": kind}) is not None
