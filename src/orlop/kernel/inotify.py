"""Waiting, in an event loop, until something changes in a directory. inotify(7)"""

import asyncio
import contextlib
import os

from orlop.kernel import syscalls

_CHANGES = syscalls.IN_MODIFY | syscalls.IN_MOVED_TO | syscalls.IN_CREATE


class Watch:
    """Tells when a file in a directory was written to, made or renamed. To be used in the loop's thread; close it."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        """Begin. Raises OSError."""
        self._fd = syscalls.inotify_init1()
        try:
            syscalls.inotify_add_watch(self._fd, directory, _CHANGES)
        except OSError:
            os.close(self._fd)
            raise
        self._changed = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._fd, self._read)

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._fd, 1 << 16)
        self._changed.set()

    async def changed(self) -> None:
        """Return at the first change since the last return (or the beginning)."""
        await self._changed.wait()
        self._changed.clear()

    def close(self) -> None:
        """End. Idempotent."""
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
        self._fd = -1
