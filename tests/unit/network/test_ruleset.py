"""Firewall elements, and what a crash leaves."""

from ipaddress import ip_network

from orlop.kernel.firewall import IPV4, IPV6
from orlop.kernel.netlink import Link
from orlop.network.recovery import strangers
from orlop.network.ruleset import MARKER, bridge_elements, port_element, ruleset
from orlop.spec.network import PortBinding


def test_the_ruleset_names_itself_by_its_digest():
    assert ruleset().count(f"chain {MARKER} ") == 2
    assert len(f"chain {MARKER}") < 40


def test_a_port_on_every_address_and_on_one():
    everywhere = port_element(PortBinding(container_port=80, host_address="0.0.0.0", host_port=8080), "172.17.0.2")
    assert (everywhere.family, everywhere.set_name) == (IPV4, "ports")
    assert everywhere.key == bytes.fromhex("06000000 1f900000")
    assert everywhere.data == bytes.fromhex("ac110002 00500000")
    one = port_element(PortBinding(container_port=53, protocol="udp", host_address="::1", host_port=53), "fd00::2")
    assert (one.family, one.set_name) == (IPV6, "address_ports")
    assert one.key == bytes(15) + b"\x01" + bytes.fromhex("11000000 00350000")


def test_a_bridge_appears_as_its_options_say():
    def names(**options) -> set[str]:
        return {element.set_name for element in bridge_elements("br0", [ip_network("10.0.0.0/24")], **options)}

    assert names(icc=True, internal=False, masquerade=True) == {"bridges", "hairpins", "icc", "masqueraded"}
    assert names(icc=False, internal=True, masquerade=True) == {"bridges", "hairpins", "internals"}
    (hairpin,) = (e for e in bridge_elements("br0", [ip_network("10.0.0.0/24")], icc=True, internal=False, masquerade=True)
                  if e.set_name == "hairpins")  # fmt: skip
    assert hairpin.key == b"br0".ljust(16, b"\0") + bytes([10, 0, 0, 0])
    assert hairpin.key_end == b"br0".ljust(16, b"\0") + bytes([10, 0, 0, 255])


def link(name: str, kind: str, alias: str = "") -> Link:
    return Link(index=1, name=name, kind=kind, up=True, mac="", mtu=1500, master=0, alias=alias)


def test_only_links_of_ours_that_belong_to_nobody_are_strangers():
    links = [
        link("orlop0", "bridge", "orlop network x"),
        link("orlopaaaaaaaa", "veth"),
        link("orlopbbbbbbbb", "veth"),
        link("br-gone", "bridge", "orlop network y"),
        link("br-docker", "bridge"),
        link("vethdocker", "veth"),
        link("eth0", ""),
    ]
    assert strangers(links, {"orlopaaaaaaaa"}, {"orlop0"}) == ["orlopbbbbbbbb", "br-gone"]
