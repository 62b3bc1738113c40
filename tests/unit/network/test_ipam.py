"""Subnets and addresses."""

from ipaddress import ip_address, ip_network

import pytest

from orlop.network.ipam import (
    DEFAULT_RANGES,
    AddressPool,
    AddressRange,
    Exhausted,
    choose_subnet,
    complete,
    local_ipv6_range,
    mac_of,
)
from orlop.spec.errors import Forbidden, InvalidArgument
from orlop.spec.network import NetworkSpec, SubnetSpec


def nets(*texts: str):
    return [ip_network(text) for text in texts]


def test_the_first_free_subnet_is_chosen_around_networks_and_routes():
    assert str(choose_subnet(4, DEFAULT_RANGES, [])) == "172.17.0.0/16"
    assert str(choose_subnet(4, DEFAULT_RANGES, nets("172.17.3.0/24", "172.18.0.0/15"))) == "172.20.0.0/16"
    assert str(choose_subnet(4, DEFAULT_RANGES, nets("172.16.0.0/12"))) == "192.168.0.0/20"
    with pytest.raises(InvalidArgument, match="all predefined address pools have been fully subnetted"):
        choose_subnet(4, DEFAULT_RANGES, nets("172.16.0.0/12", "192.168.0.0/16"))


def test_ranges_are_read_as_dockerd_does():
    pool = AddressRange.parse("base=10.10.0.0/16,size=24")
    assert [str(subnet) for subnet in list(pool.subnets())[:2]] == ["10.10.0.0/24", "10.10.1.0/24"]
    for wrong in (
        "",
        "base=10.0.0.0/16",
        "base=10.0.0.0/16,size=8",
        "base=10.0.0.0/8,size=30",
        "base=10.0.0.1/16,size=24",
        "size=x",
    ):
        with pytest.raises(InvalidArgument, match="invalid default address pool"):
            AddressRange.parse(wrong)


def test_the_local_ipv6_range_is_unique_and_stays():
    one, same, other = local_ipv6_range("a"), local_ipv6_range("a"), local_ipv6_range("b")
    assert one == same != other
    assert one.base.prefixlen == 48
    assert one.base.subnet_of(ip_network("fd00::/8"))
    assert next(one.subnets()).prefixlen == 64


def test_a_spec_is_completed_with_subnet_and_gateway():
    spec = complete(
        NetworkSpec(name="n", enable_ipv6=True), (*DEFAULT_RANGES, local_ipv6_range("x")), nets("172.17.0.0/16"), []
    )
    v4, v6 = spec.subnets
    assert (v4.subnet, v4.gateway) == ("172.18.0.0/16", "172.18.0.1")
    assert ip_address(v6.gateway) == ip_network(v6.subnet)[1]


@pytest.mark.parametrize(
    ("subnet", "gateway"),
    [
        (SubnetSpec(subnet="10.0.0.0/24"), "10.0.0.1"),
        (SubnetSpec(subnet="10.0.0.0/24", gateway="10.0.0.254"), "10.0.0.254"),
        (SubnetSpec(subnet="10.0.0.0/24", ip_range="10.0.0.128/25"), "10.0.0.128"),
        (SubnetSpec(subnet="10.0.0.0/24", auxiliary_addresses={"router": "10.0.0.1"}), "10.0.0.2"),
    ],
)
def test_the_gateway_is_the_first_address_that_is_free(subnet: SubnetSpec, gateway: str):
    assert complete(NetworkSpec(name="n", subnets=(subnet,)), DEFAULT_RANGES, [], []).subnets[0].gateway == gateway


def test_a_users_subnet_may_be_on_the_host_but_not_in_another_network():
    spec = NetworkSpec(name="n", subnets=(SubnetSpec(subnet="10.1.0.0/24"),))
    assert complete(spec, DEFAULT_RANGES, [], nets("10.0.0.0/8")).subnets[0].subnet == "10.1.0.0/24"
    with pytest.raises(Forbidden, match="Pool overlaps with other one on this address space"):
        complete(spec, DEFAULT_RANGES, nets("10.1.0.128/25"), [])
    with pytest.raises(Forbidden, match="bridge driver doesn't support multiple subnets"):
        complete(NetworkSpec(name="n", subnets=(*spec.subnets, SubnetSpec(subnet="10.2.0.0/24"))), DEFAULT_RANGES, [], [])


