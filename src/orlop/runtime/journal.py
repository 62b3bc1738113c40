"""Output moves from a pipe to a log exactly once, whenever the keeper may be killed. tee(2), splice(2). Import-light.

The pipe itself is the journal. A block is looked at without taking it (tee), the place in the log where it will go is noted,
the log is written, and only then the block is moved (splice, inside the kernel) to a staging pipe that the holder keeps open
too. A keeper that starts finds one of:

    no note, staging anything   nothing was under way
    a note, staging empty       the block still is in its pipe: cut the log back to the note, it will come again
    a note, staging full        the block is in the log: empty the staging pipe

What of a line is not complete stays in its pipe, and so survives as well.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import termios

from orlop.kernel import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orlop.runtime.logs import LogFile

BLOCK_BYTES = 65536  # as much as a pipe holds by default; larger blocks are slower (cache)


def pipe() -> tuple[int, int]:
    """A pipe (reader, writer) of which neither end blocks. CLOEXEC."""
    return os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)


class Journal:
    """The note, the staging pipe, and a scratch pipe to look at blocks."""

    def __init__(self, path: str, staging: tuple[int, int] | None) -> None:
        """Recovers first. `staging` is what a holder kept (Journal.staging of the keeper before), None when it kept nothing."""
        self._note = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._looking, self._look = pipe()
        self.staging = staging or pipe()
        self._recover(kept=staging is not None)

    def _recover(self, kept: bool) -> None:
        note = os.pread(self._note, 8192, 0).partition(b"\0")[0]
        staged = waiting_bytes(self.staging[0])
        if note and not note.startswith(b"-"):
            offset, length, path = note.split(b" ", 2)
            with contextlib.suppress(FileNotFoundError):  # the container was removed with its log
                # With the staging pipe lost, a block that is whole in the log is taken for one that has left its pipe.
                if not staged and (kept or os.stat(path).st_size < int(offset) + int(length)):
                    os.truncate(path, int(offset))
        self._clear()
        if staged:
            os.read(self.staging[0], staged)

    def look(self, fd: int) -> bytes | None:
        """What is in a pipe, at most a block, without taking it. None: nothing now; b"": nothing, and no writer is left."""
        try:
            count = syscalls.tee(fd, self._look, BLOCK_BYTES)
        except BlockingIOError:
            return None
        return os.read(self._looking, count) if count else b""

    def move(self, fd: int, count: int, log: LogFile, lines: bytes) -> None:
        """Append `lines`, which stand for the first `count` bytes of a pipe, to a log, and take those bytes from the pipe."""
        os.pwrite(self._note, b"%d %d %s\0" % (log.size, len(lines), os.fsencode(log.path)), 0)
        log.append(lines)
        taken = 0
        while taken < count:
            taken += os.splice(fd, self.staging[1], count - taken)
        self._clear()
        os.read(self.staging[0], count)

    def _clear(self) -> None:
        os.pwrite(self._note, b"-", 0)


def waiting_bytes(fd: int) -> int:
    """How many bytes a pipe holds."""
    return int(struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, b"\0\0\0\0"))[0])
