"""The fields of a container in Docker's JSON and in spec: Config, HostConfig, Resources, mounts, endpoints.

Read both ways: by decode.py for what a client asks, by encode.py for what inspect shows, so that they round-trip.
"""

from collections.abc import Mapping
from typing import Any

from orlop.api.fields import (
    BOOLEAN,
    INTEGER,
    MAP,
    NULLABLE_MAP,
    NULLABLE_STRINGS,
    OPTIONAL_STRINGS,
    SET,
    STRING,
    STRINGS,
    WORDS,
    Codec,
    Field,
    Fields,
    Table,
    array,
    expect,
    nested,
    read,
    write,
)
from orlop.spec.container import HealthSpec, LogSpec, RestartPolicy
from orlop.spec.errors import InvalidArgument
from orlop.spec.mounts import MountSpec
from orlop.spec.network import EndpointSpec, PortBinding
from orlop.spec.resources import DeviceMapping, DeviceRequest, DeviceThrottle, Rlimit

HEALTHCHECK: Table = (
    Field("Test", "test", STRINGS),
    Field("Interval", "interval_ns", INTEGER),
    Field("Timeout", "timeout_ns", INTEGER),
    Field("StartPeriod", "start_period_ns", INTEGER),
    Field("StartInterval", "start_interval_ns", INTEGER),
    Field("Retries", "retries", INTEGER),
)


def _read_ports(value: Any, path: str) -> tuple[str, ...]:
    """{"80/tcp": {}, "53": {}} -> ("80/tcp", "53/tcp")."""
    return tuple(port if "/" in port else f"{port}/tcp" for port in expect(value, dict, path))


# Of a container's Config: what an image can set too (ProcessDefaults) ...
PROCESS: Table = (
    Field("User", "user", STRING),
    Field("ExposedPorts", "exposed_ports", Codec(_read_ports, SET.write)),
    Field("Env", "env", STRINGS),
    Field("Cmd", "command", WORDS),
    Field("Healthcheck", "healthcheck", nested(HEALTHCHECK, HealthSpec)),
    Field("ArgsEscaped", "args_escaped", BOOLEAN),
    Field("Volumes", "volumes", SET),
    Field("WorkingDir", "working_dir", STRING),
    Field("Entrypoint", "entrypoint", WORDS),
    Field("OnBuild", "on_build", NULLABLE_STRINGS),
    Field("Labels", "labels", MAP),
    Field("StopSignal", "stop_signal", STRING),
    Field("StopTimeout", "stop_timeout_seconds", INTEGER),
    Field("Shell", "shell", NULLABLE_STRINGS),
)
# ... and what only a container has (ContainerSpec).
IDENTITY: Table = (
    Field("Hostname", "hostname", STRING),
    Field("Domainname", "domainname", STRING),
    Field("AttachStdin", "attach_stdin", BOOLEAN),
    Field("AttachStdout", "attach_stdout", BOOLEAN),
    Field("AttachStderr", "attach_stderr", BOOLEAN),
    Field("Tty", "tty", BOOLEAN),
    Field("OpenStdin", "open_stdin", BOOLEAN),
    Field("StdinOnce", "stdin_once", BOOLEAN),
    Field("Image", "image", STRING),
    Field("NetworkDisabled", "network_disabled", BOOLEAN),
    Field("MacAddress", "mac_address", STRING),
)
# Fields of Config that Go leaves out when they are empty; the others are always shown.
OMITTED_WHEN_EMPTY = (
    "ExposedPorts", "Healthcheck", "ArgsEscaped", "NetworkDisabled", "MacAddress", "StopSignal", "StopTimeout", "Shell",
)  # fmt: skip


def _throttles(value_key: str) -> Codec:
    return array(nested((Field("Path", "path", STRING), Field(value_key, "value", INTEGER)), DeviceThrottle), [])


DEVICE: Table = (
    Field("PathOnHost", "host_path", STRING),
    Field("PathInContainer", "container_path", STRING),
    Field("CgroupPermissions", "permissions", STRING),
)
DEVICE_REQUEST: Table = (
    Field("Driver", "driver", STRING),
    Field("Count", "count", INTEGER),
    Field("DeviceIDs", "device_ids", NULLABLE_STRINGS),
    Field("Capabilities", "capabilities", array(STRINGS)),
    Field("Options", "options", MAP),
)
RLIMIT: Table = (Field("Name", "name", STRING), Field("Hard", "hard", INTEGER), Field("Soft", "soft", INTEGER))


