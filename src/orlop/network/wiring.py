"""The network part's face to the engine: networks are made and removed, containers attached, published and released.

Decisions (names, addresses, host ports) are made at once, in memory; what the kernel has to do for them is then done in one go
(`plumbing`), in its turn (`turns`).
"""

import secrets
import time
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from orlop.network import forwarding, membership
from orlop.network.checks import check_endpoint, check_network, warnings
from orlop.network.drivers.bridge import INTERFACE_NAME, BridgeOptions, first_interface
from orlop.network.ipam import complete, local_ipv6_range
from orlop.network.membership import Member
from orlop.network.options import HOST, NONE, NetworkOptions, default_network, machine_id
from orlop.network.plumbing import Plumbing, Wire
from orlop.network.ports import HostPorts, ephemeral_range
from orlop.network.publishing import Publication, Publications
from orlop.network.register import DEFAULT, PREDEFINED, NetworkRecords, Register
from orlop.network.sandboxes import Namespaces, Pool, Sandbox, new_interface_name
from orlop.network.turns import Turns
from orlop.spec.container import LIVE, ContainerRecord
from orlop.spec.errors import Forbidden, NotFound, OrlopError
from orlop.spec.network import Endpoint, EndpointSpec, NetworkRecord, NetworkSpec, PortBinding

__all__ = ["NetworkOptions", "Networks"]

Spawn = Callable[[Coroutine[Any, Any, None]], None]


