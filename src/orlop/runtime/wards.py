"""A ward: one process that the keeper looks after (a container's first, or an exec's), and its state on disk. Import-light.

`bundles/<container>/state.json` and `exec-<id>.json` are written before a process is started (so that a keeper which finds it
knows what to clear away), when it runs (so that it can be adopted), and when it has ended (until the engine has recorded that).
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

    __slots__ = ("_path", "document", "group", "mounts", "pid", "pidfd", "released", "removers", "stdio")

    def __init__(self, directory: str, document: dict[str, Any], layout: Layout) -> None:
        self.document = document
        self._path = f"{directory}/{document['container']}/{_file_name(document['exec'])}"
        self.group = Cgroup(document["cgroup"], layout)
        self.stdio: Stdio | None = None
        self.pid = self.pidfd = self.mounts = -1
        self.released = False  # nothing of it is left in the kernel
        self.removers: list[Callable[[], None]] = []  # called when it is released

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

    def save(self) -> None:
        """Write the document: the whole or nothing."""
        beside = self._path + ".new"
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, json.dumps(self.document, separators=(",", ":")).encode())
        finally:
            os.close(fd)
        os.rename(beside, self._path)

    def make_directory(self) -> None:
        """Make the directory that the document is written to."""
        os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)

    def forget(self) -> None:
        """Delete the document; a container's whole directory."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
            if not self.is_exec:
                directory = os.path.dirname(self._path)
                for name in os.listdir(directory):
                    os.unlink(f"{directory}/{name}")
                os.rmdir(directory)

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
    """What a ward is called in the holder and among the keeper's wards."""
    return f"{container}/{exec_id}" if exec_id else container


def _file_name(exec_id: str) -> str:
    return f"exec-{exec_id}.json" if exec_id else "state.json"


def load(directory: str, layout: Layout) -> Iterator[Ward]:
    """Every ward that a keeper before us has written down; containers before their execs."""
    with contextlib.suppress(FileNotFoundError):
        for container in os.listdir(directory):
            names = sorted(os.listdir(f"{directory}/{container}"), key=lambda name: name != "state.json")
            for name in names:
                if name == "state.json" or (name.startswith("exec-") and name.endswith(".json")):
                    with open(f"{directory}/{container}/{name}", "rb") as file:
                        yield Ward(directory, json.loads(file.read()), layout)
