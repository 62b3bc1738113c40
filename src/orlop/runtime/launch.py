"""The start of one process: its pipes, the fork, and the wait for what the child tells. Import-light."""

from __future__ import annotations

import json
import os
import signal
import socket

from orlop.kernel import process
from orlop.runtime import loop as events
from orlop.runtime.journal import pipe
from orlop.runtime.spawn import spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from orlop.kernel.cgroups import Cgroup
    from orlop.runtime.loop import Loop
    from orlop.runtime.spares import Spares
    from orlop.runtime.stdio import Stdio


class Launch:
    """One start. `fds` are the descriptors that must outlive the keeper, `inodes` those of the pipes."""

    def __init__(self, loop: Loop, stdio: Stdio, spares: Spares, *, tty: bool, stdin: bool) -> None:
        self._loop, self._stdio, self._spares, self._tty, self._stdin = loop, stdio, spares, tty, stdin
        self.pid = self.pidfd = -1
        self.ticks = 0
        self.inodes: dict[str, int] = {}

    def run(
        self,
        plan: dict[str, Any],
        group: Cgroup,
        target_pidfd: int,
        started: Callable[[], None],
        failed: Callable[[str, int], None],
    ) -> None:
        """Fork, or take the child that waits; later call one of the two. Raises OSError when there is no child."""
        self._started, self._failed = started, failed
        self._report, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        child_fds = self._make_stdio()
        cgroup_fd = group.open()
        try:
            self.pid, self.pidfd = self._spares.take(plan, theirs.fileno(), child_fds) or spawn(
                plan,
                theirs.fileno(),
                stdio=child_fds,
                enter_cgroup=group.enter if cgroup_fd < 0 else None,
                cgroup_fd=cgroup_fd,
                target_pidfd=target_pidfd,
            )
        except OSError:
            self._report.close()
            raise
        finally:
            theirs.close()
            for fd in {*child_fds, cgroup_fd} - {-1}:
                os.close(fd)
        self.ticks = process.start_ticks(self.pid) or 0
        self._loop.watch(self._report.fileno(), events.READ, lambda mask: self._on_report())

    def _make_stdio(self) -> tuple[int, int, int]:
        """The child's descriptors. Ours are in the hands of stdio."""
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        if self._tty:
            return null, null, null
        stdin = self._make_input() if self._stdin else null
        outputs = [self._make_output(name) for name in ("stdout", "stderr")]
        if self._stdin:
            os.close(null)
        return stdin, outputs[0], outputs[1]

    def _make_input(self) -> int:
        reader, writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(writer, False)
        self.inodes["stdin"] = os.fstat(reader).st_ino
        self._stdio.open_input(writer)
        return reader

    def _make_output(self, name: str) -> int:
        """The child's end is open for reading too: a write never fails for want of a reader, it waits for the next keeper."""
        reader, writer = pipe()
        os.close(writer)
        both = os.open(f"/proc/self/fd/{reader}", os.O_RDWR | os.O_CLOEXEC)
        self.inodes[name] = os.fstat(reader).st_ino
        self._stdio.open_output(name, reader)
        return both

    def _on_report(self) -> None:
        message, fds, _, _ = socket.recv_fds(self._report, 65536, 1)
        if message == b"tty":
            os.set_blocking(fds[0], False)
            self._stdio.open_terminal(fds[0], *pipe())
            return
        self._loop.forget(self._report.fileno())
        self._report.close()
        if not message:
            self._started()
            return
        answer = json.loads(message)
        self.kill()  # it is about to exit by itself: do not wait for that
        self._failed(answer["error"], answer["exit_code"])

    def kill(self) -> None:
        """Undo the fork."""
        signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)
        os.close(self.pidfd)
