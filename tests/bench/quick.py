"""One short load, for profiling: prints rate and CPU seconds; `python -m tests.bench.quick 1000 [--hold SECONDS]`."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from pathlib import Path

from cli.fleet import SERVICES
from kit.admin import delete_topics
from tests.bench import machine
from tests.bench.load import percentile
from tests.bench.tickets import SERVERS, desk


async def main(count: int, rounds: int) -> None:
    name = f"b{secrets.token_hex(4)}"
    environment = {
        "DESKBUS_KAFKA": os.environ["DESKBUS_KAFKA"], "DESKBUS_MONGO": os.environ["DESKBUS_MONGO"],
        "DESKBUS_TOPIC_PREFIX": f"{name}.", "DESKBUS_MONGO_PREFIX": name,
    }
    async with desk(environment, Path(f"/tmp/bench-logs-{name}")) as it:
        for s in SERVICES:
            print(s, it.meter.processes[s].pid, flush=True)
        await it.past_the_door(300)
        print("warm", flush=True)
        for _ in range(rounds):
            run = await it.past_the_door(count)
            print(f"load {machine.load():.1f} past the door {run.rate:.0f}/s", {n: round(run.per_thousand(n), 2) for n in run.cpu},
                  "sum", round(run.per_thousand(*SERVICES, *SERVERS), 2), "p50", percentile(run.seen, .5), flush=True)
        if "--door" in sys.argv:
            run = await it.through_the_door(count)
            print(f"door {run.rate:.0f}/s", {n: round(run.per_thousand(n), 2) for n in run.cpu},
                  "sum", round(run.per_thousand(*SERVICES, *SERVERS), 2), flush=True)
            run = await it.steadily(run.rate / 2, 8)
            print(f"steady {run.rate:.0f}/s", {n: round(run.per_thousand(n), 2) for n in run.cpu}, "p50/p99",
                  percentile(run.written, .5), percentile(run.written, .99), percentile(run.seen, .5), percentile(run.seen, .99), flush=True)
        print(it.meter.memory(SERVICES))
    await delete_topics(os.environ["DESKBUS_KAFKA"], f"{name}.")

import signal
signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
