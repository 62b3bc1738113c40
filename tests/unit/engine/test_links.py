"""Legacy links: what a container is told of others, and what becomes of a link that is removed."""

from pathlib import Path

import pytest

from orlop.engine.links import Link, environment, parse_link
from orlop.spec.container import ContainerRecord, ContainerSpec, ProcessDefaults, Status
from orlop.spec.errors import Conflict, InvalidArgument, NotFound
from orlop.spec.network import Endpoint
from support.pretend import story


@pytest.mark.parametrize(
    ("text", "link"),
    [
        ("db", Link("db", "db")),
        ("db:store", Link("db", "store")),
        ("/db:/web/store", Link("db", "store")),  # as inspect shows it
    ],
)
def test_the_forms_of_a_link(text: str, link: Link) -> None:
    assert parse_link(text) == link


@pytest.mark.parametrize("text", ["", ":x", "a:b:c"])
def test_what_is_no_link(text: str) -> None:
    with pytest.raises(InvalidArgument, match="bad format for links"):
        parse_link(text)


def _record(name: str, *, address: str = "", env: tuple[str, ...] = (), ports: tuple[str, ...] = ()) -> ContainerRecord:
    return ContainerRecord(
        id="1" * 64,
        name=name,
        spec=ContainerSpec(hostname=name),
        process=ProcessDefaults(env=env, exposed_ports=ports),
        image_id="",
        created_ns=1,
        status=Status.RUNNING,
        endpoints={"bridge": Endpoint(network_id="2" * 64, network_name="bridge", ipv4_address=address)},
    )


def test_the_environment_of_a_link_is_dockers() -> None:
    other = _record("db", address="172.17.0.2", env=("PATH=/bin", "HOME=/x", "FOO=1", "BARE"), ports=("6379/tcp", "53/udp"))
    told = environment(_record("web"), [(Link("db", "my-db"), other)])
    assert told == (
        "MY_DB_NAME=/web/my-db",
        "MY_DB_PORT=udp://172.17.0.2:53",
        "MY_DB_PORT_53_UDP=udp://172.17.0.2:53",
        "MY_DB_PORT_53_UDP_ADDR=172.17.0.2",
        "MY_DB_PORT_53_UDP_PORT=53",
        "MY_DB_PORT_53_UDP_PROTO=udp",
        "MY_DB_PORT_6379_TCP=tcp://172.17.0.2:6379",
        "MY_DB_PORT_6379_TCP_ADDR=172.17.0.2",
        "MY_DB_PORT_6379_TCP_PORT=6379",
        "MY_DB_PORT_6379_TCP_PROTO=tcp",
        "MY_DB_ENV_FOO=1",
    )


@story
async def test_a_link_reaches_hosts_and_environment_until_it_is_removed(w):
    await w.run("db", process=ProcessDefaults(env=("FOO=1",)))
    web = await w.run("web", links=("db:store",))
    env = w.isolation.orders[web].runtime_spec.process.env
    assert {"STORE_NAME=/web/store", "STORE_ENV_FOO=1"} <= set(env)
    address = next(iter(w.get("db").endpoints.values())).ipv4_address
    hosts = Path(w.parts.homes.path(web), "hosts").read_text().splitlines()
    assert any(line.split()[:2] == [address, "store"] for line in hosts)
    assert w.containers.link_names() == {"db": ["/web/store"]}
    await w.containers.remove("web/store", link=True)
    assert (w.get().spec.links, w.get().status) == ((), Status.RUNNING)
    assert w.containers.link_names() == {}
    with pytest.raises(NotFound):
        await w.containers.remove("web/store", link=True)
    with pytest.raises(InvalidArgument, match="cannot remove the default link name"):
        await w.containers.remove("web", link=True)


@story
async def test_a_link_needs_the_other_to_run(w):
    await w.create("db")
    web = await w.create("web", links=("db",))
    with pytest.raises(Conflict, match="Cannot link to a non running container: /db AS /web/db"):
        await w.containers.start(web)
