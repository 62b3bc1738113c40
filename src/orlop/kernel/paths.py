"""Paths inside a root that nobody trusts: whatever its symbolic links say, nothing is opened or made outside of it.

Import-light: the container's first process imports it.
"""

from __future__ import annotations

import errno
import os
import stat

from orlop.kernel import syscalls

_MOST_LINKS = 40  # as the kernel's own limit. path_resolution(7)
_OPATH = os.O_PATH | os.O_CLOEXEC


def open_in_root(root_fd: int, path: str, flags: int = os.O_PATH, *, mode: int = 0, resolve: int = 0) -> int:
    """Open a path as a process whose root directory is `root_fd` would see it. CLOEXEC."""
    return syscalls.openat2(root_fd, path.lstrip("/") or ".", flags, mode=mode, resolve=syscalls.RESOLVE_IN_ROOT | resolve)


def make_in_root(root_fd: int, path: str, *, directory: bool, mode: int = 0o755) -> int:
    """An O_PATH descriptor of a path below `root_fd`; what is missing of it is made: directories, and at its end a directory
    or an empty file. Links are followed as inside the root, also those that lead to something missing."""
    for _ in range(_MOST_LINKS):
        try:
            return open_in_root(root_fd, path)
        except FileNotFoundError:
            path = _make_next(root_fd, path, directory, mode)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)


def _make_next(root_fd: int, path: str, directory: bool, mode: int) -> str:
    """Make all of `path` that is missing; where a dangling link stands in the way, the path that it leads to instead."""
    parent = os.dup(root_fd)
    try:
        parts = [part for part in path.split("/") if part and part != "."]
        for index, part in enumerate(parts):
            last = index == len(parts) - 1
            prefix = "/".join(parts[: index + 1])
            try:
                child = open_in_root(root_fd, prefix)
            except FileNotFoundError:
                link = _make_one(parent, part, directory=directory or not last, mode=mode)
                if link is not None:
                    return "/".join(
                        [link if link.startswith("/") else f"{os.path.dirname(prefix)}/{link}", *parts[index + 1 :]]
                    )
                child = open_in_root(root_fd, prefix)
            os.close(parent)
            parent = child
        return path
    finally:
        os.close(parent)


def _make_one(parent_fd: int, name: str, *, directory: bool, mode: int) -> str | None:
    """Make a directory or an empty file. Where a (dangling) link has the name already: the link's target."""
    try:
        if directory:
            os.mkdir(name, mode, dir_fd=parent_fd)
        else:
            flags = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY | os.O_CLOEXEC
            os.close(os.open(name, flags, mode, dir_fd=parent_fd))
    except FileExistsError:
        if stat.S_ISLNK(os.stat(name, dir_fd=parent_fd, follow_symlinks=False).st_mode):
            return os.readlink(name, dir_fd=parent_fd)
    return None


def split_in_root(root_fd: int, path: str) -> tuple[int, str]:
    """The parent directory (made when missing, O_PATH) and the last name of a path below `root_fd`."""
    head, _, name = path.rstrip("/").rpartition("/")
    return make_in_root(root_fd, head or ".", directory=True), name


def is_directory(fd: int) -> bool:
    """Whether a descriptor is of a directory."""
    return stat.S_ISDIR(os.fstat(fd).st_mode)


def read_regular(root_fd: int, path: str, most_bytes: int = 1 << 20) -> bytes | None:
    """The start of a regular file in a root; None where there is none. Never blocks, whatever is there instead."""
    try:
        fd = open_in_root(root_fd, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        content = bytearray()
        while len(content) < most_bytes and (block := os.read(fd, 65536)):
            content += block
        return bytes(content)
    finally:
        os.close(fd)
