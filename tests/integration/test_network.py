"""Bridged networks as packets meet them: a host with a neighbour, a real ruleset, sockets in the containers' namespaces."""

import asyncio
import os
import socket
from dataclasses import replace
from ipaddress import ip_address

import pytest

from orlop.network.sandboxes import write_sysctl
from orlop.network.wiring import NetworkOptions
from orlop.spec.container import ContainerRecord, ContainerSpec, ProcessDefaults, Status
from orlop.spec.errors import Conflict, Forbidden, InvalidArgument, NotFound, NotSupported, StartFailed, Unavailable
from orlop.spec.network import NetworkSpec, PortBinding, SubnetSpec
from support.nets import HOST, HOST6, NEIGHBOUR, NEIGHBOUR6, World, ip, nft, on_a_host, on_hosts_of_both_kinds, run

pytestmark = pytest.mark.root

WEB = (PortBinding(container_port=80, host_port=8080),)


def send_loopback_packets(device: str, gateway: str, source: str) -> None:
    """Make this namespace send what is for 127.0.0.1 to a neighbour, as an attacker would."""
    write_sysctl(f"net/ipv4/conf/{device}/route_localnet", "1")
    ip("address", "del", "127.0.0.1/8", "dev", "lo")
    ip("route", "add", "127.0.0.1", "via", gateway, "dev", device, "src", source)


@on_a_host
async def test_a_container_reaches_the_lan_as_the_host(world: World) -> None:
    endpoint = await world.attach("a")
    with world.listen("neighbour", 80) as server:
        assert await world.reaches("a", NEIGHBOUR, 80, server) == HOST
    with world.listen("a", 80) as server:
        assert await world.reaches("host", endpoint.ipv4_address, 80, server) == endpoint.ipv4_gateway


@on_a_host
async def test_a_published_port_serves_the_lan_and_keeps_the_clients_address(world: World) -> None:
    await world.attach("a", ports=WEB)
    with world.listen("a", 80) as server:
        assert await world.reaches("neighbour", HOST, 8080, server) == NEIGHBOUR
        assert await world.reaches("neighbour", HOST6, 8080, server) is not None


@on_a_host
async def test_a_published_port_serves_the_host_itself(world: World) -> None:
    endpoint = await world.attach("a", ports=WEB)
    with world.listen("a", 80) as server:
        for address in ("127.0.0.1", "127.1.2.3", HOST, endpoint.ipv4_gateway, "::1"):
            assert await world.reaches("host", address, 8080, server), address


@on_a_host
async def test_a_port_published_on_loopback_serves_only_the_host(world: World) -> None:
    await world.attach("a", ports=(PortBinding(container_port=80, host_address="127.0.0.1", host_port=8080),))
    with world.listen("a", 80) as server:
        assert await world.reaches("host", "127.0.0.1", 8080, server)
        assert await world.reaches("neighbour", HOST, 8080, server) is None
        with world.at("neighbour"):
            send_loopback_packets("wire", HOST, NEIGHBOUR)
        assert await world.reaches("neighbour", "127.0.0.1", 8080, server) is None
        nft("flush", "chain", "ip", "orlop", "arrive")
        nft("add", "rule", "ip", "orlop", "arrive", "jump", "publish")
        assert await world.reaches("neighbour", "127.0.0.1", 8080, server), "this test's attack would not have worked anyway"


@on_hosts_of_both_kinds
async def test_containers_reach_a_published_port_by_the_hosts_address(world: World) -> None:
    """Its own container, a sibling on the same bridge, and one on another network."""
    await world.networks.create(NetworkSpec(name="other"))
    await world.attach("a", ports=WEB)
    await world.attach("sibling")
    far = await world.attach("far", "other")
    with world.listen("a", 80) as server:
        assert await world.reaches("a", HOST, 8080, server)
        assert await world.reaches("sibling", HOST, 8080, server)
        assert await world.reaches("far", HOST, 8080, server) == far.ipv4_address


