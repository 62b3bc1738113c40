"""The networks by id and name."""

from dataclasses import replace

import pytest

from orlop.network.register import Register
from orlop.spec.errors import Conflict, Forbidden, InvalidArgument, NotFound
from orlop.spec.network import EndpointSpec, NetworkRecord, NetworkSpec, SubnetSpec


class Records(dict):
    def load(self):
        return dict(self)

    def save(self, key, value):
        self[key] = value

    def delete(self, key):
        self.pop(key, None)


def network(id: str, name: str, subnet: str = "10.0.0.0/24", **spec) -> NetworkRecord:
    gateway = subnet.replace(".0/", ".1/").partition("/")[0]
    filled = NetworkSpec(name=name, subnets=(SubnetSpec(subnet=subnet, gateway=gateway),), **spec)
    return NetworkRecord(id=id, spec=filled, created_ns=len(name), bridge=f"br-{id}")


@pytest.fixture
def register() -> Register:
    register = Register(Records())
    register.save(network("abc1", "one"))
    register.save(network("abd2", "second", "10.0.1.0/24"))
    return register


def test_a_network_is_found_by_id_name_and_beginning(register: Register):
    assert register.get("abc1") == register.get("one") == register.get("abc")
    with pytest.raises(InvalidArgument, match=r"network ab is ambiguous \(2 matches found based on ID prefix\)"):
        register.get("ab")
    for nosuch in ("", "on", "x"):
        assert register.find(nosuch) is None
        with pytest.raises(NotFound, match=f"^network {nosuch} not found$"):
            register.get(nosuch)


def test_a_name_goes_before_the_beginning_of_an_id(register: Register):
    register.save(network("xyz", "abc", "10.0.2.0/24"))
    assert register.get("abc").id == "xyz"


def test_records_outlive_the_register():
    records = Records()
    first = Register(records)
    first.save(network("a", "long name"))
    first.save(network("b", "x", "10.0.1.0/24"))
    again = Register(records)
    again.open()
    assert [record.spec.name for record in again.list()] == ["x", "long name"]  # the oldest first
    again.delete(again.get("a"))
    assert set(records) == {"b"}
    assert [str(subnet) for subnet in again.subnets()] == ["10.0.1.0/24"]
    assert again.subnets(without=again.get("b")) == ()


@pytest.mark.parametrize(
    ("name", "kind"),
    [("one", Conflict), ("host", Forbidden), ("default", Forbidden), (" ", InvalidArgument), ("a/b", InvalidArgument), ("container:x", InvalidArgument)],
)  # fmt: skip
def test_names_that_cannot_be_had(register: Register, name: str, kind: type[Exception]):
    with pytest.raises(kind):
        register.check_name(name)
    register.check_name("new")


def test_an_endpoint_gets_addresses_gateway_and_mac(register: Register):
    endpoint = register.reserve(register.get("one"), EndpointSpec(), interface="eth0", dns_names=("web",))
    assert (endpoint.ipv4_address, endpoint.ipv4_prefix, endpoint.ipv4_gateway) == ("10.0.0.2", 24, "10.0.0.1")
    assert endpoint.mac_address == "02:42:0a:00:00:02"
    assert len(endpoint.endpoint_id) == 64
    register.free(endpoint)
    again = register.reserve(register.get("one"), EndpointSpec(mac_address="02-AA-bb-00-00-01"), interface="eth0", dns_names=())
    assert (again.ipv4_address, again.mac_address) == ("10.0.0.2", "02:aa:bb:00:00:01")


def test_a_refused_endpoint_reserves_nothing(register: Register):
    record = register.get("one")
    for wrong in ("01:00:00:00:00:00", "02:00", "nonsense"):
        with pytest.raises(InvalidArgument, match="invalid MAC address"):
            register.reserve(record, EndpointSpec(mac_address=wrong), interface="eth0", dns_names=())
    for wrong in ("10.0.9.9", "fd00::1", "nonsense"):
        with pytest.raises(InvalidArgument):
            register.reserve(record, EndpointSpec(ipv4_address=wrong), interface="eth0", dns_names=())
    assert register.reserve(record, EndpointSpec(), interface="eth0", dns_names=()).ipv4_address == "10.0.0.2"


def test_an_internal_network_has_no_gateway_for_its_endpoints(register: Register):
    inner = network("i", "inner", "10.0.5.0/24")
    register.save(replace(inner, spec=replace(inner.spec, internal=True)))
    assert register.reserve(register.get("inner"), EndpointSpec(), interface="eth0", dns_names=()).ipv4_gateway == ""


def test_what_is_held_is_not_given(register: Register):
    endpoint = register.reserve(register.get("one"), EndpointSpec(), interface="eth0", dns_names=())
    fresh = Register(Records())
    fresh.save(network("abc1", "one"))
    fresh.hold(endpoint)
    assert fresh.reserve(fresh.get("one"), EndpointSpec(), interface="eth0", dns_names=()).ipv4_address == "10.0.0.3"
    fresh.delete(fresh.get("one"))
    fresh.free(endpoint)  # the network is gone: nothing to free
