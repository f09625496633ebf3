"""The wiring of routing, and nothing else."""

from datetime import timedelta

from kit.base.clock import Clock
from kit.base.turns import every
from kit.process.service import Service
from kit.process.worker import Worker
from services.routing import metrics, ticker
from services.routing.assignment.assigner import Assigner
from services.routing.core.policy import RoutingPolicy
from services.routing.dispatcher import Dispatcher
from services.routing.handlers import RoutingHandling
from services.routing.http import build_app
from services.routing.settings import RoutingSettings
from services.routing.store.kinds import TICKET_KIND, agent_kind, ensure_indexes
from services.routing.store.roster import Roster


def create_service(settings: RoutingSettings, clock: Clock | None = None) -> Service:
    """Build the service; called inside the event loop. Raises InvalidPolicy for a policy that cannot be read."""
    worker = Worker(settings, clock)
    clock = worker.clock

    def look_again() -> None:
        assigner.claims.freed.set()

    policy = worker.policy(RoutingPolicy, look_again)
    tickets = worker.documents(TICKET_KIND)
    tickets.watch(metrics.count)
    agents = worker.documents(agent_kind(timedelta(hours=settings.announce_hours)))
    roster = Roster(agents, policy())
    assigner = Assigner(tickets, roster, policy, clock, metrics.Counting())
    handling = RoutingHandling(assigner)
    consumer = handling.positions = worker.consume(tickets, handling)
    pause = settings.look_ms / 1000
    dispatcher, absence = Dispatcher(assigner, clock), ticker.Absence(assigner, clock)
    reconciler = ticker.Reconciler(assigner, consumer, clock, settings)

    async def read_roster() -> None:
        if await roster.load_all():
            look_again()

    async def prepare() -> None:
        await ensure_indexes(worker.mongo)
        await roster.load_all()
        look_again()

    return worker.service(
        build_app(settings, assigner, clock, ticker.agent_changed(assigner, absence)),
        prepare=[prepare],
        background={
            "looks": every(clock, pause, dispatcher.turn, "looks"),
            "timers": ticker.build_ticker(assigner, consumer, dispatcher, settings).run,
            "announcements": ticker.build_announcer(agents, consumer, settings).run,
            "absence": every(clock, pause, absence.turn, "absence"),
            "roster": every(
                clock, settings.roster_seconds, lambda: ticker.follow_agents(assigner, absence.told), "roster"
            ),
            "roster, all of it": every(clock, 60, read_roster, "roster, all of it"),
            "releases": every(clock, settings.release_seconds, assigner.claims.write_releases, "releases"),
            "absence, all of it": every(clock, settings.reconcile_seconds, absence.sweep, "absence, all of it"),
            "reconciler": every(clock, settings.reconcile_seconds, reconciler.turn, "reconciler"),
            "gauges": every(clock, 15, lambda: ticker.count(assigner, clock), "gauges"),
        },
        close=[assigner.claims.write_releases],
    )
