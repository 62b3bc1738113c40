"""A container's place in the networks while it runs: joined before it starts, left when it ends; and its /etc files."""

import os
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

from orlop.engine import links
from orlop.engine.creation import SHARED
from orlop.engine.homes import ETC_FILES
from orlop.engine.parts import Parts
from orlop.network import files
from orlop.spec.container import ContainerRecord
from orlop.spec.errors import Conflict, NotFound, explained
from orlop.spec.network import Endpoint, EndpointSpec, NetworkRecord, PortBinding


@dataclass(frozen=True, kw_only=True)
class Place:
    """What a container is started with: its record, with addresses and host ports filled in, and its network namespace
    (a path to join, or "host")."""

    record: ContainerRecord
    namespace: str


class Sandboxes:
    """Joins and leaves networks."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def join(self, record: ContainerRecord, undo: AsyncExitStack) -> Place:
        """Take it into its networks; `undo` takes it out again. Raises Conflict, NotFound, StartFailed (port taken)."""
        networks, mode = self._parts.networks, record.spec.network_mode
        if mode.startswith(SHARED):
            return Place(record=record, namespace=self._namespace_of(mode.removeprefix(SHARED)))
        undo.push_async_callback(networks.release_sandbox, record.id)
        with explained("failed to set up container networking"):
            record = await self._attach_all(record, undo)
        namespace = "host" if mode == "host" else await networks.sandbox(record.id)
        return Place(record=replace(record, ports=networks.published(record.id)), namespace=namespace)

    def _namespace_of(self, container_id: str) -> str:
        """The network namespace of another container, which must run."""
        other = self._parts.roster.get(container_id).record
        if other.init is None:
            raise Conflict(f"cannot join network namespace of a non running container: {other.id}")
        return f"/proc/{other.init.pid}/ns/net"

    async def _attach_all(self, record: ContainerRecord, undo: AsyncExitStack) -> ContainerRecord:
        """Attach to each network; the first one that publishes ports publishes all."""
        endpoints = dict(record.endpoints)
        ports = wanted_ports(record)
        for name, endpoint in record.endpoints.items():
            network = self.network_of(endpoint)
            endpoints[name] = await self.attach(record, network, endpoint.spec, ports)
            undo.callback(self._tell, "disconnect", network, record)
            self._tell("connect", network, record)
            if network.spec.driver == "bridge" and not network.spec.internal:
                ports = ()
        return replace(record, endpoints=endpoints)

    def network_of(self, endpoint: Endpoint) -> NetworkRecord:
        """The network of an endpoint: by id, else by name, for it may have been made anew. Raises NotFound."""
        networks = self._parts.networks
        found = (networks.find(endpoint.network_id) if endpoint.network_id else None) or networks.find(endpoint.network_name)
        if found is None:
            raise NotFound("network", endpoint.network_name)
        return found

    async def attach(
        self, record: ContainerRecord, network: NetworkRecord, spec: EndpointSpec, ports: tuple[PortBinding, ...] = ()
    ) -> Endpoint:
        """Attach to one network."""
        return await self._parts.networks.attach(
            record.id, network, spec, name=record.name, hostname=record.spec.hostname, ports=ports
        )

    def _tell(self, action: str, network: NetworkRecord, record: ContainerRecord) -> None:
        self._parts.events.network(action, network, container=record.id)

    async def leave(self, record: ContainerRecord) -> ContainerRecord:
        """Give addresses and ports back. The namespace itself is destroyed in idle time."""
        if record.spec.network_mode.startswith(SHARED):
            return record
        await self._parts.networks.release_sandbox(record.id)
        for endpoint in record.endpoints.values():
            if endpoint.endpoint_id and (network := self._parts.networks.find(endpoint.network_id)):
                self._tell("disconnect", network, record)
        endpoints = {name: cleared(endpoint) for name, endpoint in record.endpoints.items()}
        return replace(record, endpoints=endpoints, ports=())

    def write_files(self, record: ContainerRecord) -> dict[str, str]:
        """Write /etc/hostname, hosts and resolv.conf; container path -> path on the host."""
        mode = record.spec.network_mode
        if mode.startswith(SHARED):
            directory = self._parts.homes.path(mode.removeprefix(SHARED))
            return {f"/etc/{name}": f"{directory}/{name}" for name in ETC_FILES}
        directory = self._parts.homes.path(record.id)
        on_host = mode == "host"
        ipv6 = any(endpoint.ipv6_address for endpoint in record.endpoints.values())
        texts = {
            "hostname": files.hostname(record) + "\n",
            "hosts": files.hosts(
                record,
                links=links.host_lines(links.linked(self._parts.roster, record)),
                host_gateway=self._host_gateway(record),
                host_text=files.host_hosts() if on_host else None,
            ),
            "resolv.conf": files.resolv_conf(record.spec, files.host_resolv_conf(), ipv6=ipv6, keep_loopback=on_host),
        }
        paths = {name: f"{directory}/{name}" for name in texts}
        for name, text in texts.items():
            _write_in_place(paths[name], text.encode())
        return {f"/etc/{name}": path for name, path in paths.items()}

    def _host_gateway(self, record: ContainerRecord) -> str:
        """The host as its containers reach it: the gateway of the default network, else of the container's own."""
        default = self._parts.networks.find("bridge")
        if default and default.spec.subnets:
            return default.spec.subnets[0].gateway.partition("/")[0]
        return next((one.ipv4_gateway for one in record.endpoints.values() if one.ipv4_gateway), "127.0.0.1")


def _write_in_place(path: str, content: bytes) -> None:
    """Not beside and renamed: a running container sees this very file."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        os.write(descriptor, content)
    finally:
        os.close(descriptor)


def wanted_ports(record: ContainerRecord) -> tuple[PortBinding, ...]:
    """The ports to publish: -p, and with -P every exposed one that -p does not name."""
    asked = record.spec.port_bindings
    if not record.spec.publish_all_ports:
        return asked
    named = {(binding.container_port, binding.protocol) for binding in asked}
    exposed = []
    for port in record.process.exposed_ports:
        number, _, protocol = port.partition("/")
        first, _, last = number.partition("-")
        exposed += [(one, protocol or "tcp") for one in range(int(first), int(last or first) + 1)]
    return asked + tuple(PortBinding(container_port=port, protocol=kind) for port, kind in exposed if (port, kind) not in named)


def cleared(endpoint: Endpoint) -> Endpoint:
    """An endpoint of a container that does not run: what was asked for, without addresses."""
    return Endpoint(
        network_id=endpoint.network_id, network_name=endpoint.network_name, spec=endpoint.spec, dns_names=endpoint.dns_names
    )
