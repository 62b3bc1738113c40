"""Links, addresses and routes by rtnetlink(7): messages are values, a batch of them is one system call.

A message is built by a pure function (`veth`, `address`, ...) and sent by a `RouteSocket`, which acts in the network namespace
that it was opened in, wherever its caller is. Layouts: linux/rtnetlink.h, linux/if_link.h.
"""

import errno
import os
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network, ip_interface

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network

_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_DUMP, _NLM_F_REPLACE, _NLM_F_EXCL, _NLM_F_CREATE = 1, 4, 0x300, 0x100, 0x200, 0x400
_NLM_F_DUMP_INTR = 0x10
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_SOL_NETLINK, _NETLINK_CAP_ACK = 270, 10
_ANSWER_WITHIN = struct.pack("@ll", 60, 0)  # struct timeval; the kernel answers within the call, but may wait for a lock

_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK, _RTM_SETLINK = 16, 17, 18, 19
_RTM_NEWADDR, _RTM_DELADDR, _RTM_GETADDR = 20, 21, 22
_RTM_NEWROUTE, _RTM_GETROUTE, _RTM_DELNEIGH = 24, 26, 29

_IFF_UP = 1
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_MASTER, _IFLA_PROTINFO, _IFLA_LINKINFO = 1, 3, 4, 10, 12, 18
_IFLA_IFALIAS, _IFLA_STATS64, _IFLA_NET_NS_FD = 20, 23, 28
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _IFLA_INFO_SLAVE_KIND, _IFLA_INFO_SLAVE_DATA, _VETH_INFO_PEER = 1, 2, 4, 5, 1
_IFLA_BRPORT_STATE, _IFLA_BRPORT_MODE, _IFLA_BRPORT_FLUSH, _IFLA_BRPORT_ISOLATED, _BR_STATE_DISABLED = 1, 4, 24, 33, 0
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_FLAGS, _IFA_F_NODAD = 1, 2, 4, 8, 2
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _NDA_DST = 1, 4, 5, 1
_RT_TABLE_MAIN, _RTPROT_BOOT, _RTN_UNICAST = 254, 3, 1
_NESTED = 0x8000
_AF_BRIDGE = 7

_STATS = ("rx_packets", "tx_packets", "rx_bytes", "tx_bytes", "rx_errors", "tx_errors", "rx_dropped", "tx_dropped")


# --- attributes: type, length, value, padded to four bytes ---


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute (struct nlattr)."""
    size = 4 + len(value)
    return struct.pack("=HH", size, kind) + value + bytes(-size & 3)


def nested(kind: int, *attributes: bytes) -> bytes:
    """An attribute that holds others."""
    return attribute(kind | _NESTED, b"".join(attributes))


def number(kind: int, value: int) -> bytes:
    """A 32-bit attribute in the host's byte order."""
    return attribute(kind, struct.pack("=I", value))


def text(kind: int, value: str) -> bytes:
    """A string attribute."""
    return attribute(kind, value.encode() + b"\0")


def parse_attributes(data: bytes) -> dict[int, bytes]:
    """Attribute type to value."""
    found: dict[int, bytes] = {}
    offset = 0
    while offset + 4 <= len(data):
        size, kind = struct.unpack_from("=HH", data, offset)
        if size < 4:
            break
        found[kind & 0x3FFF] = data[offset + 4 : offset + size]
        offset += (size + 3) & ~3
    return found


# --- messages ---


@dataclass(frozen=True, slots=True)
class Message:
    """One netlink message but for its header; `about` names the act in errors."""

    kind: int
    body: bytes
    flags: int = 0
    about: str = ""
    acknowledged: bool = True


def _link_header(index: int = 0, flags: int = 0, change: int = 0, family: int = 0) -> bytes:
    return struct.pack("=BxHiII", family, 0, index, flags, change)


def bridge(name: str, mac: str, mtu: int = 0) -> Message:
    """Make a bridge, up."""
    body = _link_header(0, _IFF_UP, _IFF_UP) + text(_IFLA_IFNAME, name) + attribute(_IFLA_ADDRESS, mac_bytes(mac))
    body += number(_IFLA_MTU, mtu) if mtu else b""
    body += nested(_IFLA_LINKINFO, attribute(_IFLA_INFO_KIND, b"bridge"))
    return Message(_RTM_NEWLINK, body, _NLM_F_CREATE | _NLM_F_EXCL, f"make bridge {name}")


