"""What the administrator chose for networks (dockerd's options of the same names), and the networks that always exist. Pure."""

from dataclasses import dataclass
from ipaddress import ip_interface
from pathlib import Path

from orlop.network.ipam import DEFAULT_RANGES, AddressRange
from orlop.spec.errors import InvalidArgument
from orlop.spec.network import NetworkSpec, SubnetSpec

DEFAULT_BRIDGE = "orlop0"


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """Empty: not said."""

    bridge: str = ""  # an existing bridge for the default network; "none": no default network
    bip: str = ""  # address of the default bridge, as CIDR
    fixed_cidr: str = ""  # part of its subnet from which containers get addresses
    default_gateway: str = ""
    ipv6: bool = False
    fixed_cidr_v6: str = ""
    mtu: int = 0
    icc: bool = True
    ip_masq: bool = True
    ip_forward: bool = True
    ip: str = ""  # host address on which ports are published where nothing is said
    address_pools: tuple[AddressRange, ...] = DEFAULT_RANGES
    pool_size: int = 3  # sandboxes kept ready for each network in use; 0: none


def default_network(options: NetworkOptions, existing_bridge: str) -> NetworkSpec:
    """The network `bridge`. `existing_bridge`: the address of the administrator's bridge, as CIDR. Raises InvalidArgument."""
    prefix = "com.docker.network.bridge."
    return NetworkSpec(
        name="bridge",
        enable_ipv6=options.ipv6,
        subnets=_default_subnets(options, existing_bridge),
        options={
            f"{prefix}default_bridge": "true",
            f"{prefix}enable_icc": str(options.icc).lower(),
            f"{prefix}enable_ip_masquerade": str(options.ip_masq).lower(),
            f"{prefix}host_binding_ipv4": options.ip or "0.0.0.0",
            f"{prefix}name": options.bridge or DEFAULT_BRIDGE,
            "com.docker.network.driver.mtu": str(options.mtu or 1500),
        },
    )


def _default_subnets(options: NetworkOptions, existing_bridge: str) -> tuple[SubnetSpec, ...]:
    subnets: list[SubnetSpec] = []
    if address := existing_bridge or options.bip:
        try:
            own = ip_interface(address)
        except ValueError as error:
            raise InvalidArgument(f"invalid bridge address {address!r}: expected an address in CIDR form") from error
        gateway = options.default_gateway or str(own.ip)
        subnets.append(SubnetSpec(subnet=str(own.network), gateway=gateway, ip_range=options.fixed_cidr))
    elif options.fixed_cidr:
        subnets.append(SubnetSpec(subnet=options.fixed_cidr, gateway=options.default_gateway))
    if options.ipv6 and options.fixed_cidr_v6:
        subnets.append(SubnetSpec(subnet=options.fixed_cidr_v6))
    return tuple(subnets)


HOST = NetworkSpec(name="host", driver="host", enable_ipv4=True)
NONE = NetworkSpec(name="none", driver="null", enable_ipv4=True)


def machine_id() -> str:
    """What tells this host from others (machine-id(5)); "" when the host has none."""
    try:
        return Path("/etc/machine-id").read_text().strip()
    except OSError:
        return ""
