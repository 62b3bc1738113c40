"""Processes: running a program, spawning one that stays, and meeting one again (pid and start time, pidfds).

The only module that uses `subprocess`, and only inside `run`: the keeper imports this module and must stay small.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal

from orlop.kernel import syscalls
from orlop.spec.errors import OrlopError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orlop.spec.container import Process

_HIGH = 200  # descriptors from here up never collide with those that a child is to find at fixed numbers
_PYTHON_IGNORES = (signal.SIGPIPE, signal.SIGXFSZ)  # an ignored signal is inherited through execve; programs expect the default


class CommandFailed(OrlopError):
    """A program could not be run, took too long, or ended with another code than 0 (`code` None: it did not end by itself)."""

    def __init__(self, argv: Sequence[str], code: int | None, stderr: str) -> None:
        lines = stderr.strip().splitlines()
        super().__init__(f"cannot run {argv[0]}: {lines[-1] if lines else f'exit code {code}'}")
        self.argv, self.code, self.stderr = tuple(argv), code, stderr


class Result:
    """What a program that ran to its end left behind."""

    __slots__ = ("code", "stderr", "stdout")

    def __init__(self, code: int, stdout: bytes, stderr: bytes) -> None:
        self.code, self.stdout, self.stderr = code, stdout, stderr

    @property
    def text(self) -> str:
        """stdout as text."""
        return self.stdout.decode(errors="replace")


def run(
    argv: Sequence[str],
    *,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    timeout_seconds: float | None = 60,
    check: bool = True,
) -> Result:
    """Run a program to its end. Blocks.

    Raises CommandFailed, which carries stderr, when it cannot be run, does not end in time, or (with `check`) fails.
    """
    import subprocess

    try:
        done = subprocess.run(argv, input=stdin, env=env, capture_output=True, timeout=timeout_seconds, check=False)
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(argv, None, f"no end after {timeout_seconds} seconds") from error
    except OSError as error:
        raise CommandFailed(argv, None, error.strerror or str(error)) from error
    if check and done.returncode:
        raise CommandFailed(argv, done.returncode, done.stderr.decode(errors="replace"))
    return Result(done.returncode, done.stdout, done.stderr)


def spawn(
    program: str, argv: Sequence[str], *, env: Mapping[str, str] | None = None, fds: Mapping[int, int] | None = None
) -> int:
    """Start a program in a session of its own and return its pid; whoever spawns it reaps it. posix_spawn(3): no fork.

    `argv[0]` is the name it goes by. `fds` maps the number that the child sees to a descriptor of ours; 0, 1 and 2 are
    /dev/null where not given, and nothing else is inherited. Raises OSError.
    """
    syscalls.close_range(3, 0xFFFF_FFFF, syscalls.CLOSE_RANGE_CLOEXEC)  # what we were given ourselves is not for our children
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    high: list[int] = []
    try:
        actions: list[tuple[int, int, int]] = []
        for number, fd in {0: null, 1: null, 2: null, **(fds or {})}.items():
            high.append(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _HIGH))
            actions.append((os.POSIX_SPAWN_DUP2, high[-1], number))
        return os.posix_spawn(
            program,
            list(argv),
            dict(os.environ if env is None else env),
            file_actions=actions,
            setsid=True,
            setsigmask=(),
            setsigdef=_PYTHON_IGNORES,
        )
    finally:
        for fd in (null, *high):
            os.close(fd)


def start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None when it is gone or a zombie. proc_pid_stat(5), field 22."""
    fields = _stat(pid)
    return None if not fields or fields[0] in (b"Z", b"X") else int(fields[19])


def zombie_status(pid: int, ticks: int) -> int | None:
    """The wait status of a process that has ended and that nobody has reaped yet; else None. proc_pid_stat(5), field 52."""
    fields = _stat(pid)
    return int(fields[49]) if fields and fields[0] == b"Z" and int(fields[19]) == ticks else None


def _stat(pid: int) -> list[bytes]:
    """The fields from the third on; none when the process is gone."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            stat = os.read(fd, 4096)
        finally:
            os.close(fd)
    except OSError:  # ENOENT; ESRCH when it goes while we read
        return []
    return stat[stat.rindex(b")") + 2 :].split()  # the name before it may hold spaces and brackets


def identify(pid: int) -> Process:
    """The identity by which a living process can be met again. Raises ProcessLookupError."""
    from orlop.spec.container import Process

    ticks = start_ticks(pid)
    if ticks is None:
        raise ProcessLookupError(f"no process {pid}")
    return Process(pid=pid, start_ticks=ticks)


def is_alive(process: Process) -> bool:
    """Whether this very process still runs, not another one that was given its pid."""
    return start_ticks(process.pid) == process.start_ticks


def open_pidfd(pid: int, ticks: int) -> int:
    """A pidfd (CLOEXEC) of the process that has this pid and start time. Raises ProcessLookupError when it is gone."""
    fd = os.pidfd_open(pid)
    if start_ticks(pid) == ticks:  # checked after the opening: from now on the descriptor means this process
        return fd
    os.close(fd)
    raise ProcessLookupError(f"no process {pid} that started at {ticks}")


def wait_end(pidfd: int, timeout_seconds: float | None = None) -> bool:
    """Wait for a process to end; False when it did not in time. pidfd_open(2)."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(None if timeout_seconds is None else int(timeout_seconds * 1000)))