def veth(name: str, master: int, peer: str, peer_namespace: int, *, mtu: int = 0) -> Message:
    """Make a veth pair: `name` here, up and a port of bridge `master`; `peer` straight in another namespace (an fd), down.

    The peer cannot be brought up in the same message: the kernel answers ENOTCONN.
    """
    size = number(_IFLA_MTU, mtu) if mtu else b""
    peer_body = _link_header() + text(_IFLA_IFNAME, peer) + number(_IFLA_NET_NS_FD, peer_namespace) + size
    kind = attribute(_IFLA_INFO_KIND, b"veth") + nested(_IFLA_INFO_DATA, attribute(_VETH_INFO_PEER, peer_body))
    body = _link_header(0, _IFF_UP, _IFF_UP) + text(_IFLA_IFNAME, name) + number(_IFLA_MASTER, master) + size
    return Message(_RTM_NEWLINK, body + nested(_IFLA_LINKINFO, kind), _NLM_F_CREATE | _NLM_F_EXCL, f"make veth {name}")


def link_up(name: str = "", *, index: int = 0, mac: str = "", mtu: int = 0) -> Message:
    """Bring a link up, with another MAC address or MTU where given."""
    body = _link_header(index, _IFF_UP, _IFF_UP)
    body += text(_IFLA_IFNAME, name) if name else b""
    body += attribute(_IFLA_ADDRESS, mac_bytes(mac)) if mac else b""
    body += number(_IFLA_MTU, mtu) if mtu else b""
    return Message(_RTM_NEWLINK, body, 0, f"bring up {name or index}")


def link_alias(name: str, alias: str) -> Message:
    """Note for people and programs on a link; the kernel takes none when a link is made."""
    return Message(_RTM_NEWLINK, _link_header() + text(_IFLA_IFNAME, name) + text(_IFLA_IFALIAS, alias), 0, f"name {name}")


def bridge_port(name: str, *, hairpin: bool = False, isolated: bool = False) -> Message:
    """How a bridge treats one of its ports: `hairpin` sends frames back where they came from, `isolated` ports do not meet."""
    data = _port_options({_IFLA_BRPORT_MODE: hairpin, _IFLA_BRPORT_ISOLATED: isolated})
    info = nested(_IFLA_LINKINFO, attribute(_IFLA_INFO_SLAVE_KIND, b"bridge"), nested(_IFLA_INFO_SLAVE_DATA, data))
    return Message(_RTM_NEWLINK, _link_header() + text(_IFLA_IFNAME, name) + info, 0, f"set bridge port {name}")


def disable_bridge_port(index: int) -> Message:
    """Let nothing through a port any more, and forget what was learnt on it: another port may have its addresses at once.

    Takes 0.04 ms, where removing the link takes 20 ms. Asked of the bridge (AF_BRIDGE), not of the link as in `bridge_port`: a
    link that was changed is looked at again, and its port enabled.
    """
    options = nested(_IFLA_PROTINFO, _port_options({_IFLA_BRPORT_STATE: _BR_STATE_DISABLED, _IFLA_BRPORT_FLUSH: 1}))
    return Message(_RTM_SETLINK, _link_header(index, family=_AF_BRIDGE) + options, 0, f"disable bridge port {index}")


def _port_options(options: dict[int, int]) -> bytes:
    return b"".join(attribute(kind, bytes([value])) for kind, value in options.items())


def delete_link(name: str) -> Message:
    """Remove a link; of a veth, both ends. Slow (the kernel waits until nobody looks at it): never on a hot path."""
    return Message(_RTM_DELLINK, _link_header() + text(_IFLA_IFNAME, name), 0, f"remove link {name}")


def address(index: int, interface: Interface) -> Message:
    """Give a link an address. IPv6 without duplicate detection, which would keep it unusable for a second."""
    body = _address(index, interface)
    if interface.version == 4:
        body += attribute(_IFA_BROADCAST, interface.network.broadcast_address.packed)
    else:
        body += number(_IFA_FLAGS, _IFA_F_NODAD)
    return Message(_RTM_NEWADDR, body, _NLM_F_CREATE | _NLM_F_REPLACE, f"add address {interface}")


def delete_address(index: int, interface: Interface) -> Message:
    """Take an address from a link."""
    return Message(_RTM_DELADDR, _address(index, interface), 0, f"remove address {interface}")


