"""The daemon's connection to the keeper: it is started where none runs, requests are matched with replies, events handed on."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import sys
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from orlop.kernel import process, syscalls
from orlop.runtime.holder import LISTENER
from orlop.runtime.messages import Inbox, frame
from orlop.spec import errors
from orlop.spec.errors import OrlopError, StartFailed, Unavailable
from orlop.state import documents

_BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from orlop.runtime.keeper import main; main(sys.argv[2])"
_SOURCE = Path(__file__).resolve().parents[2]
_BACKLOG = 64
_REPLY_SECONDS = 20  # a keeper that does not even say hello for so long is as good as dead

Document = dict[str, Any]


class Connection:
    """One connection. `on_event` gets the keeper's events, `on_lost` is called when it breaks after `open` has returned."""

    def __init__(self, on_event: Callable[[Document], None], on_lost: Callable[[], None]) -> None:
        self._on_event, self._on_lost = on_event, on_lost
        self._socket: socket.socket | None = None
        self._greeted = False
        self._inbox = Inbox()
        self._numbers = itertools.count(1)
        self._replies: dict[int, asyncio.Future[Document]] = {}
        self._unsent: deque[tuple[bytes, tuple[int, ...]]] = deque()

    async def open(self, exec_root: Path) -> Document:
        """Connect, starting a keeper where none listens: its answer to hello. Raises Unavailable."""
        self._socket = _connect(exec_root)
        if self._socket is None:
            await _start_keeper(exec_root)
            self._socket = _connect(exec_root)
        if self._socket is None:
            raise Unavailable(f"cannot start the keeper: see {exec_root}/keeper.log")
        asyncio.get_running_loop().add_reader(self._socket, self._readable)
        try:
            async with asyncio.timeout(_REPLY_SECONDS):
                hello = await self.request("hello", {})
        except TimeoutError as error:
            self.close()
            raise Unavailable(f"the keeper does not answer: see {exec_root}/keeper.log") from error
        self._greeted = True
        return hello

    async def request(self, verb: str, fields: Mapping[str, Any], fds: tuple[int, ...] = ()) -> Document:
        """Ask, and wait for the reply. Raises the error that it carries; Unavailable when the connection breaks."""
        if self._socket is None:
            raise Unavailable(f"cannot {verb}: the keeper is gone")
        number = next(self._numbers)
        future: asyncio.Future[Document] = asyncio.get_running_loop().create_future()
        self._replies[number] = future
        try:
            self._send(frame(documents.dumps({"id": number, "verb": verb, **fields}), len(fds)), fds)
            return await future
        finally:
            self._replies.pop(number, None)

    def close(self) -> None:
        """Disconnect; whoever waits for a reply gets Unavailable. Idempotent."""
        if self._socket is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._socket)
            loop.remove_writer(self._socket)
            self._socket.close()
            self._socket = None
            self._unsent.clear()
            for future in self._replies.values():
                if not future.done():
                    future.set_exception(Unavailable("the keeper is gone"))

    # --- the socket ---

    def _send(self, data: bytes, fds: tuple[int, ...]) -> None:
        self._unsent.append((data, fds))
        if len(self._unsent) == 1:
            self._writable()

    def _writable(self) -> None:
        assert self._socket is not None
        try:
            while self._unsent:
                data, fds = self._unsent[0]
                sent = socket.send_fds(self._socket, [data], list(fds)) if fds else self._socket.send(data)
                if sent == len(data):
                    self._unsent.popleft()
                else:
                    self._unsent[0] = (data[sent:], ())
        except BlockingIOError:
            asyncio.get_running_loop().add_writer(self._socket, self._writable)
            return
        except OSError:
            self._lose()
            return
        asyncio.get_running_loop().remove_writer(self._socket)

    def _readable(self) -> None:
        if self._socket is None:
            return
        try:
            alive = self._inbox.receive(self._socket)
            for payload, _ in self._inbox.messages():
                self._dispatch(documents.loads(payload))
        except BlockingIOError:
            return
        except (OSError, OrlopError):
            alive = False
        if not alive:
            self._lose()

    def _lose(self) -> None:
        if self._socket is not None:
            self.close()
            if self._greeted:
                self._on_lost()

    def _dispatch(self, document: Document) -> None:
        if "event" in document:
            self._on_event(document)
            return
        future = self._replies.get(document["id"])
        if future is None or future.done():
            return
        if "error" in document:
            future.set_exception(_error(document))
        else:
            future.set_result(document)


def _error(document: Document) -> OrlopError:
    """A reply's error as the class that it was in the keeper."""
    if document["kind"] == "StartFailed":
        return StartFailed(document["error"], document["exit_code"])
    kind = getattr(errors, document["kind"], OrlopError)
    error: OrlopError = kind.__new__(kind)
    error.args = (document["error"],)
    return error


def _connect(exec_root: Path) -> socket.socket | None:
    """A connection to the keeper that listens; None when there is none."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        connection.connect(str(exec_root / "keeper.sock"))
    except OSError:  # nobody listens, or a socket file that a dead one left
        connection.close()
        return None
    return connection


async def _start_keeper(exec_root: Path) -> None:
    """Start holder and keeper. They listen on a socket that is ours until then: no connection can come too early."""
    exec_root.mkdir(mode=0o711, parents=True, exist_ok=True)
    program = _interpreter()
    listener = _listen(exec_root / "keeper.sock")
    log = os.open(exec_root / "keeper.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        pid = process.spawn(
            f"/proc/self/fd/{program}",
            ["orlop-keeper", "-S", "-E", "-I", "-c", _BOOT, str(_SOURCE), str(exec_root)],
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
            fds={2: log, LISTENER: listener.fileno()},
        )
    finally:
        os.close(program)
        os.close(log)
        listener.close()
    await asyncio.to_thread(os.waitpid, pid, 0)  # it forks the holder and ends at once


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with suppress(FileNotFoundError):
        path.unlink()
    old = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(old)
    listener.listen(_BACKLOG)
    return listener


def _interpreter() -> int:
    """Our interpreter, in a detached mount of its own that is read-only: what a container reaches through /proc/PID/exe of a
    process that has entered it cannot be written to (CVE-2019-5736). Where the kernel cannot (before 5.12): as it is."""
    path = os.path.realpath(sys.executable)
    try:
        tree = syscalls.open_tree(syscalls.AT_FDCWD, path, syscalls.OPEN_TREE_CLONE)
        syscalls.mount_setattr(tree, "", attr_set=syscalls.MOUNT_ATTR_RDONLY)
    except OSError:
        return os.open(path, os.O_PATH | os.O_CLOEXEC)
    return tree
