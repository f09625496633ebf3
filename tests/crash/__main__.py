"""One campaign by hand: `python -m tests.crash SEED [small|full|one|two] [MESSAGES]`.

`one` and `two` run on three brokers, of which so many die at once.
"""

import asyncio
import dataclasses
import sys

from tests.crash.campaign import Campaign
from tests.crash.schedule import FULL, ONE_OF_THREE, SMALL, TWO_OF_THREE, schedule


def main() -> int:
    seed = int(sys.argv[1])
    sizes = {"full": FULL, "one": ONE_OF_THREE, "two": TWO_OF_THREE}
    size = next((sizes[word] for word in sys.argv if word in sizes), SMALL)
    if sys.argv[-1].isdigit() and len(sys.argv) > 2:
        size = dataclasses.replace(size, messages=int(sys.argv[-1]))
    for fault in schedule(seed, size):
        print(fault)
    outcome = asyncio.run(Campaign(seed, size).run())
    print(outcome)
    return 1 if outcome.faults else 0


sys.exit(main())
