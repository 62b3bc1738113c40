"""The firewall's fixed ruleset as text for nft(8), and the elements by which networks and published ports appear in it.

One table `orlop` in each family; tables of others are never touched. The chains never change while the daemon runs: a network
or a port is one element more in a set or a map. A chain's name carries a digest of the text, so that a newer Orlop notices an
older one's chains, and leaves equal ones (and the elements that serve connections now) alone.
"""

import hashlib
from collections.abc import Iterable
from ipaddress import ip_address

from orlop.kernel.firewall import IPV4, IPV6, Element, interface_field, port_field, protocol_field
from orlop.kernel.netlink import Network
from orlop.spec.network import PortBinding

TABLE = "orlop"
FAMILIES = (IPV4, IPV6)
SETS = ("bridges", "hairpins", "icc", "internals", "masqueraded", "ports", "address_ports")

# Packets that concern none of our bridges are left alone in each chain.
#  guard    a packet from a container for 127.0.0.0/8 can only be an attempt at the host's own services (route_localnet is on)
#  forward  `icc` holds (bridge, bridge) where containers of one bridge may talk (with br_netfilter, bridged packets come here
#           too); an internal network has no way in or out; a published port is open to all; networks do not reach one another
#  publish  address_ports before ports: published on one address of the host, published on all of them
#  leave    `hairpins` holds (bridge, subnet): a container that reaches its own network by a published port must be answered by
#           the address that it asked (iifname would say so too, but br_netfilter does not know it here);
#           one asked from the host's loopback cannot answer to 127.0.0.1; what remains is the way out
_TEMPLATE = """
add table {family} orlop
delete table {family} orlop
table {family} orlop {{
  set bridges {{ type ifname; }}
  set hairpins {{ type ifname . {address}; flags interval; }}
  set icc {{ type ifname . ifname; }}
  set internals {{ type ifname; }}
  set masqueraded {{ type ifname; }}
  map ports {{ type inet_proto . inet_service : {address} . inet_service; }}
  map address_ports {{ type {address} . inet_proto . inet_service : {address} . inet_service; }}

  chain guard {{
    type filter hook prerouting priority raw; policy accept;
    iifname @bridges {family} daddr {loopback} drop
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    iifname != @bridges oifname != @bridges accept
    ct state established,related accept
    iifname . oifname @icc accept
    iifname @internals drop
    oifname @internals drop
    ct status dnat accept
    oifname @bridges drop
  }}
  chain publish {{
    dnat {family} addr . port to {family} daddr . meta l4proto . th dport map @address_ports
    dnat {family} addr . port to meta l4proto . th dport map @ports
  }}
  chain arrive {{
    type nat hook prerouting priority dstnat; policy accept;
    {family} daddr {loopback} return
    fib daddr type local jump publish
  }}
  chain send {{
    type nat hook output priority -100; policy accept;
    {send_guard}
    fib daddr type local jump publish
  }}
  chain leave {{
    type nat hook postrouting priority srcnat; policy accept;
    ct status dnat oifname . {family} saddr @hairpins masquerade
    oifname @bridges {family} saddr {loopback} masquerade
    iifname @masqueraded oifname != @bridges masquerade
  }}
  chain {marker} {{ }}
}}
"""
_WORDS = {
    IPV4: {"family": "ip", "address": "ipv4_addr", "loopback": "127.0.0.0/8", "send_guard": ""},
    # The kernel never routes ::1 out of lo: such connections stay with the socket that holds the port, and its relay.
    IPV6: {"family": "ip6", "address": "ipv6_addr", "loopback": "::1", "send_guard": "ip6 daddr ::1 return"},
}
MARKER = "ruleset_" + hashlib.sha256(f"{_TEMPLATE}{_WORDS}".encode()).hexdigest()[:16]


def ruleset() -> str:
    """Both tables, empty; takes the place of tables that are there."""
    return "".join(_TEMPLATE.format(marker=MARKER, **_WORDS[family]) for family in FAMILIES)


def bridge_elements(name: str, subnets: Iterable[Network], *, icc: bool, internal: bool, masquerade: bool) -> set[Element]:
    """How a bridge appears in both tables. `icc`: its containers may talk to one another."""
    one, pair = interface_field(name), interface_field(name) * 2
    wanted = {"bridges": one}
    wanted |= {"icc": pair} if icc else {}
    wanted |= {"internals": one} if internal else {}
    wanted |= {"masqueraded": one} if masquerade and not internal else {}
    hairpins = {
        Element(
            IPV4 if subnet.version == 4 else IPV6,
            "hairpins",
            one + subnet.network_address.packed,
            key_end=one + subnet.broadcast_address.packed,
        )
        for subnet in subnets
    }
    return hairpins | {Element(family, set_name, key) for family in FAMILIES for set_name, key in wanted.items()}


def port_element(binding: PortBinding, container_address: str) -> Element:
    """A published port. Both addresses are of one family; the host's may be the unspecified one: every address."""
    host, container = ip_address(binding.host_address), ip_address(container_address)
    key = protocol_field(binding.protocol) + port_field(binding.host_port)
    data = container.packed + port_field(binding.container_port)
    family = IPV4 if host.version == 4 else IPV6
    if host.is_unspecified:
        return Element(family, "ports", key, data)
    return Element(family, "address_ports", host.packed + key, data)