@on_a_host
async def test_what_is_not_published_is_not_reached_from_outside(world: World) -> None:
    endpoint = await world.attach("a", ports=WEB)
    with world.at("neighbour"):
        ip("route", "add", "172.16.0.0/12", "via", HOST)
    with world.listen("a", 81) as server:
        assert await world.reaches("neighbour", endpoint.ipv4_address, 81, server) is None
        assert await world.reaches("host", endpoint.ipv4_address, 81, server)


@on_hosts_of_both_kinds
async def test_containers_of_one_network_meet_and_of_two_do_not(world: World) -> None:
    await world.networks.create(NetworkSpec(name="other"))
    a, _, c = await world.attach("a"), await world.attach("b"), await world.attach("c", "other")
    with world.listen("a", 80) as server:
        assert await world.reaches("b", a.ipv4_address, 80, server)
        assert await world.reaches("c", a.ipv4_address, 80, server) is None
    with world.listen("c", 80) as server:
        assert await world.reaches("a", c.ipv4_address, 80, server) is None


@on_a_host
async def test_an_internal_network_has_no_way_out_or_in(world: World) -> None:
    await world.networks.create(NetworkSpec(name="inner", internal=True))
    a, _ = await world.attach("a", "inner", ports=WEB), await world.attach("b", "inner")
    assert a.ipv4_gateway == ""
    assert world.networks.published("a") == ()
    with world.listen("a", 80) as server:
        assert await world.reaches("b", a.ipv4_address, 80, server)
    with world.at("b"):
        ip("route", "add", "default", "via", world.networks.get("inner").spec.subnets[0].gateway)
    with world.listen("neighbour", 80) as server:
        assert await world.reaches("b", NEIGHBOUR, 80, server) is None


@on_hosts_of_both_kinds
async def test_containers_of_a_network_without_icc_do_not_meet(world: World) -> None:
    await world.networks.create(NetworkSpec(name="deaf", options={"com.docker.network.bridge.enable_icc": "false"}))
    a, _ = await world.attach("a", "deaf"), await world.attach("b", "deaf")
    with world.listen("a", 80) as server:
        assert await world.reaches("b", a.ipv4_address, 80, server) is None
        assert await world.reaches("host", a.ipv4_address, 80, server)
    with world.listen("neighbour", 80) as server:
        assert await world.reaches("b", NEIGHBOUR, 80, server) == HOST


@on_a_host
async def test_a_network_without_masquerade_shows_the_containers_address(world: World) -> None:
    await world.networks.create(NetworkSpec(name="plain", options={"com.docker.network.bridge.enable_ip_masquerade": "false"}))
    a = await world.attach("a", "plain")
    with world.at("neighbour"):
        ip("route", "add", "172.16.0.0/12", "via", HOST)
    with world.listen("neighbour", 80) as server:
        assert await world.reaches("a", NEIGHBOUR, 80, server) == a.ipv4_address


@on_a_host
async def test_a_container_cannot_reach_the_hosts_loopback(world: World) -> None:
    """Published loopback ports need route_localnet, which would open every loopback service to containers."""
    endpoint = await world.attach("a")
    with world.at("a"):
        send_loopback_packets("eth0", endpoint.ipv4_gateway, endpoint.ipv4_address)
    with world.listen("host", 7777, "127.0.0.1") as server:
        assert await world.reaches("a", "127.0.0.1", 7777, server) is None
        nft("flush", "chain", "ip", "orlop", "guard")
        assert await world.reaches("a", "127.0.0.1", 7777, server), "this test's attack would not have worked anyway"


@on_a_host
async def test_an_ipv6_network(world: World) -> None:
    spec = NetworkSpec(name="six", enable_ipv6=True)
    record, _ = await world.networks.create(spec)
    assert [ip_address(subnet.gateway).version for subnet in record.spec.subnets] == [4, 6]
    a, b = await world.attach("a", "six", ports=WEB), await world.attach("b", "six")
    assert a.ipv6_address.startswith("fd")
    with world.listen("a", 80, "::") as server:
        assert await world.reaches("neighbour", HOST6, 8080, server) == NEIGHBOUR6
        assert await world.reaches("b", a.ipv6_address, 80, server) == b.ipv6_address
        assert await world.reaches("host", "::1", 8080, server)
    with world.listen("neighbour", 80, "::") as server:
        assert await world.reaches("b", NEIGHBOUR6, 80, server) == HOST6


