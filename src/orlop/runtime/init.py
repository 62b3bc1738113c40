"""The container's own first steps: apply a plan's steps in order, then execute the program.

Runs in the fresh child (see spawn.py), already in its new namespaces. A step is a list, `[operation, argument...]`; OPERATIONS,
at the end of this file, is all that there is. What steps share is a State.

What the child tells over `report_fd`, a SOCK_SEQPACKET socket that execve closes:
  - end of file alone: the program was executed;
  - `{"error": message, "exit_code": 126|127|128}`: it was not, and the child has exited with that code;
  - `tty` with a descriptor (SCM_RIGHTS): the master of its terminal, of which it has the other end as 0, 1 and 2;
  - `sync`: it waits for an answer, the container's state in JSON (only with hooks);
  - `ready`: all is prepared, and it waits at the gate (only where `create` and `start` are two).

Until `pivot`, the host's mounts are in view, and every path of the container is opened under `root_fd` by rules of openat2(2)
that no symbolic link of an image can break. What must be written to /proc is written then, to the host's own.
Import-light: the keeper imports it.
"""

from __future__ import annotations

import _socket
import errno
import json
import os
import resource
import select
import stat

from orlop.kernel import mounts, paths, syscalls, terminal
from orlop.runtime import hooks, identity, rootfs
from orlop.runtime.steps import CANNOT_START, COMMAND_NOT_EXECUTABLE, COMMAND_NOT_FOUND, State, StepFailed, explain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

_UNREACHABLE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}


def run(plan: dict[str, Any], report_fd: int, target_pidfd: int, leave_parent: Callable[[], None]) -> NoReturn:
    """Apply the plan's steps, the last of which executes the program. Ends the process when one fails, whatever the reason:
    an end without a report would be taken for success."""
    step = "spawn"
    try:
        leave_parent()
        state = State(plan, report_fd, target_pidfd)
        os.umask(0)  # modes are meant as they are written; `identity` sets the program's
        for operation, *arguments in plan["steps"]:
            step = operation
            OPERATIONS[operation](state, *arguments)
        message, code = "the plan does not execute anything", CANNOT_START
    except StepFailed as failure:
        message, code = str(failure), failure.exit_code
    except OSError as error:
        message, code = f"cannot do the step {step}: {explain(error)}", CANNOT_START
    except Exception as error:
        message, code = f"internal error in the step {step}: {error!r}", CANNOT_START
    fail(report_fd, f"{plan['failure']}: {message}", code)


def fail(report_fd: int, message: str, exit_code: int) -> NoReturn:
    """Tell why the program was not executed, and end. Where nobody listens any more (after the gate), tell it on stderr."""
    report = json.dumps({"error": message[:60_000], "exit_code": exit_code}).encode()
    try:
        _send(report_fd, report)
    except OSError:
        os.write(2, f"{message}\n".encode())
    finally:
        os._exit(exit_code)


def _send(socket_fd: int, message: bytes, fd: int = -1) -> None:
    """A message, perhaps with a descriptor; never a SIGPIPE."""
    rights = [] if fd < 0 else [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, fd.to_bytes(4, "little"))]
    connection = _socket.socket(fileno=socket_fd)
    try:
        connection.sendmsg([message], rights, _socket.MSG_NOSIGNAL)
    finally:
        connection.detach()


# --- namespaces and what is set in them ---


def _unshare(state: State, flags: int) -> None:
    syscalls.unshare(flags)


