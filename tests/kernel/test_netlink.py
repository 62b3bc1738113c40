"""rtnetlink and nfnetlink as this kernel answers them, in a network namespace of the test's own."""

from collections.abc import Iterator
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest

from orlop.kernel import firewall, netlink
from orlop.kernel.firewall import IPV4, IPV6, Element, Firewall
from orlop.kernel.netlink import RouteSocket
from orlop.network.sandboxes import Namespaces, within

pytestmark = pytest.mark.root


@pytest.fixture
def route(tmp_path: Path) -> Iterator[RouteSocket]:
    sandbox = Namespaces(tmp_path).make()
    with within(sandbox.fd):
        yield sandbox.route
    sandbox.close()


def test_links_addresses_and_routes(route: RouteSocket) -> None:
    route.execute(netlink.bridge("br0", "02:42:00:00:00:01", 1400), netlink.link_alias("br0", "alias"))
    bridge = route.link("br0")
    assert (bridge.kind, bridge.mac, bridge.mtu, bridge.alias, bridge.up) == (
        "bridge",
        "02:42:00:00:00:01",
        1400,
        "alias",
        True,
    )
    assert route.find_link("nosuch") is None
    address = ip_interface("10.0.0.1/24")
    route.execute(netlink.address(bridge.index, address), netlink.default_route(bridge.index, ip_address("10.0.0.9")))
    assert (bridge.index, address) in route.addresses()
    assert route.routes() == [ip_network("10.0.0.0/24")]
    route.execute(netlink.delete_address(bridge.index, address))
    assert route.routes() == []
    assert route.statistics("lo").keys() == {
        f"{way}_{what}" for way in ("rx", "tx") for what in ("bytes", "packets", "errors", "dropped")
    }


def test_a_batch_goes_on_after_a_failure_and_names_it(route: RouteSocket) -> None:
    with pytest.raises(OSError, match="cannot remove link nosuch: No such device"):
        route.execute(netlink.delete_link("nosuch"), netlink.bridge("br0", "02:42:00:00:00:01"))
    assert route.find_link("br0")
    with pytest.raises(FileExistsError, match="cannot make bridge br0: File exists"):
        route.execute(netlink.bridge("br0", "02:42:00:00:00:01"))


def test_elements_change_in_one_transaction(route: RouteSocket) -> None:
    firewall.load("table ip orlop { set one { type inet_service; }; }\ntable ip6 orlop { set one { type inet_service; }; }")
    filter = Firewall("orlop")
    a, b, c = (Element(family, "one", port.to_bytes(2, "big")) for family, port in ((IPV4, 80), (IPV4, 81), (IPV6, 80)))
    filter.change(add=[a, b, c])
    filter.change(add=[a])
    assert filter.elements(IPV4, "one") == {a, b}
    filter.change(remove=[b, Element(IPV4, "one", b"\0\x63")])  # the second one is not there
    assert filter.elements(IPV4, "one") == {a}
    with pytest.raises(OSError, match="cannot change nf_tables set nosuch"):
        filter.change(add=[b, Element(IPV4, "nosuch", b"\0\1")])
    assert filter.elements(IPV4, "one") == {a}
    with pytest.raises(firewall.Unavailable, match="syntax error"):
        firewall.load("nonsense")
    filter.close()
