"""`python -m tests.ingest.mail_samples` writes the table of what each mail becomes."""

import asyncio

from tests.ingest.mail_samples.sources import SOURCES, mails
from tests.ingest.mail_samples.verdicts import TABLE, table, verdict


async def main() -> None:
    """Put every mail through the worker."""
    TABLE.write_text(
        table({source: {name: await verdict(raw) for name, raw in mails(source).items()} for source in SOURCES}),
        "utf-8",
    )


if __name__ == "__main__":
    asyncio.run(main())