def _join(state: State, path: str, flag: int) -> None:
    """Enter a namespace by its file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            syscalls.setns(fd, flag)
        finally:
            os.close(fd)
    except OSError as error:
        raise StepFailed(f'cannot join the namespace "{path}": {explain(error)}') from error
    if flag == syscalls.CLONE_NEWUSER:
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)


def _enter(state: State, flags: int) -> None:
    """Enter the namespaces of the container's first process; its root becomes ours."""
    try:
        syscalls.setns(state.target_pidfd, flags)
    except OSError as error:
        raise StepFailed(f"cannot enter the container: {explain(error)}") from error
    os.close(state.target_pidfd)
    if flags & syscalls.CLONE_NEWUSER:
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    state.root_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _time(state: State, offsets: str) -> None:
    """Take a new time namespace, whose clocks can only be set before anyone is in it. time_namespaces(7)."""
    syscalls.unshare(syscalls.CLONE_NEWTIME)
    if offsets:
        _write("/proc/self/timens_offsets", offsets)
    fd = os.open("/proc/self/ns/time_for_children", os.O_RDONLY | os.O_CLOEXEC)
    syscalls.setns(fd, syscalls.CLONE_NEWTIME)
    os.close(fd)


def _keyring(state: State, name: str) -> None:
    try:
        syscalls.join_session_keyring(name)
    except OSError as error:
        if error.errno != errno.ENOSYS:  # a kernel without keys has nothing to share
            raise


def _hostname(state: State, name: str) -> None:
    syscalls.sethostname(name)


def _domainname(state: State, name: str) -> None:
    syscalls.setdomainname(name)


def _sysctl(state: State, key: str, value: str) -> None:
    try:
        _write("/proc/sys/" + key.replace(".", "/"), value)
    except OSError as error:
        raise StepFailed(f"cannot set sysctl {key} to {value}: {explain(error)}") from error


def _oom_score_adj(state: State, value: int) -> None:
    try:
        _write("/proc/self/oom_score_adj", str(value))
    except OSError as error:
        raise StepFailed(f"cannot set oom_score_adj to {value}: {explain(error)}") from error


def _write(path: str, content: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, content.encode())
    finally:
        os.close(fd)


# --- meeting whoever started us ---


def _sync(state: State) -> None:
    """Let our parent run the hooks of its side; it answers with the container's state, or goes away."""
    _send(state.report_fd, b"sync")
    state.description = os.read(state.report_fd, 65536)
    if not state.description:
        raise StepFailed("whoever started the container has gone away")


def _hooks(state: State, point: str, wanted: list[list[Any]]) -> None:
    for path, args, env, timeout in wanted:
        hooks.run_hook(point, path, args, env, timeout, state.description)


def _gate(state: State, path: str) -> None:
    """Open the gate's FIFO while the host's files are in view."""
    state.gate_fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)


def _await(state: State) -> None:
    """Wait at the gate."""
    _send(state.report_fd, b"ready")
    poll = select.poll()
    poll.register(state.gate_fd, select.POLLIN)
    poll.poll()
    os.close(state.gate_fd)


# --- the process ---


def _terminal(state: State, rows: int, columns: int, bind_console: bool) -> None:
    """Make a terminal in the container's own devpts, take one end as 0, 1, 2 and as controlling terminal, send the other up."""
    try:
        master, slave = terminal.open_terminal(state.root_fd)
        if rows or columns:
            terminal.set_size(master, rows, columns)
        if bind_console:
            target = paths.make_in_root(state.root_fd, "/dev/console", directory=False)
            tree = mounts.clone_tree(slave, recursive=False)
            syscalls.move_mount(tree, "", target, "")
            os.close(tree)
            os.close(target)
        _send(state.report_fd, b"tty", master)
        terminal.control(slave)
        for fd in (0, 1, 2):
            os.dup2(slave, fd)
    except OSError as error:
        raise StepFailed(f"cannot make a terminal: {explain(error)}") from error
    os.close(master)
    os.close(slave)


def _rlimit(state: State, number: int, name: str, soft: int, hard: int) -> None:
    """Set a limit, -1 unlimited."""
    most = resource.getrlimit(number)[1]
    try:
        resource.setrlimit(number, (soft, hard))
    except (OSError, ValueError) as error:  # ValueError: above the hard limit, without CAP_SYS_RESOURCE
        reason = str(error) if most == resource.RLIM_INFINITY else f"the host's own hard limit is {most}"
        raise StepFailed(f"error setting the ulimit {name}={soft}:{hard}: operation not permitted ({reason})") from error


