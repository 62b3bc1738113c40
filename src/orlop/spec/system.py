"""What the engine says of itself and of its host: Version, SystemInfo, DiskUsage."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from orlop.spec.container import ContainerRecord
from orlop.spec.image import ImageRecord
from orlop.spec.volume import VolumeRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """The engine's version and what it runs on. `architecture` in Go's names, `build_time` RFC 3339."""

    version: str
    git_commit: str = ""
    python_version: str = ""
    build_time: str = ""
    os: str = "linux"
    architecture: str = "amd64"
    kernel_version: str = ""
    components: Mapping[str, str] = field(default_factory=dict)  # further parts: name -> version


@dataclass(frozen=True, kw_only=True, slots=True)
class SystemInfo:
    """The answer of `info`. Names of limits are those of Resources; `limits` holds what this host's kernel can enforce."""

    id: str
    version: str
    containers_running: int = 0
    containers_paused: int = 0
    containers_stopped: int = 0
    images: int = 0
    storage_driver: str = "overlay2"
    storage_status: tuple[tuple[str, str], ...] = ()
    data_root: str = ""
    limits: frozenset[str] = frozenset()  # memory swap cpu_period cpu_quota cpu_shares cpuset pids oom_kill_disable
    ipv4_forwarding: bool = True
    debug: bool = False
    file_descriptors: int = 0
    loops: int = 0
    time_ns: int = 0
    log_driver: str = "json-file"
    log_drivers: tuple[str, ...] = ("json-file", "none")
    network_drivers: tuple[str, ...] = ("bridge", "host", "null")
    volume_drivers: tuple[str, ...] = ("local",)
    cgroup_driver: str = "cgroupfs"
    cgroup_version: str = "1"
    event_listeners: int = 0
    kernel_version: str = ""
    operating_system: str = ""
    os_version: str = ""
    machine: str = "x86_64"  # uname -m
    cpus: int = 1
    memory_total_bytes: int = 0
    hostname: str = ""
    labels: tuple[str, ...] = ()
    insecure_registries: tuple[str, ...] = ()  # CIDRs and host[:port]s
    registry_mirrors: tuple[str, ...] = ()
    http_proxy: str = ""
    https_proxy: str = ""
    no_proxy: str = ""
    runtimes: Mapping[str, str] = field(default_factory=lambda: {"orlop": "orlop-runtime"})  # name -> path
    default_runtime: str = "orlop"
    init_binary: str = ""
    security_options: tuple[str, ...] = ()
    address_pools: tuple[tuple[str, int], ...] = ()  # base, prefix length
    firewall: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageUsage:
    """An image's share of the disk: `shared_size` bytes are in layers that other images have too."""

    record: ImageRecord
    shared_size: int = 0
    containers: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class ContainerUsage:
    """A container's share of the disk, in bytes: its own layer, and all of its root."""

    record: ContainerRecord
    size_rw: int = 0
    size_root_fs: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class VolumeUsage:
    """A volume's share of the disk, in bytes, and how many containers name it. -1: not known."""

    record: VolumeRecord
    size: int = -1
    reference_count: int = -1


@dataclass(frozen=True, kw_only=True, slots=True)
class DiskUsage:
    """The answer of `system df`. A kind that was not asked for is None."""

    layers_size: int = 0
    images: tuple[ImageUsage, ...] | None = None
    containers: tuple[ContainerUsage, ...] | None = None
    volumes: tuple[VolumeUsage, ...] | None = None
