"""What passes between a client and a running container: LogQuery, Attachment, WaitResult, PathStat."""

import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class LogQuery:
    """Which part of a container's log to read. `tail` None: all; times 0: not bounded."""

    stdout: bool = True
    stderr: bool = True
    follow: bool = False
    since_ns: int = 0
    until_ns: int = 0
    timestamps: bool = False
    tail: int | None = None
    details: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Attachment:
    """A client's hold on a container's stdio.

    `backlog` gives what was logged before (in the same form as the socket) and is read first. `socket` is non-blocking and
    duplex: reading gives output (Docker's frames, raw for a tty) until EOF, writing gives stdin, shutdown(SHUT_WR) ends it.
    It is None when only the backlog was asked for. Whoever has the Attachment closes the socket.
    """

    tty: bool
    socket: socket.socket | None
    backlog: AsyncIterator[bytes] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class WaitResult:
    """How a container ended. `error` says why the exit code is not the process's own."""

    exit_code: int
    error: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class PathStat:
    """A path inside a container. `mode` has Go's FileMode bits; `link_target` is absolute within the container."""

    name: str
    size: int
    mode: int
    mtime_ns: int
    link_target: str = ""
