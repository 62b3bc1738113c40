"""Containers and execs as Docker's JSON: inspect, list, stats."""

import time
from collections.abc import Mapping
from typing import Any

from orlop.api.fields import write
from orlop.api.tables import (
    ENDPOINT,
    HOST,
    HOST_OPTIONAL,
    HOST_REFUSED,
    IDENTITY,
    OMITTED_WHEN_EMPTY,
    PROCESS,
    RESOURCES,
    write_addresses,
    write_bindings,
)
from orlop.api.text import human_duration
from orlop.spec.bundle import MASKED_PATHS, READONLY_PATHS
from orlop.spec.container import LIVE, Change, ContainerRecord, ExecRecord, Health, Stats, Status
from orlop.spec.mounts import MountPoint
from orlop.spec.network import Endpoint, PortBinding
from orlop.spec.times import rfc3339

CHANGE_KINDS = {"C": 0, "A": 1, "D": 2}
_NEVER_SET = {key: (0 if key.startswith(("Cpu", "IO")) else "") for key in HOST_REFUSED if key != "KernelMemoryTCP"}


def inspect(
    record: ContainerRecord,
    *,
    paths: Mapping[str, str],
    exec_ids: list[str],
    sizes: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """The answer of GET /containers/{id}/json. `paths`: resolv_conf, hostname, hosts, log, sandbox."""
    words = (*(record.process.entrypoint or ()), *(record.process.command or ()))
    shown = {
        "Id": record.id,
        "Created": rfc3339(record.created_ns),
        "Path": words[0] if words else "",
        "Args": list(words[1:]),
        "State": _state(record),
        "Image": record.image_id,
        "ResolvConfPath": paths.get("resolv_conf", ""),
        "HostnamePath": paths.get("hostname", ""),
        "HostsPath": paths.get("hosts", ""),
        "LogPath": paths.get("log", ""),
        "Name": f"/{record.name}",
        "RestartCount": record.restart_count,
        "Driver": record.driver,
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": exec_ids or None,
        "HostConfig": host_config(record),
        "GraphDriver": {"Data": {}, "Name": record.driver},
        "Mounts": [_mount_point(point) for point in record.mounts],
        "Config": config(record),
        "NetworkSettings": _network_settings(record, paths.get("sandbox", "")),
    }
    if sizes:
        shown["SizeRw"], shown["SizeRootFs"] = sizes
    return shown


def _state(record: ContainerRecord) -> dict[str, Any]:
    status = record.status
    restarting = status is Status.RESTARTING
    shown: dict[str, Any] = {
        "Status": status.value,
        "Running": status in LIVE or restarting,
        "Paused": status is Status.PAUSED,
        "Restarting": restarting,
        "OOMKilled": record.oom_killed,
        "Dead": status is Status.DEAD,
        "Pid": record.init.pid if record.init and status in LIVE else 0,
        "ExitCode": 0 if status in LIVE else record.exit_code,
        "Error": record.error,
        "StartedAt": rfc3339(record.started_ns),
        "FinishedAt": rfc3339(record.finished_ns),
    }
    if record.health:
        shown["Health"] = _health(record.health)
    return shown


def _health(health: Health) -> dict[str, Any]:
    probes = [
        {
            "Start": rfc3339(probe.started_ns),
            "End": rfc3339(probe.ended_ns),
            "ExitCode": probe.exit_code,
            "Output": probe.output,
        }
        for probe in health.probes
    ]
    return {"Status": health.status, "FailingStreak": health.failing_streak, "Log": probes}


def host_config(record: ContainerRecord) -> dict[str, Any]:
    """What was asked for, all fields of it."""
    spec = record.spec
    shown = write(HOST, spec) | write(RESOURCES, spec.resources) | _NEVER_SET
    for key, default in (("MaskedPaths", MASKED_PATHS), ("ReadonlyPaths", READONLY_PATHS)):
        if shown[key] is None and not spec.privileged:
            shown[key] = list(default)
    if spec.links:
        shown["Links"] = [_link(text, record.name) for text in spec.links]
    optional = write(HOST_OPTIONAL, spec)
    return shown | {key: value for key, value in optional.items() if value is not None and value != ""}


def _link(text: str, name: str) -> str:
    """ "db:alias" of the container web as Docker shows it: /db:/web/alias."""
    target, _, alias = text.removeprefix("/").partition(":")
    return f"/{target}:/{name}/{alias or target}"


def config(record: ContainerRecord) -> dict[str, Any]:
    """The Config: the spec's part of it as asked, the process as it really is."""
    shown = write(IDENTITY, record.spec) | write(PROCESS, record.process)
    return {key: value for key, value in shown.items() if value or key not in OMITTED_WHEN_EMPTY}


def _mount_point(point: MountPoint) -> dict[str, Any]:
    shown: dict[str, Any] = {"Type": point.kind}
    if point.name:
        shown["Name"] = point.name
    shown |= {"Source": point.source, "Destination": point.target}
    if point.driver:
        shown["Driver"] = point.driver
    return shown | {"Mode": point.mode, "RW": point.read_write, "Propagation": point.propagation}


def endpoint(one: Endpoint) -> dict[str, Any]:
    """An EndpointSettings."""
    asked = write(ENDPOINT, one.spec)
    return {
        "IPAMConfig": write_addresses(one.spec),
        "Links": asked["Links"],
        "Aliases": asked["Aliases"],
        "MacAddress": one.mac_address or one.spec.mac_address,
        "DriverOpts": asked["DriverOpts"],
        "GwPriority": asked["GwPriority"],
        "NetworkID": one.network_id,
        "EndpointID": one.endpoint_id,
        "Gateway": one.ipv4_gateway,
        "IPAddress": one.ipv4_address,
        "IPPrefixLen": one.ipv4_prefix,
        "IPv6Gateway": one.ipv6_gateway,
        "GlobalIPv6Address": one.ipv6_address,
        "GlobalIPv6PrefixLen": one.ipv6_prefix,
        "DNSNames": list(one.dns_names) or None,
    }


def _network_settings(record: ContainerRecord, sandbox: str) -> dict[str, Any]:
    """With the fields of the default bridge at the top, which API 1.52 took away."""
    default = record.endpoints.get("bridge")
    first = endpoint(default) if default else {}
    legacy = {
        key: first.get(key, "" if "Len" not in key else 0)
        for key in (
            "EndpointID", "Gateway", "GlobalIPv6Address", "GlobalIPv6PrefixLen", "IPAddress", "IPPrefixLen", "IPv6Gateway",
            "MacAddress",
        )
    }  # fmt: skip
    return {
        "Bridge": "",
        "SandboxID": record.id if sandbox else "",
        "SandboxKey": sandbox,
        "Ports": _ports(record) if record.status in LIVE else {},
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        **legacy,
        "Networks": {name: endpoint(one) for name, one in record.endpoints.items()},
    }


def _exposed(record: ContainerRecord) -> tuple[str, ...]:
    """Ports that are exposed, by the image, by --expose or because they are to be published."""
    asked = (f"{binding.container_port}/{binding.protocol}" for binding in record.spec.port_bindings)
    return tuple(dict.fromkeys((*record.process.exposed_ports, *asked)))


def _ports(record: ContainerRecord) -> dict[str, Any]:
    return {**dict.fromkeys(_exposed(record)), **write_bindings(record.ports)}


def summary(
    record: ContainerRecord,
    *,
    image: str,
    now_ns: int | None = None,
    sizes: tuple[int, int] | None = None,
    also_named: tuple[str, ...] = (),
) -> dict[str, Any]:
    """One entry of GET /containers/json. `image`: what its image is called now; `also_named`: by those that link to it."""
    shown: dict[str, Any] = {
        "Id": record.id,
        "Names": [f"/{record.name}", *also_named],
        "Image": image,
        "ImageID": record.image_id,
        "Command": _command(record),
        "Created": record.created_ns // 10**9,
        "Ports": _port_list(record) if record.status in LIVE else [],
        "Labels": dict(record.process.labels),
        "State": record.status.value,
        "Status": status_text(record, time.time_ns() if now_ns is None else now_ns),
        "HostConfig": {"NetworkMode": HOST_NETWORK_MODE(record.spec.network_mode)},
        "NetworkSettings": {"Networks": {name: endpoint(one) for name, one in record.endpoints.items()}},
        "Mounts": [_mount_point(point) for point in record.mounts],
    }
    if record.spec.annotations:
        shown["HostConfig"]["Annotations"] = dict(record.spec.annotations)
    if sizes:
        shown["SizeRw"], shown["SizeRootFs"] = sizes
    return shown


HOST_NETWORK_MODE = next(row.codec.write for row in HOST if row.key == "NetworkMode")


def _command(record: ContainerRecord) -> str:
    path, *arguments = *(record.process.entrypoint or ()), *(record.process.command or ("",))
    return " ".join([path, *(f"'{word}'" if " " in word else word for word in arguments)]).rstrip()


def _port_list(record: ContainerRecord) -> list[dict[str, Any]]:
    published = [_published(binding) for binding in record.ports]
    taken = {(binding.container_port, binding.protocol) for binding in record.ports}
    for port in _exposed(record):
        number, _, protocol = port.partition("/")
        if number.isdigit() and (int(number), protocol) not in taken:
            published.append({"PrivatePort": int(number), "Type": protocol})
    return published


def _published(binding: PortBinding) -> dict[str, Any]:
    shown: dict[str, Any] = {"IP": binding.host_address} if binding.host_address else {}
    return shown | {"PrivatePort": binding.container_port, "PublicPort": binding.host_port, "Type": binding.protocol}


def status_text(record: ContainerRecord, now_ns: int) -> str:
    """The STATUS column of `docker ps`. moby, container.State.String"""
    up = human_duration((now_ns - record.started_ns) / 1e9)
    down = human_duration((now_ns - record.finished_ns) / 1e9)
    match record.status:
        case Status.PAUSED:
            return f"Up {up} (Paused)"
        case Status.RESTARTING:
            return f"Restarting ({record.exit_code}) {down} ago"
        case Status.RUNNING if record.health and record.health.status != "none":
            return f"Up {up} ({'health: starting' if record.health.status == 'starting' else record.health.status})"
        case Status.RUNNING:
            return f"Up {up}"
        case Status.REMOVING:
            return "Removal In Progress"
        case Status.DEAD:
            return "Dead"
        case _ if not record.started_ns and not record.finished_ns:
            return "Created"
        case _ if not record.finished_ns:
            return ""
        case _:
            return f"Exited ({record.exit_code}) {down} ago"


def changes(found: list[Change]) -> list[dict[str, Any]]:
    """GET /containers/{id}/changes."""
    return [{"Kind": CHANGE_KINDS[change.kind], "Path": change.path} for change in found]


def exec_inspect(record: ExecRecord) -> dict[str, Any]:
    """GET /exec/{id}/json."""
    spec = record.spec
    process: dict[str, Any] = {
        "tty": spec.tty,
        "entrypoint": spec.command[0],
        "arguments": list(spec.command[1:]),
        "privileged": spec.privileged,
    }
    if spec.user:
        process["user"] = spec.user
    return {
        "ID": record.id,
        "Running": record.running,
        "ExitCode": record.exit_code,
        "ProcessConfig": process,
        "OpenStdin": spec.attach_stdin,
        "OpenStderr": spec.attach_stderr,
        "OpenStdout": spec.attach_stdout,
        "CanRemove": False,
        "ContainerID": record.container_id,
        "DetachKeys": spec.detach_keys,
        "Pid": record.process.pid if record.process else 0,
    }


def stats(record: ContainerRecord, now: Stats | None, before: Stats | None) -> dict[str, Any]:
    """A reading of GET /containers/{id}/stats. `now` None: it does not run."""
    shown: dict[str, Any] = {
        "read": rfc3339(now.read_ns if now else 0),
        "preread": rfc3339(before.read_ns if before else 0),
        "pids_stats": _pids(now) if now else {},
        "blkio_stats": _blkio(now),
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": _cpu(now),
        "precpu_stats": _cpu(before),
        "memory_stats": _memory(now) if now else {},
        "name": f"/{record.name}",
        "id": record.id,
    }
    if now and now.networks:
        shown["networks"] = {name: dict(counters) for name, counters in now.networks.items()}
    return shown


def _pids(reading: Stats) -> dict[str, int]:
    return {"current": reading.pids_current} | ({"limit": reading.pids_limit} if reading.pids_limit else {})


def _cpu(reading: Stats | None) -> dict[str, Any]:
    usage: dict[str, Any] = {
        "total_usage": reading.cpu_total_ns if reading else 0,
        "usage_in_kernelmode": reading.cpu_system_ns if reading else 0,
        "usage_in_usermode": reading.cpu_user_ns if reading else 0,
    }
    shown: dict[str, Any] = {"cpu_usage": usage}
    throttling = reading.throttling if reading else {}
    if reading:
        if reading.cpu_per_cpu_ns:
            usage["percpu_usage"] = list(reading.cpu_per_cpu_ns)
        shown |= {"system_cpu_usage": reading.system_cpu_ns, "online_cpus": reading.online_cpus}
    shown["throttling_data"] = {
        "periods": throttling.get("periods", 0),
        "throttled_periods": throttling.get("throttled_periods", 0),
        "throttled_time": throttling.get("throttled_ns", 0),
    }
    return shown


def _memory(reading: Stats) -> dict[str, Any]:
    shown: dict[str, Any] = {"usage": reading.memory_usage_bytes}
    if reading.memory_max_usage_bytes:
        shown["max_usage"] = reading.memory_max_usage_bytes
    shown["stats"] = dict(reading.memory_stats)
    if reading.memory_failcnt:
        shown["failcnt"] = reading.memory_failcnt
    return shown | {"limit": reading.memory_limit_bytes}


def _blkio(reading: Stats | None) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "io_service_bytes_recursive": _io(reading.blkio_bytes) if reading else None,
        "io_serviced_recursive": _io(reading.blkio_operations) if reading else None,
    }
    others = ("io_queue", "io_service_time", "io_wait_time", "io_merged", "io_time", "sectors")
    return shown | {f"{name}_recursive": None for name in others}


def _io(entries: tuple[tuple[int, int, str, int], ...]) -> list[dict[str, Any]] | None:
    return [{"major": major, "minor": minor, "op": op, "value": value} for major, minor, op, value in entries] or None