@on_a_host
async def test_a_taken_port_is_refused_and_nothing_stays(world: World) -> None:
    await world.attach("a", ports=WEB)
    await asyncio.sleep(0.5)  # until the pool is full
    before = ip("-o", "link"), nft("list", "ruleset")
    with pytest.raises(StartFailed, match=r"^driver failed programming external connectivity on endpoint b \([0-9a-f]{64}\): "
                       r"Bind for 0\.0\.0\.0:8080 failed: port is already allocated$"):  # fmt: skip
        await world.attach("b", ports=(PortBinding(container_port=1, host_port=8081), *WEB))
    with (
        world.listen("host", 9000),
        pytest.raises(StartFailed, match=r"failed to bind host port 0.0.0.0:9000/tcp: address already in use"),
    ):
        await world.attach("b", ports=(PortBinding(container_port=1, host_port=9000),))
    assert (ip("-o", "link"), nft("list", "ruleset")) == before
    assert (await world.attach("c", ports=(PortBinding(container_port=1, host_port=8081),))).ipv4_address == "172.17.0.3"


@on_a_host
async def test_random_ports_and_ranges_are_held_against_everybody(world: World) -> None:
    random, ranged = PortBinding(container_port=1), PortBinding(container_port=2, host_port=7000, host_port_end=7002)
    await world.attach("a", ports=(random, ranged))
    await world.attach("b", ports=(random, ranged))
    bindings = world.networks.published("a") + world.networks.published("b")
    ports = {(binding.host_address, binding.host_port) for binding in bindings}
    assert len(ports) == 8
    assert {port for _, port in ports if port < 8000} == {7000, 7001}
    assert {port for _, port in ports if port >= 8000} <= set(range(32768, 61000))
    for address, port in ports:
        with (
            socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as other,
            pytest.raises(OSError, match="in use"),
        ):
            other.bind((address, port))
    await world.networks.release_sandbox("a")
    with world.listen("host", 7000):
        pass


@on_a_host
async def test_udp_clients_that_keep_sending_meet_the_next_container(world: World) -> None:
    """The kernel remembers a flow for as long as it is used; without forgetting it, the old container's address stays in it."""
    echo = (PortBinding(container_port=7, protocol="udp", host_port=7777),)
    with world.at("neighbour"):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.connect((HOST, 7777))
    client.settimeout(1)
    client.send(b"too early")
    with pytest.raises(ConnectionRefusedError):
        client.recv(10)
    holder = await world.attach("holder")
    assert holder.ipv4_address == "172.17.0.2"
    for container in ("first", "second"):
        await world.attach(container, ports=echo)
        with world.listen(container, 7, kind=socket.SOCK_DGRAM) as server:
            server.settimeout(1)
            client.send(container.encode())
            data, peer = server.recvfrom(100)
            assert data == container.encode()
            assert peer[0] == NEIGHBOUR
            server.sendto(b"answer", peer)
            assert client.recv(100) == b"answer"
        await world.networks.release_sandbox(container)
        if container == "first":
            await world.attach("between")  # takes the first one's address
    client.close()


@on_hosts_of_both_kinds
async def test_an_address_is_free_at_once_and_its_next_owner_is_found(world: World) -> None:
    for container in ("a", "b", "c"):
        endpoint = await world.attach(container)
        assert endpoint.ipv4_address == "172.17.0.2"
        assert endpoint.mac_address == "02:42:ac:11:00:02"
        with world.listen(container, 80) as server:
            assert await world.reaches("host", "172.17.0.2", 80, server)
        await world.networks.release_sandbox(container)
        await world.networks._turns.settled()
        assert "state disabled" in run("bridge", "link", "show", "dev", endpoint.host_interface)
    await world.networks.create(NetworkSpec(name="mine", subnets=(SubnetSpec(subnet="10.9.0.0/24"),)))
    for mac in ("02:42:00:00:00:01", "02:42:00:00:00:02"):
        await world.attach("d", "mine", ipv4_address="10.9.0.77", mac_address=mac)
        with world.listen("d", 80) as server:
            assert await world.reaches("host", "10.9.0.77", 80, server)
        await world.networks.release_sandbox("d")


