"""RuntimeSpec -> a plan: what `spawn` and `init` will do, in order, as data. Pure.

A plan is JSON-able:
    clone_flags     CLONE_NEW* of the namespaces that are made by clone3
    pid_namespace   file of the pid namespace in which the child is to be born, "" for ours or a new one
    enter           whether the child joins the container's first process (an exec)
    mappings        contents of uid_map and gid_map, or None without a new user namespace
    steps           [[operation, argument...], ...] for `init.OPERATIONS`
    env             variables of the program
    cgroup          {"path", "values": [[file, content], ...]}, {} when the caller keeps none
    failure         how a message about a failure begins
    warnings        what was asked for and cannot be had here, for the user
"""

import base64
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from orlop.kernel import capabilities, limits, namespaces, seccomp
from orlop.kernel.cgroups import Layout
from orlop.kernel.mounts import PROPAGATION, Options
from orlop.kernel.syscalls import CLONE_NEWCGROUP, CLONE_NEWTIME, MS_BIND, MS_REC, MS_SLAVE
from orlop.spec.errors import InvalidArgument, NotSupported
from orlop.spec.host import Host
from orlop.spec.mounts import Mount
from orlop.spec.runtime import (
    INFINITY,
    CapabilitySets,
    Device,
    Hook,
    Hooks,
    IdMapping,
    Linux,
    RuntimeMount,
    RuntimeProcess,
    RuntimeRlimit,
    RuntimeSpec,
)

Step = list[Any]

START_FAILURE = "OCI runtime create failed: unable to start container process"
EXEC_FAILURE = "OCI runtime exec failed: exec failed: unable to start container process"

# OCI runtime specification, "Default Devices" and "Device Files"
DEFAULT_DEVICES = tuple(
    Device(path=f"/dev/{name}", type="c", major=major, minor=minor, file_mode=0o666)
    for name, major, minor in (
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("tty", 5, 0),
    )
)
DEFAULT_LINKS = (
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("pts/ptmx", "/dev/ptmx"),
)
_DEVICE_TYPES = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}

# asm-generic/resource.h
RLIMITS = (
    "CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS", "LOCKS", "SIGPENDING", "MSGQUEUE",
    "NICE", "RTPRIO", "RTTIME",
)  # fmt: skip

# Sysctls that belong to a namespace: prefix -> its type. All others would change the host.
_SYSCTLS = {
    "net.": "network",
    "fs.mqueue.": "ipc",
    "kernel.msg": "ipc",
    "kernel.sem": "ipc",
    "kernel.shm": "ipc",
    "kernel.hostname": "uts",
    "kernel.domainname": "uts",
}
_SYSCTL_NAME = re.compile(r"[A-Za-z0-9_-]+([./][A-Za-z0-9_:@*-]+)+")


def start_plan(
    spec: RuntimeSpec, *, rootfs: Sequence[Mount], mountpoint: str, host: Host, layout: Layout | None = None, gate: str = ""
) -> dict[str, Any]:
    """How to start a container. With `gate`, a FIFO's path, its program waits there until something is written to it.

    Raises InvalidArgument, or NotSupported naming what this runtime cannot do.
    """
    process, linux = _required(spec)
    kinds = {namespace.type: namespace.path for namespace in linux.namespaces}
    made = {kind for kind, path in kinds.items() if not path}
    flags = sum(namespaces.BY_NAME[kind].flag for kind in made)
    propagation = PROPAGATION[linux.rootfs_propagation] if linux.rootfs_propagation else MS_SLAVE | MS_REC
    steps: list[Step] = [
        *_namespace_steps(kinds, linux),
        *_early_steps(process),
        ["root", [[each.fstype, each.source, list(each.options)] for each in rootfs], mountpoint, propagation],
        *_mount_steps(spec, host, private_cgroup="cgroup" in made),
        *_device_steps(spec),
        *([_terminal_step(process, bind_console=True)] if process.terminal else []),
        *_cover_steps(linux),
        *_system_steps(spec, kinds),
        *([["sync"]] if spec.hooks != Hooks() else []),
        *_hook_steps("createContainer", spec.hooks.create_container),
        *([["gate", gate]] if gate else []),
        ["pivot", propagation, bool(spec.root and spec.root.readonly)],
        *_process_steps(process, linux, host, make_cwd=True, last=_last_steps(spec, gate)),
    ]
    return {
        "clone_flags": flags & ~(CLONE_NEWCGROUP | CLONE_NEWTIME),  # these two are taken later: see _namespace_steps
        "pid_namespace": kinds.get("pid", ""),
        "enter": False,
        "mappings": _mappings(linux) if "user" in made else None,
        "steps": steps,
        "env": _environment(process),
        "cgroup": _cgroup(linux, layout) if layout else {},
        "failure": START_FAILURE,
        "warnings": _warnings(process, host),
    }