def _read_device(value: Any, path: str) -> DeviceMapping:
    device = read(DEVICE, Fields(value, path))
    host = device.get("host_path", "")
    if not host:
        raise InvalidArgument(f"invalid JSON: {path}.PathOnHost is missing")
    return DeviceMapping(
        host_path=host,
        container_path=device.get("container_path") or host,
        permissions=device.get("permissions") or "rwm",
    )


RESOURCES: Table = (
    Field("CpuShares", "cpu_shares", INTEGER),
    Field("Memory", "memory_bytes", INTEGER),
    Field("NanoCpus", "cpu_nanos", INTEGER),
    Field("CgroupParent", "cgroup_parent", STRING),
    Field("BlkioWeight", "blkio_weight", INTEGER),
    Field("BlkioWeightDevice", "blkio_weight_device", _throttles("Weight")),
    Field("BlkioDeviceReadBps", "blkio_read_bps", _throttles("Rate")),
    Field("BlkioDeviceWriteBps", "blkio_write_bps", _throttles("Rate")),
    Field("BlkioDeviceReadIOps", "blkio_read_iops", _throttles("Rate")),
    Field("BlkioDeviceWriteIOps", "blkio_write_iops", _throttles("Rate")),
    Field("CpuPeriod", "cpu_period_us", INTEGER),
    Field("CpuQuota", "cpu_quota_us", INTEGER),
    Field("CpuRealtimePeriod", "cpu_realtime_period_us", INTEGER),
    Field("CpuRealtimeRuntime", "cpu_realtime_runtime_us", INTEGER),
    Field("CpusetCpus", "cpuset_cpus", STRING),
    Field("CpusetMems", "cpuset_mems", STRING),
    Field("Devices", "devices", array(Codec(_read_device, lambda device: write(DEVICE, device)), [])),
    Field("DeviceCgroupRules", "device_cgroup_rules", NULLABLE_STRINGS),
    Field("DeviceRequests", "device_requests", array(nested(DEVICE_REQUEST, DeviceRequest))),
    Field("MemoryReservation", "memory_reservation_bytes", INTEGER),
    Field("MemorySwap", "memory_swap_bytes", INTEGER),
    Field("MemorySwappiness", "memory_swappiness", INTEGER),
    Field("OomKillDisable", "oom_kill_disable", Codec(BOOLEAN.read, bool)),
    Field("PidsLimit", "pids_limit", INTEGER),
    Field("Ulimits", "ulimits", array(nested(RLIMIT, Rlimit), [])),
)
KERNEL_MEMORY = Field("KernelMemory", "kernel_memory_bytes", INTEGER)  # read only: API 1.42 took it away

RESTART: Table = (Field("Name", "name", STRING), Field("MaximumRetryCount", "maximum_retries", INTEGER))
LOG: Table = (Field("Type", "driver", STRING), Field("Config", "options", MAP))


def _read_size(value: Any, path: str) -> tuple[int, int]:
    sizes = expect(value, list, path)
    if len(sizes) != 2:
        raise InvalidArgument(f"invalid JSON: {path} must be [height, width]")
    rows, columns = (expect(size, int, path) for size in sizes)
    if not (0 <= rows < 65536 and 0 <= columns < 65536):
        raise InvalidArgument(f"invalid JSON: {path} is out of range")
    return rows, columns


CONSOLE_SIZE = Codec(_read_size, list)


def parse_port(text: str) -> tuple[int, str]:
    """ "80/tcp" -> (80, "tcp"); tcp where it is not said. Raises InvalidArgument."""
    number, _, protocol = text.partition("/")
    protocol = protocol.lower() or "tcp"
    if not (number.isascii() and number.isdigit() and 0 < int(number) < 65536) or protocol not in ("tcp", "udp", "sctp"):
        raise InvalidArgument(f'invalid port specification: "{text}"')
    return int(number), protocol


def _read_bindings(value: Any, path: str) -> tuple[PortBinding, ...]:
    found = []
    for port, bindings in expect(value, dict, path).items():
        number, protocol = parse_port(port)
        for binding in expect(bindings or [], list, f"{path}.{port}"):
            fields = Fields(binding, f"{path}.{port}")
            first, last = _host_ports(fields.read("HostPort", STRING, ""))
            address = fields.read("HostIp", STRING, "")
            found.append(
                PortBinding(container_port=number, protocol=protocol, host_address=address, host_port=first, host_port_end=last)
            )
    return tuple(found)


