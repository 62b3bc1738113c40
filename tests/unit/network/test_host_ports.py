"""Host ports: which addresses, and that they are really held."""

import socket
from pathlib import Path

import pytest

from orlop.network.ports import HostPorts, ephemeral_range, host_addresses
from orlop.spec.errors import InvalidArgument, StartFailed
from orlop.spec.network import Endpoint, PortBinding

V4 = Endpoint(network_id="n", network_name="n", endpoint_id="e" * 64, ipv4_address="172.17.0.2")
DUAL = Endpoint(network_id="n", network_name="n", endpoint_id="e" * 64, ipv4_address="172.17.0.2", ipv6_address="fd00::2")
V6 = Endpoint(network_id="n", network_name="n", endpoint_id="e" * 64, ipv6_address="fd00::2")
LOCAL = "127.0.0.1"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOCAL, 0))
        return int(probe.getsockname()[1])


def wanted(port: int = 0, end: int = 0, protocol: str = "tcp", address: str = LOCAL) -> PortBinding:
    return PortBinding(container_port=80, protocol=protocol, host_address=address, host_port=port, host_port_end=end)


@pytest.mark.parametrize(
    ("endpoint", "protocol", "addresses"),
    [
        (V4, "tcp", ("0.0.0.0", "::")),
        (V4, "udp", ("0.0.0.0",)),
        (DUAL, "udp", ("0.0.0.0", "::")),
        (V6, "tcp", ("::",)),
    ],
)
def test_where_nothing_is_said_a_port_is_published_everywhere(endpoint: Endpoint, protocol: str, addresses: tuple[str, ...]):
    binding = wanted(protocol=protocol, address="")
    assert host_addresses(binding, endpoint, "", host_ipv6=True) == addresses
    assert host_addresses(binding, endpoint, "", host_ipv6=False) == tuple(a for a in addresses if a != "::")


def test_an_address_that_is_named_goes_before_the_networks_default():
    assert host_addresses(wanted(address=""), V4, "192.0.2.1", host_ipv6=True) == ("192.0.2.1",)
    assert host_addresses(wanted(address="0.0.0.0"), V4, "192.0.2.1", host_ipv6=True) == ("0.0.0.0",)
    assert host_addresses(wanted(address="[::1]"), V4, "", host_ipv6=True) == ("::1",)


@pytest.mark.parametrize(
    ("binding", "endpoint", "message"),
    [
        (wanted(address="localhost"), V4, "invalid host address 'localhost' of port 80/tcp"),
        (wanted(address="::1", protocol="udp"), V4, "cannot publish port 80/udp on ::1: the container has no IPv6 address"),
        (wanted(address="127.0.0.1"), V6, "cannot publish port 80/tcp on 127.0.0.1: the container has no IPv4 address"),
    ],
)
def test_what_cannot_be_published_is_refused(binding: PortBinding, endpoint: Endpoint, message: str):
    with pytest.raises(InvalidArgument) as refused:
        host_addresses(binding, endpoint, "", host_ipv6=True)
    assert str(refused.value) == message


def test_a_held_port_is_taken_for_everybody_until_it_is_released():
    ports, port = HostPorts((40000, 40010)), free_port()
    held = ports.hold([wanted(port)], V4, name="web")
    assert held[0].binding.host_port == port
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind((LOCAL, port))
    with pytest.raises(StartFailed) as refused:
        ports.hold([wanted(port)], V4, name="other")
    assert str(refused.value) == (
        f"driver failed programming external connectivity on endpoint other ({'e' * 64}): "
        f"Bind for 127.0.0.1:{port} failed: port is already allocated"
    )
    with pytest.raises(StartFailed, match=r"Bind for 0\.0\.0\.0:\d+ failed: port is already allocated"):
        ports.hold([wanted(port, address="0.0.0.0")], V4, name="other")
    ports.release(held)
    ports.release(held)
    ports.release(ports.hold([wanted(port)], V4, name="other"))


def test_what_another_program_holds_is_told_apart():
    with socket.socket() as other:
        other.bind((LOCAL, 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(StartFailed, match=rf"failed to bind host port 127\.0\.0\.1:{port}/tcp: address already in use"):
            HostPorts((40000, 40010)).hold([wanted(port)], V4, name="web")
    with pytest.raises(StartFailed, match=r"failed to bind host port 192\.0\.2\.77:80/tcp: cannot assign requested address"):
        HostPorts((40000, 40010)).hold([wanted(80, address="192.0.2.77")], V4, name="web")


def test_all_or_none():
    ports, first, second = HostPorts((40000, 40010)), free_port(), free_port()
    taken = ports.hold([wanted(second)], V4, name="a")
    with pytest.raises(StartFailed):
        ports.hold([wanted(first), wanted(second)], V4, name="b")
    ports.release(ports.hold([wanted(first)], V4, name="c"))
    ports.release(taken)


def test_random_ports_come_from_the_ephemeral_range_one_after_another():
    ports = HostPorts((45000, 45002))
    held = ports.hold([wanted(), wanted(protocol="udp"), wanted()], V4, name="web")
    chosen = [(port.binding.protocol, port.binding.host_port) for port in held]
    assert chosen == [("tcp", 45000), ("udp", 45000), ("tcp", 45001)]
    ports.hold([wanted()], V4, name="web")
    with pytest.raises(StartFailed, match="all ports are allocated"):
        ports.hold([wanted()], V4, name="web")
    ports.release(held[:1])
    assert ports.hold([wanted()], V4, name="web")[0].binding.host_port == 45000


def test_a_range_gives_its_first_free_port():
    ports = HostPorts((40000, 40010))
    got = [ports.hold([wanted(46000, 46001)], V4, name="web")[0].binding for _ in range(2)]
    assert [(binding.host_port, binding.host_port_end) for binding in got] == [(46000, 0), (46001, 0)]
    with pytest.raises(StartFailed, match="all ports are allocated"):
        ports.hold([wanted(46000, 46001)], V4, name="web")


def test_a_port_that_somebody_took_meanwhile_is_adopted_without_a_socket():
    ports = HostPorts((40000, 40010))
    with socket.socket() as other:
        other.bind((LOCAL, 0))
        other.listen()
        held = ports.adopt(wanted(other.getsockname()[1]))
        assert held.socket is None
        with pytest.raises(StartFailed, match="already allocated"):
            ports.hold([held.binding], V4, name="web")


def test_sctp_ports_are_remembered_also_where_the_kernel_has_no_such_sockets():
    ports = HostPorts((40000, 40010))
    ports.hold([wanted(46100, protocol="sctp")], V4, name="web")
    with pytest.raises(StartFailed, match="already allocated"):
        ports.hold([wanted(46100, protocol="sctp")], V4, name="web")


def test_the_ephemeral_range_is_the_kernels(tmp_path: Path):
    (tmp_path / "range").write_text("40000\t40100\n")
    assert ephemeral_range(tmp_path / "range") == (40000, 40100)
    assert ephemeral_range(tmp_path / "nosuch") == (49153, 65535)
