"""The steps that build what a container sees as its file system. Import-light: the keeper imports it.

Targets are opened under `state.root_fd` and mounted on by descriptor, so that nothing can be swapped in between.
"""

from __future__ import annotations

import errno
import os
import stat

from orlop.kernel import mounts, paths, syscalls
from orlop.runtime.steps import State, StepFailed, explain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_PROC_MAGIC = 0x9FA0
_NULL = os.makedev(1, 3)
_NULL_ATTRIBUTES = (syscalls.MOUNT_ATTR_RDONLY | syscalls.MOUNT_ATTR_NOSUID | syscalls.MOUNT_ATTR_NOEXEC, 0)  # it is the host's
_EMPTY = syscalls.MS_RDONLY | syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
# Files of /proc that may be bind mounted over (lxcfs does); all else there would let a container be lied to.
_PROC_REPLACEABLE = frozenset(
    "/proc/" + name
    for name in ("cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo", "sys/kernel/ns_last_pid",
                 "sys/crypto/fips_enabled")
)  # fmt: skip


def mount_root(state: State, root_mounts: Sequence[Sequence[Any]], mountpoint: str, propagation: int) -> None:
    """Cut the new mount namespace off from the host's, and mount the root file system at `mountpoint`."""
    syscalls.mount(None, "/", None, propagation)
    if propagation & syscalls.MS_SHARED:
        # What we mount on it must stay ours. The price: what lies on that same mount (/run) cannot be shared by the two.
        syscalls.mount(None, _mount_above(mountpoint), None, syscalls.MS_PRIVATE)
    for fstype, source, options in root_mounts:
        try:
            mounts.mount_one(fstype, source, options, mountpoint)
        except OSError as error:
            raise StepFailed(f'error mounting the root file system ({fstype} "{source}"): {explain(error)}') from error
    state.root_fd = os.open(mountpoint, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    syscalls.mount_setattr(state.root_fd, "", propagation=syscalls.MS_PRIVATE)


def _mount_above(path: str) -> str:
    """The mount point of the mount that a path is on. proc_pid_mountinfo(5)."""
    path = os.path.realpath(path)
    with open("/proc/self/mountinfo") as file:
        points = [line.split(" ", 5)[4] for line in file]
    return max((point for point in points if os.path.join(path, "").startswith(os.path.join(point, ""))), key=len)


def mount(state: State, at: str, fstype: str, source: str, flags: int, data: str, propagation: Sequence[int]) -> None:
    """Mount a file system. procfs and sysfs only on a plain directory: a link in the image could make a fake of them."""
    genuine = syscalls.RESOLVE_NO_SYMLINKS if fstype in ("proc", "sysfs") else 0
    try:
        target, made = _directory(state, at, genuine)
    except OSError as error:
        reason = "it must be mounted on an ordinary directory" if genuine and error.errno == errno.ELOOP else explain(error)
        raise StepFailed(f'error mounting "{source}" to rootfs at "{at}": {reason}') from error
    try:
        if fstype != "proc":
            _refuse_proc(target, at)
        if fstype == "tmpfs" and not made and "mode=" not in data:  # it looks like the directory that it covers
            data = ",".join(filter(None, (data, f"mode={stat.S_IMODE(os.fstat(target).st_mode):o}")))
        syscalls.mount(source, f"/proc/self/fd/{target}", fstype, flags, data or None)
    except OSError as error:
        raise StepFailed(f'error mounting "{source}" to rootfs at "{at}": {_reason(error)}') from error
    finally:
        os.close(target)
    if propagation:
        fd = paths.open_in_root(state.root_fd, at)
        mounts.set_propagation(fd, propagation)
        os.close(fd)


def _directory(state: State, at: str, resolve: int) -> tuple[int, bool]:
    """The directory to mount on, and whether it had to be made."""
    try:
        return paths.open_in_root(state.root_fd, at, os.O_PATH | os.O_DIRECTORY, resolve=resolve), False
    except FileNotFoundError:
        os.close(paths.make_in_root(state.root_fd, at, directory=True))
        return paths.open_in_root(state.root_fd, at, os.O_PATH | os.O_DIRECTORY, resolve=resolve), True


def _refuse_proc(target: int, at: str) -> None:
    if syscalls.file_system_type(target) == _PROC_MAGIC and at not in _PROC_REPLACEABLE:
        raise StepFailed(f'"{at}" cannot be mounted because it is inside /proc')


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()  # the file name would be one of /proc/self/fd


def bind(
    state: State,
    at: str,
    source: str,
    recursive: bool,
    attributes: Sequence[int],
    recursive_attributes: Sequence[int],
    propagation: Sequence[int],
) -> None:
    """Show a file or directory of the host at a place in the container."""
    try:
        tree = _open_source(source, recursive)
        try:
            mounts.set_attributes(tree, attributes)
            mounts.set_attributes(tree, recursive_attributes, recursive=True)
            mounts.set_propagation(tree, propagation)
            directory = paths.is_directory(tree)
            target = paths.make_in_root(state.root_fd, at, directory=directory)
            try:
                _refuse_proc(target, at)
                if paths.is_directory(target) != directory:
                    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
                syscalls.move_mount(tree, "", target, "")
            finally:
                os.close(target)
        finally:
            os.close(tree)
    except OSError as error:
        hint = ""
        if error.errno == errno.ENOTDIR:
            hint = (
                ": Are you trying to mount a directory onto a file (or vice-versa)? "
                "Check if the specified host path exists and is the expected type"
            )
        raise StepFailed(f'error mounting "{source}" to rootfs at "{at}": {_reason(error)}{hint}') from error


def _open_source(source: str, recursive: bool) -> int:
    """A detached copy of the source. "/proc/PID/root/..." is looked up in that process's mount namespace, for the kernel copies
    only from the one that we are in."""
    head, proc, pid, root, *rest = (*source.split("/", 4), "", "", "", "")[:5]
    if not (head == "" and proc == "proc" and pid.isdecimal() and root == "root"):
        return mounts.clone_tree(source, recursive=recursive)
    ours = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    theirs = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        syscalls.setns(theirs, syscalls.CLONE_NEWNS)
        try:
            return mounts.clone_tree("/" + "".join(rest), recursive=recursive)
        finally:
            syscalls.setns(ours, syscalls.CLONE_NEWNS)
    finally:
        os.close(ours)
        os.close(theirs)


def cgroups_v1(state: State, at: str, hierarchies: Sequence[Sequence[str]], flags: int, private: bool) -> None:
    """A tmpfs with one directory for each hierarchy of version 1.

    In a cgroup namespace of its own (`private`) the container gets a mount of the hierarchy, which shows its own group as the
    root; else a bind mount of its own group.
    """
    own = {} if private else _own_groups()
    mount(state, at, "tmpfs", "tmpfs", flags & ~syscalls.MS_RDONLY, "mode=755", ())
    base = paths.open_in_root(state.root_fd, at, os.O_PATH | os.O_DIRECTORY)
    try:
        os.fchdir(base)  # a tmpfs that only we have seen yet: plain names are safe in it
        for controllers, point in hierarchies:
            name = controllers.removeprefix("name=")
            os.mkdir(name, 0o755)
            if private:
                syscalls.mount("cgroup", name, "cgroup", flags, f"none,{controllers}" if "=" in controllers else controllers)
            else:
                syscalls.mount(point + own.get(controllers, "/"), name, None, syscalls.MS_BIND)
            for controller in name.split(",") if "," in name else ():
                os.symlink(name, controller)
        if flags & syscalls.MS_RDONLY:
            syscalls.mount_setattr(base, "", syscalls.AT_RECURSIVE, attr_set=syscalls.MOUNT_ATTR_RDONLY)
    except OSError as error:
        raise StepFailed(f'error mounting "cgroup" to rootfs at "{at}": {_reason(error)}') from error
    finally:
        os.close(base)


def _own_groups() -> dict[str, str]:
    """Controllers -> this process's group. cgroups(7), /proc/[pid]/cgroup."""
    with open("/proc/self/cgroup") as file:
        return {controllers: path for _, controllers, path in (line.rstrip("\n").split(":", 2) for line in file)}


def devices(state: State, nodes: Sequence[tuple[str, int, int, int, int]]) -> None:
    """Make device nodes: (path, mode with type, number, uid, gid). In a user namespace, where mknod(2) is refused, the host's
    node of the same path is bind mounted."""
    parents: dict[str, int] = {}
    try:
        for path, mode, number, uid, gid in nodes:
            head, _, name = path.rpartition("/")
            if head not in parents:
                parents[head] = paths.make_in_root(state.root_fd, head or "/", directory=True)
            try:
                _make_node(parents[head], name, mode, number, uid, gid)
            except PermissionError:
                bind(state, path, path, False, (0, 0), (0, 0), ())
    except OSError as error:
        raise StepFailed(f'cannot make the device "{path}": {_reason(error)}') from error
    finally:
        for fd in parents.values():
            os.close(fd)


def _make_node(parent: int, name: str, mode: int, number: int, uid: int, gid: int) -> None:
    try:
        os.mknod(name, mode, number, dir_fd=parent)
    except FileExistsError:  # the user mounted something there
        return
    if uid or gid:
        os.chown(name, uid, gid, dir_fd=parent, follow_symlinks=False)


def links(state: State, pairs: Sequence[Sequence[str]]) -> None:
    """Symbolic links, (target, path); a path that exists stays."""
    for target, path in pairs:
        parent, name = paths.split_in_root(state.root_fd, path)
        try:
            os.symlink(target, name, dir_fd=parent)
        except FileExistsError:
            continue
        finally:
            os.close(parent)


def mask(state: State, masked: Sequence[str]) -> None:
    """Hide paths: a file under /dev/null, a directory under an empty read-only one. What is absent is skipped."""
    null = os.open("/dev/null", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    if os.fstat(null).st_rdev != _NULL:
        raise StepFailed("cannot mask paths: /dev/null is not the null device")
    for path in masked:
        target = _present(state, path)
        if target < 0:
            continue
        if paths.is_directory(target):
            syscalls.mount("tmpfs", f"/proc/self/fd/{target}", "tmpfs", _EMPTY, "nr_inodes=1,mode=755")
        else:
            tree = mounts.clone_tree(null, recursive=False)
            mounts.set_attributes(tree, _NULL_ATTRIBUTES)
            syscalls.move_mount(tree, "", target, "")
            os.close(tree)
        os.close(target)
    os.close(null)


def _present(state: State, path: str) -> int:
    try:
        return paths.open_in_root(state.root_fd, path)
    except (FileNotFoundError, NotADirectoryError):
        return -1


def read_only(state: State, covered: Sequence[str]) -> None:
    """Make paths read-only, with all that is mounted beneath them. What is absent is skipped."""
    for path in covered:
        target = _present(state, path)
        if target < 0:
            continue
        tree = mounts.clone_tree(target, recursive=True)
        syscalls.mount_setattr(tree, "", syscalls.AT_RECURSIVE, attr_set=syscalls.MOUNT_ATTR_RDONLY)
        syscalls.move_mount(tree, "", target, "")
        os.close(tree)
        os.close(target)


def pivot(state: State, propagation: int, read_only_root: bool) -> None:
    """Make the new root the only one: from here on nothing of the host's files can be reached. pivot_root(2)."""
    if read_only_root:
        syscalls.mount_setattr(state.root_fd, "", attr_set=syscalls.MOUNT_ATTR_RDONLY)
    shared = propagation & syscalls.MS_SHARED
    old = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    os.fchdir(state.root_fd)
    syscalls.pivot_root(".", ".")  # the old root now lies upon the new one
    os.fchdir(old)
    os.close(old)
    if shared:
        syscalls.mount(None, ".", None, syscalls.MS_SLAVE | syscalls.MS_REC)  # or the host would lose its mounts too
    syscalls.umount2(".", syscalls.MNT_DETACH)
    os.chdir("/")
    if shared:
        syscalls.mount(None, "/", None, syscalls.MS_SHARED)