def _address(index: int, interface: Interface) -> bytes:
    header = struct.pack("=BBBBi", _family(interface), interface.network.prefixlen, 0, 0, index)
    return header + attribute(_IFA_LOCAL, interface.packed) + attribute(_IFA_ADDRESS, interface.packed)


def forget_neighbour(index: int, address: Address) -> Message:
    """Ask for this neighbour's MAC address again. ENOENT when it is not known anyway."""
    body = struct.pack("=BxxxiHBB", _family(address), index, 0, 0, 0) + attribute(_NDA_DST, address.packed)
    return Message(_RTM_DELNEIGH, body, 0, f"forget neighbour {address}")


def default_route(index: int, gateway: Address) -> Message:
    """Everything else goes to `gateway`; replaces such a route."""
    header = struct.pack("=BBBBBBBBI", _family(gateway), 0, 0, 0, _RT_TABLE_MAIN, _RTPROT_BOOT, 0, _RTN_UNICAST, 0)
    body = header + attribute(_RTA_GATEWAY, gateway.packed) + number(_RTA_OIF, index)
    return Message(_RTM_NEWROUTE, body, _NLM_F_CREATE | _NLM_F_REPLACE, f"route by {gateway}")


def _family(of: Address | Interface) -> int:
    return socket.AF_INET if of.version == 4 else socket.AF_INET6


def mac_bytes(mac: str) -> bytes:
    """The six bytes of "02:42:ac:11:00:02"."""
    return bytes.fromhex(mac.replace(":", ""))


# --- sockets ---


class NetlinkSocket:
    """A netlink socket of one protocol. Threads may share it: each batch is sent and answered under a lock."""

    def __init__(self, protocol: int) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.bind((0, 0))
        self._socket.setsockopt(
            _SOL_NETLINK, _NETLINK_CAP_ACK, 1
        )  # an error answers with our header only, not the whole message
        self._sequence = 0
        self._lock = threading.Lock()

    def close(self) -> None:
        self._socket.close()

    def execute(self, *messages: Message) -> None:
        """Send a batch; rtnetlink goes on after one that failed. Raises the first failure, as OSError that names the act.

        Only the last message asks to be acknowledged: answers come in order, and a failure is answered in any case.
        """
        last = max(number for number, message in enumerate(messages) if message.acknowledged)
        with self._lock:
            data, first = bytearray(), self._sequence + 1
            for number, message in enumerate(messages):
                self._sequence += 1
                data += self._header(message, _NLM_F_ACK if number == last else 0) + message.body
            self._socket.send(data)
            failure = self._first_failure(first, messages, last)
        if failure is not None:
            message, code = failure
            raise OSError(code, f"cannot {message.about}: {os.strerror(code)}")

    def _header(self, message: Message, flags: int) -> bytes:
        size = 16 + len(message.body)
        return struct.pack("=IHHII", size, message.kind, _NLM_F_REQUEST | message.flags | flags, self._sequence, 0)

    def _first_failure(self, first: int, messages: Sequence[Message], last: int) -> tuple[Message, int] | None:
        """Wait for the answer to the `last` of a batch whose sequence numbers begin at `first`; what failed until then."""
        failure: tuple[Message, int] | None = None
        while True:
            for kind, sequence, _, body in self._receive():
                number = sequence - first
                if kind != _NLMSG_ERROR or not 0 <= number < len(messages):
                    continue
                code = -struct.unpack_from("=i", body)[0]
                if code and failure is None:
                    failure = messages[number], code
                if number == last or (code and not messages[number].acknowledged):  # the batch's head: nothing else is answered
                    return failure

    def dump(self, message: Message) -> list[tuple[int, bytes]]:
        """(type, body) of every object of a kind. Asks again when the kernel's table changed meanwhile."""
        for _ in range(8):
            with self._lock:
                found, consistent = self._dump(message)
            if consistent:
                break
        return found

    def _dump(self, message: Message) -> tuple[list[tuple[int, bytes]], bool]:
        self._sequence += 1
        self._socket.send(self._header(message, _NLM_F_DUMP) + message.body)
        found: list[tuple[int, bytes]] = []
        consistent = True
        while True:
            for kind, sequence, flags, body in self._receive():
                if sequence != self._sequence:
                    continue
                consistent = consistent and not flags & _NLM_F_DUMP_INTR
                if kind in (_NLMSG_ERROR, _NLMSG_DONE):
                    if len(body) >= 4 and (code := struct.unpack_from("=i", body)[0]):
                        raise OSError(-code, f"cannot {message.about}: {os.strerror(-code)}")
                    return found, consistent
                found.append((kind, body))

    def get(self, message: Message) -> bytes:
        """The body of the answer to a question about one object."""
        with self._lock:
            self._sequence += 1
            self._socket.send(self._header(message, 0) + message.body)
            while True:
                for kind, sequence, _, body in self._receive():
                    if sequence != self._sequence:
                        continue
                    if kind == _NLMSG_ERROR:
                        code = -struct.unpack_from("=i", body)[0]
                        raise OSError(code, f"cannot {message.about}: {os.strerror(code)}")
                    return body

    def _receive(self) -> Iterator[tuple[int, int, int, bytes]]:
        data = self._socket.recv(1 << 18)
        offset = 0
        while offset + 16 <= len(data):
            size, kind, flags, sequence, _ = struct.unpack_from("=IHHII", data, offset)
            yield kind, sequence, flags, data[offset + 16 : offset + size]
            offset += (size + 3) & ~3


