"""Which networks and endpoints this engine can make; what it cannot, it refuses by name. Pure."""

from orlop.network.drivers.bridge import INTERFACE_NAME, INTERFACE_SYSCTLS, interface_name, parse_sysctls
from orlop.spec.errors import InvalidArgument, NotSupported
from orlop.spec.network import EndpointSpec, NetworkSpec

_LATER = frozenset({"macvlan", "ipvlan", "overlay"})


def check_endpoint(spec: EndpointSpec, *, user_made: bool) -> None:
    """Whether a container may be on a network so. Raises InvalidArgument, NotSupported."""
    if not user_made and (spec.ipv4_address or spec.ipv6_address):
        raise InvalidArgument("user specified IP address is supported on user defined networks only")
    if not user_made and spec.aliases:
        raise InvalidArgument("network-scoped alias is supported only for containers in user defined networks")
    for option, value in spec.driver_options.items():
        if option == INTERFACE_SYSCTLS:
            parse_sysctls(value, "eth0")
        elif option == INTERFACE_NAME:
            try:
                interface_name(value)
            except ValueError as error:
                raise InvalidArgument(f"invalid interface name {value!r}") from error
        elif option.startswith("com.docker.network."):
            raise NotSupported(f"endpoint option {option} is not supported")


def check_network(spec: NetworkSpec) -> None:
    """Refuse by name what this engine does not do. Raises NotSupported."""
    refused = (
        (spec.driver in _LATER, f"network driver {spec.driver}"),
        (spec.ipam_driver not in ("", "default"), f"IPAM driver {spec.ipam_driver}"),
        (spec.config_only or bool(spec.config_from), "a configuration-only network"),
        (spec.ingress, "an ingress network"),
        (spec.scope not in ("", "local"), f"network scope {spec.scope}"),
        (not spec.enable_ipv4 and not spec.enable_ipv6, "a network without IPv4 and IPv6"),
    )
    for is_wanted, what in refused:
        if is_wanted:
            raise NotSupported(f"{what} is not supported")


def warnings(spec: NetworkSpec) -> tuple[str, ...]:
    """What of a request has no effect, although it could be done."""
    unused = [subnet.subnet for subnet in spec.subnets if ":" in subnet.subnet and not spec.enable_ipv6]
    return tuple(f"subnet {subnet} is not used: the network has IPv6 disabled" for subnet in unused)
