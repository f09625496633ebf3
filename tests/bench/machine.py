"""The machine under the measurement: what it is, how busy it was, and the CPU time and memory of processes."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil

SERVERS = {"kafka": "DESKBUS_KAFKA", "mongodb": "DESKBUS_MONGO"}
"""The servers behind the services, and the settings that say where they are."""


def describe() -> dict[str, str]:
    """Name the processor, the memory, Python and the system."""
    model = "unknown processor"
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return {
        "cores": str(os.cpu_count()),
        "processor": model,
        "memory": f"{psutil.virtual_memory().total / 2**30:.1f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def load() -> float:
    """Return the load average of the last minute."""
    return os.getloadavg()[0]


def busy(seconds: float = 3.0) -> float:
    """Return how much of all cores is used now, in percent: asked before a part, while nothing of ours has work."""
    return float(psutil.cpu_percent(seconds))


def listener(address: str) -> psutil.Process | None:
    """Find the process that listens at `host:port` (or at a mongodb:// URL); None when it is not on this machine."""
    place = urlsplit(address if "://" in address else f"//{address.partition(',')[0]}")
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and tuple(connection.laddr)[1:2] == (place.port,) and connection.pid:
            return psutil.Process(connection.pid)
    return None


def servers(environment: Mapping[str, str]) -> dict[str, list[psutil.Process]]:
    """Find Kafka and MongoDB by the addresses that services are given; one that is elsewhere is left out."""
    found = {name: listener(environment[variable]) for name, variable in SERVERS.items()}
    return {name: [server] for name, server in found.items() if server is not None}


@dataclass(frozen=True)
class Meter:
    """Processes by name, whose CPU seconds and memory are read; the replicas of a service have one name."""

    processes: Mapping[str, Sequence[psutil.Process]]

    def cpu(self) -> dict[str, float]:
        """CPU seconds of each name, user and system, since its processes began."""
        return {name: sum(sum(p.cpu_times()[:2]) for p in own) for name, own in self.processes.items()}

    def memory(self, names: Iterable[str]) -> dict[str, float]:
        """Resident memory in MB, of the largest process of each name."""
        return {name: max(p.memory_info().rss for p in self.processes[name]) / 1e6 for name in names}


def spent(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """CPU seconds between two readings."""
    return {name: after[name] - before[name] for name in after}