@on_a_host
async def test_a_running_container_joins_and_leaves_networks(world: World) -> None:
    await world.networks.create(NetworkSpec(name="alpha", subnets=(SubnetSpec(subnet="10.1.0.0/24"),)))
    first = await world.attach("a")
    second = await world.attach("a", "alpha", aliases=("db",))
    assert (first.interface, second.interface) == ("eth0", "eth1")
    assert second.dns_names == ("a", "db")
    with pytest.raises(Forbidden, match="endpoint with name a already exists in network alpha"):
        await world.attach("a", "alpha")
    with world.at("a"):
        assert "default via 10.1.0.1 dev eth1" in ip("route")  # alpha comes before bridge
    assert set(await world.networks.statistics("a")) == {"eth0", "eth1"}
    await world.networks.detach("a", second)
    with world.at("a"):
        assert "default via 172.17.0.1 dev eth0" in ip("route")
        assert "eth1" not in ip("-o", "link")
    assert world.networks.endpoints(second.network_id) == {}
    third = await world.attach("a", "alpha", gateway_priority=-1)
    assert (third.interface, third.ipv4_address) == ("eth1", "10.1.0.2")
    with world.at("a"):
        assert "default via 172.17.0.1 dev eth0" in ip("route")


@on_a_host
async def test_networks_are_made_and_removed(world: World) -> None:
    networks = world.networks
    record, warnings = await networks.create(NetworkSpec(name="mine"))
    assert warnings == ()
    assert record.spec.subnets == (SubnetSpec(subnet="172.18.0.0/16", gateway="172.18.0.1"),)
    assert record.bridge == f"br-{record.id[:12]}"
    assert "172.18.0.1/16" in ip("address", "show", "dev", record.bridge)
    assert networks.get(record.id[:6]) == networks.get("mine") == record
    endpoint = await world.attach("web", "mine")
    with pytest.raises(Forbidden, match=rf'network mine has active endpoints \(name:"web" id:"{endpoint.endpoint_id[:12]}"\)'):
        await networks.remove("mine")
    await networks.release_sandbox("web")
    assert await networks.remove("mine") == record
    assert record.bridge not in ip("-o", "link")
    assert record.bridge not in nft("list", "ruleset")
    with pytest.raises(NotFound, match=r"^network mine not found$"):
        networks.get("mine")
    assert set(world.records) == {network.id for network in networks.list()}


