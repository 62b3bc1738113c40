"""Volumes that are no plain directories but a device, a share or a tmpfs: mounted on `_data` while somebody uses them."""

import asyncio
import os
from contextlib import AsyncExitStack

from orlop.engine.parts import Parts
from orlop.kernel import mounts, syscalls
from orlop.spec.container import LIVE, ContainerRecord
from orlop.spec.errors import InvalidArgument
from orlop.spec.volume import VolumeRecord


class VolumeDevices:
    """Mounts them for the first container that starts, and takes them away after the last one has ended."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def mount(self, record: ContainerRecord, undo: AsyncExitStack) -> None:
        """Mount what a container needs. Raises InvalidArgument in Docker's words."""
        for volume in self._volumes(record):
            what = self._parts.volumes.mount_of(volume)
            if what is None or is_mounted(volume.mountpoint):
                continue
            try:
                await asyncio.to_thread(mounts.mount_all, (what,), volume.mountpoint)
            except OSError as error:
                raise InvalidArgument(
                    f"error while mounting volume '{volume.mountpoint}': failed to mount local volume: "
                    f"mount {what.source}:{volume.mountpoint}: {error.strerror}"
                ) from error
            undo.push_async_callback(self.release, record)

    async def release(self, record: ContainerRecord) -> None:
        """A container has ended: unmount what no other one uses."""
        others = (other for other in self._parts.roster.records() if other.status in LIVE and other.id != record.id)
        used = {point.name for other in others for point in other.mounts}
        for volume in self._volumes(record):
            if volume.name not in used and is_mounted(volume.mountpoint):
                await asyncio.to_thread(syscalls.umount2, volume.mountpoint)

    def _volumes(self, record: ContainerRecord) -> list[VolumeRecord]:
        """The volumes of a container that need mounting."""
        found = (self._parts.volumes.find(point.name) for point in record.mounts if point.kind == "volume")
        return [volume for volume in found if volume and volume.spec.options and self._parts.volumes.mount_of(volume)]


def is_mounted(path: str) -> bool:
    """Whether something is mounted on a directory, also a part of the same file system. proc_pid_mountinfo(5)"""
    point = os.path.realpath(path).replace("\\", "\\134").replace(" ", "\\040")
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return any(line.split(" ", 5)[4] == point for line in file)
