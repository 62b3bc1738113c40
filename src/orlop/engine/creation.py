"""The story of `create`: check, resolve the image, choose names and mounts, write the record down, then furnish it."""

import os
import secrets
from contextlib import AsyncExitStack
from dataclasses import replace

from orlop.engine.checks import check_log, check_spec, with_defaults
from orlop.engine.defaults import merge_process
from orlop.engine.mounts import resolve_mounts
from orlop.engine.names import check_name, random_name
from orlop.engine.parts import Parts
from orlop.spec.container import ContainerRecord, ContainerSpec, LogSpec, ProcessDefaults
from orlop.spec.errors import InvalidArgument, NotFoundThere
from orlop.spec.image import ImageRecord, chain_ids, host_platform, parse_platform
from orlop.spec.mounts import MountPoint
from orlop.spec.network import Endpoint, EndpointSpec
from orlop.spec.platforms import matches
from orlop.spec.volume import VolumeSpec

STOCK_IDLE_SECONDS = 0.05
SHARED = "container:"  # prefix of a namespace mode that joins another container's


class Creation:
    """Makes containers."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def create(self, spec: ContainerSpec, name: str = "") -> tuple[str, tuple[str, ...]]:
        """A new container, not started: its id, and warnings. Raises NotFound for the image, Conflict for the name."""
        warnings = check_spec(spec)
        image = self._image(spec)
        record = self._record(spec, name, image)
        if image and not spec.platform and not matches(image.config.platform, host_platform()):
            warnings += (
                f"The requested image's platform ({image.config.platform}) does not match the detected host platform "
                f"({host_platform()}) and no specific platform was requested",
            )
        container = self._parts.roster.add(record)
        async with container.lock, AsyncExitStack() as undo:
            undo.callback(self._parts.roster.delete, container)
            self._parts.roster.complete(container, await self._furnish(record, image, undo))
            undo.pop_all()
        self._parts.events.container("create", record)
        return record.id, warnings

    def _image(self, spec: ContainerSpec) -> ImageRecord | None:
        if spec.rootfs:
            if not os.path.isdir(spec.rootfs) or not spec.rootfs.startswith("/"):
                raise InvalidArgument(f"invalid rootfs {spec.rootfs}: not a directory with an absolute path")
            return None
        if not spec.image:
            raise InvalidArgument("no image specified")
        image = self._parts.images.get(spec.image)
        if spec.platform and not matches(image.config.platform, wanted := parse_platform(spec.platform)):
            raise NotFoundThere(
                f"image with reference {spec.image} was found but its platform ({image.config.platform}) "
                f"does not match the specified platform ({wanted})"
            )
        return image

    def _record(self, spec: ContainerSpec, name: str, image: ImageRecord | None) -> ContainerRecord:
        """The record that the container starts its life with. Reads other records, changes nothing."""
        roster, settings = self._parts.roster, self._parts.settings
        process = merge_process(spec.process, image.config.process if image else ProcessDefaults())
        name = check_name(name) if name else random_name(roster.names)
        roster.check_free(name)
        container_id = secrets.token_hex(32)
        while container_id[:12].isdecimal():  # a hostname of digits alone is taken for a number by some programs
            container_id = secrets.token_hex(32)
        spec = with_defaults(self._with_settings(self._with_ids(spec)))
        if not spec.hostname and spec.network_mode != "host":
            spec = replace(spec, hostname=container_id[:12])
        elif not spec.hostname:
            spec = replace(spec, hostname=os.uname().nodename)
        return ContainerRecord(
            id=container_id,
            name=name,
            spec=spec,
            process=process,
            image_id=image.id if image else "",
            created_ns=self._parts.clock(),
            snapshot="" if spec.rootfs else container_id,
            mounts=resolve_mounts(spec, process, lambda reference: roster.get(reference).record),
            endpoints=self._endpoints(spec),
            driver=settings.storage_driver,
        )

    def _with_ids(self, spec: ContainerSpec) -> ContainerSpec:
        """Modes that join another container name it by its id, for it may be renamed."""
        changed: dict[str, str] = {}
        for field in ("network_mode", "pid_mode", "ipc_mode"):
            mode: str = getattr(spec, field)
            if mode.startswith(SHARED):
                other = self._parts.roster.find(mode.removeprefix(SHARED))
                changed[field] = SHARED + other.record.id if other else mode
        return replace(spec, **changed) if changed else spec  # type: ignore[arg-type]

    def _with_settings(self, spec: ContainerSpec) -> ContainerSpec:
        """What the administrator set for all containers, where the user said nothing."""
        settings = self._parts.settings
        log = spec.log
        if not log.driver:
            log = LogSpec(driver=settings.log_driver, options={**settings.log_options, **log.options})
            check_log(log)
        named = {limit.name for limit in spec.resources.ulimits}
        ulimits = spec.resources.ulimits + tuple(limit for limit in settings.ulimits if limit.name not in named)
        return replace(
            spec,
            log=log,
            init=settings.use_init if spec.init is None else spec.init,
            shm_size_bytes=spec.shm_size_bytes or settings.shm_size_bytes,
            resources=replace(spec.resources, ulimits=ulimits) if ulimits else spec.resources,
        )

    def _endpoints(self, spec: ContainerSpec) -> dict[str, Endpoint]:
        """The networks it will be on when it starts; the one of --network first."""
        mode = "bridge" if spec.network_mode in ("default", "") else spec.network_mode
        if mode.startswith(SHARED):
            if spec.endpoints:
                raise InvalidArgument("conflicting options: cannot attach user-defined network to container network mode")
            return {}
        asked = {self._network_name(reference): endpoint for reference, endpoint in spec.endpoints.items()}
        first = self._network_name(mode)
        own = asked.pop("default", None) if first == "bridge" else None
        own = asked.pop(first, own) or EndpointSpec()
        if spec.mac_address and not own.mac_address:
            own = replace(own, mac_address=spec.mac_address)
        if asked and first in ("host", "none"):
            raise InvalidArgument("conflicting options: cannot attach both user-defined and non-user-defined network-modes")
        wanted = {first: own, **asked}
        return {
            name: Endpoint(
                network_id=network.id if (network := self._parts.networks.find(name)) else "", network_name=name, spec=endpoint
            )
            for name, endpoint in wanted.items()
        }

    def _network_name(self, reference: str) -> str:
        network = self._parts.networks.find(reference)
        return network.spec.name if network else reference

    async def _furnish(self, record: ContainerRecord, image: ImageRecord | None, undo: AsyncExitStack) -> ContainerRecord:
        """Make the snapshot, the directory and the volumes; the record with the volumes' paths."""
        homes = self._parts.homes
        undo.callback(homes.remove, record.id)
        homes.make(record.id)
        self._parts.sweeper.later(self._stock, idle_seconds=STOCK_IDLE_SECONDS, name="stock")
        if image:
            undo.callback(self._parts.snapshots.remove, record.snapshot)
            parent = chains[-1] if (chains := chain_ids(image.config.diff_ids)) else ""
            await prepare_snapshot(self._parts, record.snapshot, parent)
        points = [await self._volume(record, point, undo) if point.kind == "volume" else point for point in record.mounts]
        return replace(record, mounts=tuple(points))

    async def _stock(self) -> None:
        """In idle time: make ready what the next containers need."""
        self._parts.homes.stock()
        self._parts.snapshots.stock()

    async def _volume(self, record: ContainerRecord, point: MountPoint, undo: AsyncExitStack) -> MountPoint:
        """Make the volume if it does not exist, and fill an empty one with what the image has at that place."""
        volumes, mount = self._parts.volumes, point.spec
        volume = volumes.find(point.name)
        if volume is None:
            wanted = VolumeSpec(
                name=point.name,
                options=mount.driver_options if mount else {},
                labels={**(mount.labels if mount else {}), **({"com.docker.volume.anonymous": ""} if point.anonymous else {})},
            )
            volume = volumes.create(wanted, self._parts.clock(), anonymous=point.anonymous)
            undo.callback(volumes.remove, point.name)
            self._parts.events.emit("volume", "create", point.name, {"driver": "local"})
        fills = record.snapshot and not (mount and (mount.no_copy or mount.subpath)) and "nocopy" not in point.mode.split(",")
        if fills and volumes.mount_of(volume) is None and not os.listdir(volume.mountpoint):
            mounts = [[one.fstype, one.source, list(one.options)] for one in self._parts.snapshots.mounts(record.snapshot)]
            arguments = {"mounts": mounts, "path": point.target, "destination": volume.mountpoint}
            await self._parts.workers.run("volume.copy_up", arguments)
        return replace(point, source=volume.mountpoint)


async def prepare_snapshot(parts: Parts, key: str, parent: str) -> None:
    """Make a writable snapshot: some system calls, or a copy in a worker."""
    if parts.snapshots.instant:
        parts.snapshots.prepare(key, parent)
    else:
        await parts.workers.run("snapshot.prepare", {"key": key, "parent": parent})
