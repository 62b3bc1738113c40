"""Networks, endpoints and ports: asked for (Spec), and as they are (Record, Endpoint)."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class PortBinding:
    """A published port. `host_port` 0: any free one. protocol: tcp, udp or sctp."""

    container_port: int
    protocol: str = "tcp"
    host_address: str = ""
    host_port: int = 0
    host_port_end: int = 0  # of a range to choose from; 0: no range


@dataclass(frozen=True, kw_only=True, slots=True)
class EndpointSpec:
    """How a container wants to be on a network."""

    aliases: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    ipv4_address: str = ""
    ipv6_address: str = ""
    link_local_addresses: tuple[str, ...] = ()
    mac_address: str = ""
    driver_options: Mapping[str, str] = field(default_factory=dict)
    gateway_priority: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """A container's place in a network as it is. Empty strings before the container runs."""

    network_id: str
    network_name: str
    endpoint_id: str = ""
    spec: EndpointSpec = EndpointSpec()
    mac_address: str = ""
    ipv4_address: str = ""
    ipv4_prefix: int = 0
    ipv4_gateway: str = ""
    ipv6_address: str = ""
    ipv6_prefix: int = 0
    ipv6_gateway: str = ""
    interface: str = ""  # name inside the container (eth0)
    host_interface: str = ""  # the veth's other end
    dns_names: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class SubnetSpec:
    """One address pool of a network, in CIDR form."""

    subnet: str = ""
    ip_range: str = ""
    gateway: str = ""
    auxiliary_addresses: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkSpec:
    """A network as asked for."""

    name: str
    driver: str = "bridge"
    scope: str = "local"
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    enable_ipv4: bool = True
    enable_ipv6: bool = False
    config_only: bool = False
    config_from: str = ""
    ipam_driver: str = "default"
    ipam_options: Mapping[str, str] = field(default_factory=dict)
    subnets: tuple[SubnetSpec, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkRecord:
    """A network that exists. `spec.subnets` is filled in: subnet and gateway are known."""

    id: str
    spec: NetworkSpec
    created_ns: int
    bridge: str = ""  # interface name, for the bridge driver
