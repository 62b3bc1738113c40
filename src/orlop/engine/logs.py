"""Reading a container's log: json-file lines across rotations, chosen by a LogQuery, as frames or (tty) as they were.

Blocks are parsed in the event loop, a little at a time; files are found by inode, so that a rotation in between loses nothing.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from typing import Any

from orlop.engine.roster import Container
from orlop.kernel.inotify import Watch
from orlop.spec.container import LIVE
from orlop.spec.errors import Corrupt
from orlop.spec.streams import LogQuery
from orlop.state.documents import loads_text
from orlop.wire.frames import STDERR, STDOUT, frame

BLOCK = 1 << 16
STREAMS = {"stdout": STDOUT, "stderr": STDERR}
SETTLE_SECONDS = 0.05  # for the last lines of a container whose end was just told


def log_files(path: str) -> list[str]:
    """A log's files, oldest first."""
    directory, name = os.path.split(path)
    numbers = [
        int(suffix)
        for entry in os.listdir(directory)
        if entry.startswith(f"{name}.") and (suffix := entry[len(name) + 1 :]).isdecimal()
    ]
    rotated = [f"{path}.{number}" for number in sorted(numbers, reverse=True)]
    return [*rotated, path] if os.path.exists(path) else rotated


async def read_log(path: str, container: Container, query: LogQuery) -> AsyncIterator[bytes]:
    """The log's lines, as `query` wants them; with `follow` until the container ends (or `until`)."""
    choose = Chooser(query, tty=container.record.spec.tty)
    follow = query.follow and container.record.status in LIVE and not (query.until_ns and query.until_ns <= time.time_ns())
    with ExitStack() as cleanup:
        watch = Watch(os.path.dirname(path)) if follow else None
        if watch:
            cleanup.callback(watch.close)
        reader = Reader(path, query.tail)
        cleanup.callback(reader.close)
        while True:
            ended = container.record.status not in LIVE  # asked before reading: what it wrote before its end is there then
            for lines in reader.lines():
                if chunk := choose(lines):
                    yield chunk
                if choose.is_past:
                    return
                await asyncio.sleep(0)
            if watch is None or (ended and reader.is_drained()):
                return
            if not await _more(watch, container, query):
                return


async def _more(watch: Watch, container: Container, query: LogQuery) -> bool:
    """Wait for more lines or the container's end; False when the time `until` has come."""
    left = (query.until_ns - time.time_ns()) / 1e9 if query.until_ns else None
    ending = container.waiter("not-running")
    changing = asyncio.ensure_future(watch.changed())
    try:
        done, _ = await asyncio.wait((ending, changing), timeout=left, return_when=asyncio.FIRST_COMPLETED)
    finally:
        changing.cancel()
        ending.cancel()
    return bool(done)


class Reader:
    """The complete lines of a log, from the oldest file (or the last `tail` lines) to the newest end."""

    def __init__(self, path: str, tail: int | None) -> None:
        self._path = path
        self._rest = b""
        self._fd = -1
        files = log_files(path)
        if tail is not None:
            files, offset = _tail_start(files, tail)
        else:
            offset = 0
        if files:
            self._open(files[0], offset)

    def _open(self, path: str, offset: int = 0) -> None:
        self.close()
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        os.lseek(self._fd, offset, os.SEEK_SET)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def lines(self) -> Iterator[list[bytes]]:
        """Blocks of lines until there is nothing more now."""
        while self._fd >= 0 or self._find_first():
            while block := os.read(self._fd, BLOCK):
                *lines, self._rest = (self._rest + block).split(b"\n")
                yield lines
            following = self._following()
            if following is None:
                return
            while block := os.read(self._fd, BLOCK):  # written between our last read and the rotation
                *lines, self._rest = (self._rest + block).split(b"\n")
                yield lines
            self._open(following)
            self._rest = b""

    def is_drained(self) -> bool:
        """Whether nothing is left to read now."""
        return self._fd < 0 or (self._following() is None and os.fstat(self._fd).st_size <= os.lseek(self._fd, 0, os.SEEK_CUR))

    def _find_first(self) -> bool:
        if not (files := log_files(self._path)):
            return False
        self._open(files[0])
        return True

    def _following(self) -> str | None:
        """The file after the open one; None when it is the newest. One that has been removed is followed by the oldest."""
        own = os.fstat(self._fd).st_ino
        files = []
        for path in log_files(self._path):
            try:
                files.append((os.stat(path).st_ino, path))
            except FileNotFoundError:  # renamed meanwhile
                continue
        inodes = [inode for inode, _ in files]
        if own not in inodes:
            return files[0][1] if files else None
        position = inodes.index(own) + 1
        return files[position][1] if position < len(files) else None


def _tail_start(files: list[str], tail: int) -> tuple[list[str], int]:
    """Where the last `tail` lines begin: the files from there on, and the offset in the first."""
    missing = tail
    for index in range(len(files) - 1, -1, -1):
        with open(files[index], "rb", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            if not missing:
                return files[index:], size
            offset, found = _count_back(file.fileno(), size, missing)
        if found == missing and (offset or found):
            return files[index:], offset
        missing -= found
    return files, 0


def _count_back(fd: int, size: int, wanted: int) -> tuple[int, int]:
    """The offset at which the last `wanted` lines begin, and how many there are (fewer when the file has no more)."""
    found, end = 0, size
    while end > 0:
        start = max(0, end - BLOCK)
        block = os.pread(fd, end - start, start)
        position = len(block)
        while (position := block.rfind(b"\n", 0, position)) >= 0:
            if start + position + 1 < size:  # not the newline that ends the file
                found += 1
                if found == wanted:
                    return start + position + 1, found
        end = start
    return 0, found + (1 if size else 0)


class Chooser:
    """Lines of a log file to what a client gets."""

    def __init__(self, query: LogQuery, *, tty: bool) -> None:
        self._query, self._tty = query, tty
        self._since, self._until = _stamp(query.since_ns), _stamp(query.until_ns)
        self._streams = {name for name, wanted in (("stdout", query.stdout), ("stderr", query.stderr)) if wanted}
        self.is_past = False  # a line came that is later than `until`

    def __call__(self, lines: list[bytes]) -> bytes:
        """The wanted lines of a block, joined."""
        return b"".join([chosen for line in lines if line and (chosen := self._choose(line))])

    def _choose(self, line: bytes) -> bytes:
        try:
            entry: dict[str, Any] = loads_text(line)
            stream, stamp, text = entry["stream"], entry["time"], entry["log"]
        except (Corrupt, KeyError, TypeError):  # a line cut short by a full disk or a crash
            return b""
        if self._until and stamp > self._until:
            self.is_past = True
            return b""
        if stream not in self._streams or stamp < self._since:
            return b""
        data = text.encode(errors="surrogateescape")
        if self._query.details:
            data = ",".join(f"{key}={value}" for key, value in sorted(entry.get("attrs", {}).items())).encode() + b" " + data
        if self._query.timestamps:
            data = stamp.encode() + b" " + data
        return data if self._tty else frame(STREAMS[stream], data)


def _stamp(time_ns: int) -> str:
    """As times are written in logs: of one length, so that they compare as text. "" for 0."""
    if not time_ns:
        return ""
    seconds, rest = divmod(time_ns, 10**9)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09}Z"
