"""Packet filtering by nf_tables: a whole ruleset once through `nft`, single elements by nfnetlink; conntrack entries.

Adding an element by a message of our own takes 0.15 ms, by running nft 3.5 to 9. Layouts: linux/netfilter/nf_tables.h,
nfnetlink_conntrack.h.
"""

import errno
import socket
import struct
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from orlop.kernel.netlink import Message, NetlinkSocket, attribute, nested, parse_attributes, text
from orlop.kernel.process import CommandFailed, run
from orlop.spec.errors import Unavailable

_NETLINK_NETFILTER = 12
_BATCH_BEGIN, _BATCH_END = 16, 17
_NFTABLES, _CTNETLINK = 10 << 8, 1 << 8
_GETCHAIN, _NEWSETELEM, _GETSETELEM, _DELSETELEM = _NFTABLES | 4, _NFTABLES | 12, _NFTABLES | 13, _NFTABLES | 14
_CT_GET, _CT_DELETE = _CTNETLINK | 1, _CTNETLINK | 2
_NLM_F_CREATE = 0x400

_NFTA_SET_ELEM_LIST_TABLE, _NFTA_SET_ELEM_LIST_SET, _NFTA_SET_ELEM_LIST_ELEMENTS = 1, 2, 3
_NFTA_LIST_ELEM, _NFTA_SET_ELEM_KEY, _NFTA_SET_ELEM_DATA, _NFTA_SET_ELEM_KEY_END, _NFTA_DATA_VALUE = 1, 1, 2, 10, 1
_NFTA_CHAIN_TABLE, _NFTA_CHAIN_NAME, _NFTA_CHAIN_HOOK, _NFTA_CHAIN_POLICY, _NFTA_HOOK_HOOKNUM = 1, 3, 4, 5, 1
_NF_INET_FORWARD, _NF_DROP, _INET = struct.pack("!I", 2), struct.pack("!I", 0), 1
_CTA_TUPLE_ORIG, _CTA_TUPLE_REPLY, _CTA_TUPLE_IP, _CTA_TUPLE_PROTO, _CTA_ZONE = 1, 2, 1, 2, 18
_CTA_PROTO_NUM, _CTA_PROTO_DST_PORT = 1, 3

