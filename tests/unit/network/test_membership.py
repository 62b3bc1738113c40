"""Interfaces, default routes and names of a container on several networks."""

from orlop.network import membership
from orlop.spec.network import Endpoint, EndpointSpec


def endpoint(
    network: str, interface: str = "eth0", *, priority: int = 0, gateway: str = "1.1.1.1", gateway6: str = ""
) -> Endpoint:
    return Endpoint(
        network_id=network, network_name=network, spec=EndpointSpec(gateway_priority=priority),
        interface=interface, ipv4_gateway=gateway, ipv6_gateway=gateway6,
    )  # fmt: skip


def test_the_first_free_interface_is_taken():
    assert membership.free_interface([], "eth") == "eth0"
    assert membership.free_interface([endpoint("a", "eth0"), endpoint("b", "eth2")], "eth") == "eth1"
    assert membership.free_interface([endpoint("a", "lan")], "eth") == "eth0"


def test_the_way_out_is_by_priority_then_by_name_among_those_that_have_one():
    a, b, inner = endpoint("a"), endpoint("b", priority=1), endpoint("0", gateway="")
    assert membership.way_out([a, b, inner], 4) is b
    assert membership.way_out([endpoint("z"), a, inner], 4) is a
    assert membership.way_out([inner], 4) is None
    assert membership.way_out([a], 6) is None


def test_who_wins_and_who_inherits_default_routes():
    a, b = endpoint("a", gateway6="fd00::1"), endpoint("b", gateway6="fd01::1", priority=1)
    four = endpoint("c", priority=2)
    assert membership.won_by(a, []) == {4, 6}
    assert membership.won_by(b, [a]) == {4, 6}
    assert membership.won_by(a, [b]) == set()
    assert membership.won_by(four, [a, b]) == {4}
    assert membership.left_by(four, [a, b]) == {4: b}
    assert membership.left_by(a, [b]) == {}
    assert membership.left_by(a, []) == {}


def test_names_are_said_once():
    spec = EndpointSpec(aliases=("db", "web"))
    names = membership.dns_names(spec, container_id="0123456789abcdef", name="web", hostname="")
    assert names == ("web", "db", "0123456789ab")
