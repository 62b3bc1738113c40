"""One owner for a file: an flock(2) that goes with the process, and the pid of who holds it."""

import fcntl
import os
from pathlib import Path

from orlop.spec.errors import Conflict


class FileLock:
    """An exclusive lock on a file, held until `release` or the end of the process. The file holds the owner's pid."""

    def __init__(self, path: str | Path) -> None:
        """Take the lock. Raises Conflict, naming the owner, when another process has it."""
        self._path = Path(path)
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(self._descriptor, 20, 0).decode("ascii", "replace").strip() or "another process"
            os.close(self._descriptor)
            raise Conflict(f"cannot lock {self._path}: process {owner} holds it") from error
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Remove the file and give the lock up."""
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)