def _cwd(state: State, path: str, make: bool) -> None:
    """Go to the working directory. openat2(2) refuses the magic links of /proc, which could lead to the host."""
    try:
        if make:
            os.close(paths.make_in_root(state.root_fd, path, directory=True))
        fd = paths.open_in_root(state.root_fd, path, os.O_PATH | os.O_DIRECTORY)
        os.fchdir(fd)
        os.close(fd)
    except OSError as error:
        words = (error.strerror or "").partition(": ")[2].lower()
        code = COMMAND_NOT_FOUND if error.errno == errno.ENOENT else COMMAND_NOT_EXECUTABLE
        raise StepFailed(f'chdir to cwd ("{path}") set in config.json failed: {words}', code) from error


def _find(state: State, name: str) -> None:
    """Find the program, as the user that it is to run as."""
    if "/" in name:
        _check_program(name)
        state.program = name
        return
    denied = False
    for directory in state.env.get("PATH", "").split(":"):
        candidate = f"{directory}/{name}"
        if not directory.startswith("/") or not os.path.isfile(candidate):
            continue
        if os.access(candidate, os.X_OK):
            state.program = candidate
            return
        denied = True
    if denied:
        raise StepFailed(f'exec: "{name}": permission denied', COMMAND_NOT_EXECUTABLE)
    raise StepFailed(f'exec: "{name}": executable file not found in $PATH', COMMAND_NOT_FOUND)


def _check_program(path: str) -> None:
    try:
        found = os.stat(path)
    except OSError as error:
        code = COMMAND_NOT_FOUND if error.errno in _UNREACHABLE else COMMAND_NOT_EXECUTABLE
        raise StepFailed(f'exec: "{path}": stat {path}: {(error.strerror or "").lower()}', code) from error
    if stat.S_ISDIR(found.st_mode):
        raise StepFailed(f'exec: "{path}": is a directory', COMMAND_NOT_EXECUTABLE)
    if not os.access(path, os.X_OK):
        raise StepFailed(f'exec: "{path}": permission denied', COMMAND_NOT_EXECUTABLE)


def _execute(state: State, argv: list[str]) -> None:
    """Become the program. Every descriptor above 2 is CLOEXEC, this marks what a library may have opened."""
    syscalls.close_range(3, 0xFFFF_FFFF, syscalls.CLOSE_RANGE_CLOEXEC)
    state.env.setdefault("HOME", state.home)
    try:
        os.execve(state.program, argv, state.env)
    except OSError as error:
        code = COMMAND_NOT_FOUND if error.errno == errno.ENOENT else COMMAND_NOT_EXECUTABLE
        raise StepFailed(f"exec {state.program}: {(error.strerror or '').lower()}", code) from error
    except ValueError as error:
        raise StepFailed(f"exec {state.program}: {error}") from error


OPERATIONS: dict[str, Any] = {
    # namespaces
    "unshare": _unshare,
    "join": _join,
    "enter": _enter,
    "time": _time,
    "keyring": _keyring,
    "hostname": _hostname,
    "domainname": _domainname,
    "sysctl": _sysctl,
    "oom_score_adj": _oom_score_adj,
    "label": identity.process_label,
    # whoever started us
    "sync": _sync,
    "hooks": _hooks,
    "gate": _gate,
    "await": _await,
    # the root
    "root": rootfs.mount_root,
    "mount": rootfs.mount,
    "bind": rootfs.bind,
    "cgroups_v1": rootfs.cgroups_v1,
    "devices": rootfs.devices,
    "links": rootfs.links,
    "terminal": _terminal,
    "mask": rootfs.mask,
    "read_only": rootfs.read_only,
    "pivot": rootfs.pivot,
    # the process
    "rlimit": _rlimit,
    "user": identity.find_user,
    "cwd": _cwd,
    "identity": identity.take_identity,
    "find": _find,
    "confine": identity.confine,
    "execute": _execute,
}
