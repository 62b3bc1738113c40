"""A host of its own for tests of networks: a network namespace with a neighbour on its LAN, and sockets in any namespace.

LAN 192.0.2.0/24, 2001:db8::/64:   neighbour .9 ---- .1 host ---- bridges ---- containers
"""

import asyncio
import functools
import os
import socket
import subprocess
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from orlop.kernel import syscalls
from orlop.network.sandboxes import Namespaces, Sandbox, within
from orlop.network.wiring import NetworkOptions, Networks
from orlop.spec.network import Endpoint, EndpointSpec, NetworkRecord, PortBinding

HOST, NEIGHBOUR, HOST6, NEIGHBOUR6 = "192.0.2.1", "192.0.2.9", "2001:db8::1", "2001:db8::9"
Story = Callable[["World"], Awaitable[None]]


class MemoryRecords(dict[str, NetworkRecord]):
    """Records that a restarted part finds again."""

    def load(self) -> dict[str, NetworkRecord]:
        return dict(self)

    def save(self, key: str, value: NetworkRecord) -> None:
        self[key] = value

    def delete(self, key: str) -> None:
        self.pop(key, None)


@dataclass
class World:
    """The host under test, its neighbour, and the network part that runs on it."""

    root: Path
    neighbour: int  # namespace fd
    networks: Networks
    records: MemoryRecords
    log: pytest.LogCaptureFixture
    loops: list[asyncio.Task[None]] = field(default_factory=list)

    async def start(self, options: NetworkOptions | None = None, containers=()) -> None:
        """As the daemon starts it."""
        self.networks = Networks(self.root / "exec", self.records, options or NetworkOptions(), self._spawn)
        await self.networks.open()
        await self.networks.restore(containers)

    def _spawn(self, loop) -> None:
        self.loops.append(asyncio.get_running_loop().create_task(loop))

    async def stop(self) -> None:
        """As the daemon stops it."""
        await self._end_loops()
        await self.networks.close()

    async def _end_loops(self) -> None:
        for loop in self.loops:
            loop.cancel()
        await asyncio.gather(*self.loops, return_exceptions=True)
        self.loops.clear()

    async def crash(self) -> None:
        """As `kill -9` ends it: descriptors are closed, nothing else is done."""
        await self._end_loops()
        self.networks._publications.close()
        await self.networks._turns.settled()
        self.networks._pool.close()

    async def attach(self, container: str, network: str = "bridge", *, ports: tuple[PortBinding, ...] = (), **spec) -> Endpoint:
        """Attach `container` to a network."""
        record = self.networks.get(network)
        return await self.networks.attach(container, record, EndpointSpec(**spec), name=container, ports=ports)

    @contextmanager
    def inside(self, container: str) -> Iterator[None]:
        """This thread is in the container's network."""
        sandbox: Sandbox = Namespaces(self.root / "exec/netns").enter(container)
        try:
            with within(sandbox.fd):
                yield
        finally:
            sandbox.close()

    @contextmanager
    def at(self, place: str) -> Iterator[None]:
        """This thread is at "host", at "neighbour", or in a container."""
        with ExitStack() as stack:
            if place == "neighbour":
                stack.enter_context(within(self.neighbour))
            elif place != "host":
                stack.enter_context(self.inside(place))
            yield

    def listen(self, place: str, port: int, address: str = "0.0.0.0", kind: int = socket.SOCK_STREAM) -> socket.socket:
        """A server's socket at a place."""
        with self.at(place):
            server = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
        server.setblocking(False)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, port))
        if kind == socket.SOCK_STREAM:
            server.listen()
        return server

    async def reaches(self, place: str, address: str, port: int, server: socket.socket, source: str = "") -> str | None:
        """Whether a TCP client at a place gets through to a server and is answered: the client's address as the server sees it."""
        with self.at(place):
            client = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        client.setblocking(False)
        if source:
            client.bind((source, 0))
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(1.5):
                connecting = asyncio.ensure_future(loop.sock_connect(client, (address, port)))
                accepting = asyncio.ensure_future(loop.sock_accept(server))
                try:
                    await connecting
                    connection, peer = await accepting
                finally:
                    connecting.cancel()
                    accepting.cancel()
                with connection:
                    connection.setblocking(False)
                    await loop.sock_sendall(client, b"question")
                    assert await loop.sock_recv(connection, 100) == b"question"
                    await loop.sock_sendall(connection, b"answer")
                    assert await loop.sock_recv(client, 100) == b"answer"
                    return str(peer[0])
        except (TimeoutError, OSError):
            return None
        finally:
            client.close()


