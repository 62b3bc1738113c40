"""What a user asks a container to be (ContainerSpec), and what the engine knows of it (ContainerRecord, ExecRecord).

Times are nanoseconds since the epoch, 0 for never. Durations of health checks are nanoseconds, as in Docker's API.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from orlop.spec.mounts import MountPoint, MountSpec
from orlop.spec.network import Endpoint, EndpointSpec, PortBinding
from orlop.spec.resources import Resources


@dataclass(frozen=True, kw_only=True, slots=True)
class HealthSpec:
    """A health check. `test` is () inherit, ("NONE",), ("CMD", ...) or ("CMD-SHELL", line)."""

    test: tuple[str, ...] = ()
    interval_ns: int = 0
    timeout_ns: int = 0
    start_period_ns: int = 0
    start_interval_ns: int = 0
    retries: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class RestartPolicy:
    """no, always, unless-stopped, or on-failure with at most `maximum_retries` (0: any number)."""

    name: str = "no"
    maximum_retries: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class LogSpec:
    """A log driver and its options (max-size, max-file, ...)."""

    driver: str = ""
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessDefaults:
    """The part of a container that an image can set too (Docker's Config, the OCI image's config)."""

    user: str = ""
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None
    working_dir: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    exposed_ports: tuple[str, ...] = ()  # "80/tcp"
    volumes: tuple[str, ...] = ()  # anonymous volumes, by target
    stop_signal: str = ""
    stop_timeout_seconds: int | None = None
    healthcheck: HealthSpec | None = None
    shell: tuple[str, ...] = ()
    on_build: tuple[str, ...] = ()
    args_escaped: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ContainerSpec:
    """A container as asked for; immutable but through `update`. Empty means: not said."""

    image: str = ""  # as the user wrote it
    rootfs: str = ""  # a plain directory of the host instead of an image (--rootfs)
    platform: str = ""
    isolation: str = ""  # "" or "process": namespaces; "vm": a machine
    runtime: str = ""
    process: ProcessDefaults = ProcessDefaults()
    hostname: str = ""
    domainname: str = ""
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    console_size: tuple[int, int] = (0, 0)  # rows, columns
    network_disabled: bool = False
    mac_address: str = ""
    resources: Resources = Resources()
    binds: tuple[str, ...] = ()  # "src:dst[:mode]"
    mounts: tuple[MountSpec, ...] = ()
    tmpfs: Mapping[str, str] = field(default_factory=dict)  # target -> options
    volumes_from: tuple[str, ...] = ()
    volume_driver: str = ""
    port_bindings: tuple[PortBinding, ...] = ()
    publish_all_ports: bool = False
    network_mode: str = ""  # default, bridge, host, none, container:X, or a network's name
    endpoints: Mapping[str, EndpointSpec] = field(default_factory=dict)  # by network name or id
    links: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    extra_hosts: tuple[str, ...] = ()
    restart: RestartPolicy = RestartPolicy()
    auto_remove: bool = False
    init: bool | None = None
    privileged: bool = False
    read_only_rootfs: bool = False
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    security_options: tuple[str, ...] = ()
    group_add: tuple[str, ...] = ()
    ipc_mode: str = ""
    pid_mode: str = ""
    uts_mode: str = ""
    user_namespace_mode: str = ""
    cgroup_namespace_mode: str = ""  # private, host
    oom_score_adj: int = 0
    shm_size_bytes: int = 0
    sysctls: Mapping[str, str] = field(default_factory=dict)
    storage_options: Mapping[str, str] = field(default_factory=dict)
    masked_paths: tuple[str, ...] | None = None
    readonly_paths: tuple[str, ...] | None = None
    log: LogSpec = LogSpec()
    annotations: Mapping[str, str] = field(default_factory=dict)
    container_id_file: str = ""


class Status(str, Enum):
    """State.Status of Docker's API."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    REMOVING = "removing"
    EXITED = "exited"
    DEAD = "dead"


LIVE = frozenset({Status.RUNNING, Status.PAUSED})


@dataclass(frozen=True, kw_only=True, slots=True)
class Process:
    """A process that we may meet again. Its pid can be reused, the pair with its start time cannot. proc(5), field 22."""

    pid: int
    start_ticks: int


@dataclass(frozen=True, kw_only=True, slots=True)
class HealthProbe:
    """One run of a health check."""

    started_ns: int
    ended_ns: int
    exit_code: int
    output: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Health:
    """starting, healthy or unhealthy; the last five probes."""

    status: str = "starting"
    failing_streak: int = 0
    probes: tuple[HealthProbe, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ContainerRecord:
    """All that the engine knows of one container. Replaced as a whole (`dataclasses.replace`), never changed."""

    id: str
    name: str  # without the leading slash
    spec: ContainerSpec
    process: ProcessDefaults  # spec.process over the image's: what really runs
    image_id: str  # config digest; "" with --rootfs
    created_ns: int
    driver: str = "overlay2"
    snapshot: str = ""  # key of the writable snapshot
    mounts: tuple[MountPoint, ...] = ()
    endpoints: Mapping[str, Endpoint] = field(default_factory=dict)  # by network name
    ports: tuple[PortBinding, ...] = ()  # as published now: host ports are known
    status: Status = Status.CREATED
    init: Process | None = None
    exit_code: int = 0
    exit_code_known: bool = True  # False: it ended while nobody watched
    error: str = ""
    oom_killed: bool = False
    started_ns: int = 0
    finished_ns: int = 0
    restart_count: int = 0
    stopped_by_user: bool = False  # `stop`/`kill`: unless-stopped stays down
    health: Health | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ExecSpec:
    """A further process in a container, as asked for."""

    command: tuple[str, ...]
    env: tuple[str, ...] = ()
    user: str = ""
    working_dir: str = ""
    tty: bool = False
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    privileged: bool = False
    detach_keys: str = ""
    console_size: tuple[int, int] = (0, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class ExecRecord:
    """An exec that was created; kept in memory until its container goes."""

    id: str
    container_id: str
    spec: ExecSpec
    running: bool = False
    exit_code: int | None = None
    process: Process | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One line of `diff`: kind "A", "C" or "D" (added, changed, deleted)."""

    kind: str
    path: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Stats:
    """A reading of a container's counters. Maps use the kernel's names."""

    read_ns: int
    cpu_total_ns: int = 0
    cpu_user_ns: int = 0
    cpu_system_ns: int = 0
    cpu_per_cpu_ns: tuple[int, ...] = ()
    system_cpu_ns: int = 0  # of the whole host
    online_cpus: int = 0
    throttling: Mapping[str, int] = field(default_factory=dict)  # periods, throttled_periods, throttled_ns
    memory_usage_bytes: int = 0
    memory_max_usage_bytes: int = 0
    memory_limit_bytes: int = 0
    memory_failcnt: int = 0
    memory_stats: Mapping[str, int] = field(default_factory=dict)  # memory.stat
    pids_current: int = 0
    pids_limit: int = 0
    blkio_bytes: tuple[tuple[int, int, str, int], ...] = ()  # major, minor, operation, value
    blkio_operations: tuple[tuple[int, int, str, int], ...] = ()
    networks: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # eth0 -> rx_bytes ... tx_dropped
