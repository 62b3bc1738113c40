"""The wall, as the engine sees it. `runtime` (namespaces) implements it; later `vm` (a hypervisor) does too."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from orlop.spec.container import Process, Stats
from orlop.spec.errors import Conflict, NotFound
from orlop.spec.isolation import ExecOrder, Exit, Living, StartOrder
from orlop.spec.resources import Resources


@contextmanager
def while_running(container_id: str) -> Iterator[None]:
    """A verb on what runs: that it has just ended, and the wall knows before we do, is told as if we knew. Raises Conflict."""
    try:
        yield
    except NotFound as error:
        raise Conflict(f"container {container_id} is not running") from error


class Isolation(Protocol):
    """Verbs on containers by id. All raise NotFound for an id that does not run here, Unavailable when the keeper is gone."""

    async def open(self, on_exit: Callable[[Exit], None]) -> list[Living]:
        """Connect (starting the keeper where none runs) and adopt what lives; `on_exit` is called once for each later end."""
        ...

    async def start(self, order: StartOrder) -> Process:
        """Start the container's first process. Raises StartFailed; then nothing is left of it."""
        ...

    async def execute(self, order: ExecOrder) -> Process:
        """Start a further process. Raises StartFailed."""
        ...

    async def attach(
        self, container_id: str, exec_id: str = "", *, stdin: bool, stdout: bool, stderr: bool, tty: bool
    ) -> socket.socket:
        """A stream socket (non-blocking): reading gives output in Docker's frames (raw for a tty) until EOF at the end of the
        process's output, writing gives stdin, shutdown(SHUT_WR) ends it. Allowed before start, so that no byte is missed."""
        ...

    async def kill(self, container_id: str, signal: int, exec_id: str = "") -> None:
        """Send a signal to the first process (or the exec's)."""
        ...

    async def resize(self, container_id: str, rows: int, columns: int, exec_id: str = "") -> None:
        """Set the size of the tty."""
        ...

    async def pause(self, container_id: str) -> None:
        """Freeze every process."""
        ...

    async def resume(self, container_id: str) -> None:
        """Thaw."""
        ...

    async def update(self, container_id: str, resources: Resources) -> None:
        """Apply new limits to what runs."""
        ...

    async def stats(self, container_id: str) -> Stats:
        """Counters of cpu, memory, pids and io (the engine adds networks)."""
        ...

    async def pids(self, container_id: str) -> list[int]:
        """Every process inside, as pids of the host."""
        ...

    async def acknowledge(self, container_id: str, exec_id: str = "") -> None:
        """The engine has recorded an exit: the wall may forget it."""
        ...

    async def remove(self, container_id: str) -> None:
        """Kill what is left and free everything (cgroup, bundle, pipes). Idempotent."""
        ...

    async def close(self) -> None:
        """Disconnect; containers and keeper run on."""
        ...