def run(*command: str) -> str:
    """What a command says in this thread's namespace."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def ip(*arguments: str) -> str:
    """ip(8)."""
    return run("ip", *arguments)


def nft(*arguments: str) -> str:
    """nft(8)."""
    return run("nft", *arguments)


@contextmanager
def host_with_neighbour(root: Path, bridge_netfilter: bool) -> Iterator[int]:
    """This thread moves to a network namespace of its own, with another one as its LAN; the latter's fd.

    `bridge_netfilter`: whether the firewall sees packets that stay on a bridge (the module br_netfilter).
    """
    syscalls.unshare(syscalls.CLONE_NEWNET)
    ip("link", "set", "lo", "up")
    for name in ("iptables", "ip6tables"):
        Path(f"/proc/sys/net/bridge/bridge-nf-call-{name}").write_text(str(int(bridge_netfilter)))
    namespaces = Namespaces(root / "lan")
    namespaces.open()
    lan = namespaces.make()
    namespaces.pin(lan, "lan")
    try:
        ip("link", "add", "uplink", "type", "veth", "peer", "name", "wire")
        ip("link", "set", "wire", "netns", str(root / "lan/lan"))
        for device, addresses, fd in (("uplink", (HOST, HOST6), None), ("wire", (NEIGHBOUR, NEIGHBOUR6), lan.fd)):
            with within(fd) if fd is not None else nullcontext():
                Path(f"/proc/sys/net/ipv6/conf/{device}/disable_ipv6").write_text("0")
                ip("address", "add", f"{addresses[0]}/24", "dev", device)
                ip("address", "add", f"{addresses[1]}/64", "dev", device, "nodad")
                ip("link", "set", device, "up")
        yield lan.fd
    finally:
        lan.close()
        os.close(namespaces.unpin("lan"))
        namespaces.close()


def on_a_host(story: Story) -> Callable[..., None]:
    """Make a test of a coroutine: it runs in a thread that has a host of its own."""
    return pytest.mark.parametrize("bridge_netfilter", [True], ids=[""])(_test_of(story))


def on_hosts_of_both_kinds(story: Story) -> Callable[..., None]:
    """The same, on a host with br_netfilter and on one without."""
    return pytest.mark.parametrize("bridge_netfilter", [True, False], ids=["br_netfilter", ""])(_test_of(story))


def _test_of(story: Story) -> Callable[..., None]:

    @functools.wraps(story, assigned=("__name__", "__doc__", "__module__", "__qualname__"), updated=())
    def test(tmp_path: Path, caplog: pytest.LogCaptureFixture, bridge_netfilter: bool) -> None:
        failure: list[BaseException] = []

        async def play(neighbour: int) -> None:
            world = World(tmp_path, neighbour, None, MemoryRecords(), caplog)
            await world.start()
            try:
                await story(world)
            finally:
                for container in list(world.networks._sandboxes):
                    await world.networks.release_sandbox(container)
                await world.stop()

        def live() -> None:
            try:
                with host_with_neighbour(tmp_path, bridge_netfilter) as neighbour:
                    asyncio.run(play(neighbour))
            except BaseException as error:  # handed to the test's own thread
                failure.append(error)

        thread = threading.Thread(target=live)
        thread.start()
        thread.join()
        if failure:
            raise failure[0]

    del test.__wrapped__  # pytest is to see this signature
    return test
