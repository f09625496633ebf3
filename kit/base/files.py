"""Whether a file may have been replaced or changed: what mounted secrets, certificates and policies are watched by.

Rule: nothing is read here. Whoever reads compares contents, since equal content may come with another state.
"""

import os
from pathlib import Path

#: Text of files written by people: an editor of theirs may put a byte order mark before it.
UTF8 = "utf-8-sig"


def state(path: Path | str) -> tuple[int, ...] | None:
    """Return what differs when a file was replaced, written or made readable; None if there is none that can be seen.

    Follows symlinks, as a mounted secret is updated by replacing one. The change time also tells that rights were
    mended, which touches neither content nor modification time.
    """
    try:
        stat = os.stat(path)  # noqa: PTH116 - called for every signature; pathlib is slower
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size
