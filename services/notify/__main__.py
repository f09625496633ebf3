"""`python -m services.notify`."""

from kit.process.service import main
from services.notify.app import create_service
from services.notify.settings import NotifySettings

main(NotifySettings, create_service)
