"""A ward: one process that the keeper looks after (a container's first, or an exec's), and the book of all wards. Import-light.

The book is one file, `wards.jsonl`: no start has to make an inode. A ward gets a line of JSON before its process is started (so
that a keeper which finds it knows what to clear away), one when it runs (so that it can be adopted), one when it has ended, and
one when the engine has recorded that: then it is gone. Its lines together are its document. A last line that is cut short
does not count.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat

from orlop.kernel import process
from orlop.kernel.cgroups import Cgroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from orlop.kernel.cgroups import Layout
    from orlop.runtime.stdio import Stdio

_LARGE_BYTES = 1 << 18  # so much of the book may be of the past
_NUMBERS = {"stdin": 0, "stdout": 1, "stderr": 2}


class Book:
    """What is on disk of all wards. Only the keeper writes it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.documents: dict[str, dict[str, Any]] = {}  # by key; what is live
        whole = 0
        with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
            for line in file.read().split(b"\n")[:-1]:
                whole += len(line) + 1
                with contextlib.suppress(ValueError):  # whatever has damaged one line, the others count
                    self._take(json.loads(line))
        try:
            self._rewrite()
        except OSError:  # the disk is full: go on behind the last whole line
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._bytes = self._live_bytes = whole
            os.ftruncate(self._fd, whole)

    def _take(self, entry: dict[str, Any]) -> None:
        key = entry.pop("key")
        if entry:
            self.documents[key] = self.documents.get(key, {}) | entry
        else:
            self.documents.pop(key, None)

    def _rewrite(self) -> None:
        """Begin a new file, of what is live."""
        lines = b"".join([_line(key, document) for key, document in self.documents.items()])
        beside = self._path + ".new"
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        if os.write(fd, lines) < len(lines):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), beside)
        os.rename(beside, self._path)
        self._fd, self._bytes, self._live_bytes = fd, len(lines), len(lines)

    def write(self, key: str, fields: dict[str, Any]) -> None:
        """Add to a ward's document; without fields the ward is gone. Raises OSError, then nothing was written."""
        line = _line(key, fields)
        if os.write(self._fd, line) < len(line):
            os.ftruncate(self._fd, self._bytes)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._path)
        self._bytes += len(line)
        self._take({"key": key, **fields})
        if self._bytes > _LARGE_BYTES + 2 * self._live_bytes:
            old = self._fd
            with contextlib.suppress(OSError):  # no room for a second one: the first is good
                self._rewrite()
                os.close(old)


def _line(key: str, fields: dict[str, Any]) -> bytes:
    return json.dumps({"key": key, **fields}, separators=(",", ":")).encode() + b"\n"


class Ward:
    """One process. `document` is what is on disk of it."""

    __slots__ = ("_book", "document", "group", "mounts", "pid", "pidfd", "released", "removers", "stdio")

    def __init__(self, book: Book, document: dict[str, Any], layout: Layout) -> None:
        self._book, self.document = book, document
        self.group = Cgroup(document["cgroup"], layout)
        self.stdio: Stdio | None = None
        self.pid = self.pidfd = self.mounts = -1
        self.released = False  # nothing of it is left in the kernel
        self.removers: list[Callable[[], None]] = []  # called when it is released

    @property
    def key(self) -> str:
        """What it is called in the book and in the holder."""
        return key_of(self.document["container"], self.document["exec"])

    @property
    def is_exec(self) -> bool:
        """Whether it is not a container's first process."""
        return bool(self.document["exec"])

    @property
    def runs(self) -> bool:
        """Whether it was started and has not ended."""
        return "pid" in self.document and "exit" not in self.document

    def create(self) -> None:
        """Write down that it is about to be started."""
        self._book.write(self.key, self.document)

    def update(self, **fields: Any) -> None:
        """Write down what has become of it."""
        self.document |= fields
        self._book.write(self.key, fields)

    def forget(self) -> None:
        """Write down that it is gone."""
        with contextlib.suppress(OSError):  # a full disk: a keeper after this one will tell its end again
            self._book.write(self.key, {})

    def close(self) -> None:
        """Close what keeps the process's remains alive in the kernel."""
        for fd in {self.pidfd, self.mounts} - {-1}:
            os.close(fd)
        self.pidfd = self.mounts = -1

    def reclaim(self) -> dict[str, int]:
        """Its pipes, from the process's own descriptors (or those of another one in its group that has the same pipe open).

        For when no holder has kept them. A terminal cannot be had back so.
        """
        wanted = {int(inode): name for name, inode in self.document.get("pipes", {}).items()}
        found: dict[str, int] = {}
        for path in self._candidates():
            with contextlib.suppress(OSError):  # it has ended, or closed it
                status = os.stat(path)
                name = wanted.get(status.st_ino)
                if name and name not in found and stat.S_ISFIFO(status.st_mode):
                    flags = os.O_WRONLY if name == "stdin" else os.O_RDONLY
                    found[name] = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
            if len(found) == len(wanted):
                break
        return found

    def _candidates(self) -> Iterator[str]:
        for pid in dict.fromkeys([self.document["pid"], *self.group.pids()]):
            for number in _NUMBERS.values():
                yield f"/proc/{pid}/fd/{number}"
        for pid in self.group.pids():
            with contextlib.suppress(OSError):
                for name in os.listdir(f"/proc/{pid}/fd"):
                    yield f"/proc/{pid}/fd/{name}"

    def open_pidfd(self) -> int:
        """A pidfd of it; -1 when it is gone."""
        try:
            return process.open_pidfd(self.document["pid"], self.document["ticks"])
        except OSError:
            return -1


def key_of(container: str, exec_id: str) -> str:
    """What a ward is called in the book, in the holder and among the keeper's wards."""
    return f"{container}/{exec_id}" if exec_id else container