def exec_plan(process: RuntimeProcess, *, spec: RuntimeSpec, host: Host) -> dict[str, Any]:
    """How to start a further process in the container that `spec` describes."""
    linux = spec.linux
    flags = sum(kind.flag for kind in namespaces.KINDS if kind.name not in ("pid", "user", "time"))
    for namespace in linux.namespaces:  # joining a user or time namespace in which one already is fails
        if namespace.type in ("user", "time"):
            flags |= namespaces.BY_NAME[namespace.type].flag
    steps: list[Step] = [
        *_early_steps(process),
        ["enter", flags],
        *([_terminal_step(process, bind_console=False)] if process.terminal else []),
        *_process_steps(process, linux, host, make_cwd=False, last=()),
    ]
    return {
        "clone_flags": 0,
        "pid_namespace": "",
        "enter": True,
        "mappings": None,
        "steps": steps,
        "env": _environment(process),
        "cgroup": {},
        "failure": EXEC_FAILURE,
        "warnings": _warnings(process, host),
    }


def _required(spec: RuntimeSpec) -> tuple[RuntimeProcess, Linux]:
    process, linux = spec.process, spec.linux
    if process is None or not process.args:
        raise InvalidArgument("process.args: nothing to execute")
    if not process.cwd.startswith("/"):
        raise InvalidArgument(f'process.cwd: "{process.cwd}" is not an absolute path')
    kinds = [namespace.type for namespace in linux.namespaces]
    if unknown := set(kinds) - set(namespaces.BY_NAME):
        raise InvalidArgument(f"linux.namespaces: unknown type {min(unknown)}")
    if len(set(kinds)) < len(kinds):
        raise InvalidArgument("linux.namespaces: a type is there twice")
    if "mount" not in kinds or any(namespace.path for namespace in linux.namespaces if namespace.type == "mount"):
        raise NotSupported("linux.namespaces: a container without a mount namespace of its own is not supported")
    if linux.rootfs_propagation and linux.rootfs_propagation not in PROPAGATION:
        raise InvalidArgument(f"linux.rootfsPropagation: unknown value {linux.rootfs_propagation}")
    if refused := [name for name, said in _unsupported(process, linux).items() if said]:
        raise NotSupported(f"{refused[0]} is not supported")
    return process, linux


def _unsupported(process: RuntimeProcess, linux: Linux) -> dict[str, object]:
    return {
        "process.scheduler": process.scheduler,
        "process.ioPriority": process.io_priority,
        "process.execCPUAffinity": process.exec_cpu_affinity,
        "linux.intelRdt": linux.intel_rdt,
        "linux.memoryPolicy": linux.memory_policy,
        "linux.netDevices": linux.net_devices,
        "linux.personality": linux.personality,
        "linux.mountLabel": linux.mount_label,
    }


# --- namespaces ---


def _namespace_steps(kinds: Mapping[str, str], linux: Linux) -> Iterator[Step]:
    for kind in namespaces.KINDS:
        if kinds.get(kind.name) and kind.name not in ("pid", "mount"):  # pid: see spawn.py
            yield ["join", kinds[kind.name], kind.flag]
    if kinds.get("cgroup") == "":  # its root is the group that we are in: so after entering it, not by clone3
        yield ["unshare", CLONE_NEWCGROUP]
    if kinds.get("time") == "":
        yield ["time", "".join(f"{clock} {at.secs} {at.nanosecs}\n" for clock, at in linux.time_offsets.items())]


