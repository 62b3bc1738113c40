"""What a container may use: limits, devices, rlimits."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class Rlimit:
    """One resource limit, by its short name (`nofile`). -1 means unlimited. setrlimit(2)."""

    name: str
    soft: int
    hard: int


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceMapping:
    """A device of the host shown in a container; `permissions` is a subset of "rwm"."""

    host_path: str
    container_path: str
    permissions: str = "rwm"


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceThrottle:
    """A rate or weight for one block device, by its path on the host."""

    path: str
    value: int


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceRequest:
    """A request to a device driver (`--gpus`)."""

    driver: str = ""
    count: int = 0
    device_ids: tuple[str, ...] = ()
    capabilities: tuple[tuple[str, ...], ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """Limits of a container. 0, "" or None: not set."""

    cpu_shares: int = 0
    cpu_period_us: int = 0
    cpu_quota_us: int = 0
    cpu_nanos: int = 0
    cpu_realtime_period_us: int = 0
    cpu_realtime_runtime_us: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    memory_bytes: int = 0
    memory_reservation_bytes: int = 0
    memory_swap_bytes: int = 0  # memory plus swap; -1: unlimited swap
    memory_swappiness: int | None = None
    kernel_memory_bytes: int = 0
    oom_kill_disable: bool | None = None
    pids_limit: int | None = None
    blkio_weight: int = 0
    blkio_weight_device: tuple[DeviceThrottle, ...] = ()
    blkio_read_bps: tuple[DeviceThrottle, ...] = ()
    blkio_write_bps: tuple[DeviceThrottle, ...] = ()
    blkio_read_iops: tuple[DeviceThrottle, ...] = ()
    blkio_write_iops: tuple[DeviceThrottle, ...] = ()
    devices: tuple[DeviceMapping, ...] = ()
    device_cgroup_rules: tuple[str, ...] = ()
    device_requests: tuple[DeviceRequest, ...] = ()
    ulimits: tuple[Rlimit, ...] = ()
    cgroup_parent: str = ""
