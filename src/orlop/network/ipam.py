"""Addresses: which subnet a new network gets, whether what a user asked for holds together, who has which address. Pure.

The wording of errors is Docker's (libnetwork's ipam), for clients match on it.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network

from orlop.kernel.netlink import Address, Network
from orlop.spec.errors import Forbidden, InvalidArgument, OrlopError
from orlop.spec.network import NetworkSpec, SubnetSpec

OVERLAP = "invalid pool request: Pool overlaps with other one on this address space"


@dataclass(frozen=True, slots=True)
class AddressRange:
    """A range from which networks get subnets of `size` bits of prefix."""

    base: Network
    size: int

    @classmethod
    def parse(cls, text: str) -> "AddressRange":
        """Parse dockerd's `base=172.30.0.0/16,size=24`. Raises InvalidArgument."""
        fields = dict(part.partition("=")[::2] for part in text.split(","))
        try:
            base, size = ip_network(fields["base"]), int(fields["size"])
        except (KeyError, ValueError) as error:
            raise InvalidArgument(f"invalid default address pool {text!r}: expected base=CIDR,size=BITS") from error
        if not base.prefixlen <= size <= base.max_prefixlen or size - base.prefixlen > 16:
            raise InvalidArgument(
                f"invalid default address pool {text!r}: size must be {base.prefixlen} to {base.prefixlen + 16}"
            )
        return cls(base, size)

    def subnets(self) -> Iterator[Network]:
        """Every subnet, in order."""
        return iter(self.base.subnets(new_prefix=self.size))


DEFAULT_RANGES = tuple(
    AddressRange(ip_network(base), size)
    for base, size in (
        ("172.17.0.0/16", 16),
        ("172.18.0.0/16", 16),
        ("172.19.0.0/16", 16),
        ("172.20.0.0/14", 16),
        ("172.24.0.0/14", 16),
        ("172.28.0.0/14", 16),
        ("192.168.0.0/16", 20),
    )
)


def local_ipv6_range(seed: str) -> AddressRange:
    """A unique local /48 of this host (RFC 4193): the same for the same seed."""
    prefix = b"\xfd" + hashlib.sha256(seed.encode()).digest()[:5] + bytes(10)
    return AddressRange(ip_network((prefix, 48)), 64)


def choose_subnet(version: int, ranges: Iterable[AddressRange], taken: Collection[Network]) -> Network:
    """The first subnet of an IP version that meets nothing of `taken` (other networks, the host's own routes)."""
    for candidates in ranges:
        if candidates.base.version == version:
            for subnet in candidates.subnets():
                if not overlaps(subnet, taken):
                    return subnet
    raise InvalidArgument("all predefined address pools have been fully subnetted")


def overlaps(subnet: Network, others: Iterable[Network]) -> bool:
    """Whether a subnet has an address in common with one of the others."""
    return any(subnet.version == other.version and _meet(subnet, other) for other in others)


def _meet(one: Network, other: Network) -> bool:
    return int(one.network_address) <= int(other.broadcast_address) and int(other.network_address) <= int(one.broadcast_address)


# --- what a user asks for ---


def complete(
    spec: NetworkSpec, ranges: Iterable[AddressRange], networks: Collection[Network], host: Collection[Network]
) -> NetworkSpec:
    """A network's spec with every subnet and gateway known. Raises InvalidArgument, or Forbidden where a subnet is taken.

    A subnet that the user names may meet the host's routes (it may be a part of them); one that we choose may not.
    """
    wanted = [subnet for subnet in spec.subnets if subnet != SubnetSpec()]
    check(wanted)
    done: list[SubnetSpec] = []
    taken = list(networks)
    for version, enabled in ((4, spec.enable_ipv4), (6, spec.enable_ipv6)):
        if not enabled:
            continue
        subnets = [subnet for subnet in wanted if subnet.subnet and ip_network(subnet.subnet).version == version]
        if len(subnets) > 1 and spec.driver == "bridge":
            raise Forbidden("bridge driver doesn't support multiple subnets")
        if not subnets:
            subnets = [SubnetSpec(subnet=str(choose_subnet(version, ranges, [*taken, *host])))]
        for subnet in subnets:
            if overlaps(network := ip_network(subnet.subnet), taken):
                raise Forbidden(OVERLAP)
            taken.append(network)
            done.append(subnet if subnet.gateway else replace(subnet, gateway=str(_first_free(subnet))))
    return replace(spec, subnets=tuple(done))


