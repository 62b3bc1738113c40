"""A ward: one process that the keeper looks after (a container's first, or an exec's), and its state on disk. Import-light.

`bundles/<container>/state.jsonl` and `exec-<id>.jsonl` get a line of JSON before a process is started (so that a keeper which
finds it knows what to clear away), one when it runs (so that it can be adopted), and one when it has ended (kept until the
engine has recorded that). The lines together are the document; a last line that is cut short does not count.
"""

from __future__ import annotations

import contextlib
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

_NUMBERS = {"stdin": 0, "stdout": 1, "stderr": 2}


class Ward:
    """One process. `document` is what is on disk of it."""

    __slots__ = ("_file", "_path", "document", "group", "mounts", "pid", "pidfd", "released", "removers", "stdio")

    def __init__(self, directory: str, document: dict[str, Any], layout: Layout) -> None:
        self.document = document
        self._path = f"{directory}/{document['container']}/{_file_name(document['exec'])}"
        self.group = Cgroup(document["cgroup"], layout)
        self.stdio: Stdio | None = None
        self.pid = self.pidfd = self.mounts = self._file = -1
        self.released = False  # nothing of it is left in the kernel
        self.removers: list[Callable[[], None]] = []  # called when it is released

    @property
    def directory(self) -> str:
        """Its container's directory."""
        return os.path.dirname(self._path)

    @property
    def key(self) -> str:
        """What it is called in the holder."""
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
        try:
            self._open()
        except FileNotFoundError:
            os.makedirs(self.directory, mode=0o700)
            self._open()
        self._append(self.document)

    def _open(self) -> None:
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def update(self, **fields: Any) -> None:
        """Write down what has become of it."""
        self.document |= fields
        if self._file < 0:
            self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._append(fields)

    def _append(self, fields: dict[str, Any]) -> None:
        os.write(self._file, json.dumps(fields, separators=(",", ":")).encode() + b"\n")

    def forget(self) -> None:
        """Delete the document; a container's whole directory."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
            if not self.is_exec:
                for name in os.listdir(self.directory):
                    os.unlink(f"{self.directory}/{name}")
                os.rmdir(self.directory)

    def close(self) -> None:
        """Close what keeps the process's remains alive in the kernel."""
        for fd in {self.pidfd, self.mounts, self._file} - {-1}:
            os.close(fd)
        self.pidfd = self.mounts = self._file = -1

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
    """What a ward is called in the holder and among the keeper's wards."""
    return f"{container}/{exec_id}" if exec_id else container


def _file_name(exec_id: str) -> str:
    return f"exec-{exec_id}.jsonl" if exec_id else "state.jsonl"


def load(directory: str, layout: Layout) -> Iterator[Ward]:
    """Every ward that a keeper before us has written down; containers before their execs."""
    with contextlib.suppress(FileNotFoundError):
        for container in os.listdir(directory):
            names = [name for name in os.listdir(f"{directory}/{container}") if name.endswith(".jsonl")]
            for name in sorted(names, key=lambda name: name != "state.jsonl"):
                with open(f"{directory}/{container}/{name}", "rb") as file:
                    document = _merge(file.read())
                if "cgroup" in document:
                    yield Ward(directory, document, layout)


def _merge(lines: bytes) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for line in lines.split(b"\n")[:-1]:
        document |= json.loads(line)
    return document