def _host_ports(text: str) -> tuple[int, int]:
    """ "8080" -> (8080, 0); "8000-8010" -> (8000, 8010); "" -> (0, 0)."""
    first, dash, last = text.partition("-")
    numbers = [first, last] if dash else [first] if text else []
    for number in numbers:
        if not (number.isascii() and number.isdigit() and int(number) < 65536):
            raise InvalidArgument(f"invalid port specification: {text!r}")
    if dash and int(first) > int(last):
        raise InvalidArgument(f"invalid port specification: {text!r}")
    return (int(first or 0), int(last) if dash else 0) if text else (0, 0)


def write_bindings(bindings: tuple[PortBinding, ...]) -> dict[str, Any]:
    """Bindings by "port/protocol", as HostConfig.PortBindings and NetworkSettings.Ports show them."""
    shown: dict[str, Any] = {}
    for binding in bindings:
        port = str(binding.host_port) if binding.host_port else ""
        port += f"-{binding.host_port_end}" if binding.host_port_end else ""
        entry = {"HostIp": binding.host_address, "HostPort": port}
        shown.setdefault(f"{binding.container_port}/{binding.protocol}", []).append(entry)
    return shown


MOUNT_KINDS = ("bind", "volume", "tmpfs")
_MOUNT: Table = (
    Field("Type", "kind", STRING),
    Field("Source", "source", STRING),
    Field("Target", "target", STRING),
    Field("ReadOnly", "read_only", BOOLEAN),
    Field("Consistency", "consistency", STRING),
)
_BIND: Table = (
    Field("Propagation", "propagation", STRING),
    Field("NonRecursive", "non_recursive", BOOLEAN),
    Field("CreateMountpoint", "create_source", BOOLEAN),
    Field("ReadOnlyNonRecursive", "read_only_non_recursive", BOOLEAN),
    Field("ReadOnlyForceRecursive", "read_only_force_recursive", BOOLEAN),
)
_VOLUME: Table = (
    Field("NoCopy", "no_copy", BOOLEAN),
    Field("Labels", "labels", MAP),
    Field("Subpath", "subpath", STRING),
)
_DRIVER: Table = (Field("Name", "driver", STRING), Field("Options", "driver_options", MAP))
_TMPFS: Table = (
    Field("SizeBytes", "tmpfs_size_bytes", INTEGER),
    Field("Mode", "tmpfs_mode", INTEGER),
    Field("Options", "tmpfs_options", array(STRINGS)),
)
_MOUNT_OPTIONS = {"bind": ("BindOptions", _BIND), "volume": ("VolumeOptions", _VOLUME), "tmpfs": ("TmpfsOptions", _TMPFS)}


def _read_mount(value: Any, path: str) -> MountSpec:
    fields = Fields(value, path)
    mount = read(_MOUNT, fields)
    kind, target = mount.setdefault("kind", ""), mount.get("target", "")
    if kind not in MOUNT_KINDS:
        raise InvalidArgument(f"invalid mount config for type {kind!r}: mount type unknown")
    if not target:
        raise InvalidArgument(f'invalid mount config for type "{kind}": field Target must not be empty')
    for other, (key, _) in _MOUNT_OPTIONS.items():
        if other != kind and fields.object(key):
            raise InvalidArgument(f'invalid mount config for type "{kind}": field {key} must not be specified')
    key, table = _MOUNT_OPTIONS[kind]
    options = fields.object(key)
    mount.update(read(table, options))
    if kind == "volume":
        mount.update(read(_DRIVER, options.object("DriverConfig")))
    return MountSpec(**mount)


def _write_mount(mount: MountSpec) -> dict[str, Any]:
    shown = _without_empty(write(_MOUNT, mount))
    key, table = _MOUNT_OPTIONS[mount.kind]
    options = _without_empty(write(table, mount))
    if mount.kind == "volume" and (mount.driver or mount.driver_options):
        options["DriverConfig"] = _without_empty(write(_DRIVER, mount))
    return {**shown, key: options} if options else shown


def _without_empty(shown: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in shown.items() if value}


def _write_mode(mode: str) -> str:
    return "bridge" if mode in ("", "default") else mode


