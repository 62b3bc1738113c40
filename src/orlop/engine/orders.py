"""From a record to the order that a wall starts it by: networks joined, files written, mounts there, runtime spec made."""

import os
from contextlib import AsyncExitStack
from dataclasses import replace

from orlop.engine import links
from orlop.engine.checks import log_limits
from orlop.engine.creation import SHARED
from orlop.engine.devices import VolumeDevices
from orlop.engine.mounts import prepare_binds
from orlop.engine.parts import Parts
from orlop.engine.sandbox import Sandboxes
from orlop.kernel import devices, seccomp_profile
from orlop.spec import bundle
from orlop.spec.container import ContainerRecord
from orlop.spec.errors import Conflict, NotFound
from orlop.spec.isolation import LogFile, StartOrder
from orlop.spec.mounts import Mount, MountPoint

NAMESPACES = (("pid", "pid_mode"), ("ipc", "ipc_mode"), ("uts", "uts_mode"))  # OCI name, field of ContainerSpec


class Orders:
    """Makes StartOrders."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._devices = VolumeDevices(parts)

    async def prepare(
        self, record: ContainerRecord, sandboxes: Sandboxes, undo: AsyncExitStack
    ) -> tuple[StartOrder, ContainerRecord]:
        """The order, and the record with addresses and ports; `undo` takes all of it back."""
        prepare_binds(record.mounts)
        namespaces = self._namespaces(record)
        record = self._with_hostname(self._with_volumes(record))
        place = await sandboxes.join(record, undo)
        record = place.record
        files = sandboxes.write_files(record)
        if record.spec.ipc_mode.startswith(SHARED):
            files["/dev/shm"] = f"/proc/{self._pid_of(record.spec.ipc_mode, 'IPC')}/root/dev/shm"
        await self._devices.mount(record, undo)
        self._mounted(record, undo)
        settings, host = self._parts.settings, self._parts.host
        runtime_spec = bundle.runtime_spec(
            links.told_of_links(self._parts.roster, self._as_mounted(record)),
            host=host,
            files=files,
            namespaces={**namespaces, "network": place.namespace or "host"},
            cgroups_path=self._cgroup(record),
            seccomp=seccomp_profile.chosen(
                record.spec.security_options,
                bundle.capabilities(record.spec, host),
                host,
                privileged=record.spec.privileged,
                default=settings.seccomp_profile,
            ),
            devices=devices.granted(record.spec.resources.devices, privileged=record.spec.privileged),
            device_number=devices.device_number,
            no_new_privileges=settings.no_new_privileges,
        )
        order = StartOrder(
            container_id=record.id,
            runtime_spec=runtime_spec,
            rootfs=self.rootfs(record),
            mountpoint=settings.mountpoint,
            tty=record.spec.tty,
            open_stdin=record.spec.open_stdin,
            stdin_once=record.spec.stdin_once,
            console_size=record.spec.console_size,
            log=self.log_file(record),
        )
        return order, record

    def _cgroup(self, record: ContainerRecord) -> str:
        parent = record.spec.resources.cgroup_parent or self._parts.settings.cgroup_parent
        return f"{parent.rstrip('/')}/{record.id}" if parent.startswith("/") else f"/{parent.rstrip('/')}/{record.id}"

    def rootfs(self, record: ContainerRecord) -> tuple[Mount, ...]:
        """The mounts that make its root."""
        if record.spec.rootfs:
            return (Mount("bind", record.spec.rootfs, ("rbind", "rw")),)
        return self._parts.snapshots.mounts(record.snapshot)

    def log_file(self, record: ContainerRecord) -> LogFile:
        """Where its output goes."""
        if record.spec.log.driver == "none":
            return LogFile()
        size, files = log_limits(record.spec.log)
        path = self._parts.homes.log(record.id)
        return LogFile(path=path, max_bytes=size, max_files=files, attributes=_log_attributes(record))

    def _namespaces(self, record: ContainerRecord) -> dict[str, str]:
        """Those that are not its own: "host", or the path of another container's."""
        shared: dict[str, str] = {}
        for kind, field in NAMESPACES:
            mode: str = getattr(record.spec, field)
            if mode == "host":
                shared[kind] = "host"
            elif mode.startswith(SHARED):
                shared[kind] = f"/proc/{self._pid_of(mode, kind.upper())}/ns/{kind}"
        if record.spec.cgroup_namespace_mode == "host":
            shared["cgroup"] = "host"
        return shared

    def _pid_of(self, mode: str, kind: str) -> int:
        """The first process of the container whose namespace is joined. Raises Conflict when it may not be."""
        other = self._parts.roster.get(mode.removeprefix(SHARED)).record
        if other.init is None:
            raise Conflict(f"cannot join {kind} namespace of a non running container: {other.id}")
        if kind == "IPC" and other.spec.ipc_mode not in ("shareable", "host") and not other.spec.ipc_mode.startswith(SHARED):
            raise Conflict(f"non-shareable IPC (hint: use IpcMode:shareable for the donor container): {other.id}")
        return other.init.pid

    def _with_hostname(self, record: ContainerRecord) -> ContainerRecord:
        """Who shares another container's network goes by its name there."""
        mode = record.spec.network_mode
        if not mode.startswith(SHARED):
            return record
        other = self._parts.roster.get(mode.removeprefix(SHARED)).record.spec
        return replace(record, spec=replace(record.spec, hostname=other.hostname, domainname=other.domainname))

    def _with_volumes(self, record: ContainerRecord) -> ContainerRecord:
        """Each volume must still exist; its path is read again."""
        points = tuple(self._with_volume(point) if point.kind == "volume" else point for point in record.mounts)
        return replace(record, mounts=points)

    def _with_volume(self, point: MountPoint) -> MountPoint:
        volume = self._parts.volumes.find(point.name)
        if volume is None:
            raise NotFound("volume", point.name)
        return replace(point, source=volume.mountpoint)

    def _as_mounted(self, record: ContainerRecord) -> ContainerRecord:
        """The record as the bundle reads it: a volume's subpath in place of the volume."""
        points = tuple(
            replace(point, source=_inside(point.source, point.spec.subpath)) if point.spec and point.spec.subpath else point
            for point in record.mounts
        )
        return replace(record, mounts=points)

    def _mounted(self, record: ContainerRecord, undo: AsyncExitStack) -> None:
        for point in record.mounts:
            if point.kind == "volume":
                self._parts.events.emit("volume", "mount", point.name, _mount_attributes(record, point))
        undo.callback(self.unmounted, record)

    async def leave_volumes(self, record: ContainerRecord) -> None:
        """A container has ended: what only it had mounted goes."""
        self.unmounted(record)
        if record.mounts:
            await self._devices.release(record)

    def unmounted(self, record: ContainerRecord) -> None:
        """Tell that a container no longer uses its volumes."""
        for point in record.mounts:
            if point.kind == "volume":
                self._parts.events.emit("volume", "unmount", point.name, {"container": record.id, "driver": point.driver})


def _mount_attributes(record: ContainerRecord, point: MountPoint) -> dict[str, str]:
    return {
        "container": record.id,
        "destination": point.target,
        "driver": point.driver,
        "propagation": point.propagation,
        "read/write": str(point.read_write).lower(),
    }


def _inside(directory: str, subpath: str) -> str:
    """A directory in a volume, after symbolic links. Raises Conflict for one that is not there or leads out of it."""
    path, root = os.path.realpath(os.path.join(directory, subpath)), os.path.realpath(directory)
    if path != root and not path.startswith(root + "/"):
        raise Conflict(f"cannot access path {subpath}: it leads out of the volume")
    if not os.path.exists(path):
        raise Conflict(f"cannot access path {path}: no such file or directory")
    return path


def _log_attributes(record: ContainerRecord) -> dict[str, str]:
    """The labels and variables that the log options name."""
    options, process = record.spec.log.options, record.process
    variables = dict(variable.partition("=")[::2] for variable in process.env)
    wanted = [(process.labels, options.get("labels", "")), (variables, options.get("env", ""))]
    return {key: source[key] for source, names in wanted for key in names.split(",") if key in source}
