"""Publishes containers' ports on the host: sockets that hold them, elements of the firewall that lead to them, relays."""

import logging
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from orlop.kernel.firewall import Element
from orlop.network.ports import HeldPort, HostPorts
from orlop.network.relay import Relay
from orlop.network.ruleset import port_element
from orlop.spec.network import Endpoint, PortBinding

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Publication:
    """What one endpoint publishes."""

    endpoint: Endpoint
    held: tuple[HeldPort, ...]
    relays: list[Relay] = field(default_factory=list)

    @property
    def bindings(self) -> tuple[PortBinding, ...]:
        """As they are: one for each address of the host, with the port that was chosen."""
        return tuple(port.binding for port in self.held)

    @property
    def elements(self) -> set[Element]:
        """What the firewall must know."""
        targets = ((port.binding, self._target(port.binding)) for port in self.held)
        return {port_element(binding, target) for binding, target in targets if target}

    def _target(self, binding: PortBinding) -> str:
        """The container's address of the same family as the host's, "" when it has none: then a relay serves it."""
        return self.endpoint.ipv6_address if _is_ipv6(binding) else self.endpoint.ipv4_address

    @property
    def host_ports(self) -> frozenset[int]:
        """The UDP ports of the host among them."""
        return frozenset(binding.host_port for binding in self.bindings if binding.protocol == "udp")

    @property
    def container_addresses(self) -> frozenset[str]:
        """The addresses that serve."""
        return frozenset(filter(None, (self.endpoint.ipv4_address, self.endpoint.ipv6_address)))


class Publications:
    """All published ports, by container. The firewall itself is the caller's: it acts, in its thread, on `elements`."""

    def __init__(self, ports: HostPorts, spawn: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        self._ports = ports
        self._spawn = spawn
        self._by_container: dict[str, list[Publication]] = {}

    def hold(
        self, container_id: str, wanted: Iterable[PortBinding], endpoint: Endpoint, *, name: str, default_address: str = ""
    ) -> Publication:
        """Take host ports for a container. Raises StartFailed when one cannot be had, and then takes none."""
        held = self._ports.hold(wanted, endpoint, name=name, default_address=default_address)
        return self._remember(container_id, Publication(endpoint, held))

    def adopt(self, container_id: str, bindings: Iterable[PortBinding], endpoint: Endpoint) -> Publication:
        """Hold what a container that runs already has published, as far as no other program took it meanwhile."""
        held = tuple(self._ports.adopt(binding) for binding in bindings)
        for port in held:
            if port.socket is None and port.binding.protocol != "sctp":
                log.warning("Another program took port %d, which container %s publishes", port.binding.host_port, container_id)
        return self._remember(container_id, Publication(endpoint, held))

    def _remember(self, container_id: str, publication: Publication) -> Publication:
        self._by_container.setdefault(container_id, []).append(publication)
        return publication

    def serve(self, publication: Publication) -> None:
        """Start what carries connections that the firewall cannot lead to the container: see `relay.py`."""
        for port in publication.held:
            binding = port.binding
            target = publication.endpoint.ipv4_address or publication.endpoint.ipv6_address
            if port.socket is not None and binding.protocol == "tcp" and _is_ipv6(binding):
                publication.relays.append(Relay(port.socket, target, binding.container_port, self._spawn))

    def release(self, container_id: str, *, of: Endpoint | None = None) -> list[Publication]:
        """Let go of a container's host ports (those of one endpoint); what was published."""
        publications = self._by_container.pop(container_id, [])
        released = [
            publication for publication in publications if of is None or publication.endpoint.endpoint_id == of.endpoint_id
        ]
        if kept := [publication for publication in publications if publication not in released]:
            self._by_container[container_id] = kept
        for publication in released:
            for relay in publication.relays:
                relay.close()
            self._ports.release(publication.held)
        return released

    def all(self) -> list[Publication]:
        """Everything published."""
        return [publication for publications in self._by_container.values() for publication in publications]

    def bindings(self, container_id: str) -> tuple[PortBinding, ...]:
        """What a container publishes."""
        return tuple(binding for publication in self._by_container.get(container_id, ()) for binding in publication.bindings)

    def elements(self) -> set[Element]:
        """What the firewall must know of all of them."""
        return {element for publication in self.all() for element in publication.elements}

    def close(self) -> None:
        """Let go of the sockets; the firewall goes on serving."""
        for container_id in list(self._by_container):
            self.release(container_id)


def _is_ipv6(binding: PortBinding) -> bool:
    return ip_address(binding.host_address).version == 6
