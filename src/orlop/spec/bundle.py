"""ContainerRecord -> RuntimeSpec: what Docker gives a container when nobody says otherwise. Pure.

Users and groups stay names here; they are looked up in the root's own files when the container starts.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from orlop.spec.container import ContainerRecord, ContainerSpec, ExecSpec
from orlop.spec.errors import InvalidArgument, NotSupported
from orlop.spec.host import Host
from orlop.spec.mounts import MountPoint
from orlop.spec.resources import DeviceThrottle, Resources, Rlimit
from orlop.spec.runtime import (
    INFINITY,
    BlockIo,
    CapabilitySets,
    ConsoleSize,
    Cpu,
    Device,
    DeviceRule,
    Linux,
    LinuxResources,
    Memory,
    Namespace,
    Pids,
    Root,
    RuntimeMount,
    RuntimeProcess,
    RuntimeRlimit,
    RuntimeSpec,
    RuntimeUser,
    Seccomp,
    ThrottleDevice,
    WeightDevice,
)

DEFAULT_CAPABILITIES = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
    "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
)  # fmt: skip
DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MASKED_PATHS = (
    "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
    "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap",
)  # fmt: skip
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
NAMESPACES = ("mount", "network", "uts", "pid", "ipc", "cgroup")
INIT_INSIDE = "/sbin/docker-init"
SHM_BYTES = 64 << 20

# Allowed to every container: its own /dev, terminals, and making any node. Docker's list.
_DEVICE_RULES = (
    DeviceRule(access="rwm"),  # deny all, then:
    *(
        DeviceRule(allow=True, type=kind, major=major, minor=minor, access=access)
        for kind, major, minor, access in (
            ("c", None, None, "m"), ("b", None, None, "m"), ("c", 1, 3, "rwm"), ("c", 1, 5, "rwm"), ("c", 1, 7, "rwm"),
            ("c", 1, 8, "rwm"), ("c", 1, 9, "rwm"), ("c", 5, 0, "rwm"), ("c", 5, 1, "rwm"), ("c", 5, 2, "rwm"),
            ("c", 136, None, "rwm"), ("c", 10, 200, "rwm"),
        )
    ),
)  # fmt: skip


def runtime_spec(
    record: ContainerRecord,
    *,
    host: Host,
    files: Mapping[str, str] | None = None,
    namespaces: Mapping[str, str] | None = None,
    cgroups_path: str = "",
    seccomp: Seccomp | None = None,
    devices: Sequence[tuple[Device, str]] = (),
    device_number: Callable[[str], tuple[int, int]] | None = None,
    no_new_privileges: bool = False,
) -> RuntimeSpec:
    """The container as a runtime is to make it.

    `files`: path in the container -> path on the host, bind mounted unless a volume is there (/etc/hosts, /etc/resolv.conf...).
    `namespaces`: type -> file of one to join, or "host"; a type that is absent is made anew.
    `devices` with their permissions, and `device_number` for throttles, come from `kernel.devices`.
    Raises InvalidArgument, NotSupported.
    """
    spec, joined = record.spec, dict(namespaces or {})
    mounts = _with_mounts(_default_mounts(spec, joined), _given_mounts(record, files or {}))
    if spec.init:
        mounts.append(RuntimeMount(destination=INIT_INSIDE, type="bind", source=_init(host), options=("bind", "ro")))
    return RuntimeSpec(
        process=_first_process(record, host, no_new_privileges),
        root=Root(readonly=spec.read_only_rootfs),
        hostname="" if "uts" in joined else spec.hostname,
        domainname="" if "uts" in joined else spec.domainname,
        mounts=tuple(mounts),
        linux=Linux(
            namespaces=tuple(
                Namespace(type=kind, path=joined.get(kind, "")) for kind in NAMESPACES if joined.get(kind) != "host"
            ),
            devices=tuple(device for device, _ in devices),
            cgroups_path=cgroups_path,
            resources=linux_resources(spec.resources, devices=devices, device_number=device_number, privileged=spec.privileged),
            sysctl=_sysctls(spec, joined),
            seccomp=seccomp,
            rootfs_propagation=_root_propagation(record.mounts),
            masked_paths=_paths(spec.masked_paths, MASKED_PATHS, spec),
            readonly_paths=_paths(spec.readonly_paths, READONLY_PATHS, spec),
        ),
        annotations=spec.annotations,
    )


def _paths(chosen: tuple[str, ...] | None, default: tuple[str, ...], spec: ContainerSpec) -> tuple[str, ...]:
    if chosen is not None:
        return chosen
    return () if spec.privileged or _says(spec, "systempaths", "unconfined") else default


def _says(spec: ContainerSpec, key: str, value: str) -> bool:
    return any(option.replace(":", "=", 1) == f"{key}={value}" for option in spec.security_options)


# --- the process ---


def _first_process(record: ContainerRecord, host: Host, no_new_privileges: bool) -> RuntimeProcess:
    spec = record.spec
    args = (*(record.process.entrypoint or ()), *(record.process.command or ()))
    granted = capabilities(spec, host)
    rows, columns = spec.console_size
    return RuntimeProcess(
        args=(INIT_INSIDE, "--", *args) if spec.init else args,
        env=environment(record, tty=spec.tty),
        cwd=record.process.working_dir or "/",
        terminal=spec.tty,
        console_size=ConsoleSize(height=rows, width=columns) if rows or columns else None,
        user=RuntimeUser(name=record.process.user or "0", groups=spec.group_add),
        capabilities=CapabilitySets(bounding=granted, effective=granted, permitted=granted),
        rlimits=tuple(_rlimit(limit) for limit in spec.resources.ulimits),
        no_new_privileges=_new_privileges_forbidden(spec, no_new_privileges),
        apparmor_profile=_apparmor(spec) if host.apparmor else "",
        selinux_label="",
        oom_score_adj=spec.oom_score_adj or None,
    )


def exec_process(record: ContainerRecord, wanted: ExecSpec, host: Host) -> RuntimeProcess:
    """A further process in a container: the container's own settings, but for what the exec says."""
    first = _first_process(record, host, no_new_privileges=False)
    rows, columns = wanted.console_size
    granted = _all_of(host) if wanted.privileged else None
    return replace(
        first,
        args=wanted.command,
        env=_merged(environment(record, tty=wanted.tty), wanted.env),
        cwd=wanted.working_dir or first.cwd,
        terminal=wanted.tty,
        console_size=ConsoleSize(height=rows, width=columns) if rows or columns else None,
        user=replace(first.user, name=wanted.user or first.user.name),
        capabilities=CapabilitySets(bounding=granted, effective=granted, permitted=granted) if granted else first.capabilities,
        oom_score_adj=first.oom_score_adj,
    )


