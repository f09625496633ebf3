"""One campaign by hand: `python -m tests.crash SEED [small|full] [MESSAGES]`."""

import asyncio
import dataclasses
import sys

from tests.crash.campaign import Campaign
from tests.crash.schedule import FULL, SMALL, schedule


def main() -> int:
    seed = int(sys.argv[1])
    size = FULL if "full" in sys.argv else SMALL
    if sys.argv[-1].isdigit() and len(sys.argv) > 2:
        size = dataclasses.replace(size, messages=int(sys.argv[-1]))
    for fault in schedule(seed, size):
        print(fault)
    outcome = asyncio.run(Campaign(seed, size).run())
    print(outcome)
    return 1 if outcome.faults else 0


sys.exit(main())