@pytest.mark.parametrize(
    ("subnet", "message"),
    [
        (SubnetSpec(subnet="10.0.0"), "invalid subnet 10.0.0: invalid CIDR block notation"),
        (SubnetSpec(subnet="10.0.0.1"), "invalid subnet 10.0.0.1: invalid CIDR block notation"),
        (SubnetSpec(subnet="10.0.0.1/24"), "invalid subnet 10.0.0.1/24: it should be 10.0.0.0/24"),
        (SubnetSpec(ip_range="10.0.0.0/24"), "invalid subnet : invalid CIDR block notation"),
        (SubnetSpec(subnet="10.0.0.0/24", ip_range="nosuch"), "invalid ip-range nosuch: invalid CIDR block notation"),
        (SubnetSpec(subnet="10.0.0.0/24", ip_range="fd00::/64"), "invalid ip-range fd00::/64: parent subnet is an IPv4 block"),
        (SubnetSpec(subnet="10.0.0.0/24", ip_range="10.0.0.0/16"), "invalid ip-range 10.0.0.0/16: CIDR block is bigger than its parent subnet"),
        (SubnetSpec(subnet="10.0.0.0/24", ip_range="10.0.1.0/25"), "invalid ip-range 10.0.1.0/25: parent subnet 10.0.0.0/24 doesn't contain ip-range"),
        (SubnetSpec(subnet="10.0.0.0/24", ip_range="10.0.0.3/25"), "invalid ip-range 10.0.0.3/25: it should be 10.0.0.0/25"),
        (SubnetSpec(subnet="10.0.0.0/24", gateway="10.0.1.1"), "invalid gateway 10.0.1.1: parent subnet 10.0.0.0/24 doesn't contain this address"),
        (SubnetSpec(subnet="10.0.0.0/24", gateway="here"), "invalid gateway here: invalid address"),
        (SubnetSpec(subnet="10.0.0.0/24", auxiliary_addresses={"a": "fd00::1"}), "invalid auxiliary address fd00::1: parent subnet is an IPv4 block"),
    ],
)  # fmt: skip
def test_what_does_not_hold_together_is_named(subnet: SubnetSpec, message: str):
    with pytest.raises(InvalidArgument) as refused:
        complete(NetworkSpec(name="n", subnets=(subnet,)), DEFAULT_RANGES, [], [])
    first, *rest = str(refused.value).splitlines()
    assert first == "invalid network config:"
    assert message in "\n".join(rest)


def test_the_lowest_free_address_is_given():
    pool = AddressPool(SubnetSpec(subnet="10.0.0.0/29", gateway="10.0.0.1", auxiliary_addresses={"x": "10.0.0.3"}))
    taken = [str(pool.take()) for _ in range(4)]
    assert taken == ["10.0.0.2", "10.0.0.4", "10.0.0.5", "10.0.0.6"]
    with pytest.raises(Exhausted, match="no available IPv4 addresses"):
        pool.take()
    pool.give_back(ip_address("10.0.0.5"))
    pool.give_back(ip_address("10.0.0.2"))
    assert [str(pool.take()), str(pool.take())] == ["10.0.0.2", "10.0.0.5"]


def test_a_wanted_address_is_given_once_also_outside_the_range():
    pool = AddressPool(SubnetSpec(subnet="10.0.0.0/24", gateway="10.0.0.1", ip_range="10.0.0.128/30"))
    assert pool.take(ip_address("10.0.0.9")) == ip_address("10.0.0.9")
    for used in ("10.0.0.9", "10.0.0.1", "10.0.0.0", "10.0.0.255"):
        with pytest.raises(Forbidden, match="Address already in use"):
            pool.take(ip_address(used))
    assert [str(pool.take()) for _ in range(4)] == [f"10.0.0.{128 + number}" for number in range(4)]
    pool.give_back(ip_address("10.0.0.9"))
    with pytest.raises(Exhausted):
        pool.take()


def test_a_large_ipv6_subnet_is_no_burden():
    pool = AddressPool(SubnetSpec(subnet="fd00::/64", gateway="fd00::1"))
    assert [str(pool.take()) for _ in range(2)] == ["fd00::2", "fd00::3"]


def test_macs_follow_addresses():
    assert mac_of(ip_address("172.17.0.2")) == "02:42:ac:11:00:02"
