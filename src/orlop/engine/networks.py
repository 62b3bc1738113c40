"""The verbs on networks, as the API calls them: the network part's, with events, and the containers on them."""

import builtins
from collections.abc import Mapping, Sequence
from dataclasses import replace

from orlop.engine.creation import SHARED
from orlop.engine.filters import Filters, boolean, check_filters, is_pruned_by, matches_key_values, matches_pattern
from orlop.engine.parts import Parts
from orlop.engine.roster import Container
from orlop.engine.sandbox import Sandboxes, cleared
from orlop.network.register import PREDEFINED
from orlop.spec.container import LIVE, ContainerRecord
from orlop.spec.errors import Forbidden, InvalidArgument, NotFound, NotFoundThere
from orlop.spec.network import Endpoint, EndpointSpec, NetworkRecord, NetworkSpec

LIST_FILTERS = frozenset({"dangling", "driver", "id", "label", "name", "scope", "type"})
PRUNE_FILTERS = frozenset({"label", "label!", "until"})


class Networks:
    """All networks. A reference is an id, the beginning of one, or a name."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._sandboxes = Sandboxes(parts)

    def list(self, filters: Filters | None = None) -> list[NetworkRecord]:
        """Those that the filters let through."""
        wanted = {name: values for name, values in (filters or {}).items() if values}
        check_filters(wanted, LIST_FILTERS)
        for value in wanted.get("type", ()):
            if value not in ("custom", "builtin"):
                raise InvalidArgument(f"invalid filter: 'type'='{value}'")
        return [record for record in self._parts.networks.list() if self._passes(record, wanted)]

    def _passes(self, record: NetworkRecord, wanted: Mapping[str, tuple[str, ...]]) -> bool:
        spec = record.spec
        kind = "builtin" if spec.name in PREDEFINED else "custom"
        return (
            ("name" not in wanted or matches_pattern(wanted["name"], spec.name))
            and ("id" not in wanted or any(record.id.startswith(value) for value in wanted["id"]))
            and ("driver" not in wanted or spec.driver in wanted["driver"])
            and ("scope" not in wanted or spec.scope in wanted["scope"])
            and ("type" not in wanted or kind in wanted["type"])
            and matches_key_values(wanted.get("label", ()), spec.labels)
            and ("dangling" not in wanted or boolean(wanted, "dangling", False) == self._is_dangling(record))
        )

    def _is_dangling(self, record: NetworkRecord) -> bool:
        return record.spec.name not in PREDEFINED and not self._parts.networks.endpoints(record.id)

    def get(self, reference: str) -> NetworkRecord:
        """Raises NotFound."""
        return self._parts.networks.get(reference)

    def endpoints(self, record: NetworkRecord) -> Sequence[tuple[ContainerRecord, Endpoint]]:
        """The running containers on a network, and their places in it."""
        found = self._parts.networks.endpoints(record.id)
        containers = ((self._parts.roster.find(container_id), endpoint) for container_id, endpoint in found.items())
        return [(container.record, endpoint) for container, endpoint in containers if container]

    async def create(self, spec: NetworkSpec) -> tuple[NetworkRecord, str]:
        """A new network, and a warning. Raises Conflict when the name is taken."""
        record, warnings = await self._parts.networks.create(spec)
        self._parts.events.network("create", record)
        return record, "\n".join(warnings)

    async def remove(self, reference: str) -> None:
        """Raises Forbidden when it is in use or predefined."""
        record = await self._parts.networks.remove(reference)
        self._parts.events.network("destroy", record)

    async def connect(self, reference: str, container_reference: str, spec: EndpointSpec) -> None:
        """Put a container on a network: at once when it runs, else when it starts."""
        network = self._parts.networks.get(reference)
        container = self._parts.roster.get(container_reference)
        async with container.lock:
            record = container.record
            _check_connectable(record, network)
            if network.spec.name in record.endpoints:
                raise Forbidden(f"endpoint with name {record.name} already exists in network {network.spec.name}")
            endpoint = Endpoint(network_id=network.id, network_name=network.spec.name, spec=spec)
            if record.status in LIVE:
                endpoint = await self._sandboxes.attach(record, network, spec)
            self._keep(container, {**record.endpoints, network.spec.name: endpoint})
            self._parts.events.network("connect", network, container=record.id)

    async def disconnect(self, reference: str, container_reference: str, force: bool = False) -> None:
        """Take a container off a network. With `force` also one that is no container any more."""
        network = self._parts.networks.find(reference)
        container = self._parts.roster.find(container_reference)
        if container is None:
            raise NotFound("container", container_reference)
        name = network.spec.name if network else reference
        async with container.lock:
            record = container.record
            if record.spec.network_mode == "host":
                raise Forbidden("container cannot be disconnected from host network or connected to host network")
            endpoint = record.endpoints.get(name)
            if endpoint is None:
                if network is None:
                    raise NotFoundThere(f"network {reference} not found")
                raise Forbidden(f"container {record.id} is not connected to network {name}")
            if record.status in LIVE and endpoint.endpoint_id:
                await self._parts.networks.detach(record.id, endpoint)
            self._keep(container, {key: one for key, one in record.endpoints.items() if key != name})
            if network:
                self._parts.events.network("disconnect", network, container=record.id)

    def _keep(self, container: Container, endpoints: Mapping[str, Endpoint]) -> None:
        """Record the endpoints, and tell the container of its addresses."""
        record = replace(container.record, endpoints=endpoints)
        if record.status in LIVE:
            record = replace(record, ports=self._parts.networks.published(record.id))
            self._sandboxes.write_files(record)
        else:
            record = replace(record, endpoints={key: cleared(one) for key, one in endpoints.items()})
        self._parts.roster.save(container, record)

    async def prune(self, filters: Filters) -> builtins.list[str]:
        """Remove every network of a user that nobody is on; their names."""
        check_filters(filters, PRUNE_FILTERS)
        wanted = {endpoint.network_id for record in self._parts.roster.records() for endpoint in record.endpoints.values()}
        removed = []
        for record in self._parts.networks.list():
            is_free = self._is_dangling(record) and record.id not in wanted
            if is_free and is_pruned_by(filters, record.spec.labels, record.created_ns):
                await self.remove(record.id)
                removed.append(record.spec.name)
        self._parts.events.emit("network", "prune", "", {"reclaimed": "0"})
        return removed


def _check_connectable(record: ContainerRecord, network: NetworkRecord) -> None:
    """Raises Forbidden, InvalidArgument."""
    mode, name = record.spec.network_mode, network.spec.name
    if name == "host" or mode == "host":
        raise Forbidden("container cannot be disconnected from host network or connected to host network")
    if mode.startswith(SHARED):
        raise Forbidden(
            "container sharing network namespace with another container or host cannot be connected to any other network"
        )
    if name == "none" or mode == "none":
        raise Forbidden("container cannot be connected to multiple networks with one of the networks in private (none) mode")
