"""The `bridge` driver: a Linux bridge for each network, a veth pair for each endpoint, NAT to the outside."""

import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

from orlop.kernel import netlink
from orlop.kernel.firewall import Element
from orlop.kernel.netlink import Interface, Message, RouteSocket
from orlop.network import ruleset
from orlop.network.filter import Filter
from orlop.network.ipam import mac_of
from orlop.network.sandboxes import Sandbox, new_interface_name, within, write_sysctl
from orlop.spec.errors import Conflict, InvalidArgument, NotSupported, Unavailable
from orlop.spec.network import Endpoint, NetworkRecord, NetworkSpec

ALIAS = "orlop network "  # how our bridges are known among others; the network's id follows
DEFAULT_MTU = 1500
INTERFACE_NAME = "com.docker.network.endpoint.ifname"
INTERFACE_SYSCTLS = "com.docker.network.endpoint.sysctls"
_INTERFACE_SYSCTLS = {"net.ipv4.conf", "net.ipv4.neigh", "net.ipv6.conf", "net.ipv6.neigh", "net.mpls.conf"}
_PREFIX = "com.docker.network."


def _truth(text: str) -> bool:
    """Go's strconv.ParseBool."""
    if text in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    if text in ("0", "f", "F", "false", "FALSE", "False"):
        return False
    raise ValueError(text)


def interface_name(text: str) -> str:
    """A name that the kernel takes for an interface. Raises ValueError."""
    if not 0 < len(text.encode()) < 16 or "/" in text or any(character.isspace() for character in text):
        raise ValueError(text)
    return text


def _host_address(text: str) -> str:
    return "" if ip_address(text).is_unspecified else text


def _mtu(text: str) -> int:
    if not 0 <= (value := int(text)) <= 65535:
        raise ValueError(text)
    return value


def _only_nat(text: str) -> str:
    if text not in ("", "nat"):
        raise NotSupported(f"gateway mode {text!r} is not supported: only nat is")
    return text


@dataclass(frozen=True, slots=True)
class BridgeOptions:
    """A network's driver options."""

    name: str = ""
    default_bridge: bool = False
    icc: bool = True
    masquerade: bool = True
    host_address: str = ""  # "": any
    mtu: int = 0
    interface_prefix: str = "eth"
    gateway_mode: str = ""
    gateway_mode_ipv6: str = ""

    @staticmethod
    def parse(options: Mapping[str, str]) -> "BridgeOptions":
        """Read Docker's options. Raises InvalidArgument for a bad value, NotSupported for an option that is not known."""
        return _parse_options(tuple(options.items()))


@lru_cache(1024)
def _parse_options(options: tuple[tuple[str, str], ...]) -> BridgeOptions:
    values: dict[str, object] = {}
    for option, text in options:
        if option not in _OPTIONS:
            if option.startswith(_PREFIX):
                raise NotSupported(f"network option {option} is not supported")
            continue  # somebody else's label: Docker keeps such options and so do we
        field, parse = _OPTIONS[option]
        try:
            values[field] = parse(text)
        except ValueError as error:
            raise InvalidArgument(f"invalid value {text!r} for network option {option}") from error
    return BridgeOptions(**values)  # type: ignore[arg-type]  # each parser returns its field's type


_OPTIONS: dict[str, tuple[str, Callable[[str], object]]] = {
    "com.docker.network.bridge.name": ("name", interface_name),
    "com.docker.network.bridge.default_bridge": ("default_bridge", _truth),
    "com.docker.network.bridge.enable_icc": ("icc", _truth),
    "com.docker.network.bridge.enable_ip_masquerade": ("masquerade", _truth),
    "com.docker.network.bridge.host_binding_ipv4": ("host_address", _host_address),
    "com.docker.network.bridge.gateway_mode_ipv4": ("gateway_mode", _only_nat),
    "com.docker.network.bridge.gateway_mode_ipv6": ("gateway_mode_ipv6", _only_nat),
    "com.docker.network.driver.mtu": ("mtu", _mtu),
    "com.docker.network.container_iface_prefix": ("interface_prefix", interface_name),
}


