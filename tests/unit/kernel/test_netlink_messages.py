"""rtnetlink messages as bytes."""

from ipaddress import ip_address, ip_interface

from orlop.kernel import netlink


def test_attributes_are_padded_and_read_again():
    data = netlink.text(3, "eth0") + netlink.number(4, 1500) + netlink.nested(18, netlink.attribute(1, b"veth"))
    assert data.startswith(bytes.fromhex("0900 0300") + b"eth0\0" + bytes(3))
    found = netlink.parse_attributes(data)
    assert found[3] == b"eth0\0"
    assert found[4] == (1500).to_bytes(4, "little")
    assert netlink.parse_attributes(found[18]) == {1: b"veth"}


def test_what_is_cut_off_or_malformed_ends_the_reading():
    assert netlink.parse_attributes(b"\x00\x00\x01\x00rest") == {}
    assert netlink.parse_attributes(b"\x05\x00") == {}


def test_an_address_has_its_broadcast_or_skips_duplicate_detection():
    four = netlink.address(2, ip_interface("10.0.0.2/24")).body
    assert four[:8] == bytes([2, 24, 0, 0, 2, 0, 0, 0])
    assert netlink.parse_attributes(four[8:]) == {2: bytes([10, 0, 0, 2]), 1: bytes([10, 0, 0, 2]), 4: bytes([10, 0, 0, 255])}
    six = netlink.parse_attributes(netlink.address(2, ip_interface("fd00::2/64")).body[8:])
    assert six[8] == b"\2\0\0\0"
    assert 4 not in six


def test_a_message_says_what_it_is_about():
    assert netlink.default_route(2, ip_address("10.0.0.1")).about == "route by 10.0.0.1"
    assert netlink.veth("orlop1", 3, "eth0", 9).about == "make veth orlop1"