@dataclass(frozen=True, slots=True)
class Link:
    """A network interface."""

    index: int
    name: str
    kind: str  # bridge, veth, ... or "" of hardware
    up: bool
    mac: str
    mtu: int
    master: int
    alias: str


class RouteSocket(NetlinkSocket):
    """rtnetlink in the network namespace of the thread that opens it."""

    def __init__(self) -> None:
        super().__init__(socket.NETLINK_ROUTE)

    def links(self) -> list[Link]:
        """Every interface."""
        return [_link(body) for _, body in self.dump(Message(_RTM_GETLINK, _link_header(), about="list links"))]

    def link(self, name: str) -> Link:
        """One interface. OSError ENODEV when there is none."""
        return _link(self.get(_get_link(name)))

    def find_link(self, name: str) -> Link | None:
        """One interface, or None."""
        try:
            return self.link(name)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
            return None

    def statistics(self, name: str) -> dict[str, int]:
        """Counters of an interface since it was made: rx_bytes, tx_packets, rx_dropped, ..."""
        values = parse_attributes(self.get(_get_link(name))[16:]).get(_IFLA_STATS64, bytes(64))
        return dict(zip(_STATS, struct.unpack_from("=8Q", values), strict=True))

    def addresses(self) -> list[tuple[int, Interface]]:
        """(link index, address) of every address here."""
        found: list[tuple[int, Interface]] = []
        for _, body in self.dump(Message(_RTM_GETADDR, bytes(8), about="list addresses")):
            _, prefix, _, _, index = struct.unpack_from("=BBBBi", body)
            values = parse_attributes(body[8:])
            if packed := values.get(_IFA_LOCAL) or values.get(_IFA_ADDRESS):
                found.append((index, ip_interface((packed, prefix))))
        return found

    def routes(self) -> list[Network]:
        """The destinations of the main table's routes, without the default."""
        found: list[Network] = []
        for _, body in self.dump(Message(_RTM_GETROUTE, bytes(12), about="list routes")):
            _, prefix, _, _, table = struct.unpack_from("=BBBBB", body)
            destination = parse_attributes(body[12:]).get(_RTA_DST)
            if destination and table == _RT_TABLE_MAIN and prefix:
                found.append(ip_interface((destination, prefix)).network)
        return found


def _get_link(name: str) -> Message:
    return Message(_RTM_GETLINK, _link_header() + text(_IFLA_IFNAME, name), about=f"find link {name}")


def _link(body: bytes) -> Link:
    _, index, flags, _ = struct.unpack_from("=BxxxiII", body)
    values = parse_attributes(body[16:])
    info = parse_attributes(values.get(_IFLA_LINKINFO, b""))
    return Link(
        index=index,
        name=_string(values.get(_IFLA_IFNAME, b"")),
        kind=_string(info.get(_IFLA_INFO_KIND, b"")),
        up=bool(flags & _IFF_UP),
        mac=values.get(_IFLA_ADDRESS, b"").hex(":"),
        mtu=struct.unpack("=I", values.get(_IFLA_MTU, bytes(4)))[0],
        master=struct.unpack("=I", values.get(_IFLA_MASTER, bytes(4)))[0],
        alias=_string(values.get(_IFLA_IFALIAS, b"")),
    )


def _string(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")
