"""The worker's main: takes jobs from its socket until the daemon closes it."""

import array
import os
import signal
import socket
import sys
from typing import Any, NoReturn

from orlop.engine.jobs import find
from orlop.kernel import syscalls
from orlop.spec.errors import OrlopError
from orlop.state import documents
from orlop.storage.lanes import describe

_MOST_FDS = 8


class _Stopped(BaseException):
    """The daemon wants this job to end: every `with` and `finally` on the way out cleans up."""


def main() -> NoReturn:
    """Serve jobs, one after the other. The only argument is the number of the socket's descriptor."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGTERM, _stop)
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGTERM)
    syscalls.set_process_title("orlop-worker")
    _confine()
    code = 0
    try:
        while request := _receive(connection):
            _serve(connection, *request)
    except (_Stopped, BrokenPipeError, ConnectionResetError):
        code = 1
    sys.exit(code)


def _stop(*_: object) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once: cleaning up must not be interrupted by its own signal
    raise _Stopped


def _confine() -> None:
    """Mounts of our own: what jobs mount is seen nowhere else and goes with us. Later mounts of the host still reach us."""
    try:
        syscalls.unshare(syscalls.CLONE_NEWNS)
        syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_SLAVE)
    except PermissionError:  # no root: then jobs that mount fail by themselves
        pass


def _receive(connection: socket.socket) -> tuple[str, dict[str, Any], tuple[int, ...]] | None:
    """The next request: name, arguments, descriptors. None when the daemon has hung up."""
    message, ancillary, _, _ = connection.recvmsg(1, socket.CMSG_SPACE(_MOST_FDS * 4))
    if not message:
        return None
    received = array.array("i")
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            received.frombytes(content)
    for fd in received:
        os.set_inheritable(fd, False)
        os.set_blocking(fd, True)
    with open(received[0], "rb") as file:
        file.seek(0)
        name, args = documents.loads(file.read())
    return name, args, tuple(received[1:])


def _serve(connection: socket.socket, name: str, args: dict[str, Any], fds: tuple[int, ...]) -> None:
    def progress(step: dict[str, Any]) -> None:
        _send(connection, {"progress": step})

    try:
        try:
            answer = {"result": find(name)(args, progress, fds)}
        finally:
            for fd in fds:
                os.close(fd)
    except (OrlopError, OSError) as error:
        answer = {"error": describe(error)}
    except Exception as error:  # a mistake of ours: the daemon must hear of it, and this process must not go on
        _send(connection, {"error": ["OrlopError", f"{name}: {type(error).__name__}: {error}"], "last": True})
        raise
    _send(connection, answer)


def _send(connection: socket.socket, document: dict[str, Any]) -> None:
    content = documents.dumps(document)
    connection.sendall(len(content).to_bytes(4, "big") + content)
