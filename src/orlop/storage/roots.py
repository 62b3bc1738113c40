"""The root of a container, opened by a job: of a running one through its process, of another by mounting it here."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from orlop.kernel import mounts, paths, syscalls
from orlop.spec.errors import Conflict
from orlop.spec.mounts import Mount
from orlop.storage.trees import new_name

_KERNELS = frozenset({"proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue"})
_ROOT = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


@contextmanager
def opened_root(root: dict[str, Any], store_root: Path) -> Iterator[int]:
    """A descriptor of the root: {"pid"} or {"mounts": [[fstype, source, options]], "volumes": [[source, target, read_only]]}.

    Mounts are made in this process's own mount namespace and go with the block.
    """
    with ExitStack() as undo:
        if "pid" in root:
            try:
                fd = os.open(f"/proc/{int(root['pid'])}/root", _ROOT)
            except OSError as error:
                raise Conflict("the container has ended meanwhile, try again") from error
            undo.callback(os.close, fd)
        else:
            place = store_root / "snapshots" / new_name()
            os.mkdir(place, 0o700)
            undo.callback(os.rmdir, place)
            mounts.mount_all(
                [Mount(kind, source, tuple(options)) for kind, source, options in root["mounts"]], os.fspath(place)
            )
            undo.callback(syscalls.umount2, place, syscalls.MNT_DETACH)
            fd = os.open(place, _ROOT)
            undo.callback(os.close, fd)
            _mount_volumes(fd, root.get("volumes", ()))
        yield fd


def kernels_own(root: dict[str, Any]) -> frozenset[int]:
    """Devices (st_dev) of the file systems in a running container that hold no files of its own: /proc, /sys, /dev …"""
    if "pid" not in root:
        return frozenset()
    with open(f"/proc/{int(root['pid'])}/mountinfo") as lines:
        return frozenset(device for line in lines if (device := _device_of_kernels(line)))


def _device_of_kernels(line: str) -> int:
    """The device of a line of mountinfo (proc(5)) if the kernel alone fills it, else 0."""
    own, _, shared = line.partition(" - ")
    place, kind = own.split()[4], shared.split()[0]
    if kind not in _KERNELS and not (kind == "tmpfs" and place.startswith(("/dev", "/proc/", "/sys/"))):
        return 0
    major, minor = own.split()[2].split(":")
    return os.makedev(int(major), int(minor))


def _mount_volumes(root: int, volumes: Sequence[Sequence[Any]]) -> None:
    """Bind volumes into the root, so that their content is seen; parents first, as the runtime does."""
    for source, target, read_only in sorted(volumes, key=lambda volume: str(volume[1]).count("/")):
        place = paths.make_in_root(root, target, directory=os.path.isdir(source))
        try:
            tree = mounts.clone_tree(source, recursive=True)
            try:
                if read_only:
                    syscalls.mount_setattr(tree, "", attr_set=syscalls.MOUNT_ATTR_RDONLY)
                syscalls.move_mount(tree, "", place, "")
            finally:
                os.close(tree)
        finally:
            os.close(place)