def _new_privileges_forbidden(spec: ContainerSpec, default: bool) -> bool:
    for option in spec.security_options:
        key, _, value = option.replace(":", "=", 1).partition("=")
        if key == "no-new-privileges":
            return value != "false"
    return default


def _apparmor(spec: ContainerSpec) -> str:
    """The profile that was asked for by name; the engine loads none of its own."""
    for option in spec.security_options:
        key, _, value = option.replace(":", "=", 1).partition("=")
        if key == "apparmor" and value != "unconfined":
            return value
    return ""


def environment(record: ContainerRecord, *, tty: bool) -> tuple[str, ...]:
    """Docker's own variables, then the container's over them. HOME is added at the start, from passwd(5)."""
    own = [DEFAULT_PATH, f"HOSTNAME={record.spec.hostname}", *(["TERM=xterm"] if tty else [])]
    return _merged(own, record.process.env)


def _merged(base: Iterable[str], over: Iterable[str]) -> tuple[str, ...]:
    named = {variable.partition("=")[0]: variable for variable in (*base, *over)}
    return tuple(variable for variable in named.values() if "=" in variable)


def _rlimit(limit: Rlimit) -> RuntimeRlimit:
    soft, hard = (INFINITY if value == -1 else value for value in (limit.soft, limit.hard))
    return RuntimeRlimit(type=f"RLIMIT_{limit.name.upper()}", soft=soft, hard=hard)


def _init(host: Host) -> str:
    if not host.init_program:
        raise NotSupported('--init needs a static tini: install the package "tini"')
    return host.init_program


# --- capabilities ---


def capabilities(spec: ContainerSpec, host: Host) -> tuple[str, ...]:
    """What the container is granted: what was asked for, as far as this host's own bounding set goes."""
    return tuple(name for name in _wanted(spec, host) if name in host.capabilities)


def warnings(spec: ContainerSpec, host: Host) -> tuple[str, ...]:
    """What was asked for and cannot be had on this host."""
    missing = [name for name in _wanted(spec, host) if name not in host.capabilities]
    if not missing or not (spec.privileged or spec.cap_add):
        return ()
    lacking = ", ".join(missing)
    return (f"this host does not have {lacking}: the container runs without",)


def _wanted(spec: ContainerSpec, host: Host) -> tuple[str, ...]:
    """Docker's rules for --cap-add and --cap-drop. Privileged is everything, whatever is dropped."""
    known = _known(host)
    if spec.privileged:
        return known
    add, drop = (tuple(_capability(name, known) for name in names) for names in (spec.cap_add, spec.cap_drop))
    if "ALL" in add:
        base: tuple[str, ...] = known
    elif "ALL" in drop:
        base = ()
    else:
        base = DEFAULT_CAPABILITIES
    wanted = dict.fromkeys((*(name for name in base if name not in drop), *(name for name in add if name != "ALL")))
    return tuple(wanted)


