"""`python -m services.routing`."""

from kit.process.service import main
from services.routing.app import create_service
from services.routing.settings import RoutingSettings

main(RoutingSettings, create_service)
