"""The OCI runtime specification 1.2 for Linux as types: what a bundle's config.json says.

A field is named as in the specification, in snake case; `json` metadata gives the JSON name where that rule does not.
None means "not said" where zero or false would mean something else. `runtime_json.py` reads and writes config.json.
Two fields are ours and never leave the process: RuntimeUser.name and RuntimeUser.groups.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

OCI_VERSION = "1.2.1"
INFINITY = (1 << 64) - 1  # an rlimit's "unlimited"


def _json(name: str, default: Any = "") -> Any:
    """A field whose JSON name is not the camel case of its own; "" keeps it out of JSON."""
    return field(default=default, metadata={"json": name})


def _mapping() -> Any:
    return field(default_factory=dict)


# --- the process ---


@dataclass(frozen=True, kw_only=True, slots=True)
class ConsoleSize:
    """Characters."""

    height: int = 0
    width: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class RuntimeUser:
    """Who the process is. With `name` ("user", "uid", "user:group" ...) it is looked up in the root's passwd(5) and group(5)
    when the process starts, as Docker does, and `groups` (names or numbers) are added."""

    uid: int = 0
    gid: int = 0
    umask: int | None = None
    additional_gids: tuple[int, ...] = ()
    username: str = ""  # Windows; kept for the round trip
    name: str = _json("")
    groups: tuple[str, ...] = _json("", ())


@dataclass(frozen=True, kw_only=True, slots=True)
class CapabilitySets:
    """Names as in capabilities(7), with CAP_."""

    bounding: tuple[str, ...] = ()
    effective: tuple[str, ...] = ()
    inheritable: tuple[str, ...] = ()
    permitted: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class RuntimeRlimit:
    """One limit of setrlimit(2), by its constant's name (RLIMIT_NOFILE)."""

    type: str
    soft: int = 0
    hard: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Scheduler:
    """sched_setattr(2)."""

    policy: str = ""
    nice: int = 0
    priority: int = 0
    flags: tuple[str, ...] = ()
    runtime: int = 0
    deadline: int = 0
    period: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class IoPriority:
    """ioprio_set(2); `class_` is IOPRIO_CLASS_RT, _BE or _IDLE."""

    class_: str = _json("class")
    priority: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class CpuAffinity:
    """CPU lists for an exec: while it is made ready, and then."""

    initial: str = ""
    final: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class RuntimeProcess:
    """What to execute, and as whom."""

    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    cwd: str = "/"
    terminal: bool = False
    console_size: ConsoleSize | None = None
    user: RuntimeUser = RuntimeUser()
    capabilities: CapabilitySets | None = None
    rlimits: tuple[RuntimeRlimit, ...] = ()
    no_new_privileges: bool = False
    apparmor_profile: str = ""
    oom_score_adj: int | None = None
    scheduler: Scheduler | None = None
    selinux_label: str = ""
    io_priority: IoPriority | None = None
    exec_cpu_affinity: CpuAffinity | None = field(default=None, metadata={"json": "execCPUAffinity"})


# --- root, mounts, hooks ---


@dataclass(frozen=True, kw_only=True, slots=True)
class Root:
    """The root file system."""

    path: str = ""
    readonly: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class IdMapping:
    """One line of uid_map or gid_map. user_namespaces(7)."""

    container_id: int = _json("containerID", 0)
    host_id: int = _json("hostID", 0)
    size: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class RuntimeMount:
    """One mount in the container, beyond its root."""

    destination: str
    type: str = ""
    source: str = ""
    options: tuple[str, ...] = ()
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Hook:
    """A program run at a point of the container's life; `timeout` in seconds."""

    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Hooks:
    """Hooks by the point at which they run."""

    prestart: tuple[Hook, ...] = ()
    create_runtime: tuple[Hook, ...] = ()
    create_container: tuple[Hook, ...] = ()
    start_container: tuple[Hook, ...] = ()
    poststart: tuple[Hook, ...] = ()
    poststop: tuple[Hook, ...] = ()


