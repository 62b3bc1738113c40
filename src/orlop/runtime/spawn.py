"""The fork of a container's process: what must happen around clone3, on both sides of it.

`spawn` returns in the parent at once; in the child it hands over to `init.run`, which applies the plan's steps and executes the
program. The child tells how that went over `report_fd` (see init.py). Import-light: the keeper imports it, and stays small.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # without the enumerations of `signal`: each page touched is copied
import os

from orlop.kernel import syscalls
from orlop.runtime import init

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, NoReturn

# Python ignores the first two, and what is ignored stays so through execve; the others may have handlers of the parent's.
_SIGNALS = (_signal.SIGPIPE, _signal.SIGXFSZ, _signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP)


def spawn(
    plan: dict[str, Any],
    report_fd: int,
    *,
    stdio: Sequence[int] = (0, 1, 2),
    enter_cgroup: Callable[[], None] | None = None,
    cgroup_fd: int = -1,
    target_pidfd: int = -1,
) -> tuple[int, int]:
    """Start a plan's process: (pid, pidfd). The caller has one thread, and afterwards closes its own copies of what it gave.

    The child is put into its control group by clone3 (`cgroup_fd`, version 2), or by `enter_cgroup`, which it calls itself.
    `target_pidfd` is the container's first process, for the plans of execs. Raises OSError when there is no child.
    """
    gate = os.pipe2(os.O_CLOEXEC) if plan["mappings"] else None
    home = _visit_pid_namespace(plan["pid_namespace"], target_pidfd if plan["enter"] else -1)
    try:
        pid, pidfd = syscalls.clone3(plan["clone_flags"], cgroup_fd=cgroup_fd)
    except OSError:
        _return_to(home)
        raise
    if pid == 0:
        _child(plan, report_fd, stdio, enter_cgroup, target_pidfd, gate)
    _return_to(home)
    if gate:
        _open_gate(pid, plan["mappings"], *gate)
    return pid, pidfd


def _visit_pid_namespace(path: str, target_pidfd: int) -> int:
    """Make our next child be born in another pid namespace; the way back, or -1 when it stays ours.

    A process is never moved itself: setns(2) only chooses for its children.
    """
    if not path and target_pidfd < 0:
        return -1
    home = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    if not path:
        syscalls.setns(target_pidfd, syscalls.CLONE_NEWPID)
        return home
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        syscalls.setns(fd, syscalls.CLONE_NEWPID)
    finally:
        os.close(fd)
    return home


def _return_to(home: int) -> None:
    if home >= 0:
        syscalls.setns(home, syscalls.CLONE_NEWPID)
        os.close(home)


def _open_gate(pid: int, mappings: Sequence[str], read_fd: int, write_fd: int) -> None:
    """Write the child's id mappings, which it cannot do itself, and let it go on. user_namespaces(7).

    If that fails the child finds its ids unmapped and reports it.
    """
    os.close(read_fd)
    try:
        for name, content in zip(("uid_map", "gid_map"), mappings, strict=True):
            fd = os.open(f"/proc/{pid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, content.encode())
            finally:
                os.close(fd)
        os.write(write_fd, b"1")
    except OSError:
        os.write(write_fd, b"0")
    finally:
        os.close(write_fd)


def _child(
    plan: dict[str, Any],
    report_fd: int,
    stdio: Sequence[int],
    enter_cgroup: Callable[[], None] | None,
    target_pidfd: int,
    gate: tuple[int, int] | None,
) -> NoReturn:

    def begin() -> None:
        leave_parent()
        place_stdio(stdio)
        close_all_but({report_fd, target_pidfd, gate[0] if gate else -1})
        if enter_cgroup:
            enter_cgroup()
        if gate:
            _become_mapped_root(gate[0])

    init.run(plan, report_fd, target_pidfd, begin)


def leave_parent() -> None:
    """In a child: keep neither the parent's session nor its signal handling, and let nobody look into it."""
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    os.setsid()
    for each in _SIGNALS:
        _signal.signal(each, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())


def place_stdio(stdio: Sequence[int]) -> None:
    """Put three descriptors on 0, 1 and 2, whatever numbers they have."""
    if tuple(stdio) == (0, 1, 2):
        return
    high = [os.dup(fd) if fd < 3 else fd for fd in stdio]
    for number, fd in enumerate(high):
        os.dup2(fd, number)


def close_all_but(keep: Iterable[int]) -> None:
    """Close every descriptor from 3 on that is not to be kept; -1 stands for none."""
    first = 3
    for fd in sorted(fd for fd in keep if fd >= 3):
        if fd > first:
            syscalls.close_range(first, fd - 1)
        first = fd + 1
    syscalls.close_range(first, 0xFFFF_FFFF)


def _become_mapped_root(gate_fd: int) -> None:
    """Wait for the id mappings and be root in them."""
    if os.read(gate_fd, 1) != b"1":
        raise PermissionError(1, "cannot write the user namespace's id mappings")
    os.close(gate_fd)
    os.setresgid(0, 0, 0)
    os.setgroups([])
    os.setresuid(0, 0, 0)
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)  # or our own /proc/self would be the host's root's; nobody else is in there yet
