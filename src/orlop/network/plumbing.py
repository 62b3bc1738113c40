"""What the kernel has to do for networks, one blocking verb for each decision of `wiring`: all run in one thread."""

import logging
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address

from orlop.kernel import netlink
from orlop.kernel.firewall import Element
from orlop.kernel.netlink import Network, RouteSocket
from orlop.network import forwarding, recovery
from orlop.network.drivers.base import Driver
from orlop.network.drivers.bridge import BridgeDriver, elements
from orlop.network.drivers.host import HostDriver
from orlop.network.drivers.none import NoneDriver
from orlop.network.filter import Filter
from orlop.network.membership import gateway_of
from orlop.network.publishing import Publication
from orlop.network.sandboxes import Namespaces, Sandbox
from orlop.spec.errors import OrlopError, Unavailable
from orlop.spec.network import Endpoint, NetworkRecord

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Wire:
    """An endpoint to be made in the kernel. `fresh`: the container has no namespace yet; `ready`: one out of the pool."""

    container_id: str
    network: NetworkRecord
    endpoint: Endpoint
    gateways: frozenset[int]
    fresh: bool
    ready: Sandbox | None = None
    publication: Publication | None = None


class Plumbing:
    """The kernel's side, in the network namespace of the thread that made it."""

    def __init__(self, namespaces: Namespaces, *, own_bridge: str = "", ip_forward: bool = True) -> None:
        self.namespaces = namespaces
        self._route = RouteSocket()
        self._filter = Filter()
        self._ip_forward = ip_forward
        bridge = BridgeDriver(self._route, self._filter, own_bridge=own_bridge)
        self.drivers: Mapping[str, Driver] = {"bridge": bridge, "host": HostDriver(), "null": NoneDriver()}

    def open(self) -> None:
        """Make ready what networks stand on."""
        self.namespaces.open()
        self._filter.open()

    def close(self) -> None:
        self._filter.close()
        self._route.close()
        self.namespaces.close()

    # --- networks ---

    def host_networks(self) -> list[Network]:
        """The subnets that the host itself reaches."""
        own = [interface.network for _, interface in self._route.addresses() if not interface.is_link_local]
        return [*self._route.routes(), *(network for network in own if network.prefixlen)]

    def bridge_address(self, name: str) -> str:
        """The first IPv4 address of an interface, as CIDR. Raises Unavailable."""
        if link := self._route.find_link(name):
            for index, interface in self._route.addresses():
                if index == link.index and interface.version == 4:
                    return str(interface)
        raise Unavailable(f"cannot use bridge {name}: no such interface, or it has no IPv4 address")

    def create(self, network: NetworkRecord) -> None:
        """Make a network be there."""
        if network.spec.driver == "bridge":
            self._filter.check()
            if self._ip_forward and not network.spec.internal:
                forwarding.ensure_ipv4()
                if network.spec.enable_ipv6:
                    forwarding.ensure_ipv6()
        self.drivers[network.spec.driver].create(network)

    def remove(self, network: NetworkRecord) -> None:
        """Make a network be gone."""
        self.drivers[network.spec.driver].remove(network)

    # --- containers ---

    def make_ready(self, network: NetworkRecord | None) -> Sandbox:
        """A namespace that is plugged into a network (None: into none), for the pool."""
        sandbox = self.namespaces.make()
        try:
            if network is not None:
                self.drivers[network.spec.driver].plug(network, sandbox)
        except (OSError, Unavailable):
            sandbox.close()
            raise
        return sandbox

    def pin(self, container_id: str, ready: Sandbox | None) -> None:
        """Give a container a namespace without any network."""
        sandbox = ready or self.namespaces.make()
        try:
            self.namespaces.pin(sandbox, container_id)
        finally:
            sandbox.close()

    def attach(self, wire: Wire) -> None:
        """Make an endpoint and publish its ports. What fails half way is taken back by `undo_attach`."""
        driver = self.drivers[wire.network.spec.driver]
        if driver.has_sandbox:
            sandbox = wire.ready or (self.namespaces.make() if wire.fresh else self.namespaces.enter(wire.container_id))
            try:
                if wire.fresh:
                    self.namespaces.pin(sandbox, wire.container_id)
                driver.attach(wire.network, wire.endpoint, sandbox, wire.gateways)
            finally:
                sandbox.close()
        if wire.publication is not None:
            self.publish(wire.publication)

    def undo_attach(self, wire: Wire) -> int:
        """Take back what `attach` did, or a part of it; the descriptor of a namespace that is left, or -1."""
        if wire.publication is not None:
            self.unpublish([wire.publication])
        if wire.fresh:
            return self.namespaces.unpin(wire.container_id)
        self.drivers[wire.network.spec.driver].detach(wire.endpoint)
        return -1

    def detach(self, container_id: str, network: NetworkRecord, endpoint: Endpoint, heirs: Mapping[int, Endpoint]) -> None:
        """Take an endpoint from a running container; its default routes go to the `heirs`."""
        self.drivers[network.spec.driver].detach(endpoint)
        if not heirs:
            return
        sandbox = self.namespaces.enter(container_id)
        try:
            for version, heir in heirs.items():
                index = sandbox.route.link(heir.interface).index
                sandbox.route.execute(netlink.default_route(index, ip_address(gateway_of(heir, version))))
        finally:
            sandbox.close()

    def leave(self, container_id: str, endpoints: Iterable[Endpoint], publications: Collection[Publication]) -> int:
        """Cut a stopped container off, so that its addresses and its path are free at once.

        The descriptor of the namespace, to be closed in a quiet moment, or -1.
        """
        self.unpublish(publications)
        for endpoint in endpoints:
            link = self._route.find_link(endpoint.host_interface) if endpoint.host_interface else None
            if link is not None and link.master:
                self._route.execute(netlink.disable_bridge_port(link.index))
                self._forget_neighbour(link.master, endpoint)
        return self.namespaces.unpin(container_id)

    def _forget_neighbour(self, bridge: int, endpoint: Endpoint) -> None:
        """The next owner of the address may have another MAC address."""
        for address in filter(None, (endpoint.ipv4_address, endpoint.ipv6_address)):
            with suppress(FileNotFoundError):
                self._route.execute(netlink.forget_neighbour(bridge, ip_address(address)))

    def publish(self, publication: Publication) -> None:
        """Let the firewall lead to a container; clients that knocked before are not held by what the kernel remembers of it."""
        self._filter.add(publication.elements)
        self._forget_flows([publication])

    def unpublish(self, publications: Collection[Publication]) -> None:
        """Let it lead there no more."""
        if changes := {element for publication in publications for element in publication.elements}:
            self._filter.remove(changes)
            self._forget_flows(publications)

    def _forget_flows(self, publications: Collection[Publication]) -> None:
        """A UDP flow has no end that the kernel could see: a client that keeps sending would never meet the change."""
        ports = {port for publication in publications for port in publication.host_ports}
        if ports:
            local = {str(interface.ip) for _, interface in self._route.addresses()}
            served_by = {address for publication in publications for address in publication.container_addresses}
            self._filter.forget_udp_flows(host_ports=ports, host_addresses=local, served_by=served_by)

    def statistics(self, endpoints: Iterable[Endpoint]) -> dict[str, dict[str, int]]:
        """Counters by interface, as the container sees them: what the host's end sent, it received."""
        found: dict[str, dict[str, int]] = {}
        for endpoint in endpoints:
            with suppress(OSError):  # it goes just now
                counted = self._route.statistics(endpoint.host_interface)
                found[endpoint.interface] = {_OTHER_END[name]: value for name, value in counted.items()}
        return found

    # --- after a start ---

    def recover(
        self, networks: Collection[NetworkRecord], living: Mapping[str, Collection[Endpoint]], ports: set[Element]
    ) -> list[int]:
        """Put the kernel in line with what is known; the descriptors of namespaces that nobody wants.

        `living`: endpoints of the containers that run. A bridge that cannot be made is told in the log: its containers go on.
        """
        known = {element for network in networks if network.spec.driver == "bridge" for element in elements(network)}
        self._filter.synchronise(known | ports)
        for network in networks:
            try:
                self.create(network)
            except (OSError, OrlopError) as error:
                log.error("Cannot set up network %s: %s", network.spec.name, error)
        orphans = [self.namespaces.unpin(name) for name in self.namespaces.pinned() if name not in living]
        interfaces = {endpoint.host_interface for endpoints in living.values() for endpoint in endpoints}
        recovery.sweep(self._route, interfaces, {network.bridge for network in networks})
        return orphans


_OTHER_END = {
    f"{way}_{what}": f"{other}_{what}"
    for way, other in (("rx", "tx"), ("tx", "rx"))
    for what in ("bytes", "packets", "errors", "dropped")
}