def _mappings(linux: Linux) -> list[str]:
    if not linux.uid_mappings or not linux.gid_mappings:
        raise InvalidArgument("linux.uidMappings, linux.gidMappings: a new user namespace needs both")
    return [_map(linux.uid_mappings), _map(linux.gid_mappings)]


def _map(mappings: Sequence[IdMapping]) -> str:
    return "".join(f"{each.container_id} {each.host_id} {each.size}\n" for each in mappings)


def _cgroup(linux: Linux, layout: Layout) -> dict[str, Any]:
    values = limits.settings(linux.resources, layout) if linux.resources else ()
    return {"path": linux.cgroups_path, "values": [list(pair) for pair in values]}


def _early_steps(process: RuntimeProcess) -> Iterator[Step]:
    """What is written to the host's /proc, and what a later loss of rights would forbid."""
    yield ["keyring", "_ses"]
    if process.oom_score_adj is not None:
        yield ["oom_score_adj", process.oom_score_adj]
    if process.apparmor_profile:
        yield ["label", "exec", f"exec {process.apparmor_profile}"]
    if process.selinux_label:
        yield ["label", "exec", process.selinux_label]


# --- the root ---


def _mount_steps(spec: RuntimeSpec, host: Host, *, private_cgroup: bool) -> Iterator[Step]:
    for mount in spec.mounts:
        if not mount.destination.startswith("/"):
            raise InvalidArgument(f'mounts: destination "{mount.destination}" is not an absolute path')
        options = _options(mount.options)
        if options.copy_up or options.idmap or mount.uid_mappings:
            raise NotSupported(f"mounts: {mount.destination}: tmpcopyup and id-mapped mounts are not supported")
        at = os.path.normpath(mount.destination)
        if mount.type == "cgroup" and host.cgroup_version == 1:
            hierarchies = [list(pair) for pair in host.cgroup_mounts.items()]
            yield ["cgroups_v1", at, hierarchies, options.flags, private_cgroup]
        elif options.flags & MS_BIND or mount.type == "bind":
            yield _bind_step(mount, at, options)
        else:
            fstype = "cgroup2" if mount.type == "cgroup" else mount.type
            if not fstype:
                raise InvalidArgument(f"mounts: {mount.destination}: neither a type nor bind")
            yield ["mount", at, fstype, mount.source or fstype, options.flags, options.data, options.propagation]


@lru_cache(256)
def _options(words: tuple[str, ...]) -> Options:
    """The same few words come again and again. What is parsed of them is not changed by anyone."""
    return Options(words)


def _bind_step(mount: RuntimeMount, at: str, options: Options) -> Step:
    if options.data:
        raise InvalidArgument(f'mounts: {mount.destination}: a bind mount has no option "{options.data}"')
    recursive = bool(options.flags & MS_REC)
    return ["bind", at, mount.source, recursive, options.attributes, options.recursive_attributes, options.propagation]


def _device_steps(spec: RuntimeSpec) -> Iterator[Step]:
    """/dev, unless it is a bind mount and so somebody else's."""
    for mount in spec.mounts:
        if os.path.normpath(mount.destination) == "/dev" and (mount.type == "bind" or {"bind", "rbind"} & set(mount.options)):
            return
    nodes = {device.path: device for device in (*DEFAULT_DEVICES, *spec.linux.devices)}
    yield ["devices", [_node(device) for device in nodes.values() if device.path not in ("/dev/ptmx", "/dev/console")]]
    yield ["links", [list(pair) for pair in DEFAULT_LINKS]]


@lru_cache(256)
def _node(device: Device) -> list[Any]:
    if device.type not in _DEVICE_TYPES:
        raise InvalidArgument(f'linux.devices: {device.path}: unknown type "{device.type}"')
    permissions = 0o666 if device.file_mode is None else stat.S_IMODE(device.file_mode)
    number = os.makedev(device.major, device.minor)
    return [device.path, _DEVICE_TYPES[device.type] | permissions, number, device.uid or 0, device.gid or 0]


def _terminal_step(process: RuntimeProcess, *, bind_console: bool) -> Step:
    size = process.console_size
    return ["terminal", size.height if size else 0, size.width if size else 0, bind_console]


def _cover_steps(linux: Linux) -> Iterator[Step]:
    if linux.readonly_paths:
        yield ["read_only", list(linux.readonly_paths)]
    if linux.masked_paths:
        yield ["mask", list(linux.masked_paths)]


