"""A disk that can be filled up: a tmpfs whose size is reduced to its contents. Requires root and Linux."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from deploy.local import guardian

SIZE = "6g"


class Disk:
    """Mounted while a campaign runs, if mounting is allowed; `there` says whether it is."""

    def __init__(self, place: Path) -> None:
        self.place = place.resolve()
        place.mkdir(parents=True, exist_ok=True)
        self.there = self._mount("-t", "tmpfs", "-o", f"size={SIZE}", "deskbus-crash")
        if self.there:
            guardian.unmount(self.place)  # also unmount it if the campaign is killed

    def fill(self) -> None:
        """Make the disk full: reduce its size to what is in use."""
        state = os.statvfs(self.place)
        used = (state.f_blocks - state.f_bfree) * state.f_frsize
        assert self._mount("-o", f"remount,size={used}"), "a tmpfs can be made as small as what it holds"

    def free(self) -> None:
        """Restore the disk's size."""
        assert self._mount("-o", f"remount,size={SIZE}")

    def close(self) -> None:
        """Unmount the disk and discard its contents."""
        if self.there:
            subprocess.run(["umount", "-l", str(self.place)], check=False, capture_output=True)

    def _mount(self, *arguments: str) -> bool:
        try:
            done = subprocess.run(["mount", *arguments, str(self.place)], check=False, capture_output=True)
        except FileNotFoundError:
            return False
        return done.returncode == 0
