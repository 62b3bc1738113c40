"""mount(8)'s options as flags, and the mounts that take more than one call.

Import-light: the container's first process imports it.
"""

from __future__ import annotations

import os

from orlop.kernel import syscalls
from orlop.kernel.syscalls import (
    MS_BIND,
    MS_DIRSYNC,
    MS_I_VERSION,
    MS_LAZYTIME,
    MS_MANDLOCK,
    MS_NOATIME,
    MS_NODEV,
    MS_NODIRATIME,
    MS_NOEXEC,
    MS_NOSUID,
    MS_NOSYMFOLLOW,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_RELATIME,
    MS_REMOUNT,
    MS_SHARED,
    MS_SILENT,
    MS_SLAVE,
    MS_STRICTATIME,
    MS_SYNCHRONOUS,
    MS_UNBINDABLE,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orlop.spec.mounts import Mount

# Option -> (flags to set, flags to clear)
FLAGS = {
    "acl": (0, 0),
    "async": (0, MS_SYNCHRONOUS),
    "atime": (0, MS_NOATIME),
    "bind": (MS_BIND, 0),
    "defaults": (0, 0),
    "dev": (0, MS_NODEV),
    "diratime": (0, MS_NODIRATIME),
    "dirsync": (MS_DIRSYNC, 0),
    "exec": (0, MS_NOEXEC),
    "iversion": (MS_I_VERSION, 0),
    "lazytime": (MS_LAZYTIME, 0),
    "loud": (0, MS_SILENT),
    "mand": (MS_MANDLOCK, 0),
    "noatime": (MS_NOATIME, 0),
    "nodev": (MS_NODEV, 0),
    "nodiratime": (MS_NODIRATIME, 0),
    "noexec": (MS_NOEXEC, 0),
    "noiversion": (0, MS_I_VERSION),
    "nolazytime": (0, MS_LAZYTIME),
    "nomand": (0, MS_MANDLOCK),
    "norelatime": (0, MS_RELATIME),
    "nostrictatime": (0, MS_STRICTATIME),
    "nosuid": (MS_NOSUID, 0),
    "nosymfollow": (MS_NOSYMFOLLOW, 0),
    "rbind": (MS_BIND | MS_REC, 0),
    "relatime": (MS_RELATIME, 0),
    "remount": (MS_REMOUNT, 0),
    "ro": (MS_RDONLY, 0),
    "rw": (0, MS_RDONLY),
    "silent": (MS_SILENT, 0),
    "strictatime": (MS_STRICTATIME, 0),
    "suid": (0, MS_NOSUID),
    "symfollow": (0, MS_NOSYMFOLLOW),
    "sync": (MS_SYNCHRONOUS, 0),
}

PROPAGATION = {
    "private": MS_PRIVATE,
    "rprivate": MS_PRIVATE | MS_REC,
    "shared": MS_SHARED,
    "rshared": MS_SHARED | MS_REC,
    "slave": MS_SLAVE,
    "rslave": MS_SLAVE | MS_REC,
    "unbindable": MS_UNBINDABLE,
    "runbindable": MS_UNBINDABLE | MS_REC,
}

# Flag of mount(2) -> attribute of mount_setattr(2). The atime ones are an enumeration of their own, see attributes().
_ATTRIBUTES = {
    MS_RDONLY: syscalls.MOUNT_ATTR_RDONLY,
    MS_NOSUID: syscalls.MOUNT_ATTR_NOSUID,
    MS_NODEV: syscalls.MOUNT_ATTR_NODEV,
    MS_NOEXEC: syscalls.MOUNT_ATTR_NOEXEC,
    MS_NODIRATIME: syscalls.MOUNT_ATTR_NODIRATIME,
    MS_NOSYMFOLLOW: syscalls.MOUNT_ATTR_NOSYMFOLLOW,
}
_ATIME = {MS_NOATIME: syscalls.MOUNT_ATTR_NOATIME, MS_STRICTATIME: syscalls.MOUNT_ATTR_STRICTATIME, MS_RELATIME: 0}

# "rro", "rnosuid" ... : the same for a mount and all beneath it (OCI runtime spec, "Linux mount options").
RECURSIVE = frozenset(
    f"r{name}"
    for name in (
        "ro",
        "rw",
        "nosuid",
        "suid",
        "nodev",
        "dev",
        "noexec",
        "exec",
        "nodiratime",
        "diratime",
        "relatime",
        "norelatime",
    )
    + ("noatime", "atime", "strictatime", "nostrictatime", "symfollow", "nosymfollow")
)
IGNORED = frozenset({"auto", "noauto", "user", "nouser", "users", "nousers", "_netdev", "nofail"})


class Options:
    """mount(8)'s options, sorted by what they do."""

    __slots__ = ("attributes", "clear", "copy_up", "data", "flags", "idmap", "propagation", "recursive_attributes")

    def __init__(self, options: Iterable[str]) -> None:
        self.flags = self.clear = 0  # of mount(2)
        self.attributes = [0, 0]  # of mount_setattr(2): to set, to clear
        self.recursive_attributes = [0, 0]  # the same for all mounts beneath
        self.propagation: list[int] = []
        self.copy_up = False
        self.idmap = ""  # "idmap", "ridmap"
        data = []
        for option in options:
            if option in FLAGS:
                self._flag(option)
            elif option in PROPAGATION:
                self.propagation.append(PROPAGATION[option])
            elif option in RECURSIVE:
                _attribute(self.recursive_attributes, *FLAGS[option[1:]])
            elif option == "tmpcopyup":
                self.copy_up = True
            elif option in ("idmap", "ridmap"):
                self.idmap = option
            elif option and option not in IGNORED:
                data.append(option)
        self.data = ",".join(data)

    def _flag(self, option: str) -> None:
        on, off = FLAGS[option]
        self.flags = self.flags & ~off | on
        self.clear = self.clear & ~on | off
        _attribute(self.attributes, on, off)


def _attribute(attributes: list[int], on: int, off: int) -> None:
    """Note in (to set, to clear) what these flags of mount(2) come to."""
    for flag, attribute in _ATTRIBUTES.items():
        if on & flag:
            attributes[0], attributes[1] = attributes[0] | attribute, attributes[1] & ~attribute
        elif off & flag:
            attributes[0], attributes[1] = attributes[0] & ~attribute, attributes[1] | attribute
    for flag, attribute in _ATIME.items():
        if (on | off) & flag:  # switching one off gives back the kernel's default, relatime
            attributes[0] = attributes[0] & ~syscalls.MOUNT_ATTR__ATIME | (attribute if on & flag else 0)
            attributes[1] |= syscalls.MOUNT_ATTR__ATIME


def mount_all(mounts: Sequence[Mount], target: str) -> None:
    """Mount what a snapshotter returned at a directory, one upon the other."""
    for each in mounts:
        mount_one(each.fstype, each.source, each.options, target)


def mount_one(fstype: str, source: str, options: Sequence[str], target: str) -> None:
    """One mount; "bind" is a file system type here, and an overlay may have any number of layers."""
    parsed = Options(options)
    if fstype in ("bind", "rbind") or parsed.flags & MS_BIND:
        recursive = fstype == "rbind" or bool(parsed.flags & MS_REC)
        tree = clone_tree(source, recursive=recursive)
        try:
            set_attributes(tree, parsed.attributes)
            syscalls.move_mount(tree, "", syscalls.AT_FDCWD, target)
        finally:
            os.close(tree)
    elif fstype == "overlay":
        mount_overlay(parsed.flags, parsed.data, target)
    else:
        syscalls.mount(source, target, fstype, parsed.flags, parsed.data or None)


def clone_tree(source: str | int, *, recursive: bool) -> int:
    """A detached copy of what is at a path (links followed) or of what a descriptor is of, as a bind mount makes it."""
    flags = syscalls.OPEN_TREE_CLONE | (syscalls.AT_RECURSIVE if recursive else 0)
    if isinstance(source, int):
        return syscalls.open_tree(source, "", flags | syscalls.AT_EMPTY_PATH)
    return syscalls.open_tree(syscalls.AT_FDCWD, source, flags)


def set_attributes(fd: int, attributes: Sequence[int], *, recursive: bool = False) -> None:
    """Set and clear MOUNT_ATTR_* on a mount, or on all beneath too."""
    if attributes[0] or attributes[1]:
        flags = syscalls.AT_RECURSIVE if recursive else 0
        syscalls.mount_setattr(fd, "", flags, attr_set=attributes[0], attr_clr=attributes[1])


def set_propagation(fd: int, propagation: Iterable[int]) -> None:
    """Set MS_PRIVATE ... MS_SHARED, with MS_REC on all mounts beneath too."""
    for kind in propagation:
        syscalls.mount_setattr(fd, "", syscalls.AT_RECURSIVE if kind & MS_REC else 0, propagation=kind & ~MS_REC)


_MOST_DATA = os.sysconf("SC_PAGESIZE") - 1


def mount_overlay(flags: int, data: str, target: str) -> None:
    """Mount an overlay at an absolute path. mount(2) takes one page of options; where that is too little for the paths of the
    layers, they go by the numbers of their descriptors, which works on every kernel ("lowerdir+" came with 6.8)."""
    if len(os.fsencode(data)) <= _MOST_DATA:
        syscalls.mount("overlay", target, "overlay", flags, data)
        return
    words, layers = [], []
    before = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for word in data.split(","):
            key, _, value = word.partition("=")
            if key == "lowerdir":
                for path in value.split(":"):
                    layers.append(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
                word = f"lowerdir={':'.join(map(str, layers))}"
            words.append(word)
        os.chdir("/proc/self/fd")
        syscalls.mount("overlay", target, "overlay", flags, ",".join(words))
    finally:
        os.fchdir(before)
        for fd in (*layers, before):
            os.close(fd)
