"""A child that is forked in an idle moment and waits for its plan. Import-light: the keeper imports it.

To fork the keeper takes most of a millisecond, and then each page that either side touches is copied: another one. The next
container need not wait for that. Only plans of the usual kind are served, and only on cgroup version 1; there a process enters
its group by itself, while on version 2 it is born in it (CLONE_INTO_CGROUP), which is the faster way.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket

from orlop.kernel import syscalls
from orlop.kernel.cgroups import Cgroup
from orlop.runtime import init, spawn
from orlop.runtime.steps import CANNOT_START

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NoReturn

    from orlop.kernel.cgroups import Layout

_MOST_BYTES = 1 << 17  # of a plan; a longer one goes the ordinary way
_FDS = 4  # report, stdin, stdout, stderr
_NOT_YET = syscalls.CLONE_NEWNS  # taken when the plan comes: what is mounted on the host until then must be seen


class Spares:
    """One child that waits, or none."""

    def __init__(self, layout: Layout, name: str) -> None:
        """`name` tells the child from others among the host's processes."""
        self._layout, self._name = layout, name
        self._flags = 0  # CLONE_NEW* of the last plan that was of the usual kind: the next one will want the same
        self._channel: socket.socket | None = None
        self._pid = self._pidfd = -1

    def fill(self) -> bool:
        """Fork one where it is missing. True: nothing more is to be done (see `Loop.lazily`)."""
        if self._channel is None and self._flags:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with contextlib.suppress(OSError):  # no room for one more process: then without
                self._pid, self._pidfd = syscalls.clone3(self._flags & ~_NOT_YET)
                if self._pid == 0:
                    self._wait(theirs)
                self._channel = ours
            theirs.close()
        return True

    def take(self, plan: dict[str, Any], report_fd: int, stdio: Sequence[int]) -> tuple[int, int] | None:
        """Give the plan to the child that waits: its (pid, pidfd). None when there is none, or none that fits."""
        if self._layout.version != 1 or plan["enter"] or plan["pid_namespace"] or plan["mappings"]:
            return None
        if (channel := self._channel) is not None and self._flags != plan["clone_flags"]:
            self.drop()
            channel = None
        self._flags = plan["clone_flags"]
        if channel is None:
            return None
        message = json.dumps(plan, separators=(",", ":")).encode()
        if len(message) > _MOST_BYTES:
            return None
        try:
            socket.send_fds(channel, [message], [report_fd, *stdio])
        except OSError:  # it was killed
            self.drop()
            return None
        channel.close()
        self._channel = None
        return self._pid, self._pidfd

    def drop(self) -> None:
        """End the child that waits. Idempotent."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
                os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
            os.close(self._pidfd)

    def _wait(self, channel: socket.socket) -> NoReturn:
        """In the child: keep nothing of the parent, and wait for the plan; its end is ours."""
        try:
            syscalls.set_process_title(f"orlop-keeper-spare {self._name}")
            spawn.leave_parent()
            spawn.close_all_but({channel.fileno()})
            message, fds, _, _ = socket.recv_fds(channel, _MOST_BYTES, _FDS)
            if message:
                self._become(json.loads(message), *fds)
        finally:
            os._exit(CANNOT_START)

    def _become(self, plan: dict[str, Any], report_fd: int, *stdio: int) -> NoReturn:
        def enter() -> None:
            spawn.place_stdio(stdio)
            spawn.close_all_but({report_fd})
            Cgroup(plan["cgroup"]["path"], self._layout).enter()
            if plan["clone_flags"] & _NOT_YET:
                syscalls.unshare(_NOT_YET)

        init.run(plan, report_fd, -1, enter)