class Networks:
    """All networks of this engine and the running containers' places in them. To be used in the event loop's thread."""

    def __init__(self, exec_root: Path, records: NetworkRecords, options: NetworkOptions, spawn: Spawn) -> None:
        self._options = options
        self._spawn = spawn
        self._namespaces = Namespaces(exec_root / "netns")
        self._register = Register(records)
        self._publications = Publications(HostPorts(ephemeral_range(), host_ipv6=forwarding.host_has_ipv6()), spawn)
        self._pool = Pool(options.pool_size)
        own_bridge = options.bridge if options.bridge != "none" else ""
        self._plumbing = Plumbing(self._namespaces, own_bridge=own_bridge, ip_forward=options.ip_forward)
        self._members: dict[str, Member] = {}
        self._sandboxes: set[str] = set()  # containers that have a pinned namespace
        self._turns = Turns(self._pool, self._make_ready)

    # --- life ---

    async def open(self) -> None:
        """Read the records, make the networks that always exist. Then call `restore`, before anything else."""
        self._register.open()
        await self._turns.act(self._plumbing.open)
        for spec in (HOST, NONE):
            if self._register.named(spec.name) is None:
                self._register.save(self._new_record(spec))
        await self._open_default()

    async def _open_default(self) -> None:
        """The default network as the options have it today; its id stays, and its subnet where nothing is said."""
        present = self._register.named(DEFAULT)
        if self._options.bridge == "none":
            if present is not None:
                self._register.delete(present)
            return
        existing = await self._turns.act(self._plumbing.bridge_address, self._options.bridge) if self._options.bridge else ""
        wanted = default_network(self._options, existing)
        if present is not None and not wanted.subnets:
            wanted = replace(wanted, subnets=present.spec.subnets)
        host = await self._turns.act(self._plumbing.host_networks)
        spec = complete(wanted, self._ranges(), self._register.subnets(without=present), host)
        if present is None or present.spec != spec:
            record = self._new_record(spec)
            self._register.save(replace(record, id=present.id, created_ns=present.created_ns) if present else record)

    async def restore(self, containers: Iterable[ContainerRecord]) -> None:
        """Containers that run keep their addresses and ports; what else of ours the kernel has is swept. Starts the loop."""
        for container in containers:
            if container.status in LIVE:
                self._adopt(container)
        living = {key: tuple(self._members[key].endpoints.values()) if key in self._members else () for key in self._sandboxes}
        orphans = await self._turns.act(self._plumbing.recover, self._register.list(), living, self._publications.elements())
        for fd in orphans:
            self._pool.release(fd)
        for publication in self._publications.all():
            self._publications.serve(publication)
        self._spawn(self._turns.tend())
        self._turns.stir()

    def _adopt(self, container: ContainerRecord) -> None:
        """Know a container that runs already."""
        endpoints = {
            e.network_id: e for e in container.endpoints.values() if e.endpoint_id and self._register.find(e.network_id)
        }
        if self._namespaces.path(container.id).exists():
            self._sandboxes.add(container.id)
        if not endpoints:
            return
        self._members[container.id] = Member(container.name, endpoints)
        for endpoint in endpoints.values():
            self._register.hold(endpoint)
        serving = self._serving(container.id)
        if container.ports and serving is not None:
            self._publications.adopt(container.id, container.ports, serving)

    def _serving(self, container_id: str) -> Endpoint | None:
        """The endpoint through which a container's ports are published."""
        endpoints = self._members[container_id].endpoints.values()
        return membership.way_out(endpoints, 4) or membership.way_out(endpoints, 6) or next(iter(endpoints), None)

    async def close(self) -> None:
        """The daemon ends: what was released is destroyed, what runs goes on."""
        self._publications.close()
        await self._turns.close()
        self._plumbing.close()

    # --- networks ---

    def list(self) -> list[NetworkRecord]:
        """Every network, oldest first."""
        return self._register.list()

    def find(self, reference: str) -> NetworkRecord | None:
        """By id, name or the beginning of an id."""
        return self._register.find(reference)

    def get(self, reference: str) -> NetworkRecord:
        """As `find`. Raises NotFound."""
        return self._register.get(reference)

    async def create(self, spec: NetworkSpec, *, id: str = "") -> tuple[NetworkRecord, tuple[str, ...]]:
        """Make a user's network; the record, and warnings. Raises InvalidArgument, Forbidden, Conflict, NotFound."""
        spec = replace(spec, driver=spec.driver or "bridge")
        self._register.check_name(spec.name)
        check_network(spec)
        if (driver := self._plumbing.drivers.get(spec.driver)) is None:
            raise NotFound("plugin", spec.driver)
        await self._turns.act(driver.check, spec)
        host = await self._turns.act(self._plumbing.host_networks)
        self._register.check_name(spec.name)  # somebody else may have made it while we looked
        record = self._new_record(complete(spec, self._ranges(), self._register.subnets(), host), id)
        self._check_bridge_name(record.bridge)
        async with AsyncExitStack() as undo:
            self._register.save(record)
            undo.callback(self._register.delete, record)
            undo.push_async_callback(self._turns.act, self._plumbing.remove, record)
            try:
                await self._turns.act(self._plumbing.create, record)
            except OSError as error:
                raise OrlopError(f"cannot create network {spec.name}: {error.strerror}") from error
            undo.pop_all()
        return record, warnings(spec)

    def _new_record(self, spec: NetworkSpec, id: str = "") -> NetworkRecord:
        id = id or secrets.token_hex(32)
        bridge = (BridgeOptions.parse(spec.options).name or f"br-{id[:12]}") if spec.driver == "bridge" else ""
        return NetworkRecord(id=id, spec=spec, created_ns=time.time_ns(), bridge=bridge)

    def _check_bridge_name(self, bridge: str) -> None:
        for other in self._register.list():
            if other.bridge == bridge:
                raise Forbidden(f"network {other.id} ({other.spec.name}): conflicts with bridge name {bridge}")

    def _ranges(self) -> tuple[Any, ...]:
        return (*self._options.address_pools, local_ipv6_range(machine_id()))

    async def remove(self, reference: str) -> NetworkRecord:
        """Remove a user's network that nobody is on. Raises NotFound, Forbidden."""
        record = self._register.get(reference)
        name = record.spec.name
        if name in PREDEFINED:
            raise Forbidden(f"{name} is a pre-defined network and cannot be removed")
        if active := self.endpoints(record.id):
            who = ", ".join(f'name:"{self._members[key].name}" id:"{active[key].endpoint_id[:12]}"' for key in active)
            raise Forbidden(f"error while removing network: network {name} has active endpoints ({who})")
        self._register.delete(record)  # first, so that nobody attaches; after a crash the bridge is swept
        self._pool.forget(record.bridge)
        try:
            await self._turns.act(self._plumbing.remove, record)
        except OSError as error:
            raise OrlopError(f"cannot remove network {name}: {error.strerror}") from error
        return record

    def endpoints(self, network_id: str) -> dict[str, Endpoint]:
        """The endpoints on a network, by container id: those of running containers."""
        return {key: member.endpoints[network_id] for key, member in self._members.items() if network_id in member.endpoints}

    # --- containers ---

    async def attach(
        self,
        container_id: str,
        network: NetworkRecord,
        spec: EndpointSpec,
        *,
        name: str,
        hostname: str = "",
        ports: tuple[PortBinding, ...] = (),
    ) -> Endpoint:
        """Give a container that runs, or is about to, its place in a network, and publish ports. All of it or nothing.

        Raises InvalidArgument, Forbidden, StartFailed (a host port is taken), Unavailable, OrlopError.
        """
        await self._turns.settled()
        network = self._register.get(network.id)
        driver = self._plumbing.drivers[network.spec.driver]
        member = self._members.setdefault(container_id, Member(name))
        others = list(member.endpoints.values())
        async with AsyncExitStack() as undo:
            undo.callback(self._forget_if_empty, container_id)
            if network.id in member.endpoints:
                raise Forbidden(f"endpoint with name {name} already exists in network {network.spec.name}")
            endpoint = self._reserve(container_id, network, spec, hostname)
            undo.callback(self._register.free, endpoint)
            publication = self._hold(container_id, network, endpoint, ports, undo)
            fresh = driver.has_sandbox and container_id not in self._sandboxes
            ready = self._take_ready(network, endpoint) if fresh else None
            if driver.has_addresses:
                plugged = ready.host_interface if ready is not None else ""
                endpoint = replace(endpoint, host_interface=plugged or new_interface_name())
            member.endpoints[network.id] = endpoint
            undo.callback(member.endpoints.pop, network.id, None)
            wire = Wire(
                container_id=container_id,
                network=network,
                endpoint=endpoint,
                gateways=membership.won_by(endpoint, others),
                fresh=fresh,
                ready=ready,
                publication=publication,
            )
            undo.push_async_callback(self._undo_attach, wire)
            if fresh:
                self._sandboxes.add(container_id)
            try:
                await self._turns.act(self._plumbing.attach, wire, short=ready is not None)
            except OSError as error:
                raise OrlopError(f"cannot attach {name} to network {network.spec.name}: {error.strerror}") from error
            if publication is not None:
                self._publications.serve(publication)
            undo.pop_all()
        return endpoint

    def _take_ready(self, network: NetworkRecord, endpoint: Endpoint) -> Sandbox | None:
        """A namespace out of the pool, plugged into the network where the pool gives its interface the right name."""
        plugged = bool(network.bridge) and endpoint.interface == first_interface(network)
        self._turns.stir()
        return self._pool.take(network.bridge if plugged else "")

    def _reserve(self, container_id: str, network: NetworkRecord, spec: EndpointSpec, hostname: str) -> Endpoint:
        """An endpoint with its addresses, names and the name of its interface."""
        member = self._members[container_id]
        user_made = network.spec.name not in PREDEFINED
        check_endpoint(spec, user_made=user_made)
        interface = ""
        if network.spec.driver == "bridge":
            prefix = BridgeOptions.parse(network.spec.options).interface_prefix
            wanted = spec.driver_options.get(INTERFACE_NAME, "")
            interface = wanted or membership.free_interface(member.endpoints.values(), prefix)
        names = membership.dns_names(spec, container_id=container_id, name=member.name, hostname=hostname) if user_made else ()
        return self._register.reserve(network, spec, interface=interface, dns_names=names)

    def _hold(
        self,
        container_id: str,
        network: NetworkRecord,
        endpoint: Endpoint,
        ports: tuple[PortBinding, ...],
        undo: AsyncExitStack,
    ) -> Publication | None:
        """Take the host ports, where the network publishes any."""
        if not ports or network.spec.driver != "bridge" or network.spec.internal:
            return None
        default = BridgeOptions.parse(network.spec.options).host_address
        name = self._members[container_id].name
        publication = self._publications.hold(container_id, ports, endpoint, name=name, default_address=default)
        undo.callback(self._publications.release, container_id, of=endpoint)
        return publication

    async def _undo_attach(self, wire: Wire) -> None:
        if wire.fresh:
            self._sandboxes.discard(wire.container_id)
        self._pool.release(await self._turns.act(self._plumbing.undo_attach, wire))
        self._turns.stir()

    def _forget_if_empty(self, container_id: str) -> None:
        if not self._members[container_id].endpoints:
            del self._members[container_id]

    async def detach(self, container_id: str, endpoint: Endpoint) -> None:
        """Take a running container out of a network. Idempotent. When it has stopped, `release_sandbox` is the fast way."""
        member = self._members.get(container_id)
        if member is None or endpoint.network_id not in member.endpoints:
            return
        endpoint = member.endpoints[endpoint.network_id]
        network = self._register.get(endpoint.network_id)
        del member.endpoints[endpoint.network_id]
        publications = self._publications.release(container_id, of=endpoint)
        heirs = membership.left_by(endpoint, member.endpoints.values())
        try:
            await self._turns.act(self._plumbing.unpublish, publications)
            await self._turns.act(self._plumbing.detach, container_id, network, endpoint, heirs)
        finally:
            self._register.free(endpoint)
            self._forget_if_empty(container_id)

    async def sandbox(self, container_id: str) -> str:
        """The path of a container's network namespace; without any network when nothing was attached yet."""
        if container_id not in self._sandboxes:
            await self._turns.settled()
            self._sandboxes.add(container_id)
            async with AsyncExitStack() as undo:
                undo.push_async_callback(self.release_sandbox, container_id)
                await self._turns.act(self._plumbing.pin, container_id, self._pool.take(""))
                undo.pop_all()
        return str(self._namespaces.path(container_id))

    async def release_sandbox(self, container_id: str) -> None:
        """A container has stopped: whoever attaches next finds its ports, addresses and path free. Idempotent.

        The kernel's part is done while the caller goes on: the bridge ports are closed now, the namespace itself is destroyed
        in a quiet moment.
        """
        member = self._members.pop(container_id, None)
        endpoints = list(member.endpoints.values()) if member else []
        publications = self._publications.release(container_id)
        if member is None and container_id not in self._sandboxes:
            return
        self._sandboxes.discard(container_id)

        def free(fd: int | None) -> None:
            self._pool.release(-1 if fd is None else fd)
            for endpoint in endpoints:
                self._register.free(endpoint)
            self._turns.stir()

        self._turns.act_later(self._plumbing.leave, container_id, endpoints, publications, then=free)

    # --- ports ---

    def published(self, container_id: str) -> tuple[PortBinding, ...]:
        """What a container publishes now: host ports and addresses as chosen."""
        return self._publications.bindings(container_id)

    async def publish(self, container_id: str, endpoint: Endpoint, ports: tuple[PortBinding, ...]) -> tuple[PortBinding, ...]:
        """Publish ports of a container that is attached already; what was published. Raises StartFailed."""
        network = self._register.get(endpoint.network_id)
        async with AsyncExitStack() as undo:
            publication = self._hold(container_id, network, endpoint, ports, undo)
            if publication is not None:
                undo.push_async_callback(self._turns.act, self._plumbing.unpublish, [publication])
                await self._turns.act(self._plumbing.publish, publication)
                self._publications.serve(publication)
            undo.pop_all()
        return publication.bindings if publication is not None else ()

    async def unpublish(self, container_id: str) -> None:
        """Take back all that a container publishes."""
        await self._turns.act(self._plumbing.unpublish, self._publications.release(container_id))

    async def statistics(self, container_id: str) -> dict[str, dict[str, int]]:
        """A running container's counters by interface: rx_bytes, rx_packets, ... tx_dropped."""
        member = self._members.get(container_id)
        endpoints = [endpoint for endpoint in member.endpoints.values() if endpoint.host_interface] if member else []
        return await self._turns.act(self._plumbing.statistics, endpoints)

    def _make_ready(self, bridge: str) -> Sandbox:
        """A namespace for the pool. Blocks."""
        network = next((record for record in self._register.list() if record.bridge == bridge), None) if bridge else None
        return self._plumbing.make_ready(network)
