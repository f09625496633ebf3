"""The wiring of notify, and nothing else."""

from functools import partial

from kit.base import metrics as kit_metrics
from kit.base.clock import Clock
from kit.outward import Outward
from kit.policy.file import PolicyFile
from kit.policy.secrets import Secrets
from kit.process.service import Service
from kit.process.service import main as run_main
from kit.process.worker import Worker
from kit.relay import tls_options
from services.notify import metrics, store
from services.notify.channels.base import Sink
from services.notify.channels.email import EmailSink, Relay
from services.notify.channels.slack import SlackSink
from services.notify.channels.webhook import WebhookSink
from services.notify.core.policy import Policy
from services.notify.handlers import FOLLOWED, NotifyHandling, is_urgent
from services.notify.http import build_app
from services.notify.settings import NotifySettings
from services.notify.ticker import Deliverer, build_ticker


def build_sinks(settings: NotifySettings, policy: PolicyFile[Policy]) -> tuple[dict[str, Sink], Outward]:
    """The sinks by name, and their common way out."""
    secrets = Secrets()
    way_out = Outward(
        lambda: {*policy.current.allow_hosts, *settings.hosts},
        agent="deskbus-notify",
        seconds=settings.send_seconds,
        connections=settings.send_at_once * 2,
    )
    relay = Relay(
        settings.smtp_host,
        settings.smtp_port,
        settings.smtp_from,
        settings.smtp_user,
        settings.smtp_password,
        tls_options(settings.smtp_tls, settings.smtp_ca),
    )
    sinks: dict[str, Sink] = {
        "webhook": WebhookSink(way_out, secrets),
        "slack": SlackSink(way_out, secrets),
        "email": EmailSink(relay, secrets),
    }
    return sinks, way_out


def create_service(settings: NotifySettings, clock: Clock | None = None) -> Service:
    """Build the service; called inside the event loop. Raises InvalidPolicy for a policy that cannot be read."""
    worker = Worker(settings, clock)
    clock, prefix = worker.clock, worker.prefix
    file = PolicyFile(settings.policy_file, Policy)
    sinks, way_out = build_sinks(settings, file)
    documents = worker.documents(store.ESCALATIONS)
    documents.watch(metrics.count)

    def policy() -> Policy:
        return file.current

    consumer = worker.consume(documents, NotifyHandling(policy), urgent=is_urgent)
    ticker = build_ticker(
        documents, consumer, policy, clock, follow=FOLLOWED, prefix=prefix, period=settings.timer_ms / 1000
    )
    deliverer = Deliverer(
        documents,
        consumer,
        sinks,
        policy,
        clock,
        prefix=prefix,
        period=settings.send_ms / 1000,
        at_once=settings.send_at_once,
    )
    kit_metrics.declare_groups(("sla", "ticket", "message", "note", "command"))
    return worker.service(
        build_app(settings, documents, policy, clock),
        prepare=[partial(store.prepare, worker.mongo)],
        background={
            "chains": ticker.run,
            "deliveries": deliverer.run,
            "policy": partial(file.watch, clock),
        },
        close=[way_out.close],
    )


def main() -> None:
    """Run until asked to stop."""
    settings = NotifySettings()
    run_main(lambda: create_service(settings), settings.service, settings.log_level)
