"""Which networks exist, by id and name, and who has which of their addresses. In memory; each change is written through."""

import re
import secrets
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address
from typing import Protocol

from orlop.kernel.netlink import Address, Network
from orlop.network.ipam import AddressPool, Exhausted, mac_of, pools
from orlop.spec.errors import Conflict, Forbidden, InvalidArgument, NotFound
from orlop.spec.network import Endpoint, EndpointSpec, NetworkRecord

DEFAULT = "bridge"
PREDEFINED = frozenset({DEFAULT, "host", "none"})
_RESERVED = PREDEFINED | {"default"}
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


class NetworkRecords(Protocol):
    """Where the records are kept: `state.records.Records[NetworkRecord]`."""

    def load(self) -> dict[str, NetworkRecord]: ...
    def save(self, key: str, value: NetworkRecord) -> None: ...
    def delete(self, key: str) -> None: ...


class Register:
    """The networks, in the order in which they were made."""

    def __init__(self, records: NetworkRecords) -> None:
        self._records = records
        self._by_id: dict[str, NetworkRecord] = {}
        self._pools: dict[str, Mapping[int, AddressPool]] = {}

    def open(self) -> None:
        """Read what is known."""
        for record in sorted(self._records.load().values(), key=lambda record: record.created_ns):
            self._take_in(record)

    def list(self) -> list[NetworkRecord]:
        """Every network."""
        return list(self._by_id.values())

    def find(self, reference: str) -> NetworkRecord | None:
        """By id, name or beginning of an id. Raises InvalidArgument when it is the beginning of several."""
        if record := self._by_id.get(reference) or self.named(reference):
            return record
        matches = [record for key, record in self._by_id.items() if reference and key.startswith(reference)]
        if len(matches) > 1:
            raise InvalidArgument(f"network {reference} is ambiguous ({len(matches)} matches found based on ID prefix)")
        return matches[0] if matches else None

    def get(self, reference: str) -> NetworkRecord:
        """As `find`. Raises NotFound."""
        if (record := self.find(reference)) is None:
            raise NotFound("network", reference)
        return record

    def named(self, name: str) -> NetworkRecord | None:
        """By name alone."""
        return next((record for record in self._by_id.values() if record.spec.name == name), None)

    def check_name(self, name: str) -> None:
        """Whether a user may call a new network so. Raises InvalidArgument, Forbidden or Conflict."""
        if not name.strip() or "/" in name or name.startswith("container:") or not name.isprintable():
            raise InvalidArgument(f"invalid network name: {name!r}")
        if name in _RESERVED:
            raise Forbidden(f"operation is not permitted on predefined {name} network")
        if self.named(name) is not None:
            raise Conflict(f"network with name {name} already exists")

    def save(self, record: NetworkRecord) -> None:
        """A network is new, or has changed."""
        self._take_in(record)
        self._records.save(record.id, record)

    def _take_in(self, record: NetworkRecord) -> None:
        self._by_id[record.id] = record
        self._pools[record.id] = pools(record.spec)

    def delete(self, record: NetworkRecord) -> None:
        """A network is no more."""
        self._by_id.pop(record.id, None)
        self._pools.pop(record.id, None)
        self._records.delete(record.id)

    def subnets(self, *, without: NetworkRecord | None = None) -> tuple[Network, ...]:
        """Every subnet of every network (but one)."""
        others = (by_version for key, by_version in self._pools.items() if without is None or key != without.id)
        return tuple(pool.subnet for by_version in others for pool in by_version.values())

    # --- addresses ---

    def reserve(self, network: NetworkRecord, spec: EndpointSpec, *, interface: str, dns_names: tuple[str, ...]) -> Endpoint:
        """A new endpoint with addresses of its own. Raises InvalidArgument, Forbidden or Exhausted, reserving nothing."""
        mac = _wanted_mac(spec)
        endpoint = Endpoint(
            network_id=network.id,
            network_name=network.spec.name,
            endpoint_id=secrets.token_hex(32),
            spec=spec,
            interface=interface,
            dns_names=dns_names,
        )
        try:
            for version, pool in self._pools[network.id].items():
                endpoint = self._address(network, pool, version, endpoint)
        except (InvalidArgument, Forbidden, Exhausted):
            self.free(endpoint)
            raise
        if not self._pools[network.id]:
            return endpoint
        return replace(endpoint, mac_address=mac or mac_of(ip_address(endpoint.ipv4_address or endpoint.ipv6_address)))

    def _address(self, network: NetworkRecord, pool: AddressPool, version: int, endpoint: Endpoint) -> Endpoint:
        wanted = _wanted_address(endpoint.spec, version, pool)
        try:
            address = str(pool.take(wanted))
        except Exhausted as error:
            raise Exhausted(f"{error}: {network.spec.name} ({network.id})") from error
        gateway = "" if network.spec.internal else self._gateway(network, version)
        if version == 4:
            return replace(endpoint, ipv4_address=address, ipv4_prefix=pool.subnet.prefixlen, ipv4_gateway=gateway)
        return replace(endpoint, ipv6_address=address, ipv6_prefix=pool.subnet.prefixlen, ipv6_gateway=gateway)

    def _gateway(self, network: NetworkRecord, version: int) -> str:
        gateways = (subnet.gateway for subnet in network.spec.subnets if subnet.gateway)
        return next((gateway for gateway in gateways if ip_address(gateway).version == version), "")

    def hold(self, endpoint: Endpoint) -> None:
        """An endpoint of a container that runs already has its addresses."""
        for pool, address in self._addresses(endpoint):
            pool.hold(address)

    def free(self, endpoint: Endpoint) -> None:
        """Give an endpoint's addresses back; the network may be gone."""
        for pool, address in self._addresses(endpoint):
            pool.give_back(address)

    def _addresses(self, endpoint: Endpoint) -> tuple[tuple[AddressPool, Address], ...]:
        by_version = self._pools.get(endpoint.network_id, {})
        texts = (endpoint.ipv4_address, endpoint.ipv6_address)
        addresses = [ip_address(text) for text in texts if text]
        return tuple((by_version[address.version], address) for address in addresses if address.version in by_version)


def _wanted_address(spec: EndpointSpec, version: int, pool: AddressPool) -> Address | None:
    text = spec.ipv4_address if version == 4 else spec.ipv6_address
    if not text:
        return None
    try:
        address = ip_address(text)
    except ValueError as error:
        raise InvalidArgument(f"invalid IPv{version} address: {text}") from error
    if address not in pool.subnet:
        raise InvalidArgument(f"no configured subnet or ip-range contain the IP address {text}")
    return address


def _wanted_mac(spec: EndpointSpec) -> str:
    """The MAC address asked for, "" for none. Not one of a group (the lowest bit of the first byte)."""
    if not spec.mac_address:
        return ""
    wanted = spec.mac_address.replace("-", ":").lower()
    if not _MAC.fullmatch(wanted) or int(wanted[:2], 16) & 1:
        raise InvalidArgument(f"invalid MAC address: {spec.mac_address}")
    return wanted
