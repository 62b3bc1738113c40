"""hosts, resolv.conf and hostname."""

from dataclasses import replace
from pathlib import Path

from orlop.network import files
from orlop.spec.container import ContainerRecord, ContainerSpec, ProcessDefaults
from orlop.spec.network import Endpoint

ID = "0123456789ab" + "0" * 52
BRIDGE = Endpoint(network_id="n", network_name="bridge", ipv4_address="172.17.0.2", ipv6_address="fd00::2")


def record(**spec) -> ContainerRecord:
    return ContainerRecord(
        id=ID, name="web", spec=ContainerSpec(**spec), process=ProcessDefaults(), image_id="", created_ns=0,
        endpoints={"bridge": BRIDGE},
    )  # fmt: skip


def test_the_host_name_is_the_short_id_unless_said():
    assert files.hostname(record()) == "0123456789ab"
    assert files.hostname(record(hostname="box")) == "box"


def test_hosts_names_the_container_by_its_addresses():
    text = files.hosts(record())
    assert text.startswith("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
    assert "ff02::2\tip6-allrouters\n" in text
    assert text.endswith("172.17.0.2\t0123456789ab\nfd00::2\t0123456789ab\n")
    assert "172.17.0.2\tbox.example.org box\n" in files.hosts(record(hostname="box", domainname="example.org"))
    assert "172.17.0.2\tbox.example.org box\n" in files.hosts(record(hostname="box.example.org"))


def test_extra_hosts_and_links_come_after():
    text = files.hosts(
        record(extra_hosts=("db:10.0.0.1", "six:[fd00::9]", "seven:fd00::a", "me:host-gateway")),
        host_gateway="172.17.0.1",
        links=[("172.17.0.5", ("db", "abc", "database"))],
    )
    assert text.endswith("10.0.0.1\tdb\nfd00::9\tsix\nfd00::a\tseven\n172.17.0.1\tme\n172.17.0.5\tdb abc database\n")


def test_a_container_on_the_hosts_network_has_the_hosts_file():
    host = replace(record(extra_hosts=("db:10.0.0.1",)), endpoints={})
    assert files.hosts(host, host_text="127.0.0.1 localhost\n") == "127.0.0.1 localhost\n10.0.0.1\tdb\n"


HOST = """# comment
domain old.example
nameserver 127.0.0.53
nameserver 10.0.0.2 # trailing
nameserver fe80::1%eth0
nameserver fd00::53
search example.org example.net
options edns0 trust-ad
"""


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_resolv_conf_is_the_hosts_without_what_cannot_be_reached():
    rest = ["search example.org example.net", "options edns0 trust-ad"]
    assert lines(files.resolv_conf(ContainerSpec(), HOST)) == ["nameserver 10.0.0.2", *rest]
    assert lines(files.resolv_conf(ContainerSpec(), HOST, ipv6=True)) == ["nameserver 10.0.0.2", "nameserver fd00::53", *rest]
    assert lines(files.resolv_conf(ContainerSpec(), HOST, keep_loopback=True))[0] == "nameserver 127.0.0.53"


def test_resolv_conf_takes_what_the_container_says_instead():
    spec = ContainerSpec(dns=("9.9.9.9",), dns_search=("a.b",), dns_options=("ndots:2",))
    assert lines(files.resolv_conf(spec, HOST)) == ["nameserver 9.9.9.9", "search a.b", "options ndots:2"]
    assert lines(files.resolv_conf(ContainerSpec(dns_search=(".",)), HOST)) == ["nameserver 10.0.0.2", "options edns0 trust-ad"]


def test_without_any_nameserver_public_ones_serve():
    for text in ("", "nameserver 127.0.0.1\n", "nameserver nonsense\n"):
        assert lines(files.resolv_conf(ContainerSpec(), text)) == ["nameserver 8.8.8.8", "nameserver 8.8.4.4"]


def test_of_systemd_resolved_the_real_servers_are_read(tmp_path: Path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/resolv.conf").write_text("nameserver 127.0.0.53\n")
    assert files.host_resolv_conf(tmp_path) == "nameserver 127.0.0.53\n"
    (tmp_path / "run/systemd/resolve").mkdir(parents=True)
    (tmp_path / "run/systemd/resolve/resolv.conf").write_text("nameserver 10.0.0.2\n")
    assert files.host_resolv_conf(tmp_path) == "nameserver 10.0.0.2\n"
    assert files.host_resolv_conf(tmp_path / "nosuch") == ""