# --- resources ---


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceRule:
    """Allow or deny devices; type a, b or c; None is any number; access is a subset of rwm."""

    allow: bool = False
    type: str = ""
    major: int | None = None
    minor: int | None = None
    access: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Bytes; -1 unlimited."""

    limit: int | None = None
    reservation: int | None = None
    swap: int | None = None  # memory plus swap
    kernel: int | None = None
    kernel_tcp: int | None = _json("kernelTCP", None)
    swappiness: int | None = None
    disable_oom_killer: bool | None = _json("disableOOMKiller", None)
    use_hierarchy: bool | None = None
    check_before_update: bool | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Cpu:
    """Times in microseconds."""

    shares: int | None = None
    quota: int | None = None
    burst: int | None = None
    period: int | None = None
    realtime_runtime: int | None = None
    realtime_period: int | None = None
    cpus: str = ""
    mems: str = ""
    idle: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Pids:
    """0 or less: unlimited."""

    limit: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightDevice:
    """I/O weight of one block device."""

    major: int
    minor: int
    weight: int | None = None
    leaf_weight: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ThrottleDevice:
    """Bytes or operations per second on one block device."""

    major: int
    minor: int
    rate: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockIo:
    """Weights and limits of block I/O."""

    weight: int | None = None
    leaf_weight: int | None = None
    weight_device: tuple[WeightDevice, ...] = ()
    throttle_read_bps_device: tuple[ThrottleDevice, ...] = ()
    throttle_write_bps_device: tuple[ThrottleDevice, ...] = ()
    throttle_read_iops_device: tuple[ThrottleDevice, ...] = _json("throttleReadIOPSDevice", ())
    throttle_write_iops_device: tuple[ThrottleDevice, ...] = _json("throttleWriteIOPSDevice", ())


@dataclass(frozen=True, kw_only=True, slots=True)
class HugepageLimit:
    """Bytes of huge pages of one size ("2MB")."""

    page_size: str
    limit: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class InterfacePriority:
    """net_prio of one interface."""

    name: str
    priority: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkResources:
    """net_cls and net_prio (cgroup v1)."""

    class_id: int | None = _json("classID", None)
    priorities: tuple[InterfacePriority, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Rdma:
    """Limits of one RDMA device."""

    hca_handles: int | None = None
    hca_objects: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class LinuxResources:
    """What the control group is set to."""

    devices: tuple[DeviceRule, ...] = ()
    memory: Memory = Memory()
    cpu: Cpu = Cpu()
    pids: Pids = Pids()
    block_io: BlockIo = field(default=BlockIo(), metadata={"json": "blockIO"})
    hugepage_limits: tuple[HugepageLimit, ...] = ()
    network: NetworkResources = NetworkResources()
    rdma: Mapping[str, Rdma] = _mapping()
    unified: Mapping[str, str] = _mapping()  # cgroup v2: file name -> content


# --- Linux ---


@dataclass(frozen=True, kw_only=True, slots=True)
class Namespace:
    """type: pid network mount ipc uts user cgroup time. With a path it is joined, without it is made."""

    type: str
    path: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """A device node in the container; type c, b, u or p."""

    path: str
    type: str
    major: int = 0
    minor: int = 0
    file_mode: int | None = None
    uid: int | None = None
    gid: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SyscallArgument:
    """A condition on one argument of a system call; op is SCMP_CMP_EQ, NE, LT, LE, GT, GE or MASKED_EQ."""

    index: int
    op: str
    value: int = 0
    value_two: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class SyscallRule:
    """What to do on some system calls, when all `args` match."""

    names: tuple[str, ...]
    action: str
    errno_ret: int | None = None
    args: tuple[SyscallArgument, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Seccomp:
    """A filter of system calls."""

    default_action: str
    default_errno_ret: int | None = None
    architectures: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    listener_path: str = ""
    listener_metadata: str = ""
    syscalls: tuple[SyscallRule, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class IntelRdt:
    """Cache and memory bandwidth allocation."""

    clos_id: str = _json("closID")
    schemata: tuple[str, ...] = ()
    l3_cache_schema: str = ""
    mem_bw_schema: str = ""
    enable_cmt: bool = _json("enableCMT", False)
    enable_mbm: bool = _json("enableMBM", False)
    enable_monitoring: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Personality:
    """LINUX or LINUX32. personality(2)."""

    domain: str
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeOffset:
    """How far a clock (monotonic, boottime) of a time namespace is from the host's."""

    secs: int = 0
    nanosecs: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class NetDevice:
    """A network device of the host moved into the container."""

    name: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryPolicy:
    """set_mempolicy(2)."""

    mode: str = ""
    nodes: str = ""
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Linux:
    """The part of the specification that is about Linux."""

    namespaces: tuple[Namespace, ...] = ()
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()
    time_offsets: Mapping[str, TimeOffset] = _mapping()
    devices: tuple[Device, ...] = ()
    net_devices: Mapping[str, NetDevice] = _mapping()
    cgroups_path: str = ""
    resources: LinuxResources | None = None
    intel_rdt: IntelRdt | None = None
    memory_policy: MemoryPolicy | None = None
    sysctl: Mapping[str, str] = _mapping()
    seccomp: Seccomp | None = None
    rootfs_propagation: str = ""
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    mount_label: str = ""
    personality: Personality | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RuntimeSpec:
    """A container as a runtime sees it."""

    oci_version: str = OCI_VERSION
    process: RuntimeProcess | None = None
    root: Root | None = None
    hostname: str = ""
    domainname: str = ""
    mounts: tuple[RuntimeMount, ...] = ()
    hooks: Hooks = Hooks()
    linux: Linux = Linux()
    annotations: Mapping[str, str] = _mapping()
