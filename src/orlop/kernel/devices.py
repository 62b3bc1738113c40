"""Device nodes of the host, for containers that are given some (`--device`) or all (`--privileged`)."""

import os
import stat
from collections.abc import Iterator, Sequence

from orlop.spec.errors import InvalidArgument
from orlop.spec.resources import DeviceMapping
from orlop.spec.runtime import Device

_TYPES = {stat.S_IFCHR: "c", stat.S_IFBLK: "b"}
_NOT_OURS = frozenset({"/dev/pts", "/dev/shm", "/dev/fd", "/dev/mqueue", "/dev/console", "/dev/.lxc", "/dev/.lxd-mounts"})


def granted(mappings: Sequence[DeviceMapping], *, privileged: bool) -> tuple[tuple[Device, str], ...]:
    """The devices of a container and their permissions ("rwm"). Raises InvalidArgument naming what is not a device."""
    found: list[tuple[Device, str]] = [(device, "rwm") for device in _all_below("/dev")] if privileged else []
    for mapping in mappings:
        found += [(device, mapping.permissions) for device in _mapped(mapping)]
    return tuple(found)


def _mapped(mapping: DeviceMapping) -> Iterator[Device]:
    """A device, or with a directory all devices below it. Links are followed."""
    host_path = os.path.realpath(mapping.host_path)
    inside = mapping.container_path or mapping.host_path
    device = _device(host_path, inside)
    if device:
        yield device
        return
    below = list(_all_below(host_path)) if os.path.isdir(host_path) else []
    if not below:
        reason = "not a device node" if os.path.exists(host_path) else "no such file or directory"
        raise InvalidArgument(f'error gathering device information while adding custom device "{mapping.host_path}": {reason}')
    for found in below:
        moved = _device(found.path, inside + found.path.removeprefix(host_path))
        if moved:
            yield moved


def _all_below(directory: str) -> Iterator[Device]:
    try:
        entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    except OSError:  # it went away, or we may not look
        return
    for entry in entries:
        if entry.path in _NOT_OURS:
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _all_below(entry.path)
        elif device := _device(entry.path, entry.path):
            yield device


def _device(host_path: str, path: str) -> Device | None:
    try:
        found = os.lstat(host_path)
    except OSError:
        return None
    kind = _TYPES.get(stat.S_IFMT(found.st_mode))
    if kind is None:
        return None
    return Device(
        path=path,
        type=kind,
        major=os.major(found.st_rdev),
        minor=os.minor(found.st_rdev),
        file_mode=stat.S_IMODE(found.st_mode),
        uid=found.st_uid,
        gid=found.st_gid,
    )


def device_number(path: str) -> tuple[int, int]:
    """(major, minor) of a device node. Raises InvalidArgument."""
    device = _device(os.path.realpath(path), path)
    if device is None:
        raise InvalidArgument(f"{path} is not a device node")
    return device.major, device.minor
