"""Hooks of the OCI runtime specification: programs that get the container's state on stdin. Import-light, for the keeper."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # see spawn.py
import os
import select

from orlop.runtime.steps import StepFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def run_hook(point: str, path: str, args: Sequence[str], env: Sequence[str], timeout: int | None, state: bytes) -> None:
    """Run one hook to its end. Raises StepFailed when it fails or takes longer than `timeout` seconds."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(writer, False)  # a state fits into a pipe; a hook that does not read it must not stop us
    try:
        pid = os.posix_spawn(
            path,
            list(args) or [path],
            dict(variable.split("=", 1) for variable in env if "=" in variable),
            file_actions=[(os.POSIX_SPAWN_DUP2, reader, 0)],
            setsigmask=(),
            setsigdef=(_signal.SIGPIPE, _signal.SIGXFSZ),
        )
        os.write(writer, state)
    except OSError as error:
        raise StepFailed(f"error running {point} hook {path}: {(error.strerror or '').lower()}") from error
    finally:
        os.close(reader)
        os.close(writer)
    pidfd = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    in_time = bool(poll.poll(timeout * 1000 if timeout else None))
    os.close(pidfd)
    if not in_time:
        os.kill(pid, _signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if not in_time:
        raise StepFailed(f"error running {point} hook {path}: no end after {timeout} seconds")
    if code:
        raise StepFailed(f"error running {point} hook {path}: exit status {code}")
