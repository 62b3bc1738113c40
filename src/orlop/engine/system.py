"""What the engine says of itself and of its host: info, version, disk usage."""

from __future__ import annotations

import asyncio
import os
import platform
from importlib import metadata
from typing import TYPE_CHECKING

from orlop.engine.checks import LOG_DRIVERS
from orlop.engine.containers import Containers
from orlop.engine.parts import Parts
from orlop.spec.container import Status
from orlop.spec.host import Host
from orlop.spec.image import ImageRecord, chain_ids
from orlop.spec.system import ContainerUsage, DiskUsage, ImageUsage, SystemInfo, Version, VolumeUsage

if TYPE_CHECKING:
    from orlop.engine.images import Images
    from orlop.engine.volumes import Volumes

LIMITS = frozenset({"memory", "swap", "cpu_period", "cpu_quota", "cpu_shares", "cpuset", "pids", "oom_kill_disable"})


def own_version() -> str:
    """The version of this package; the source tree's when it is not installed."""
    try:
        return metadata.version("orlop")
    except metadata.PackageNotFoundError:
        return "0.1.0"


class System:
    """`engine_id` outlives the daemon; `address_pools` are the networks' ranges."""

    def __init__(
        self,
        parts: Parts,
        containers: Containers,
        images: Images,
        volumes: Volumes,
        *,
        engine_id: str,
        firewall: str,
    ) -> None:
        self._parts, self._containers, self._images, self._volumes = parts, containers, images, volumes
        self._engine_id, self._firewall = engine_id, firewall
        self._version = own_version()

    def version(self) -> Version:
        """GET /version."""
        return Version(
            version=self._version,
            python_version=platform.python_version(),
            architecture=self._parts.host.architecture,
            kernel_version=platform.release(),
        )

    def info(self) -> SystemInfo:
        """GET /info."""
        parts, settings = self._parts, self._parts.settings
        states = [container.record.status for container in parts.roster]
        running = sum(status in (Status.RUNNING, Status.RESTARTING) for status in states)
        paused = sum(status is Status.PAUSED for status in states)
        name, version = _distribution()
        return SystemInfo(
            id=self._engine_id,
            version=self._version,
            containers_running=running,
            containers_paused=paused,
            containers_stopped=len(states) - running - paused,
            images=len(self._parts.images.list()),
            storage_driver=settings.storage_driver,
            data_root=str(settings.data_root),
            limits=_limits(parts.host),
            ipv4_forwarding=_read("/proc/sys/net/ipv4/ip_forward") == "1",
            debug=settings.debug,
            file_descriptors=len(os.listdir("/proc/self/fd")),
            loops=len(asyncio.all_tasks()),
            time_ns=parts.clock(),
            log_driver=settings.log_driver,
            log_drivers=LOG_DRIVERS,
            cgroup_version=str(parts.host.cgroup_version),
            event_listeners=parts.events.listeners,
            kernel_version=platform.release(),
            operating_system=name,
            os_version=version,
            machine=parts.host.machine,
            cpus=os.cpu_count() or 1,
            memory_total_bytes=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
            hostname=platform.node(),
            labels=settings.labels,
            insecure_registries=settings.insecure_registries,
            registry_mirrors=settings.registry_mirrors,
            http_proxy=os.environ.get("HTTP_PROXY", ""),
            https_proxy=os.environ.get("HTTPS_PROXY", ""),
            no_proxy=os.environ.get("NO_PROXY", ""),
            init_binary=parts.host.init_program,
            security_options=(
                "name=seccomp,profile=builtin",
                *(("name=apparmor",) if parts.host.apparmor else ()),
                "name=cgroupns",
            ),
            firewall=self._firewall,
        )

    async def disk_usage(self, types: frozenset[str]) -> DiskUsage:
        """GET /system/df, for some of "image", "container", "volume"."""
        images = self._image_usage() if "image" in types else None
        containers = await self._container_usage() if "container" in types else None
        volumes = await self._volume_usage() if "volume" in types else None
        return DiskUsage(layers_size=self._layers_size(), images=images, containers=containers, volumes=volumes)

    def _layer_sizes(self, record: ImageRecord) -> dict[str, int]:
        """Bytes by chain id."""
        layers = ((chain, self._parts.images.layer(chain)) for chain in chain_ids(record.config.diff_ids))
        return {chain: layer.size for chain, layer in layers if layer}

    def _layers_size(self) -> int:
        """Bytes of all layers, each counted once."""
        return sum(
            {chain: size for record in self._parts.images.list() for chain, size in self._layer_sizes(record).items()}.values()
        )

    def _image_usage(self) -> tuple[ImageUsage, ...]:
        records = self._parts.images.list()
        users: dict[str, int] = {}
        sizes = {record.id: self._layer_sizes(record) for record in records}
        for own in sizes.values():
            for chain in own:
                users[chain] = users.get(chain, 0) + 1
        return tuple(
            ImageUsage(
                record=record,
                shared_size=sum(size for chain, size in sizes[record.id].items() if users[chain] > 1),
                containers=self._images.containers_of(record),
            )
            for record in records
        )

    async def _container_usage(self) -> tuple[ContainerUsage, ...]:
        records = self._parts.roster.records()
        keys = [record.snapshot for record in records if record.snapshot]
        own = await self._parts.workers.run("snapshot.usage", {"keys": keys}) if keys else {}
        image_sizes = {record.id: record.size for record in self._parts.images.list()}
        return tuple(
            ContainerUsage(
                record=record,
                size_rw=(size := int(own.get(record.snapshot, 0))),
                size_root_fs=size + image_sizes.get(record.image_id, 0),
            )
            for record in records
        )

    async def _volume_usage(self) -> tuple[VolumeUsage, ...]:
        records = self._volumes.list()[0]
        usages = zip(records, await self._volumes.usages(records), strict=True)
        return tuple(VolumeUsage(record=one, size=size, reference_count=users) for one, (size, users) in usages)


def _limits(host: Host) -> frozenset[str]:
    """What this host's cgroups can enforce: version 2 cannot turn the OOM killer off."""
    lacking = {"oom_kill_disable"} if host.cgroup_version == 2 else set()
    if host.cgroup_version == 1:
        memory = host.cgroup_mounts.get("memory", "/sys/fs/cgroup/memory")
        if not os.path.exists(f"{memory}/memory.memsw.limit_in_bytes"):
            lacking.add("swap")
    return LIMITS - lacking


def _distribution() -> tuple[str, str]:
    """The name and version of the host's distribution. os-release(5)"""
    try:
        found = platform.freedesktop_os_release()
    except OSError:
        return "Linux", ""
    return found.get("PRETTY_NAME", "Linux"), found.get("VERSION_ID", "")


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
