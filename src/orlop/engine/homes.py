"""The directories of containers on the host: `containers/<id>/{hostname,hosts,resolv.conf,log}`.

A new inode costs a disk file system 0.05 to 0.5 ms, a rename next to nothing: so some directories are made ready in idle time.
They are never used twice, for somebody may still have a file of the former container open or mounted.
"""

import os
import shutil
from collections.abc import Collection
from contextlib import suppress

NEW = "new-"  # prefix of what is ready but nobody's yet; swept at start
READY = 4
ETC_FILES = ("hostname", "hosts", "resolv.conf")
LOG = "log"


class Homes:
    """All directories below one root."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self._root = os.fspath(root)
        self._ready: list[str] = []
        self._made = 0

    def path(self, container_id: str) -> str:
        """The directory of a container."""
        return f"{self._root}/{container_id}"

    def log(self, container_id: str) -> str:
        """Its log file."""
        return f"{self._root}/{container_id}/{LOG}"

    def make(self, container_id: str) -> None:
        """Give a new container its directory."""
        if self._ready:
            with suppress(FileNotFoundError):
                os.rename(self._ready.pop(), self.path(container_id))
                return
        os.mkdir(self.path(container_id), 0o710)

    def remove(self, container_id: str) -> None:
        """Delete it with all that is in it. Idempotent."""
        shutil.rmtree(self.path(container_id), ignore_errors=True)

    def stock(self) -> None:
        """Make ready what is missing. A few milliseconds: for idle time."""
        while len(self._ready) < READY:
            self._made += 1
            place = f"{self._root}/{NEW}{os.getpid()}-{self._made}"
            os.mkdir(place, 0o710)
            for name, mode in (*((name, 0o644) for name in ETC_FILES), (LOG, 0o640)):
                os.close(os.open(f"{place}/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode))
            self._ready.append(place)

    def sweep(self, keep: Collection[str]) -> None:
        """At start: delete all but the directories of these containers."""
        for name in os.listdir(self._root):
            if name not in keep:
                shutil.rmtree(f"{self._root}/{name}", ignore_errors=True)