def check(subnets: Iterable[SubnetSpec]) -> None:
    """Whether each subnet's parts hold together. Raises InvalidArgument that lists all that is wrong."""
    if errors := [error for subnet in subnets for error in _faults(subnet)]:
        raise InvalidArgument("invalid network config:\n" + "\n".join(errors))


def _faults(wanted: SubnetSpec) -> Iterator[str]:
    try:
        subnet = ip_network(wanted.subnet, strict=False)
    except ValueError:
        yield f"invalid subnet {wanted.subnet}: invalid CIDR block notation"
        return
    if "/" not in wanted.subnet:
        yield f"invalid subnet {wanted.subnet}: invalid CIDR block notation"
    elif str(subnet) != str(_canonical(wanted.subnet)):
        yield f"invalid subnet {wanted.subnet}: it should be {subnet}"
    if wanted.ip_range:
        yield from _range_faults(wanted.ip_range, subnet)
    if wanted.gateway:
        yield from _address_faults("gateway", wanted.gateway, subnet)
    for address in wanted.auxiliary_addresses.values():
        yield from _address_faults("auxiliary address", address, subnet)


def _canonical(subnet: str) -> str:
    address, _, prefix = subnet.partition("/")
    return f"{ip_address(address)}/{prefix}"


def _range_faults(text: str, subnet: Network) -> Iterator[str]:
    try:
        part = ip_network(text, strict=False)
    except ValueError:
        yield f"invalid ip-range {text}: invalid CIDR block notation"
        return
    if part.version != subnet.version:
        yield f"invalid ip-range {text}: parent subnet is an IPv{subnet.version} block"
    elif part.prefixlen < subnet.prefixlen:
        yield f"invalid ip-range {text}: CIDR block is bigger than its parent subnet {subnet}"
    elif not overlaps(part, [subnet]):
        yield f"invalid ip-range {text}: parent subnet {subnet} doesn't contain ip-range"
    if str(part) != _canonical(text):
        yield f"invalid ip-range {text}: it should be {part}"


def _address_faults(what: str, text: str, subnet: Network) -> Iterator[str]:
    try:
        address = ip_address(text)
    except ValueError:
        yield f"invalid {what} {text}: invalid address"
        return
    if address.version != subnet.version:
        yield f"invalid {what} {text}: parent subnet is an IPv{subnet.version} block"
    elif address not in subnet:
        yield f"invalid {what} {text}: parent subnet {subnet} doesn't contain this address"


def _first_free(subnet: SubnetSpec) -> Address:
    return AddressPool(subnet).take()


# --- who has which address ---


class AddressPool:
    """The addresses of one subnet of a network. The lowest free one is given, as Docker does."""

    def __init__(self, spec: SubnetSpec) -> None:
        self.subnet = ip_network(spec.subnet)
        part = ip_network(spec.ip_range) if spec.ip_range else self.subnet
        reserved = [ip_address(address) for address in (spec.gateway, *spec.auxiliary_addresses.values()) if address]
        first, last = int(self.subnet.network_address), int(self.subnet.broadcast_address)
        self._used = {first, *map(int, reserved)} | ({last} if self.subnet.version == 4 else set())
        self._first, self._last = int(part.network_address), int(part.broadcast_address)
        self._lowest = self._first  # nothing is free beneath

    def take(self, wanted: Address | None = None) -> Address:
        """Reserve an address. Raises Forbidden when `wanted` is taken, and Exhausted when nothing is left."""
        if wanted is not None:
            if int(wanted) in self._used:
                raise Forbidden("Address already in use")
            self._used.add(int(wanted))
            return wanted
        while self._lowest in self._used:
            self._lowest += 1
        if self._lowest > self._last:
            raise Exhausted(f"no available IPv{self.subnet.version} addresses on this network's address pools")
        self._used.add(self._lowest)
        return type(self.subnet.network_address)(self._lowest)

    def hold(self, address: Address) -> None:
        """Reserve an address that a container has already."""
        self._used.add(int(address))

    def give_back(self, address: Address) -> None:
        """The address is free again."""
        self._used.discard(int(address))
        if self._first <= int(address) < self._lowest:
            self._lowest = int(address)


class Exhausted(OrlopError):
    """Every address of a pool is in use."""


def pools(spec: NetworkSpec) -> Mapping[int, AddressPool]:
    """A network's pools by IP version."""
    return {ip_network(subnet.subnet).version: AddressPool(subnet) for subnet in spec.subnets}


def mac_of(address: Address) -> str:
    """The MAC address that belongs to an IPv4 address, as Docker derives it: the next owner of the address is no stranger."""
    return "02:42:" + address.packed[-4:].hex(":")
