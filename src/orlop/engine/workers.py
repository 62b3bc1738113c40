"""Workers: processes beside the daemon that do what takes long (unpack, pull, copy), one job at a time each.

A worker is started when a job finds none idle, and ended when it has been idle for a while. The daemon and a worker share a
socket: a request is one byte that carries a memory file with its JSON and the job's descriptors (unix(7), SCM_RIGHTS);
an answer is a 4-byte length and JSON: any number of {"progress": ...}, then {"result": ...} or {"error": [class, message]}
("last": the worker ends after it).
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from fcntl import F_SETPIPE_SZ, fcntl
from pathlib import Path
from typing import Any

from orlop.kernel import process
from orlop.spec.errors import Unavailable
from orlop.state import documents
from orlop.storage.lanes import revive

_SOCKET_FD = 3  # where the worker finds its end
_BOOT = "import sys; sys.path[:] = sys.argv.pop(1).split(':'); from orlop.worker import main; main()"
_IDLE_SECONDS = 2.0
_KILL_SECONDS = 5.0  # how long a cancelled job may take to clean up
_PIPE_BYTES = 1 << 20
_BLOCK_BYTES = 1 << 18

Progress = Callable[[dict[str, Any]], None]


class Workers:
    """The pool. Not thread-safe: it lives on the daemon's loop."""

    def __init__(self, data_root: str | Path, driver: str = "", *, cores: int = 0, idle_seconds: float = _IDLE_SECONDS) -> None:
        """`data_root` and `driver` (of snapshots) are given to every job."""
        self._common = {"data_root": os.fspath(data_root), "driver": driver}
        self._cores = cores or len(os.sched_getaffinity(0))
        self._idle_seconds = idle_seconds
        self._slots = asyncio.Semaphore(max(8, 4 * self._cores))  # more than cores: many jobs wait for a peer
        self._idle: list[_Worker] = []
        self._all: set[_Worker] = set()
        self.on_killed: Callable[[int], None] = lambda pid: None  # a worker could not clean up after itself

    async def run(self, name: str, args: dict[str, Any], *, progress: Progress | None = None, fds: Sequence[int] = ()) -> Any:
        """Run a job and return its JSON-able result. The descriptors stay the caller's.

        Raises the OrlopError that the job raised; Unavailable when its worker died. When cancelled, the job is stopped and
        cleans up.
        """
        async with self._slots:
            worker = self._take()
            try:
                document = await worker.start(name, args | self._common, fds, progress)
            except BaseException:
                worker.stop()
                raise
            return self._outcome(worker, document)

    async def read(self, name: str, args: dict[str, Any], *, fds: Sequence[int] = ()) -> AsyncIterator[bytes]:
        """Run a job that writes a stream to its last descriptor, and give the stream. Ends by raising as `run` does."""
        async with self._slots:
            reading, writing = _pipe()
            worker = self._take()
            try:
                try:
                    answer = worker.start(name, args | self._common, (*fds, writing), None)
                finally:
                    os.close(writing)
                while block := await _read(reading):
                    yield block
                document = await answer
            except BaseException:
                worker.stop()
                raise
            finally:
                os.close(reading)
            self._outcome(worker, document)

    async def write(
        self,
        name: str,
        args: dict[str, Any],
        body: AsyncIterator[bytes],
        *,
        progress: Progress | None = None,
        fds: Sequence[int] = (),
    ) -> Any:
        """Run a job that reads a stream from its last descriptor, feed it `body`, and return its result. Raises as `run`."""
        async with self._slots:
            reading, writing = _pipe()
            worker = self._take()
            try:
                try:
                    answer = worker.start(name, args | self._common, (*fds, reading), progress)
                finally:
                    os.close(reading)
                try:
                    with suppress(BrokenPipeError):  # the job has had enough: its answer says why
                        async for block in body:
                            await _write(writing, block)
                finally:
                    os.close(writing)
                document = await answer
            except BaseException:
                worker.stop()
                raise
            return self._outcome(worker, document)

    async def close(self) -> None:
        """Stop every worker and wait until all are gone."""
        for worker in list(self._all):
            worker.stop()
        await asyncio.gather(*(worker.gone for worker in self._all))

    def _take(self) -> "_Worker":
        while self._idle:
            worker = self._idle.pop()
            if worker.take():
                return worker
        worker = _Worker(self._forget)
        self._all.add(worker)
        return worker

    def _forget(self, worker: "_Worker", status: int) -> None:
        self._all.discard(worker)
        if os.WIFSIGNALED(status):
            self.on_killed(worker.pid)

    def _outcome(self, worker: "_Worker", document: dict[str, Any]) -> Any:
        if len(self._idle) < self._cores and not document.get("last"):
            self._idle.append(worker)
            worker.rest(self._idle_seconds)
        else:
            worker.stop()
        if "error" in document:
            raise revive(document["error"])
        return document["result"]


