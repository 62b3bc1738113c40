"""The administrator's options, and those of networks."""

import pytest

from orlop.network.drivers.bridge import BridgeOptions, parse_sysctls
from orlop.network.options import NetworkOptions, default_network
from orlop.spec.errors import InvalidArgument, NotSupported
from orlop.spec.network import SubnetSpec


def test_the_default_network_has_dockers_options():
    options = default_network(NetworkOptions(), "").options
    assert options["com.docker.network.bridge.name"] == "orlop0"
    assert BridgeOptions.parse(options) == BridgeOptions(name="orlop0", default_bridge=True, mtu=1500)


def test_its_subnet_is_the_administrators():
    def subnets(existing: str = "", **options: object) -> tuple[SubnetSpec, ...]:
        return default_network(NetworkOptions(**options), existing).subnets

    assert subnets() == ()
    assert subnets(bip="10.0.0.5/24") == (SubnetSpec(subnet="10.0.0.0/24", gateway="10.0.0.5"),)
    assert subnets(fixed_cidr="10.0.0.0/25") == (SubnetSpec(subnet="10.0.0.0/25"),)
    assert subnets("10.1.0.1/24", default_gateway="10.1.0.254")[0].gateway == "10.1.0.254"
    assert subnets(ipv6=True, fixed_cidr_v6="fd00::/64") == (SubnetSpec(subnet="fd00::/64"),)
    with pytest.raises(InvalidArgument, match="invalid bridge address 'nonsense'"):
        subnets(bip="nonsense")


@pytest.mark.parametrize(
    ("option", "value"),
    [("bridge.name", "a name"), ("bridge.name", "sixteencharacter"), ("bridge.enable_icc", "yes"), ("driver.mtu", "-1"), ("bridge.host_binding_ipv4", "x")],
)  # fmt: skip
def test_a_bad_value_is_named(option: str, value: str):
    with pytest.raises(InvalidArgument, match=rf"invalid value '{value}' for network option com.docker.network.{option}"):
        BridgeOptions.parse({f"com.docker.network.{option}": value})


def test_unknown_options_of_docker_are_refused_and_of_others_kept():
    with pytest.raises(NotSupported, match=r"com\.docker\.network\.bridge\.inhibit_ipv4"):
        BridgeOptions.parse({"com.docker.network.bridge.inhibit_ipv4": "true"})
    with pytest.raises(NotSupported, match="gateway mode 'routed'"):
        BridgeOptions.parse({"com.docker.network.bridge.gateway_mode_ipv4": "routed"})
    assert BridgeOptions.parse({"org.example.colour": "blue"}) == BridgeOptions()


def test_endpoint_sysctls():
    assert parse_sysctls("net.ipv4.conf.IFNAME.log_martians=1,net.ipv6.conf.IFNAME.accept_ra=2", "eth1") == [
        ("net/ipv4/conf/eth1/log_martians", "1"),
        ("net/ipv6/conf/eth1/accept_ra", "2"),
    ]
    for wrong in ("net.ipv4.ip_forward=1", "net.ipv4.conf.IFNAME.x", "kernel.IFNAME.x=1", "net.ipv4.conf.IFNAME.a/../b=1"):
        with pytest.raises(InvalidArgument, match="invalid endpoint sysctl"):
            parse_sysctls(wrong, "eth0")