# HostConfig in the order that Docker shows it in; Resources come after these.
HOST: Table = (
    Field("Binds", "binds", NULLABLE_STRINGS),
    Field("ContainerIDFile", "container_id_file", STRING),
    Field("LogConfig", "log", nested(LOG, LogSpec)),
    Field("NetworkMode", "network_mode", Codec(STRING.read, _write_mode)),
    Field("PortBindings", "port_bindings", Codec(_read_bindings, write_bindings)),
    Field("RestartPolicy", "restart", nested(RESTART, RestartPolicy)),
    Field("AutoRemove", "auto_remove", BOOLEAN),
    Field("VolumeDriver", "volume_driver", STRING),
    Field("VolumesFrom", "volumes_from", NULLABLE_STRINGS),
    Field("ConsoleSize", "console_size", CONSOLE_SIZE),
    Field("CapAdd", "cap_add", NULLABLE_STRINGS),
    Field("CapDrop", "cap_drop", NULLABLE_STRINGS),
    Field("CgroupnsMode", "cgroup_namespace_mode", STRING),
    Field("Dns", "dns", STRINGS),
    Field("DnsOptions", "dns_options", STRINGS),
    Field("DnsSearch", "dns_search", STRINGS),
    Field("ExtraHosts", "extra_hosts", NULLABLE_STRINGS),
    Field("GroupAdd", "group_add", NULLABLE_STRINGS),
    Field("IpcMode", "ipc_mode", STRING),
    Field("Links", "links", NULLABLE_STRINGS),
    Field("OomScoreAdj", "oom_score_adj", INTEGER),
    Field("PidMode", "pid_mode", STRING),
    Field("Privileged", "privileged", BOOLEAN),
    Field("PublishAllPorts", "publish_all_ports", BOOLEAN),
    Field("ReadonlyRootfs", "read_only_rootfs", BOOLEAN),
    Field("SecurityOpt", "security_options", NULLABLE_STRINGS),
    Field("UTSMode", "uts_mode", STRING),
    Field("UsernsMode", "user_namespace_mode", STRING),
    Field("ShmSize", "shm_size_bytes", INTEGER),
    Field("Runtime", "runtime", STRING),
    Field("Isolation", "isolation", STRING),
    Field("MaskedPaths", "masked_paths", OPTIONAL_STRINGS),
    Field("ReadonlyPaths", "readonly_paths", OPTIONAL_STRINGS),
)
# Left out by Go when empty.
HOST_OPTIONAL: Table = (
    Field("Mounts", "mounts", array(Codec(_read_mount, _write_mount))),
    Field("Annotations", "annotations", NULLABLE_MAP),
    Field("StorageOpt", "storage_options", NULLABLE_MAP),
    Field("Tmpfs", "tmpfs", NULLABLE_MAP),
    Field("Sysctls", "sysctls", NULLABLE_MAP),
    Field("Init", "init", BOOLEAN),
    Field("Rootfs", "rootfs", STRING),  # ours: --rootfs
)
HOST_REFUSED = {
    "Cgroup": "containers share no cgroup",
    "CpuCount": "it is of Windows",
    "CpuPercent": "it is of Windows",
    "IOMaximumIOps": "it is of Windows",
    "IOMaximumBandwidth": "it is of Windows",
    "KernelMemoryTCP": "Linux took it away",
}

# An endpoint as asked for. NetworkID, IPAddress and the like, which some clients send back, are no wishes: dropped.
_ADDRESSES: Table = (
    Field("IPv4Address", "ipv4_address", STRING),
    Field("IPv6Address", "ipv6_address", STRING),
    Field("LinkLocalIPs", "link_local_addresses", NULLABLE_STRINGS),
)
ENDPOINT: Table = (
    Field("Links", "links", NULLABLE_STRINGS),
    Field("Aliases", "aliases", NULLABLE_STRINGS),
    Field("MacAddress", "mac_address", STRING),
    Field("DriverOpts", "driver_options", NULLABLE_MAP),
    Field("GwPriority", "gateway_priority", INTEGER),
)


def _read_endpoint(value: Any, path: str) -> EndpointSpec:
    """An EndpointSettings; null asks for nothing particular."""
    fields = Fields({} if value is None else value, path)
    return EndpointSpec(**read(ENDPOINT, fields), **read(_ADDRESSES, fields.object("IPAMConfig")))


def write_addresses(spec: EndpointSpec) -> dict[str, Any] | None:
    """IPAMConfig of an endpoint: null when no address was asked for."""
    return _without_empty(write(_ADDRESSES, spec)) or None


def _read_endpoints(value: Any, path: str) -> dict[str, EndpointSpec]:
    return {name: _read_endpoint(one, f"{path}.{name}") for name, one in expect(value, dict, path).items()}


ENDPOINT_SPEC = Codec(_read_endpoint, lambda spec: write(ENDPOINT, spec))
ENDPOINTS = Codec(_read_endpoints, dict)