class _Worker:
    """One process and its socket."""

    def __init__(self, forget: Callable[["_Worker", int], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._forget = forget
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        with theirs:
            self.pid = process.spawn(
                os.path.realpath(sys.executable),
                ["orlop-worker", "-S", "-E", "-c", _BOOT, ":".join(path for path in sys.path if path), str(_SOCKET_FD)],
                fds={2: 2, _SOCKET_FD: theirs.fileno()},
            )
        self._pidfd = os.pidfd_open(self.pid)
        self.gone: asyncio.Future[None] = self._loop.create_future()
        self._answer: asyncio.Future[dict[str, Any]] = self._loop.create_future()
        self._progress: Progress | None = None
        self._buffer = bytearray()
        self._timer: asyncio.TimerHandle | None = None
        self._loop.add_reader(self._socket, self._readable)
        self._loop.add_reader(self._pidfd, self._ended)

    def start(
        self, name: str, args: dict[str, Any], fds: Sequence[int], progress: Progress | None
    ) -> Awaitable[dict[str, Any]]:
        """Send a request; the answer comes by itself."""
        self._answer = self._loop.create_future()
        self._progress = progress
        request = os.memfd_create("orlop-job")
        try:
            with open(request, "wb", closefd=False) as file:
                file.write(documents.dumps([name, args]))
            socket.send_fds(self._socket, [b"!"], [request, *fds])
        except OSError as error:
            raise Unavailable(f"cannot reach a worker: {error.strerror}") from error
        finally:
            os.close(request)
        return self._answer

    def rest(self, seconds: float) -> None:
        """Be idle, and stop after so long."""
        self._timer = self._loop.call_later(seconds, self._retire)

    def take(self) -> bool:
        """End being idle; False when it has stopped meanwhile."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        return not self.gone.done() and self._socket.fileno() >= 0

    def stop(self) -> None:
        """Ask the process and what it started to end, and make it if it does not. Idempotent."""
        self._disconnect()
        if not self.gone.done() and self._timer is None:
            self._signal(signal.SIGTERM)
            self._timer = self._loop.call_later(_KILL_SECONDS, self._signal, signal.SIGKILL)

    def _retire(self) -> None:
        self._timer = None
        self.stop()

    def _signal(self, number: int) -> None:
        if not self.gone.done():
            with suppress(ProcessLookupError):
                os.killpg(self.pid, number)  # it leads a session of its own

    def _readable(self) -> None:
        try:
            content = self._socket.recv(_BLOCK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            content = b""
        if not content:
            self._disconnect()
            return
        self._buffer += content
        while len(self._buffer) >= 4:
            end = 4 + int.from_bytes(self._buffer[:4], "big")
            if len(self._buffer) < end:
                return
            document = documents.loads(bytes(self._buffer[4:end]))
            del self._buffer[:end]
            self._received(document)

    def _received(self, document: dict[str, Any]) -> None:
        if "progress" in document:
            if self._progress:
                self._progress(document["progress"])
        elif not self._answer.done():
            self._answer.set_result(document)

    def _disconnect(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()
            if not self._answer.done():
                self._answer.set_exception(Unavailable("the worker that did this ended unexpectedly"))
                self._answer.exception()  # nobody may be waiting any more

    def _ended(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)  # its children, should it have been killed itself
        _, status = os.waitpid(self.pid, 0)
        self.gone.set_result(None)
        self._forget(self, status)
        if self._timer:
            self._timer.cancel()
        if self._socket.fileno() >= 0:
            self._readable()  # what it said last
        self._disconnect()


def _pipe() -> tuple[int, int]:
    """A large pipe. Our own ends do not block; a worker sets its end as it likes, for it is the same open file."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    with suppress(OSError):
        fcntl(writing, F_SETPIPE_SZ, _PIPE_BYTES)
    return reading, writing


async def _read(fd: int) -> bytes:
    os.set_blocking(fd, False)
    while True:
        try:
            return os.read(fd, _BLOCK_BYTES)
        except BlockingIOError:
            await _ready(fd, writing=False)


async def _write(fd: int, content: bytes) -> None:
    os.set_blocking(fd, False)
    view = memoryview(content)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            await _ready(fd, writing=True)


async def _ready(fd: int, *, writing: bool) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    add, remove = (loop.add_writer, loop.remove_writer) if writing else (loop.add_reader, loop.remove_reader)

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    add(fd, wake)
    try:
        await ready
    finally:
        remove(fd)
