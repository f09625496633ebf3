"""A disk for one server that can be full: a tmpfs that is made as small as what is in it. Needs root and Linux."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from deploy.local import guardian

SIZE = "6g"


class Disk:
    """Mounted while a campaign runs, where that is allowed; `there` says whether."""

    def __init__(self, place: Path) -> None:
        self.place = place.resolve()
        place.mkdir(parents=True, exist_ok=True)
        self.there = self._mount("-t", "tmpfs", "-o", f"size={SIZE}", "deskbus-crash")
        if self.there:
            guardian.unmount(self.place)  # a campaign that is killed lets go of nothing itself

    def fill(self) -> None:
        """No byte more than what is in use goes on it."""
        state = os.statvfs(self.place)
        used = (state.f_blocks - state.f_bfree) * state.f_frsize
        assert self._mount("-o", f"remount,size={used}"), "a tmpfs can be made as small as what it holds"

    def free(self) -> None:
        """There is room again."""
        assert self._mount("-o", f"remount,size={SIZE}")

    def close(self) -> None:
        """Let go of it, and of what is on it."""
        if self.there:
            subprocess.run(["umount", "-l", str(self.place)], check=False, capture_output=True)

    def _mount(self, *arguments: str) -> bool:
        try:
            done = subprocess.run(["mount", *arguments, str(self.place)], check=False, capture_output=True)
        except FileNotFoundError:
            return False
        return done.returncode == 0
