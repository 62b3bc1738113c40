"""The holder: the keeper's parent, which keeps what a killed keeper must not take with it, and starts the next one.

It holds duplicates of descriptors (pidfds, pipes, pty masters) and reaps the containers that a dead keeper leaves behind: it is
the next subreaper above, so their exit codes stay known on every kernel. It does nothing else, so the memory that it shares
with the keeper stays shared. When the holder is the one that is killed, the keeper forks a new one below itself.

They talk in datagrams, JSON and descriptors. The keeper sends [key, pid, names] to have descriptors held, [key, names] to drop
some, [key] to drop all of a key, [] when it ends by its own will. A new keeper is sent [key, pid, names, wait status or null]
for every key, then []; later [key, status] for each that was reaped. Import-light.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import time
from array import array

from orlop.kernel import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, NoReturn

LISTENER = 3  # the number of the socket that the daemon connects to, in holder and keeper
_MOST_BYTES = 4096
_MOST_FDS = 16
_PAUSES_SECONDS = (0.0, 0.1, 0.5, 2.0, 10.0)  # before the next keeper, when so many have ended by a fault of theirs in a row


class Held:
    """What is held for one process: descriptors by name, and its wait status once the holder has reaped it."""

    __slots__ = ("fds", "pid", "status")

    def __init__(self, pid: int, fds: dict[str, int] | None = None, status: int | None = None) -> None:
        self.pid, self.fds, self.status = pid, fds or {}, status


class Holder:
    """The keeper's side of the channel."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel

    def inherit(self) -> dict[str, Held]:
        """All that the keeper before left."""
        held: dict[str, Held] = {}
        while True:
            message, fds = _receive(self.channel)
            if not message:
                return held
            key, pid, names, status = message
            held[key] = Held(pid, dict(zip(names, fds, strict=True)), status)

    def hold(self, key: str, pid: int, fds: dict[str, int]) -> None:
        """Have descriptors outlive the keeper."""
        self._send([key, pid, list(fds)], list(fds.values()))

    def drop(self, key: str, *names: str) -> None:
        """Let go of some descriptors of a key, or of all."""
        self._send([key, list(names)] if names else [key])

    def farewell(self) -> None:
        """The keeper ends because nothing is left to do: so does the holder."""
        self._send([])

    def reaped(self) -> Iterator[tuple[str, int]]:
        """Keys and wait statuses that have come in. Raises ConnectionError when the holder is dead."""
        while True:
            try:
                message, _ = _receive(self.channel, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            yield message[0], message[1]

    def _send(self, message: Sequence[object], fds: Sequence[int] = ()) -> None:
        with contextlib.suppress(OSError):  # it is dead: the loop hears of that and starts another
            _send(self.channel, message, fds)


def hold(run_keeper: Callable[[Holder], NoReturn], name: str) -> NoReturn:
    """Be the holder: start keepers until one ends by its own will. `name` tells it from others among the host's processes."""
    _Holding(run_keeper, name).run(None)


def fork_holder(run_keeper: Callable[[Holder], NoReturn], name: str) -> Holder:
    """Called by a keeper whose holder is gone: start a new holder below it. The caller hands over its descriptors again."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        _close_all_but(theirs.fileno())
        _Holding(run_keeper, name).run(theirs)
    theirs.close()
    return Holder(ours)


class _Holding:
    """The holder's life."""

    def __init__(self, run_keeper: Callable[[Holder], NoReturn], name: str) -> None:
        self._run_keeper, self._name = run_keeper, name
        self._held: dict[str, Held] = {}
        self._keeper = -1  # pid of the one that we have forked
        self._faults = 0

    def run(self, channel: socket.socket | None) -> NoReturn:
        """Serve the keeper at the other end of `channel`, then those that come after it."""
        syscalls.set_process_title(f"orlop-keeper-holder {self._name}")
        syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
        signals = children_pipe()
        while True:
            channel = channel or self._start_keeper()
            if not self._serve(channel, signals):
                os._exit(0)
            channel.close()
            channel = None
            self._judge()
            time.sleep(_PAUSES_SECONDS[min(self._faults, len(_PAUSES_SECONDS) - 1)])

    def _start_keeper(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._keeper = os.fork()
        if self._keeper == 0:
            signal.set_wakeup_fd(-1)
            _close_all_but(theirs.fileno())
            self._run_keeper(Holder(theirs))
        theirs.close()
        with contextlib.suppress(OSError):  # the keeper has died already
            for key, entry in self._held.items():
                _send(ours, [key, entry.pid, list(entry.fds), entry.status], list(entry.fds.values()))
            _send(ours, [])
        return ours

    def _judge(self) -> None:
        """Count a keeper that has ended with an error, unlike one that was killed."""
        with contextlib.suppress(ChildProcessError):  # it is reaped already, or was not forked by us
            _, status = os.waitpid(self._keeper, 0)
            self._faults = self._faults + 1 if os.WIFEXITED(status) else 0

    def _serve(self, channel: socket.socket, signals: int) -> bool:
        """Until the keeper is gone: whether it left without a farewell."""
        poll = select.poll()
        poll.register(channel, select.POLLIN)
        poll.register(signals, select.POLLIN)
        self._reap(channel)
        while True:
            ready = [fd for fd, _ in poll.poll()]
            if signals in ready:
                os.read(signals, 4096)
                self._reap(channel)
            if channel.fileno() in ready:
                try:
                    message, fds = _receive(channel)
                except ConnectionError:
                    return True
                if not message:
                    return False
                self._obey(message, fds)

    def _obey(self, message: list[Any], fds: list[int]) -> None:
        key = message[0]
        match message[1:]:
            case [pid, names]:
                entry = self._held.setdefault(key, Held(pid))
                entry.pid = pid
                for name, fd in zip(names, fds, strict=True):
                    if name in entry.fds:  # a new keeper hands over what it has just been given
                        os.close(entry.fds[name])
                    entry.fds[name] = fd
            case [names] if key in self._held:
                for name in names:
                    if (fd := self._held[key].fds.pop(name, -1)) >= 0:
                        os.close(fd)
            case [] if key in self._held:
                for fd in self._held.pop(key).fds.values():
                    os.close(fd)

    def _reap(self, channel: socket.socket) -> None:
        """Collect the dead that a keeper before this one has left to us; the keeper itself is left to `_judge`."""
        keys = {entry.pid: key for key, entry in self._held.items()}
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and ended.si_pid != self._keeper:
                _, status = os.waitpid(ended.si_pid, 0)
                if key := keys.get(ended.si_pid):
                    self._held[key].status = status
                    with contextlib.suppress(OSError):
                        _send(channel, [key, status])


def children_pipe() -> int:
    """A pipe that gets a byte whenever a child ends. System calls go on meanwhile (SA_RESTART)."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.siginterrupt(signal.SIGCHLD, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    return reader


def _close_all_but(kept: int) -> None:
    """Close every descriptor but stdio, the listener and `kept`."""
    if kept > LISTENER + 1:
        syscalls.close_range(LISTENER + 1, kept - 1)
    syscalls.close_range(kept + 1, 0xFFFF_FFFF)


def _send(channel: socket.socket, message: Sequence[object], fds: Sequence[int] = ()) -> None:
    data = json.dumps(message, separators=(",", ":")).encode()
    if fds:
        socket.send_fds(channel, [data], list(fds))
    else:
        channel.send(data)


def _receive(channel: socket.socket, flags: int = 0) -> tuple[list[Any], list[int]]:
    fds = array("i")
    room = socket.CMSG_LEN(_MOST_FDS * fds.itemsize)
    data, ancillary, _, _ = channel.recvmsg(_MOST_BYTES, room, flags)  # socket.recv_fds ignores its flags
    if not data:
        raise ConnectionError("the other side is gone")
    for _, _, packed in ancillary:
        fds.frombytes(packed[: len(packed) - len(packed) % fds.itemsize])
    message: list[Any] = json.loads(data)
    return message, fds.tolist()
