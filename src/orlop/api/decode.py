"""What clients send, as nouns of spec: containers, execs, networks, volumes. Raises InvalidArgument, NotSupported."""

from typing import Any

from orlop.api.fields import BOOLEAN, MAP, STRING, STRINGS, WORDS, Field, Fields, Table, array, nested, read
from orlop.api.tables import (
    CONSOLE_SIZE,
    ENDPOINT_SPEC,
    ENDPOINTS,
    HOST,
    HOST_OPTIONAL,
    HOST_REFUSED,
    IDENTITY,
    KERNEL_MEMORY,
    PROCESS,
    RESOURCES,
    RESTART,
)
from orlop.spec.container import ContainerSpec, ExecSpec, ProcessDefaults, RestartPolicy
from orlop.spec.errors import InvalidArgument
from orlop.spec.network import EndpointSpec, NetworkSpec, SubnetSpec
from orlop.spec.resources import Resources
from orlop.spec.volume import VolumeSpec


def container_spec(body: Fields, platform: str = "") -> ContainerSpec:
    """The body of POST /containers/create."""
    host, networking = body.object("HostConfig"), body.object("NetworkingConfig")
    identity = read(IDENTITY, body)
    process = read(PROCESS, body)
    host_values = read(HOST, host) | read(HOST_OPTIONAL, host)
    if not (identity or process or host_values.get("rootfs")):
        raise InvalidArgument("config cannot be empty in order to create a container")
    host.refuse(HOST_REFUSED)
    if not host_values.get("runtime") and "Runtime" in body:  # where clients of old API versions put it
        host_values["runtime"] = body.read("Runtime", STRING)
    return ContainerSpec(
        **identity,
        **host_values,
        platform=platform,
        process=ProcessDefaults(**process),
        resources=resources(host),
        endpoints=networking.read("EndpointsConfig", ENDPOINTS, {}),
    )


def process_defaults(body: Fields) -> ProcessDefaults | None:
    """The Config that `commit` may carry."""
    process = read(PROCESS, body)
    return ProcessDefaults(**process) if process else None


def resources(fields: Fields) -> Resources:
    """The limits among the fields of a HostConfig."""
    return Resources(**read((*RESOURCES, KERNEL_MEMORY), fields))


def update(body: Fields) -> tuple[Resources, RestartPolicy | None]:
    """The body of POST /containers/{id}/update."""
    body.refuse(HOST_REFUSED)
    policy = body.object("RestartPolicy")
    restart = RestartPolicy(**read(RESTART, policy)) if policy.read("Name", STRING, "") else None
    return resources(body), restart


_EXEC: Table = (
    Field("Cmd", "command", WORDS),
    Field("Env", "env", STRINGS),
    Field("User", "user", STRING),
    Field("WorkingDir", "working_dir", STRING),
    Field("Tty", "tty", BOOLEAN),
    Field("AttachStdin", "attach_stdin", BOOLEAN),
    Field("AttachStdout", "attach_stdout", BOOLEAN),
    Field("AttachStderr", "attach_stderr", BOOLEAN),
    Field("Privileged", "privileged", BOOLEAN),
    Field("DetachKeys", "detach_keys", STRING),
    Field("ConsoleSize", "console_size", CONSOLE_SIZE),
)


def exec_spec(body: Fields) -> ExecSpec:
    """The body of POST /containers/{id}/exec."""
    values = read(_EXEC, body)
    if not values.get("command"):
        raise InvalidArgument("No exec command specified")
    return ExecSpec(**values)


_SUBNET: Table = (
    Field("Subnet", "subnet", STRING),
    Field("IPRange", "ip_range", STRING),
    Field("Gateway", "gateway", STRING),
    Field("AuxiliaryAddresses", "auxiliary_addresses", MAP),
)
_NETWORK: Table = (
    Field("Name", "name", STRING),
    Field("Driver", "driver", STRING),
    Field("Scope", "scope", STRING),
    Field("Internal", "internal", BOOLEAN),
    Field("Attachable", "attachable", BOOLEAN),
    Field("Ingress", "ingress", BOOLEAN),
    Field("ConfigOnly", "config_only", BOOLEAN),
    Field("EnableIPv4", "enable_ipv4", BOOLEAN),
    Field("EnableIPv6", "enable_ipv6", BOOLEAN),
    Field("Options", "options", MAP),
    Field("Labels", "labels", MAP),
)
_IPAM: Table = (
    Field("Driver", "ipam_driver", STRING),
    Field("Options", "ipam_options", MAP),
    Field("Config", "subnets", array(nested(_SUBNET, SubnetSpec))),
)


def network_spec(body: Fields) -> NetworkSpec:
    """The body of POST /networks/create."""
    values: dict[str, Any] = read(_NETWORK, body) | read(_IPAM, body.object("IPAM"))
    values["config_from"] = body.object("ConfigFrom").read("Network", STRING, "")
    for key in ("driver", "scope", "ipam_driver"):
        if values.get(key) == "":
            del values[key]
    if not values.get("name", "").strip():
        raise InvalidArgument("invalid network name: name is empty")
    return NetworkSpec(**values)


def connection(body: Fields) -> tuple[str, EndpointSpec]:
    """The body of POST /networks/{id}/connect: a container and its endpoint."""
    container = body.read("Container", STRING, "")
    if not container:
        raise InvalidArgument("invalid container name or ID: value is empty")
    return container, body.read("EndpointConfig", ENDPOINT_SPEC, EndpointSpec())


def disconnection(body: Fields) -> tuple[str, bool]:
    """The body of POST /networks/{id}/disconnect: a container, and whether by force."""
    container = body.read("Container", STRING, "")
    if not container:
        raise InvalidArgument("invalid container name or ID: value is empty")
    return container, body.read("Force", BOOLEAN, False)


_VOLUME: Table = (
    Field("Name", "name", STRING),
    Field("Driver", "driver", STRING),
    Field("DriverOpts", "options", MAP),
    Field("Labels", "labels", MAP),
)


def volume_spec(body: Fields) -> VolumeSpec:
    """The body of POST /volumes/create."""
    body.refuse({"ClusterVolumeSpec": "this node is not part of a cluster"})
    values = read(_VOLUME, body)
    if not values.get("driver"):
        values.pop("driver", None)
    return VolumeSpec(**values)


def size(body: Fields) -> tuple[int, int]:
    """ConsoleSize of an exec's start: rows, columns."""
    rows_columns: tuple[int, int] = body.read("ConsoleSize", CONSOLE_SIZE, (0, 0))
    return rows_columns