class BridgeDriver:
    """Bridges in the network namespace in which it was made."""

    has_sandbox = True
    has_addresses = True

    def __init__(self, route: RouteSocket, packet_filter: Filter, *, own_bridge: str = "") -> None:
        self._route = route
        self._filter = packet_filter
        self._own_bridge = own_bridge  # made by the administrator (--bridge): never made, changed or removed
        self._indexes: dict[str, int] = {}

    def check(self, spec: NetworkSpec) -> None:
        """Whether the options can be understood and the interface's name is free."""
        options = BridgeOptions.parse(spec.options)
        if options.name and (link := self._route.find_link(options.name)) is not None and link.kind != "bridge":
            raise Conflict(f"cannot make bridge {options.name}: there is an interface of that name")

    def create(self, network: NetworkRecord) -> None:
        """Make the bridge, give it the gateways' addresses, let the firewall know it. What is there already is kept."""
        options = BridgeOptions.parse(network.spec.options)
        link = self._route.find_link(network.bridge)
        gateways = gateway_interfaces(network.spec)
        if link is None:
            made = netlink.bridge(network.bridge, mac_of(gateways[0].ip), options.mtu)
            self._route.execute(made, netlink.link_alias(network.bridge, ALIAS + network.id))
            link = self._route.link(network.bridge)
        elif link.kind != "bridge":
            raise Conflict(f"cannot make bridge {network.bridge}: there is an interface of that name")
        self._indexes[network.bridge] = link.index
        if network.bridge != self._own_bridge:
            self._configure(network, link.index, gateways)
        write_sysctl(f"net/ipv4/conf/{network.bridge}/route_localnet", "1")  # ports published on 127.0.0.1; `guard` bars abuse
        self._filter.add(elements(network))

    def _configure(self, network: NetworkRecord, index: int, gateways: list[Interface]) -> None:
        if Path("/proc/sys/net/ipv6").exists():
            write_sysctl(f"net/ipv6/conf/{network.bridge}/accept_ra", "0")
            _use_ipv6(network.bridge, network.spec.enable_ipv6)
        stale = [
            netlink.delete_address(index, there)
            for on, there in self._route.addresses()
            if on == index and there not in gateways and not there.is_link_local
        ]
        up = netlink.link_up(index=index)
        self._route.execute(*stale, *(netlink.address(index, gateway) for gateway in gateways), up)

    def remove(self, network: NetworkRecord) -> None:
        """Take the bridge out of the firewall and away."""
        self._filter.remove(elements(network))
        self._indexes.pop(network.bridge, None)
        if network.bridge == self._own_bridge:
            return
        try:
            self._route.execute(netlink.delete_link(network.bridge))
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise

    def plug(self, network: NetworkRecord, sandbox: Sandbox) -> None:
        """Make eth0, a port of the bridge, and bring it up: a bridge needs a moment before it forwards for a new port.

        With IPv6 it stays down, for coming up gives it an address that follows from its MAC address.
        """
        options = BridgeOptions.parse(network.spec.options)
        sandbox.host_interface = new_interface_name()
        sandbox.index = self._make_port(network, sandbox.host_interface, first_interface(network), sandbox, options)
        sandbox.plugged = network.bridge
        if not network.spec.enable_ipv6:
            sandbox.route.execute(netlink.link_up(index=sandbox.index))

    def _make_port(self, network: NetworkRecord, name: str, peer: str, sandbox: Sandbox, options: BridgeOptions) -> int:
        """A veth pair `name` (on the bridge) and `peer` (inside); the index of `peer`."""
        self._filter.check()
        if network.bridge not in self._indexes:
            raise Unavailable(f"cannot attach to network {network.spec.name}: its bridge {network.bridge} could not be made")
        pair = netlink.veth(name, self._indexes[network.bridge], peer, sandbox.fd, mtu=options.mtu)
        # With br_netfilter, a packet to a port that the same container publishes turns around on the bridge: hence hairpin.
        # Without it, the firewall never sees what stays on a bridge: hence isolated ports where containers may not talk.
        self._route.execute(pair, netlink.bridge_port(name, hairpin=True, isolated=not options.icc))
        if network.spec.enable_ipv6:
            with within(sandbox.fd):
                _use_ipv6(peer, True)
        return sandbox.route.link(peer).index

    def attach(self, network: NetworkRecord, endpoint: Endpoint, sandbox: Sandbox, gateways: frozenset[int]) -> None:
        """Plug in, unless the pool has done so, then address, bring up and route the interface in one batch."""
        index = sandbox.index
        if sandbox.host_interface != endpoint.host_interface:
            options = BridgeOptions.parse(network.spec.options)
            index = self._make_port(network, endpoint.host_interface, endpoint.interface, sandbox, options)
        sandbox.route.execute(
            *(netlink.address(index, address) for address in addresses(endpoint)),
            netlink.link_up(index=index, mac=endpoint.mac_address),  # after the addresses: this announces them
            *default_routes(index, endpoint, gateways),
        )
        if wanted := endpoint.spec.driver_options.get(INTERFACE_SYSCTLS):
            with within(sandbox.fd):
                for name, value in parse_sysctls(wanted, endpoint.interface):
                    write_sysctl(name, value)

    def detach(self, endpoint: Endpoint) -> None:
        """Remove the veth pair."""
        try:
            self._route.execute(netlink.delete_link(endpoint.host_interface))
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise


