"""A container's places in networks while it runs: which interface it gets, which network is its way out, its names. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from orlop.spec.network import Endpoint, EndpointSpec

VERSIONS = (4, 6)


@dataclass(slots=True)
class Member:
    """A running container and its endpoints by network id."""

    name: str
    endpoints: dict[str, Endpoint] = field(default_factory=dict)


def free_interface(endpoints: Collection[Endpoint], prefix: str) -> str:
    """The first of eth0, eth1, ... that is not in use."""
    used = {endpoint.interface for endpoint in endpoints}
    return next(name for number in range(len(used) + 1) if (name := f"{prefix}{number}") not in used)


def gateway_of(endpoint: Endpoint, version: int) -> str:
    """The gateway of an IP version, "" without one."""
    return endpoint.ipv4_gateway if version == 4 else endpoint.ipv6_gateway


def way_out(endpoints: Collection[Endpoint], version: int) -> Endpoint | None:
    """The endpoint that the default route leads through: the highest priority, then the first by the network's name."""
    candidates = [endpoint for endpoint in endpoints if gateway_of(endpoint, version)]
    return min(candidates, key=lambda endpoint: (-endpoint.spec.gateway_priority, endpoint.network_name), default=None)


def won_by(new: Endpoint, others: Collection[Endpoint]) -> frozenset[int]:
    """The IP versions whose default route a new endpoint takes over."""
    return frozenset(version for version in VERSIONS if way_out([*others, new], version) is new)


def left_by(old: Endpoint, others: Collection[Endpoint]) -> Mapping[int, Endpoint]:
    """Who takes over the default routes that led through an endpoint that goes."""
    heirs = {version: way_out(others, version) for version in VERSIONS if way_out([*others, old], version) is old}
    return {version: heir for version, heir in heirs.items() if heir is not None}


def dns_names(spec: EndpointSpec, *, container_id: str, name: str, hostname: str) -> tuple[str, ...]:
    """By what others on a user's network find the container: its name, aliases, short id, host name."""
    return tuple(dict.fromkeys(filter(None, (name, *spec.aliases, container_id[:12], hostname))))
