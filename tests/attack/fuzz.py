"""`python -m tests.attack.fuzz TARGET [SECONDS]`: one target under atheris; `all`: each in its own process.

A crash is an exception that the parser does not declare, an input that takes more than a second, or memory above the
limit. What is found is kept in the corpus folder, so that the tests replay it for ever.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SECONDS = 60
MEGABYTES = 1024


def _fuzz(name: str, seconds: int) -> None:
    import atheris  # in .local/fuzz, and there only

    with atheris.instrument_imports(include=["contracts", "kit.policy", "services"]):
        from tests.attack import targets
    target = targets.TARGETS[name]

    def once(data: bytes) -> None:
        begin = time.process_time()
        target(data)
        if time.process_time() - begin > 1:
            raise RuntimeError("slow: more than a second")

    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(targets.seeds(name)):
            (Path(folder) / f"seed-{number}").write_bytes(seed)
        found = targets.CORPUS / name
        found.mkdir(parents=True, exist_ok=True)
        options = [
            "-timeout=5", f"-max_total_time={seconds}", f"-rss_limit_mb={MEGABYTES}", "-max_len=32768", "-verbosity=1",
            "-print_final_stats=1", f"-artifact_prefix={found}/",
        ]  # fmt: skip
        atheris.Setup([sys.argv[0], folder, *options], once)
        atheris.Fuzz()


def _all(seconds: int) -> int:
    from tests.attack import targets

    failed = []
    for name in targets.TARGETS:
        done = subprocess.run(
            [sys.executable, "-m", "tests.attack.fuzz", name, str(seconds)], capture_output=True, check=False
        )
        told = done.stderr.decode("utf-8", "replace").splitlines()
        stats = {
            k.strip(): v.strip() for k, _, v in (x.removeprefix("stat::").partition(":") for x in told if "stat::" in x)
        }
        runs, peak = stats.get("number_of_executed_units", "?"), stats.get("peak_rss_mb", "?")
        print(
            f"{name:12} {'ok' if done.returncode == 0 else 'FOUND'}  {runs} inputs in {seconds} s, {peak} MB",
            flush=True,
        )
        if done.returncode:
            failed.append(name)
            print("\n".join(told[-40:]), done.stdout.decode("utf-8", "replace")[-3000:])
    return 1 if failed else 0


if __name__ == "__main__":
    wanted, limit = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else SECONDS
    if wanted == "all":
        sys.exit(_all(limit))
    os.environ.setdefault("PYTHONHASHSEED", "0")
    _fuzz(wanted, limit)