IPV4, IPV6 = socket.AF_INET, socket.AF_INET6  # the families of tables `ip` and `ip6`
PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a set, or of a map (then with `data`). Keys are fields one after another, each padded to four bytes.

    In a set of intervals, `key_end` is the last key: each field of it ends a range that the field of `key` begins.
    """

    family: int
    set_name: str
    key: bytes
    data: bytes = b""
    key_end: bytes = b""


def port_field(port: int) -> bytes:
    """An inet_service."""
    return struct.pack("!Hxx", port)


def protocol_field(protocol: str) -> bytes:
    """An inet_proto."""
    return struct.pack("=Bxxx", PROTOCOLS[protocol])


def interface_field(name: str) -> bytes:
    """An ifname."""
    return name.encode().ljust(16, b"\0")


def load(ruleset: str) -> None:
    """Apply a script of nft(8), as one transaction. Unavailable where the host cannot."""
    try:
        run(["nft", "-f", "-"], stdin=ruleset.encode(), timeout_seconds=30)
    except CommandFailed as error:
        if error.code is None:
            raise Unavailable("cannot set up bridge networks: nft is not installed (package nftables)") from error
        raise Unavailable(f"cannot set up bridge networks: nft: {error.stderr.strip().splitlines()[0]}") from error


class Firewall:
    """nfnetlink in the network namespace of the thread that opens it; acts on one table name in both families."""

    def __init__(self, table: str) -> None:
        self._table = table
        self._socket = NetlinkSocket(_NETLINK_NETFILTER)

    def close(self) -> None:
        self._socket.close()

    def has_chain(self, family: int, chain: str) -> bool:
        """Whether the table exists and has such a chain."""
        body = _header(family) + text(_NFTA_CHAIN_TABLE, self._table) + text(_NFTA_CHAIN_NAME, chain)
        try:
            self._socket.get(Message(_GETCHAIN, body, about=f"find chain {chain}"))
        except OSError:
            return False
        return True

    def forward_drops(self) -> list[str]:
        """The chains of other tables that drop forwarded packets by their policy: "ip filter FORWARD"."""
        found: list[str] = []
        for family, word in ((IPV4, "ip"), (IPV6, "ip6"), (_INET, "inet")):
            for _, body in self._socket.dump(Message(_GETCHAIN, _header(family), about="list chains")):
                values = parse_attributes(body[4:])
                hook = parse_attributes(values.get(_NFTA_CHAIN_HOOK, b"")).get(_NFTA_HOOK_HOOKNUM)
                if hook == _NF_INET_FORWARD and values.get(_NFTA_CHAIN_POLICY) == _NF_DROP:
                    table, chain = (values[kind].rstrip(b"\0").decode() for kind in (_NFTA_CHAIN_TABLE, _NFTA_CHAIN_NAME))
                    found.append(f"{word} {table} {chain}")
        return [chain for chain in found if chain.split()[1] != self._table]

    def change(self, *, remove: Iterable[Element] = (), add: Iterable[Element] = ()) -> None:
        """Remove and add elements in one transaction; what is to go may be gone, what is to come may be there already."""
        removals = [self._message(_DELSETELEM, element, 0) for element in remove]
        additions = [self._message(_NEWSETELEM, element, _NLM_F_CREATE) for element in add]
        try:
            self._transaction(removals + additions)
        except OSError as error:
            if error.errno != errno.ENOENT or not removals:
                raise
            for removal in removals:
                self._remove_if_there(removal)
            self._transaction(additions)

    def _remove_if_there(self, removal: Message) -> None:
        try:
            self._transaction([removal])
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise

    def _transaction(self, messages: list[Message]) -> None:
        if messages:
            begin = Message(_BATCH_BEGIN, _header(0, 10), about="change nf_tables", acknowledged=False)
            end = Message(_BATCH_END, _header(0, 10), about="change nf_tables", acknowledged=False)
            self._socket.execute(begin, *messages, end)

    def _message(self, kind: int, element: Element, flags: int) -> Message:
        value = nested(_NFTA_SET_ELEM_KEY, attribute(_NFTA_DATA_VALUE, element.key))
        if element.key_end:
            value += nested(_NFTA_SET_ELEM_KEY_END, attribute(_NFTA_DATA_VALUE, element.key_end))
        if element.data and kind == _NEWSETELEM:
            value += nested(_NFTA_SET_ELEM_DATA, attribute(_NFTA_DATA_VALUE, element.data))
        body = _header(element.family) + self._set(element.set_name)
        body += nested(_NFTA_SET_ELEM_LIST_ELEMENTS, nested(_NFTA_LIST_ELEM, value))
        return Message(kind, body, flags, f"change nf_tables set {element.set_name}")

    def _set(self, name: str) -> bytes:
        return text(_NFTA_SET_ELEM_LIST_TABLE, self._table) + text(_NFTA_SET_ELEM_LIST_SET, name)

    def elements(self, family: int, set_name: str) -> set[Element]:
        """Every element of a set or map."""
        question = Message(_GETSETELEM, _header(family) + self._set(set_name), about=f"list set {set_name}")
        return {
            Element(family, set_name, *_values(value))
            for _, body in self._socket.dump(question)
            for value in _list(parse_attributes(body[4:]).get(_NFTA_SET_ELEM_LIST_ELEMENTS, b""))
        }

    def forget_flows(
        self, protocol: str, *, host_ports: Collection[int], host_addresses: Collection[str], served_by: Collection[str]
    ) -> int:
        """Delete conntrack entries that began towards one of these ports of the host, or that an address here answers.

        An entry made before a port was published (or after its container went) would else keep a UDP client's datagrams
        away from the new container for as long as it keeps sending. Returns how many were deleted.
        """
        deleted = 0
        for family in (IPV4, IPV6):
            for body in self._flows(family):
                values = parse_attributes(body[4:])
                asked, answers = _tuple(values[_CTA_TUPLE_ORIG]), _tuple(values[_CTA_TUPLE_REPLY])
                to_host = asked.port in host_ports and asked.destination in host_addresses
                if asked.protocol == PROTOCOLS[protocol] and (to_host or answers.source in served_by):
                    deleted += self._forget(family, values)
        return deleted

    def _flows(self, family: int) -> list[bytes]:
        return [body for _, body in self._socket.dump(Message(_CT_GET, _header(family), about="list connections"))]

    def _forget(self, family: int, values: dict[int, bytes]) -> int:
        body = _header(family) + nested(_CTA_TUPLE_ORIG, values[_CTA_TUPLE_ORIG])
        body += attribute(_CTA_ZONE, values[_CTA_ZONE]) if _CTA_ZONE in values else b""
        try:
            self._socket.execute(Message(_CT_DELETE, body, about="forget a connection"))
        except OSError as error:  # ENOENT: it timed out meanwhile
            if error.errno != errno.ENOENT:
                raise
            return 0
        return 1


def _header(family: int, resource: int = 0) -> bytes:
    return struct.pack("!BBH", family, 0, resource)


def _list(data: bytes) -> Iterator[bytes]:
    """The values of attributes that all have the same type."""
    offset = 0
    while offset + 4 <= len(data):
        size = struct.unpack_from("=H", data, offset)[0]
        yield data[offset + 4 : offset + size]
        offset += (size + 3) & ~3


def _values(element: bytes) -> tuple[bytes, bytes, bytes]:
    """An element's key, data and end of key."""
    values = parse_attributes(element)
    kinds = (_NFTA_SET_ELEM_KEY, _NFTA_SET_ELEM_DATA, _NFTA_SET_ELEM_KEY_END)
    key, data, key_end = (parse_attributes(values.get(kind, b"")).get(_NFTA_DATA_VALUE, b"") for kind in kinds)
    return key, data, key_end


@dataclass(frozen=True, slots=True)
class _Tuple:
    """One direction of a connection."""

    source: str
    destination: str
    protocol: int
    port: int  # of the destination


def _tuple(data: bytes) -> _Tuple:
    values = parse_attributes(data)
    addresses, protocol = parse_attributes(values[_CTA_TUPLE_IP]), parse_attributes(values[_CTA_TUPLE_PROTO])
    source, destination = (str(ip_address(value)) for _, value in sorted(addresses.items()))  # v4: 1, 2; v6: 3, 4
    port = protocol.get(_CTA_PROTO_DST_PORT, bytes(2))
    return _Tuple(source, destination, protocol[_CTA_PROTO_NUM][0], struct.unpack("!H", port)[0])