def _known(host: Host) -> tuple[str, ...]:
    return tuple(sorted(host.known_capabilities or host.capabilities))


def _all_of(host: Host) -> tuple[str, ...]:
    return tuple(sorted(host.capabilities))


def _capability(name: str, known: Iterable[str]) -> str:
    """ "net_admin", "CAP_NET_ADMIN" or "ALL" -> the full name."""
    upper = name.upper()
    if upper == "ALL":
        return upper
    full = upper if upper.startswith("CAP_") else f"CAP_{upper}"
    if full not in known:
        raise InvalidArgument(f'invalid capability: "{name}"')
    return full


# --- mounts ---


def _default_mounts(spec: ContainerSpec, joined: Mapping[str, str]) -> list[RuntimeMount]:
    """Docker's defaults; what belongs to a namespace of the host is the host's."""
    safe = ("nosuid", "noexec", "nodev")
    access = "rw" if spec.privileged else "ro"
    mounts = [
        RuntimeMount(destination="/proc", type="proc", source="proc", options=safe),
        RuntimeMount(
            destination="/dev", type="tmpfs", source="tmpfs", options=("nosuid", "strictatime", "mode=755", "size=65536k")
        ),
        RuntimeMount(
            destination="/dev/pts",
            type="devpts",
            source="devpts",
            options=("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
        ),
        RuntimeMount(destination="/sys", type="sysfs", source="sysfs", options=(*safe, access)),
        RuntimeMount(destination="/sys/fs/cgroup", type="cgroup", source="cgroup", options=(access, *safe)),
        RuntimeMount(destination="/dev/mqueue", type="mqueue", source="mqueue", options=safe),
    ]
    if joined.get("ipc") == "host":
        mounts.append(RuntimeMount(destination="/dev/shm", type="bind", source="/dev/shm", options=("rbind", "rprivate")))
    elif spec.ipc_mode != "none":
        size = f"size={spec.shm_size_bytes or SHM_BYTES}"
        mounts.append(RuntimeMount(destination="/dev/shm", type="tmpfs", source="shm", options=(*safe, "mode=1777", size)))
    return mounts


def _given_mounts(record: ContainerRecord, files: Mapping[str, str]) -> list[RuntimeMount]:
    """The user's, and the engine's files where the user has mounted nothing."""
    given = [_mount(point, record.spec) for point in record.mounts]
    taken = {os.path.normpath(mount.destination) for mount in given}
    access = "ro" if record.spec.read_only_rootfs else "rw"
    for path, source in files.items():
        if path not in taken:
            given.append(RuntimeMount(destination=path, type="bind", source=source, options=("rbind", "rprivate", access)))
    given += [
        RuntimeMount(destination=path, type="tmpfs", source="tmpfs", options=tmpfs_options(options.split(",")))
        for path, options in record.spec.tmpfs.items()
        if os.path.normpath(path) not in taken
    ]
    return given


def _mount(point: MountPoint, spec: ContainerSpec) -> RuntimeMount:
    if point.kind == "tmpfs":
        return RuntimeMount(destination=point.target, type="tmpfs", source="tmpfs", options=tmpfs_options(point.options))
    asked = point.spec
    recursive = "bind" if asked and asked.non_recursive else "rbind"
    options = [recursive, "rw" if point.read_write else "ro", point.propagation or "rprivate"]
    if not point.read_write and asked and recursive == "rbind" and not asked.read_only_non_recursive:
        options.append("rro")
    return RuntimeMount(destination=point.target, type="bind", source=point.source, options=tuple(options))


def tmpfs_options(options: Iterable[str]) -> tuple[str, ...]:
    """mount(8) options of a tmpfs over Docker's defaults: `exec` undoes `noexec`, the last of a kind wins."""
    opposite = {"exec": "noexec", "suid": "nosuid", "dev": "nodev", "rw": "ro"}
    opposite |= {no: yes for yes, no in opposite.items()}
    chosen: dict[str, str] = {}
    for option in ("noexec", "nosuid", "nodev", *options):
        if not option:
            continue
        chosen.pop(opposite.get(option, ""), None)
        chosen[option.partition("=")[0]] = option
    return tuple(chosen.values())


def _with_mounts(defaults: list[RuntimeMount], given: list[RuntimeMount]) -> list[RuntimeMount]:
    """The given ones over the defaults, in the order in which one can be mounted on another: by depth."""
    targets = {os.path.normpath(mount.destination) for mount in given}
    kept = [
        mount
        for mount in defaults
        if mount.destination not in targets and not ("/dev" in targets and mount.destination.startswith("/dev/"))
    ]
    return kept + sorted(given, key=lambda mount: os.path.normpath(mount.destination).count("/"))


def _root_propagation(points: Iterable[MountPoint]) -> str:
    """A volume can only share mounts with the host when the root does."""
    kinds = {point.propagation for point in points}
    if kinds & {"shared", "rshared"}:
        return "rshared"
    return "rslave" if kinds & {"slave", "rslave"} else ""


def _sysctls(spec: ContainerSpec, joined: Mapping[str, str]) -> dict[str, str]:
    """In a network namespace of its own anybody may ping, and listen on low ports, as in Docker."""
    if joined.get("network") == "host" or spec.network_mode.startswith("container:"):
        return dict(spec.sysctls)
    return {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647", **spec.sysctls}


# --- resources ---


def linux_resources(
    limits: Resources,
    *,
    devices: Sequence[tuple[Device, str]] = (),
    device_number: Callable[[str], tuple[int, int]] | None = None,
    privileged: bool = False,
) -> LinuxResources:
    """Docker's limits as the runtime specification's. `device_number` gives (major, minor) of a block device's path."""
    number = device_number or _no_device

    def throttles(entries: Iterable[DeviceThrottle]) -> tuple[ThrottleDevice, ...]:
        numbered = ((number(entry.path), entry.value) for entry in entries)
        return tuple(ThrottleDevice(major=major, minor=minor, rate=rate) for (major, minor), rate in numbered)

    weights = ((number(entry.path), entry.value) for entry in limits.blkio_weight_device)
    return LinuxResources(
        devices=_device_rules(limits, devices, privileged),
        memory=_memory(limits),
        cpu=_cpu(limits),
        pids=Pids(limit=None if limits.pids_limit is None else (limits.pids_limit if limits.pids_limit > 0 else -1)),
        block_io=BlockIo(
            weight=limits.blkio_weight or None,
            weight_device=tuple(WeightDevice(major=major, minor=minor, weight=weight) for (major, minor), weight in weights),
            throttle_read_bps_device=throttles(limits.blkio_read_bps),
            throttle_write_bps_device=throttles(limits.blkio_write_bps),
            throttle_read_iops_device=throttles(limits.blkio_read_iops),
            throttle_write_iops_device=throttles(limits.blkio_write_iops),
        ),
    )


def _no_device(path: str) -> tuple[int, int]:
    raise InvalidArgument(f"cannot limit the device {path}: its number is not known here")


def _memory(limits: Resources) -> Memory:
    return Memory(
        limit=limits.memory_bytes or None,
        reservation=limits.memory_reservation_bytes or None,
        swap=limits.memory_swap_bytes or (2 * limits.memory_bytes if limits.memory_bytes > 0 else None),
        kernel=limits.kernel_memory_bytes or None,
        swappiness=None if limits.memory_swappiness == -1 else limits.memory_swappiness,
        disable_oom_killer=limits.oom_kill_disable or None,
    )


def _cpu(limits: Resources) -> Cpu:
    period, quota = limits.cpu_period_us or None, limits.cpu_quota_us or None
    if limits.cpu_nanos:
        period, quota = 100_000, limits.cpu_nanos // 10_000
    return Cpu(
        shares=limits.cpu_shares or None,
        period=period,
        quota=quota,
        realtime_period=limits.cpu_realtime_period_us or None,
        realtime_runtime=limits.cpu_realtime_runtime_us or None,
        cpus=limits.cpuset_cpus,
        mems=limits.cpuset_mems,
    )


def _device_rules(limits: Resources, devices: Sequence[tuple[Device, str]], privileged: bool) -> tuple[DeviceRule, ...]:
    if privileged:
        return (DeviceRule(allow=True, access="rwm"),)
    given = (
        DeviceRule(allow=True, type=device.type, major=device.major, minor=device.minor, access=access)
        for device, access in devices
    )
    return (*_DEVICE_RULES, *given, *(_parse_device_rule(rule) for rule in limits.device_cgroup_rules))


def _parse_device_rule(rule: str) -> DeviceRule:
    """ "c 1:3 mr", "b 7:* rwm" -> DeviceRule."""
    words = rule.split()
    numbers = words[1].split(":") if len(words) == 3 else []
    well_formed = len(numbers) == 2 and all(each == "*" or each.isdecimal() for each in numbers)
    if not well_formed or words[0] not in ("a", "b", "c") or not set(words[2]) <= set("rwm"):
        raise InvalidArgument(f"invalid device cgroup rule format: '{rule}'")
    major, minor = (None if each == "*" else int(each) for each in numbers)
    return DeviceRule(allow=True, type=words[0], major=major, minor=minor, access=words[2])