def _use_ipv6(interface: str, wanted: bool) -> None:
    """Turn IPv6 on or off; without duplicate detection of its link-local address, which forwards nothing for a second."""
    write_sysctl(f"net/ipv6/conf/{interface}/accept_dad", "0")
    write_sysctl(f"net/ipv6/conf/{interface}/disable_ipv6", "0" if wanted else "1")


def parse_sysctls(text: str, interface: str) -> list[tuple[str, str]]:
    """Read the endpoint option "net.ipv4.conf.IFNAME.log_martians=1,...". Raises InvalidArgument."""
    found: list[tuple[str, str]] = []
    for entry in filter(None, text.split(",")):
        name, equals, value = entry.partition("=")
        kind, _, rest = name.partition(".IFNAME.")
        if not equals or kind not in _INTERFACE_SYSCTLS or not rest.isidentifier():
            raise InvalidArgument(f"invalid endpoint sysctl {entry!r}: expected net.ipv4.conf.IFNAME.name=value")
        found.append((f"{kind.replace('.', '/')}/{interface}/{rest}", value))
    return found


def elements(network: NetworkRecord) -> set[Element]:
    """How a network appears in the firewall."""
    options = BridgeOptions.parse(network.spec.options)
    subnets = [ip_network(subnet.subnet) for subnet in network.spec.subnets]
    return ruleset.bridge_elements(
        network.bridge, subnets, icc=options.icc, internal=network.spec.internal, masquerade=options.masquerade
    )


def first_interface(network: NetworkRecord) -> str:
    """What `plug` calls the interface inside."""
    return f"{BridgeOptions.parse(network.spec.options).interface_prefix}0"


def gateway_interfaces(spec: NetworkSpec) -> list[Interface]:
    """The addresses of the bridge itself."""
    return [
        ip_interface((ip_address(subnet.gateway), ip_network(subnet.subnet).prefixlen))
        for subnet in spec.subnets
        if subnet.gateway
    ]


def addresses(endpoint: Endpoint) -> list[Interface]:
    """The addresses of the container's interface."""
    own = ((endpoint.ipv4_address, endpoint.ipv4_prefix), (endpoint.ipv6_address, endpoint.ipv6_prefix))
    found = [ip_interface(f"{address}/{prefix}") for address, prefix in own if address]
    return found + [ip_interface(f"{address}/{64 if ':' in address else 16}") for address in endpoint.spec.link_local_addresses]


def default_routes(index: int, endpoint: Endpoint, gateways: frozenset[int]) -> list[Message]:
    """The default routes of these IP versions through an endpoint."""
    by_version = {4: endpoint.ipv4_gateway, 6: endpoint.ipv6_gateway}
    return [netlink.default_route(index, ip_address(by_version[version])) for version in gateways if by_version[version]]