def _system_steps(spec: RuntimeSpec, kinds: Mapping[str, str]) -> Iterator[Step]:
    for key, value in spec.linux.sysctl.items():
        _check_sysctl(key, kinds)
        yield ["sysctl", key, value]
    if (spec.hostname or spec.domainname) and "uts" not in kinds:
        raise InvalidArgument("unable to set hostname without a private UTS namespace")
    if spec.hostname and not kinds["uts"]:  # one that is joined keeps its name
        yield ["hostname", spec.hostname]
    if spec.domainname and not kinds["uts"]:
        yield ["domainname", spec.domainname]


def _check_sysctl(key: str, kinds: Mapping[str, str]) -> None:
    """Refuse what is not of a namespace of the container. The wording is runc's."""
    owner = next((kind for prefix, kind in _SYSCTLS.items() if key.replace("/", ".").startswith(prefix)), None)
    if owner is None or not _SYSCTL_NAME.fullmatch(key):
        raise InvalidArgument(f'sysctl "{key}" is not in a separate kernel namespace')
    if owner not in kinds:
        raise InvalidArgument(f'sysctl "{key}" is not allowed in the hosts {owner} namespace')


# --- the process ---


def _hook_steps(point: str, hooks: Sequence[Hook]) -> Iterator[Step]:
    if hooks:
        yield ["hooks", point, [[hook.path, list(hook.args), list(hook.env), hook.timeout] for hook in hooks]]


def _last_steps(spec: RuntimeSpec, gate: str) -> Iterator[Step]:
    """What comes once all is prepared, while the process still has its rights."""
    if gate:
        yield ["await"]
    yield from _hook_steps("startContainer", spec.hooks.start_container)


def _process_steps(
    process: RuntimeProcess, linux: Linux, host: Host, *, make_cwd: bool, last: Iterable[Step]
) -> Iterator[Step]:
    user, granted = process.user, process.capabilities
    bounding = frozenset(granted.bounding if granted else ()) & host.capabilities
    yield ["user", user.name, user.uid, user.gid, list(user.additional_gids), list(user.groups)]
    yield ["cwd", process.cwd, make_cwd]
    for limit in process.rlimits:
        yield _rlimit_step(limit)
    drop = sorted(capabilities.NUMBER[name] for name in host.capabilities - bounding)
    yield ["identity", drop, 0o022 if user.umask is None else user.umask]
    yield ["find", process.args[0]]
    yield from last
    masks = _capability_masks(process, bounding)
    program, flags = seccomp.compiled(linux.seccomp, host.machine, host.x32) if linux.seccomp else (b"", 0)
    yield ["confine", masks, process.no_new_privileges, base64.b64encode(program).decode(), flags]
    yield ["execute", list(process.args)]


def _capability_masks(process: RuntimeProcess, bounding: frozenset[str]) -> list[int]:
    """Permitted, effective, inheritable, ambient. The kernel has no ambient ones that are not inheritable too."""
    granted = process.capabilities or CapabilitySets()
    sets = (granted.permitted, granted.effective, granted.inheritable, granted.ambient)
    permitted, effective, inheritable, ambient = (capabilities.mask_of(frozenset(names) & bounding) for names in sets)
    return [permitted, effective & permitted, inheritable, ambient & permitted & inheritable]


def _rlimit_step(limit: RuntimeRlimit) -> Step:
    name = limit.type.removeprefix("RLIMIT_")
    if name not in RLIMITS:
        raise InvalidArgument(f"process.rlimits: unknown limit {limit.type}")
    soft, hard = (-1 if value >= INFINITY >> 1 else value for value in (limit.soft, limit.hard))
    return ["rlimit", RLIMITS.index(name), name.lower(), soft, hard]


def _environment(process: RuntimeProcess) -> dict[str, str]:
    return dict(variable.split("=", 1) for variable in process.env if "=" in variable)


def _warnings(process: RuntimeProcess, host: Host) -> list[str]:
    granted = process.capabilities
    missing = sorted(frozenset(granted.bounding if granted else ()) - host.capabilities)
    return [f"cannot grant {', '.join(missing)}: this host's own bounding set lacks it"] if missing else []
