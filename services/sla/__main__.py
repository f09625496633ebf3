"""`python -m services.sla`."""

from kit.process.service import main
from services.sla.app import create_service
from services.sla.settings import SlaSettings

main(SlaSettings, create_service)
