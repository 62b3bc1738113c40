"""Networks as a user meets them: bridge, host, none, own bridges, published ports, through the stock CLI."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from support.engine import Engine, until

pytestmark = pytest.mark.root

SERVE = ("sh", "-c", "mkdir -p /w; echo served > /w/index.html; exec httpd -f -p 80 -h /w")


def fetch(engine: Engine, url: str) -> str:
    return engine.run("curl", "-s", "-m", "3", url).stdout.decode()


@contextmanager
def serving(engine: Engine, name: str, *options: str) -> Iterator[dict[str, object]]:
    engine.docker("run", "-d", "--name", name, *options, "busybox", *SERVE)
    try:
        yield engine.inspect(name)["NetworkSettings"]
    finally:
        engine.docker("rm", "-f", name)


def test_none_and_host(engine: Engine) -> None:
    assert engine.docker("run", "--rm", "--network", "none", "busybox", "ls", "/sys/class/net").split() == ["lo"]
    names = engine.docker("run", "--rm", "--network", "host", "busybox", "ls", "/sys/class/net").split()
    assert set(names) >= {"lo", "orlop0"}


def test_a_published_port_is_reached_from_everywhere(engine: Engine) -> None:
    with serving(engine, "web", "-p", "18081:80") as settings:
        address = settings["IPAddress"] or settings["Networks"]["bridge"]["IPAddress"]
        gateway = settings["Networks"]["bridge"]["Gateway"]
        assert until(lambda: fetch(engine, "http://127.0.0.1:18081/")) == "served\n"
        assert fetch(engine, f"http://{address}/") == "served\n"
        assert engine.docker("run", "--rm", "busybox", "wget", "-qO-", f"http://{gateway}:18081/") == "served\n"
        assert engine.docker("run", "--rm", "busybox", "wget", "-qO-", f"http://{address}/") == "served\n"
    assert fetch(engine, "http://127.0.0.1:18081/") == ""


def test_a_random_port_is_known_at_once_and_a_taken_one_is_refused(engine: Engine) -> None:
    with serving(engine, "web", "-p", "80") as settings:
        port = settings["Ports"]["80/tcp"][0]["HostPort"]
        assert until(lambda: fetch(engine, f"http://127.0.0.1:{port}/")) == "served\n"
        taken = engine.docker("run", "-d", "--name", "second", "-p", f"{port}:80", "busybox", *SERVE, code=125, both=True)
        assert "port is already allocated" in taken
        assert engine.inspect("second")["State"]["Status"] == "created"
        engine.docker("rm", "second")
    listener = (
        subprocess.Popen(["nc", "-l", "-p", "18082"])
        if subprocess.run(["which", "nc"], capture_output=True, check=False).returncode == 0
        else None
    )
    if listener:
        listener.kill()
        listener.wait()


def test_own_networks_are_apart(engine: Engine) -> None:
    engine.docker("network", "create", "--subnet", "10.77.1.0/24", "--gateway", "10.77.1.254", "one")
    engine.docker("network", "create", "two")
    with serving(engine, "web", "--network", "one", "--ip", "10.77.1.9") as settings:
        assert settings["Networks"]["one"]["IPAddress"] == "10.77.1.9"
        assert settings["Networks"]["one"]["Gateway"] == "10.77.1.254"
        ask = ("busybox", "sh", "-c", "timeout 2 wget -qO- http://10.77.1.9/; true")
        assert engine.docker("run", "--rm", "--network", "one", *ask) == "served\n"
        assert engine.docker("run", "--rm", "--network", "two", *ask, code=None) == ""
        engine.docker("run", "-d", "--name", "guest", "--network", "two", "busybox", "sleep", "1000")
        engine.docker("network", "connect", "one", "guest")
        assert engine.docker("exec", "guest", "wget", "-qO-", "http://10.77.1.9/") == "served\n"
        assert sorted(engine.inspect("guest")["NetworkSettings"]["Networks"]) == ["one", "two"]
        assert "has active endpoints" in engine.docker("network", "rm", "one", code=1, both=True)
        engine.docker("network", "disconnect", "one", "guest")
        assert engine.docker("exec", "guest", "ls", "/sys/class/net").split() == ["eth0", "lo"]
        engine.docker("rm", "-f", "guest")
    engine.docker("network", "rm", "one", "two")


def test_an_internal_network_has_no_way_out(engine: Engine) -> None:
    engine.docker("network", "create", "--internal", "inner")
    assert "default" not in engine.docker("run", "--rm", "--network", "inner", "busybox", "ip", "route")
    engine.docker("network", "rm", "inner")


def test_another_containers_network(engine: Engine) -> None:
    with serving(engine, "web"):
        until(
            lambda: (
                engine.docker(
                    "run", "--rm", "--network", "container:web", "busybox", "wget", "-qO-", "http://127.0.0.1/", code=None
                )
                == "served\n"
            )
        )


def test_resolv_conf_and_hosts(engine: Engine) -> None:
    out = engine.docker(
        "run",
        "--rm",
        "--dns",
        "192.0.2.53",
        "--dns-search",
        "deck.example",
        "--add-host",
        "mast:192.0.2.7",
        "-h",
        "box",
        "busybox",
        "cat",
        "/etc/resolv.conf",
        "/etc/hosts",
    )
    assert "nameserver 192.0.2.53" in out
    assert "search deck.example" in out
    assert "192.0.2.7\tmast" in out
    assert "\tbox" in out


def test_wrong_requests_leave_nothing(engine: Engine) -> None:
    before = engine.docker("network", "ls", "-q")
    assert "network nosuch not found" in engine.docker(
        "run", "--rm", "--network", "nosuch", "busybox", "true", code=125, both=True
    )
    assert "pre-defined" in engine.docker("network", "rm", "bridge", code=1, both=True)
    assert "not permitted on predefined bridge" in engine.docker("network", "create", "bridge", code=1, both=True)
    assert engine.docker("network", "create", "--subnet", "10.0.0.0/99", "bad", code=1, both=True)
    assert engine.docker("network", "ls", "-q") == before
    assert [row["Name"] for row in json.loads(engine.docker("network", "inspect", "host", "none"))] == ["host", "none"]
    assert engine.docker("ps", "-aq") == ""