@on_a_host
async def test_what_cannot_be_is_refused_in_dockers_words(world: World) -> None:
    networks = world.networks
    await networks.create(NetworkSpec(name="mine", subnets=(SubnetSpec(subnet="10.1.0.0/24"),)))
    before = dict(world.records), ip("-o", "link"), nft("list", "ruleset")
    cases = (
        (NetworkSpec(name="mine"), Conflict, "network with name mine already exists"),
        (NetworkSpec(name="bridge"), Forbidden, "operation is not permitted on predefined bridge network"),
        (NetworkSpec(name=""), InvalidArgument, "invalid network name"),
        (NetworkSpec(name="h", driver="host"), Forbidden, 'only one instance of "host" network is allowed'),
        (NetworkSpec(name="x", driver="nosuch"), NotFound, 'plugin "nosuch" not found'),
        (NetworkSpec(name="x", driver="macvlan"), NotSupported, "network driver macvlan is not supported"),
        (NetworkSpec(name="x", subnets=(SubnetSpec(subnet="10.1.0.128/25"),)), Forbidden, "Pool overlaps with other one on this address space"),
        (NetworkSpec(name="x", subnets=(SubnetSpec(subnet="10.2.0.0/33"),)), InvalidArgument, "invalid subnet 10.2.0.0/33: invalid CIDR block notation"),
        (NetworkSpec(name="x", options={"com.docker.network.bridge.name": "uplink"}), Conflict, "there is an interface of that name"),
        (NetworkSpec(name="x", options={"com.docker.network.bridge.nosuch": "1"}), NotSupported, "com.docker.network.bridge.nosuch"),
        (NetworkSpec(name="x", options={"com.docker.network.bridge.enable_icc": "perhaps"}), InvalidArgument, "'perhaps'"),
    )  # fmt: skip
    for spec, kind, message in cases:
        with pytest.raises(kind) as refused:
            await networks.create(spec)
        assert message in str(refused.value)
    for name in ("bridge", "host", "none"):
        with pytest.raises(Forbidden, match=f"^{name} is a pre-defined network and cannot be removed$"):
            await networks.remove(name)
    with pytest.raises(InvalidArgument, match="user specified IP address is supported on user defined networks only"):
        await world.attach("a", ipv4_address="172.17.0.9")
    with pytest.raises(InvalidArgument, match=r"no configured subnet or ip-range contain the IP address 10.2.0.1"):
        await world.attach("a", "mine", ipv4_address="10.2.0.1")
    await world.attach("a", "mine", ipv4_address="10.1.0.9")
    with pytest.raises(Forbidden, match="Address already in use"):
        await world.attach("b", "mine", ipv4_address="10.1.0.9")
    await world.networks.release_sandbox("a")
    await asyncio.sleep(0)
    assert dict(world.records) == before[0]
    assert nft("list", "ruleset") == before[2]


@on_a_host
async def test_none_and_host(world: World) -> None:
    nothing = await world.attach("a", "none")
    assert nothing.ipv4_address == nothing.interface == ""
    assert await world.networks.sandbox("a") == str(world.root / "exec/netns/a")
    with world.at("a"):
        links = ip("-o", "link")
    assert links.count("\n") == 1
    assert "LOOPBACK,UP" in links
    shared = await world.attach("b", "host")
    assert shared.endpoint_id
    assert not (world.root / "exec/netns/b").exists()


def _running(container: str, endpoint, ports) -> ContainerRecord:
    return ContainerRecord(
        id=container, name=container, spec=ContainerSpec(), process=ProcessDefaults(), image_id="", created_ns=0,
        endpoints={endpoint.network_name: endpoint}, ports=ports, status=Status.RUNNING,
    )  # fmt: skip


@on_a_host
async def test_a_new_daemon_finds_what_runs_and_sweeps_what_does_not(world: World) -> None:
    endpoint = await world.attach("lives", ports=WEB)
    lost, _ = await world.networks.create(NetworkSpec(name="lost"))
    await world.attach("dies", ports=(PortBinding(container_port=80, host_port=9999),))
    record = _running("lives", endpoint, world.networks.published("lives"))
    await world.crash()
    nft("add", "element", "ip", "orlop", "ports", "{ tcp . 1234 : 172.17.0.99 . 1 }")
    nft("delete", "element", "ip", "orlop", "ports", "{ tcp . 8080 }")
    ip("link", "add", "orlop00000000", "type", "veth", "peer", "name", "x")
    (world.root / "exec/netns/half").touch()
    world.records.delete(lost.id)
    await world.start(containers=[record])
    assert lost.bridge not in ip("-o", "link")
    ports = nft("list", "map", "ip", "orlop", "ports")
    assert "tcp . 8080 : 172.17.0.2 . 80" in ports
    assert "1234" not in ports
    assert "9999" not in ports
    assert sorted(path.name for path in (world.root / "exec/netns").iterdir()) == ["lives"]
    assert world.networks.published("lives") == record.ports
    with world.listen("lives", 80) as server:
        assert await world.reaches("neighbour", HOST, 8080, server) == NEIGHBOUR
        assert await world.reaches("host", "::1", 8080, server)
    with pytest.raises(StartFailed, match="port is already allocated"):
        await world.attach("other", ports=WEB)
    assert (await world.attach("next")).ipv4_address == "172.17.0.3"
    await asyncio.sleep(1.5)
    ports = run("bridge", "link", "show").splitlines()
    assert len(ports) == 2 + NetworkOptions().pool_size, ports
    assert endpoint.host_interface in str(ports)
    assert "orlop00000000" not in ip("-o", "link")


