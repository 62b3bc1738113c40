"""Routes of the engine itself: ping, version, info, events, system df."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orlop.api import encode, streams
from orlop.api.containers import image_name
from orlop.api.query import filters, time_ns
from orlop.api.streams import json
from orlop.spec.errors import InvalidArgument
from orlop.spec.system import SystemInfo, Version
from orlop.spec.times import rfc3339
from orlop.wire.route import Request, Response, Route, Stream

if TYPE_CHECKING:
    from orlop.engine.engine import Engine

API_VERSION, MINIMUM_API_VERSION = (1, 51), (1, 24)
API_VERSION_TEXT, MINIMUM_API_VERSION_TEXT = "1.51", "1.24"
DISK_KINDS = frozenset(("image", "container", "volume"))  # and "build-cache", of which there is none
INDEX_SERVER = "https://index.docker.io/v1/"

PONG = Response(
    body=b"OK",
    content_type="text/plain; charset=utf-8",
    headers=(
        ("Builder-Version", "1"),  # the classic builder: BuildKit's sessions are not spoken
        ("Cache-Control", "no-cache, no-store, must-revalidate"),
        ("Pragma", "no-cache"),
        ("Swarm", "inactive"),
    ),
)
PONG_HEAD = Response(content_type=PONG.content_type, headers=PONG.headers)


def ping(engine: Engine, request: Request) -> Response:
    return PONG


def ping_head(engine: Engine, request: Request) -> Response:
    return PONG_HEAD


def version(engine: Engine, request: Request) -> Response:
    return json(encode_version(engine.system.version()))


def encode_version(found: Version) -> dict[str, Any]:
    """GET /version. GoVersion is where clients look for what the engine is written in."""
    details = {
        "ApiVersion": API_VERSION_TEXT,
        "Arch": found.architecture,
        "BuildTime": found.build_time,
        "Experimental": "false",
        "GitCommit": found.git_commit,
        "GoVersion": found.python_version,
        "KernelVersion": found.kernel_version,
        "MinAPIVersion": MINIMUM_API_VERSION_TEXT,
        "Os": found.os,
    }
    components = [{"Name": "Engine", "Version": found.version, "Details": details}]
    components += [{"Name": name, "Version": text, "Details": {}} for name, text in found.components.items()]
    shown: dict[str, Any] = {"Platform": {"Name": "Orlop"}, "Components": components, "Version": found.version}
    return shown | {key: value for key, value in details.items() if key != "Experimental"}


def info(engine: Engine, request: Request) -> Response:
    shown = encode_info(engine.system.info())
    if request.version < (1, 50):  # clients of that age warn when these are missing
        shown |= {"BridgeNfIptables": True, "BridgeNfIp6tables": True}
    return json(shown)


_LIMITS = {
    "MemoryLimit": "memory", "SwapLimit": "swap", "CpuCfsPeriod": "cpu_period", "CpuCfsQuota": "cpu_quota",
    "CPUShares": "cpu_shares", "CPUSet": "cpuset", "PidsLimit": "pids", "OomKillDisable": "oom_kill_disable",
}  # fmt: skip


def encode_info(found: SystemInfo) -> dict[str, Any]:
    """GET /info."""
    counted = found.containers_running + found.containers_paused + found.containers_stopped
    shown: dict[str, Any] = {
        "ID": found.id,
        "Containers": counted,
        "ContainersRunning": found.containers_running,
        "ContainersPaused": found.containers_paused,
        "ContainersStopped": found.containers_stopped,
        "Images": found.images,
        "Driver": found.storage_driver,
        "DriverStatus": [list(pair) for pair in found.storage_status],
        "Plugins": {
            "Volume": list(found.volume_drivers),
            "Network": list(found.network_drivers),
            "Authorization": None,
            "Log": list(found.log_drivers),
        },
        **{key: limit in found.limits for key, limit in _LIMITS.items()},
        "IPv4Forwarding": found.ipv4_forwarding,
        "Debug": found.debug,
        "NFd": found.file_descriptors,
        "NGoroutines": found.loops,
        "SystemTime": rfc3339(found.time_ns),
        "LoggingDriver": found.log_driver,
        "CgroupDriver": found.cgroup_driver,
        "CgroupVersion": found.cgroup_version,
        "NEventsListener": found.event_listeners,
        "KernelVersion": found.kernel_version,
        "OperatingSystem": found.operating_system,
        "OSVersion": found.os_version,
        "OSType": "linux",
        "Architecture": found.machine,
        "IndexServerAddress": INDEX_SERVER,
        "RegistryConfig": _registries(found),
        "NCPU": found.cpus,
        "MemTotal": found.memory_total_bytes,
        "GenericResources": None,
        "DockerRootDir": found.data_root,
        "HttpProxy": found.http_proxy,
        "HttpsProxy": found.https_proxy,
        "NoProxy": found.no_proxy,
        "Name": found.hostname,
        "Labels": list(found.labels),
        "ExperimentalBuild": False,
        "ServerVersion": found.version,
        "Runtimes": {name: {"path": path} for name, path in found.runtimes.items()},
        "DefaultRuntime": found.default_runtime,
        "Swarm": {
            "NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive", "ControlAvailable": False, "Error": "",
            "RemoteManagers": None,
        },
        "LiveRestoreEnabled": True,
        "Isolation": "",
        "InitBinary": found.init_binary,
        "ContainerdCommit": {"ID": ""},
        "RuncCommit": {"ID": ""},
        "InitCommit": {"ID": ""},
        "SecurityOptions": list(found.security_options),
        "Warnings": list(found.warnings) or None,
    }  # fmt: skip
    if found.address_pools:
        shown["DefaultAddressPools"] = [{"Base": base, "Size": size} for base, size in found.address_pools]
    if found.firewall:
        shown["FirewallBackend"] = {"Driver": found.firewall}
    return shown


def _registries(found: SystemInfo) -> dict[str, Any]:
    """RegistryConfig: CIDRs have a slash, hosts have not."""
    mirrors = list(found.registry_mirrors)
    indexes = {"docker.io": {"Name": "docker.io", "Mirrors": mirrors, "Secure": True, "Official": True}}
    for host in found.insecure_registries:
        if "/" not in host:
            indexes[host] = {"Name": host, "Mirrors": [], "Secure": False, "Official": False}
    return {
        "InsecureRegistryCIDRs": [cidr for cidr in found.insecure_registries if "/" in cidr],
        "IndexConfigs": indexes,
        "Mirrors": mirrors,
    }


def events(engine: Engine, request: Request) -> Stream:
    since, until = time_ns(request, "since"), time_ns(request, "until")
    if until and since > until:
        raise InvalidArgument(
            f"`since` time ({request.query('since')}) cannot be after `until` time ({request.query('until')})"
        )
    return Stream(streams.events(engine.events.subscribe(since_ns=since, until_ns=until, filters=filters(request))))


async def disk_usage(engine: Engine, request: Request) -> Response:
    asked = frozenset(request.queries.get("type", ()))
    if unknown := asked - DISK_KINDS - {"build-cache"}:
        raise InvalidArgument(f"unknown object type: {min(unknown)}")
    usage = await engine.system.disk_usage((asked or DISK_KINDS) & DISK_KINDS)
    names = {one.record.id: image_name(engine, one.record) for one in usage.containers or ()}
    shown = encode.disk_usage(usage, names, request.version)
    return json(shown if asked and "build-cache" not in asked else {**shown, "BuildCache": []})


ROUTES = (
    Route("GET", "/_ping", ping),
    Route("HEAD", "/_ping", ping_head),
    Route("GET", "/version", version),
    Route("GET", "/info", info),
    Route("GET", "/events", events),
    Route("GET", "/system/df", disk_usage),
)
