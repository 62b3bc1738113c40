"""Output moves from a pipe to a log exactly once, whenever the keeper may be killed. tee(2), splice(2). Import-light.

The pipe itself is the journal. A block is looked at without taking it (tee). What will become of it is noted: where in the
log its lines go, and what of it is the tail, the start of a line that is not complete. The log is written, and only then is the
block moved (splice, inside the kernel) to a staging pipe that the holder keeps open too; then the tail is stored. A keeper that
starts finds

    no note                     nothing was under way
    a note, staging empty       the block still is in its pipe: cut the log back, it will come again
    a note, staging full        the block is in the log: store the tail
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
_LENGTH = struct.Struct("=I")
_NOTE_BYTES = 2 * BLOCK_BYTES


def pipe() -> tuple[int, int]:
    """A pipe (reader, writer) of which neither end blocks. CLOEXEC."""
    return os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)


class Tail:
    """The start of a line of one stream, in memory and in a file. Line by line output has none, and then there is no file."""

    __slots__ = ("_fd", "_stored", "content", "path")

    def __init__(self, path: str) -> None:
        self.path, self._fd, self.content, self._stored = path, -1, b"", False
        with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
            stored, self._stored = file.read(), True
            self.content = stored[_LENGTH.size :][: _LENGTH.unpack_from(stored)[0]] if stored else b""

    def store(self, content: bytes) -> None:
        """Make it this."""
        if content == self.content:
            return
        if self._fd < 0:
            self._fd, self._stored = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600), True
        os.pwrite(self._fd, _LENGTH.pack(len(content)) + content, 0)
        self.content = content

    def remove(self) -> None:
        """The stream has ended, and its last line is in the log. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1
        if self._stored:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)
        self._stored = False


class Journal:
    """The note, the staging pipe, and a scratch pipe to look at blocks."""

    def __init__(self, path: str, staging: tuple[int, int] | None) -> None:
        """Recovers first. `staging` is what a holder kept (Journal.staging of the keeper before), None when it kept nothing."""
        self._note = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._looking, self._look = pipe()
        self.staging = staging or pipe()
        self._recover(kept=staging is not None)

    def _recover(self, kept: bool) -> None:
        staged = waiting_bytes(self.staging[0])
        head, _, rest = os.pread(self._note, _NOTE_BYTES, 0).partition(b"\0")
        if head and not head.startswith(b"-"):
            offset, length, tail_length = map(int, head.split())
            log_path, tail_path, tail = rest.split(b"\0", 2)
            with contextlib.suppress(FileNotFoundError):  # the container was removed with its log
                # With the staging pipe lost, lines that are whole in the log are taken for ones that have left their pipe.
                if staged or (not kept and length and os.stat(log_path).st_size >= offset + length):
                    Tail(os.fsdecode(tail_path)).store(tail[:tail_length])
                else:
                    os.truncate(log_path, offset)
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

    def move(self, fd: int, count: int, log: LogFile, lines: bytes, tail: Tail, rest: bytes) -> None:
        """Take the first `count` bytes from a pipe. With the tail so far they have become `lines` of the log and a new tail."""
        places = os.fsencode(log.path) + b"\0" + os.fsencode(tail.path) + b"\0"
        os.pwrite(self._note, b"%d %d %d\0" % (log.size, len(lines), len(rest)) + places + rest, 0)
        if lines:
            log.append(lines)
        taken = 0
        while taken < count:
            taken += os.splice(fd, self.staging[1], count - taken)
        if not count:
            os.write(self.staging[1], b"-")  # the tail alone was logged: something must stand for that
        tail.store(rest)
        self._clear()
        os.read(self.staging[0], count or 1)

    def _clear(self) -> None:
        os.pwrite(self._note, b"-", 0)


def waiting_bytes(fd: int) -> int:
    """How many bytes a pipe holds."""
    return int(struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, b"\0\0\0\0"))[0])