@on_a_host
async def test_a_daemon_with_other_options_changes_the_default_network(world: World) -> None:
    before = world.networks.get("bridge")
    await world.stop()
    await world.start(NetworkOptions(bip="10.7.0.1/24", fixed_cidr="10.7.0.64/26", mtu=1400, ip="127.0.0.1"))
    after = world.networks.get("bridge")
    assert after.id == before.id
    assert after.spec.subnets == (SubnetSpec(subnet="10.7.0.0/24", gateway="10.7.0.1", ip_range="10.7.0.64/26"),)
    addresses = ip("-4", "-o", "address", "show", "dev", "orlop0")
    assert "10.7.0.1/24" in addresses
    assert "172.17.0.1" not in addresses
    endpoint = await world.attach("a", ports=WEB)
    assert endpoint.ipv4_address == "10.7.0.64"
    assert {binding.host_address for binding in world.networks.published("a")} == {"127.0.0.1"}
    with world.at("a"):
        assert "mtu 1400" in ip("link", "show", "eth0")


@on_a_host
async def test_nothing_is_left_after_the_last_container(world: World) -> None:
    def things() -> tuple[str, str, list[str]]:
        links = [line.split(": ")[1] for line in ip("-o", "link").splitlines() if "NO-CARRIER" not in line]
        return nft("list", "ruleset"), str(links), [path.name for path in (world.root / "exec/netns").iterdir()]

    await world.stop()
    await world.start(NetworkOptions(pool_size=0))
    before = things()[0], ip("-o", "link").count("\n"), things()[2]
    for number in range(5):
        await world.attach(f"c{number}", ports=(PortBinding(container_port=80), PortBinding(container_port=53, protocol="udp")))
    for number in range(5):
        await world.networks.release_sandbox(f"c{number}")
        await world.networks.release_sandbox(f"c{number}")
    for _ in range(50):
        if ip("-o", "link").count("\n") == before[1]:
            break
        await asyncio.sleep(0.1)
    assert (things()[0], ip("-o", "link").count("\n"), things()[2]) == before
    assert replace(world.networks.get("bridge")) == world.networks.get("bridge")


@on_a_host
async def test_rules_that_somebody_flushed_come_back(world: World) -> None:
    await world.attach("a", ports=WEB)
    nft("flush", "ruleset")
    await world.attach("b", ports=(PortBinding(container_port=80, host_port=8081),))
    for container, port in (("a", 8080), ("b", 8081)):
        with world.listen(container, 80) as server:
            assert await world.reaches("neighbour", HOST, port, server) == NEIGHBOUR
    nft("flush", "ruleset")
    await world.networks.release_sandbox("a")


@on_a_host
async def test_without_nft_all_but_bridges_works(world: World) -> None:
    await world.stop()
    nft("flush", "ruleset")
    path = os.environ["PATH"]
    os.environ["PATH"] = "/nonexistent"
    try:
        await world.start()
        assert (await world.attach("a", "none")).endpoint_id
        with pytest.raises(Unavailable, match=r"nft is not installed \(package nftables\)"):
            await world.attach("b")
        with pytest.raises(Unavailable, match="nft is not installed"):
            await world.networks.create(NetworkSpec(name="mine"))
    finally:
        os.environ["PATH"] = path


@on_a_host
async def test_a_firewall_that_drops_what_is_forwarded_is_told(world: World) -> None:
    await world.stop()
    nft("add table inet other; add chain inet other forward { type filter hook forward priority 0; policy drop; }")
    nft("add chain inet other input { type filter hook input priority 0; policy drop; }")
    await world.start()
    told = [record.getMessage() for record in world.log.records if "drops forwarded packets" in record.getMessage()]
    assert told == ["Containers may not reach the outside: chain inet other forward drops forwarded packets by its policy"]
