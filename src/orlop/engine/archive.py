"""Files in and out of a container: what `cp`, `diff`, `export` and size questions need. All of the work is done by workers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from orlop.engine.orders import Orders
from orlop.engine.parts import Parts
from orlop.engine.roster import Container
from orlop.spec.container import LIVE, Change, ContainerRecord, Status
from orlop.spec.errors import Conflict
from orlop.spec.streams import PathStat
from orlop.state.documents import from_plain


class Archive:
    """Reaches into roots: of a running container through its first process, of another one by mounting it in a worker."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._orders = Orders(parts)

    def root(self, record: ContainerRecord) -> dict[str, Any]:
        """How a job finds the root."""
        if record.status in LIVE and record.init:
            return {"pid": record.init.pid}
        mounts = [[one.fstype, one.source, list(one.options)] for one in self._orders.rootfs(record)]
        volumes = [[point.source, point.target, not point.read_write] for point in record.mounts if point.kind != "tmpfs"]
        return {"mounts": mounts, "volumes": volumes}

    async def stat(self, container: Container, path: str) -> PathStat:
        """What is at a path. Raises NotFound: Could not find the file ... in container ..."""
        found = await self._parts.workers.run("archive.stat", self._where(container, path))
        return from_plain(found, PathStat)

    def get(self, container: Container, path: str) -> AsyncIterator[bytes]:
        """A tar of a file or directory, named by the path's last part."""
        self._parts.events.container("archive-path", container.record)
        return self._parts.workers.read("archive.get", self._where(container, path))

    async def put(
        self, container: Container, path: str, body: AsyncIterator[bytes], *, no_overwrite: bool, copy_uid_gid: bool
    ) -> None:
        """Extract a tar into a directory. Raises NotFound, InvalidArgument."""
        record = container.record
        owner = await self._owner(record) if copy_uid_gid else None
        arguments = {"no_overwrite": no_overwrite, "copy_uid_gid": copy_uid_gid, "owner": owner}
        await self._parts.workers.write("archive.put", self._where(container, path) | arguments, body)
        self._parts.events.container("extract-to-dir", record)

    async def _owner(self, record: ContainerRecord) -> list[int] | None:
        """Numeric user and group of the container, where they can be told without its passwd file."""
        user, _, group = record.process.user.partition(":")
        if user.isdecimal() and (not group or group.isdecimal()):
            return [int(user), int(group or 0)]
        return None

    def _where(self, container: Container, path: str) -> dict[str, Any]:
        record = container.record
        return {"root": self.root(record), "path": path, "container": record.name}

    def export(self, container: Container) -> AsyncIterator[bytes]:
        """The whole root as a tar."""
        record = container.record
        if record.status in (Status.REMOVING, Status.DEAD):
            raise Conflict(f"You cannot export container {record.id} which is being removed")
        self._parts.events.container("export", record)
        root = {"mounts": self.root(_stopped(record))["mounts"], "volumes": []}
        if record.snapshot and record.status in LIVE:
            view = self._parts.snapshots.view(record.snapshot)
            root["mounts"] = [[one.fstype, one.source, list(one.options)] for one in view]
        return self._parts.workers.read("tree.export", {"root": root})

    async def changes(self, container: Container) -> list[Change]:
        """What the container has changed in its image's files."""
        record = container.record
        if not record.snapshot:
            return []
        found = await self._parts.workers.run("snapshot.changes", {"key": record.snapshot})
        return [Change(kind=kind, path=path) for kind, path in found]

    async def size(self, record: ContainerRecord) -> tuple[int, int]:
        """Bytes of its own layer, and of all of its root."""
        if not record.snapshot:
            return 0, 0
        usage = await self._parts.workers.run("snapshot.usage", {"keys": [record.snapshot]})
        own = int(usage.get(record.snapshot, 0))
        image = self._parts.images.find(record.image_id)
        return own, own + (image.size if image else 0)


def _stopped(record: ContainerRecord) -> ContainerRecord:
    """The record as of a container that does not run: its root is then found by its snapshot."""
    return replace(record, init=None)
