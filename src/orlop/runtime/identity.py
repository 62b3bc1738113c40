"""The steps that make the process who it is to be: user, groups, capabilities, filter. Import-light: the keeper imports it.

Users are looked up in the root's own passwd(5) and group(5), with Docker's rules and wording, after `pivot`.
"""

from __future__ import annotations

import binascii
import os

from orlop.kernel import paths, syscalls
from orlop.runtime.steps import State, StepFailed, explain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_MOST = 2**31 - 1


def find_user(state: State, name: str, uid: int, gid: int, gids: Sequence[int], group_names: Sequence[str]) -> None:
    """Decide uid, gid, supplementary groups and home. `name` is Docker's --user ("" where uid and gid are already numbers)."""
    state.uid, state.gid, groups = uid, gid, list(gids)
    passwd = list(_entries(state, "/etc/passwd", 7))
    if name:
        user, _, group = name.partition(":")
        state.uid, state.gid, login = _look_up_user(user, passwd)
        all_groups = list(_entries(state, "/etc/group", 4)) if group or login else []
        if group:
            state.gid = _look_up_group(group, all_groups)
        elif login:
            groups += [int(entry[2]) for entry in all_groups if login in entry[3].split(",")]
    if group_names:
        all_groups = list(_entries(state, "/etc/group", 4))
        groups += [_look_up_group(group, all_groups) for group in group_names]
    state.groups = list(dict.fromkeys([state.gid, *groups])) if name or group_names else groups
    state.home = next((entry[5] for entry in passwd if int(entry[2]) == state.uid), "") or "/"


def _look_up_user(user: str, passwd: Sequence[Sequence[str]]) -> tuple[int, int, str]:
    """uid, gid, and the login name where there is an entry."""
    for entry in passwd:
        if user == entry[0] or (user.isdecimal() and int(user) == int(entry[2])) or (not user and entry[2] == "0"):
            return int(entry[2]), int(entry[3]), entry[0]
    if not user:
        return 0, 0, ""
    return _number(user, "user", "passwd"), 0, ""


def _look_up_group(group: str, entries: Sequence[Sequence[str]]) -> int:
    for entry in entries:
        if group == entry[0]:
            return int(entry[2])
    return _number(group, "group", "group")


def _number(text: str, noun: str, file: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise StepFailed(f"unable to find {noun} {text}: no matching entries in {file} file")
    if int(text) > _MOST:
        raise StepFailed(f"unable to find {noun} {text}: uids and gids must be in range 0-{_MOST}")
    return int(text)


def _entries(state: State, path: str, fields: int) -> Iterator[list[str]]:
    """Well-formed lines of a colon-separated file of the root; none when it is missing."""
    for line in (paths.read_regular(state.root_fd, path) or b"").decode(errors="replace").splitlines():
        entry = line.strip().split(":")
        if len(entry) >= fields and entry[2].isdecimal() and (fields < 7 or entry[3].isdecimal()):
            yield entry


def take_identity(state: State, drop: Sequence[int], umask: int) -> None:
    """Leave the bounding set and change user, keeping the capabilities that we still hold: `confine` takes them away.

    stdin, stdout and stderr become the user's, for programs open /dev/stdout by name.
    """
    os.umask(umask)
    for capability in drop:
        syscalls.prctl(syscalls.PR_CAPBSET_DROP, capability)
    _own_stdio(state.uid)
    os.setgroups(state.groups)
    os.setresgid(state.gid, state.gid, state.gid)
    if state.uid:
        syscalls.prctl(syscalls.PR_SET_KEEPCAPS, 1)
        os.setresuid(state.uid, state.uid, state.uid)
        syscalls.prctl(syscalls.PR_SET_KEEPCAPS, 0)
        _, permitted, inheritable = syscalls.capget()
        syscalls.capset(permitted, permitted, inheritable)  # changing user has emptied the effective set
    else:
        os.setresuid(0, 0, 0)


def _own_stdio(uid: int) -> None:
    null = os.makedev(1, 3)
    for fd in (0, 1, 2):
        found = os.fstat(fd)
        if found.st_uid == uid or found.st_rdev == null:
            continue
        try:
            os.fchown(fd, uid, -1)
        except OSError:  # a socket, a read-only or remote file: then /dev/stdout cannot be reopened, as with Docker
            continue


def confine(state: State, sets: Sequence[int], no_new_privileges: bool, seccomp: str, seccomp_flags: int) -> None:
    """Take away what is not granted: `sets` are the permitted, effective, inheritable and ambient masks.

    A filter needs CAP_SYS_ADMIN or no_new_privs. seccomp(2). So without the latter it comes before the capabilities go;
    else last, for then the filter need not allow what we do here.
    """
    if no_new_privileges:
        syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    elif seccomp:
        _filter(seccomp, seccomp_flags)
    _limit_capabilities(*sets)
    if no_new_privileges and seccomp:
        _filter(seccomp, seccomp_flags)


def _filter(program: str, flags: int) -> None:
    try:
        syscalls.seccomp_set_filter(binascii.a2b_base64(program), flags)
    except OSError as error:
        raise StepFailed(f"unable to init seccomp: {explain(error)}") from error


def _limit_capabilities(permitted: int, effective: int, inheritable: int, ambient: int) -> None:
    syscalls.prctl(syscalls.PR_CAP_AMBIENT, syscalls.PR_CAP_AMBIENT_CLEAR_ALL)
    try:
        syscalls.capset(effective, permitted, inheritable)
    except OSError as error:
        raise StepFailed(f"unable to apply caps: {explain(error)}") from error
    number = 0
    while ambient >> number:
        if ambient >> number & 1:
            syscalls.prctl(syscalls.PR_CAP_AMBIENT, syscalls.PR_CAP_AMBIENT_RAISE, number)
        number += 1


def process_label(state: State, attribute: str, label: str) -> None:
    """Ask a security module for a label from the next execve on. Written before `pivot`, to the host's own /proc."""
    for path in (f"/proc/self/attr/apparmor/{attribute}", f"/proc/self/attr/{attribute}"):
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            os.write(fd, label.encode())
            return
        except OSError as error:
            raise StepFailed(f"unable to apply the profile {label}: {explain(error)}") from error
        finally:
            os.close(fd)
    raise StepFailed(f"unable to apply the profile {label}: no security module takes it")
