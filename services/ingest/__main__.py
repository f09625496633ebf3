"""`python -m services.ingest`."""

from kit.process.service import main
from services.ingest.app import create_service
from services.ingest.settings import IngestSettings

main(IngestSettings, create_service)
