"""The only wiring of routing: what stands where, and what it is given. No rules here."""

from datetime import timedelta
from functools import partial

from contracts import topics
from kit import metrics as kit_metrics
from kit import service
from kit.clock import Clock, SystemClock
from kit.consumer import Consumer
from kit.deadletter import DeadLetters
from kit.delivery import Delivery, Limits
from kit.health import Health
from kit.mongo import MongoStore
from kit.outbox import Documents
from kit.policy.file import PolicyFile
from kit.producer import Producer
from kit.service import Service, every
from services.routing import metrics, ticker
from services.routing.core.policy import Policy
from services.routing.handlers import CONSUMED, RoutingHandling, build_router
from services.routing.http import build_app
from services.routing.looker import Looker
from services.routing.settings import RoutingSettings
from services.routing.store.desk import Desk
from services.routing.store.kinds import TICKET_KIND, agent_kind, ensure_indexes
from services.routing.store.roster import Roster


def create_service(settings: RoutingSettings, clock: Clock | None = None) -> Service:
    """Build the service; raises InvalidPolicy for a policy that cannot be read."""
    clock = clock or SystemClock()
    prefix, limit = settings.topic_prefix, settings.max_record_bytes
    policy = PolicyFile(settings.policy_file, Policy)
    health = Health(clock, heartbeat_limit=settings.liveness_seconds)
    mongo = MongoStore(settings.mongo.get_secret_value(), settings.database)
    producer = Producer(settings.kafka, client_id="deskbus-routing")
    tickets = Documents(TICKET_KIND, mongo, producer, clock, prefix=prefix, limit=limit, clear_later=True)
    tickets.watch(metrics.count)
    announced = timedelta(hours=settings.announce_hours)
    agents = Documents(agent_kind(announced), mongo, producer, clock, prefix=prefix, limit=limit, clear_later=True)
    roster = Roster(agents, policy.current)
    desk = Desk(tickets, roster, lambda: policy.current, clock, metrics.Counting())
    handling = RoutingHandling(desk)
    delivery = Delivery(
        tickets,
        handling,
        DeadLetters(topics.topic_name(topics.dlq("routing"), prefix), "routing", producer),
        clock,
        limits=Limits(settings.retry_attempts, settings.dlq_stop_share, settings.dlq_stop_window),
    )
    names = [topics.topic_name(name, prefix) for name in CONSUMED]
    consumer = handling.positions = Consumer(settings, delivery, names, clock, health)
    agents.owned = partial(consumer.owned, agents.home_topic)
    pause = settings.look_ms / 1000
    looker, absence = Looker(desk, clock, pause), ticker.Absence(desk, clock)
    reconciler = ticker.Reconciler(desk, consumer, clock, settings)
    kit_metrics.declare_groups(("ticket", "message", "note", "command"))

    async def follow_policy() -> None:
        if policy.reload():
            desk.claims.freed.set()

    async def read_roster() -> None:
        if await roster.load_all():
            desk.claims.freed.set()

    async def prepare() -> None:
        await ensure_indexes(mongo)
        await roster.load_all()
        desk.claims.freed.set()

    return Service(
        settings,
        clock,
        health,
        app=build_app(settings, desk, clock, ticker.agent_changed(desk, absence)),
        producer=producer,
        prepare=[prepare],
        consumer=consumer,
        router=build_router(consumer),
        documents=[tickets, agents],
        background={
            "looks": looker.run,
            "timers": ticker.build_ticker(desk, consumer, looker, clock, settings).run,
            "announcements": ticker.build_announcer(agents, consumer, clock, settings).run,
            "absence": ticker.at_once(absence, clock, pause),
            "roster": every(clock, settings.roster_seconds, lambda: ticker.follow_agents(desk, absence.told), "roster"),
            "roster, all of it": every(clock, 60, read_roster, "roster, all of it"),
            "absence, all of it": every(clock, settings.reconcile_seconds, absence.sweep, "absence, all of it"),
            "reconciler": every(clock, settings.reconcile_seconds, reconciler.turn, "reconciler"),
            "gauges": every(clock, 15, lambda: ticker.count(desk, clock), "gauges"),
            "policy": every(clock, 1, follow_policy, "policy"),
        },
        ready={"MongoDB": mongo.ping},
        close=[mongo.close],
    )


def main() -> None:
    """Run routing as this process."""
    settings = RoutingSettings()
    service.main(lambda: create_service(settings), "routing", settings.log_level)
