"""Network namespaces of containers: made before they are needed, pinned while they are used, destroyed when nobody waits.

Making one and plugging it into a bridge takes 1.5 ms, destroying one keeps the kernel's network lock for many: so some are kept
ready for each bridge, and a released one is only cut off (its path freed, its descriptor kept) until a quiet moment.
"""

import os
import secrets
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from orlop.kernel import netlink, syscalls
from orlop.kernel.netlink import RouteSocket

LINK_PREFIX = "orlop"  # of the host's ends of veth pairs; eight hexadecimal digits follow
_BRIDGES = 4  # for how many of them namespaces are kept ready
_OWN_NAMESPACE = "/proc/thread-self/ns/net"
_SYSCTLS = {
    "net/ipv6/conf/default/disable_ipv6": "1",  # for interfaces to come; an IPv6 network turns it on for its own
    "net/ipv4/conf/default/arp_notify": "1",  # neighbours learn at once who has an address that another container had
}


@dataclass(slots=True)
class Sandbox:
    """An open network namespace: `fd` keeps it alive, `route` acts inside.

    One that the pool has plugged into a bridge knows it (`plugged`), and its interface: both names, and the index inside.
    """

    fd: int
    route: RouteSocket
    plugged: str = ""
    host_interface: str = ""
    index: int = 0

    def close(self) -> None:
        """Let go of it; it lives on while it is pinned or a process is in it."""
        self.route.close()
        os.close(self.fd)


class Namespaces:
    """The directory in which network namespaces are pinned under their containers' ids. Its verbs block and are thread-safe."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def open(self) -> None:
        """Make the directory a private mount, so that no other mount namespace keeps what is unpinned here."""
        self._directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        if not _is_mount_point(self._directory):
            syscalls.mount(self._directory, self._directory, None, syscalls.MS_BIND)
        syscalls.mount(None, self._directory, None, syscalls.MS_PRIVATE)

    def close(self) -> None:
        """Leave nothing, unless a namespace is still pinned."""
        if not self.pinned():
            with suppress(OSError):
                syscalls.umount2(self._directory, syscalls.MNT_DETACH)

    def path(self, container_id: str) -> Path:
        """Where a container's namespace is pinned."""
        return self._directory / container_id

    def pinned(self) -> list[str]:
        """The containers that have a namespace pinned (or the file for one)."""
        return [path.name for path in self._directory.iterdir()]

    def make(self) -> Sandbox:
        """A new namespace with lo up."""
        with _returning():
            syscalls.unshare(syscalls.CLONE_NEWNET)
            sandbox = _open_here()
            for name, value in _SYSCTLS.items():
                with suppress(FileNotFoundError):  # a kernel without IPv6
                    write_sysctl(name, value)
        sandbox.route.execute(netlink.link_up("lo"))
        return sandbox

    def enter(self, container_id: str) -> Sandbox:
        """Open a pinned namespace again. Raises OSError."""
        fd = os.open(self.path(container_id), os.O_RDONLY | os.O_CLOEXEC)
        try:
            with within(fd):
                return _open_here()
        finally:
            os.close(fd)

    def pin(self, sandbox: Sandbox, container_id: str) -> None:
        """Give a namespace its container's path."""
        path = self.path(container_id)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o444))
        syscalls.mount(f"/proc/self/fd/{sandbox.fd}", path, None, syscalls.MS_BIND)

    def unpin(self, container_id: str) -> int:
        """Free a container's path at once; the descriptor that still holds the namespace, or -1 when there was none.

        Taking the mount away and the file with it lets go of copies in other mount namespaces too.
        """
        path = self.path(container_id)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return -1
        with suppress(OSError):  # a crash came between making the file and mounting on it
            syscalls.umount2(path, syscalls.MNT_DETACH | syscalls.UMOUNT_NOFOLLOW)
        path.unlink(missing_ok=True)
        return fd


class Pool:
    """Namespaces that are ready, by the bridge that they are plugged into ("": none), and those that wait for their end."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._ready: defaultdict[str, deque[Sandbox]] = defaultdict(deque)
        self._wanted: dict[str, None] = {}  # a set in the order of use
        self._released: list[int] = []

    def take(self, bridge: str) -> Sandbox | None:
        """One that is ready. From now on some are kept ready for this bridge, as one of those used last."""
        if self._size:
            self._wanted.pop(bridge, None)
            self._wanted[bridge] = None
            if len(self._wanted) > _BRIDGES:
                self.forget(next(iter(self._wanted)))
        ready = self._ready[bridge]
        return ready.popleft() if ready else None

    def lacking(self) -> Iterator[str]:
        """The bridges for which another should be made."""
        return (bridge for bridge in self._wanted if len(self._ready[bridge]) < self._size)

    def put(self, sandbox: Sandbox) -> None:
        """One more is ready. If its bridge went meanwhile, it is for the end."""
        if sandbox.plugged in self._wanted:
            self._ready[sandbox.plugged].append(sandbox)
        else:
            sandbox.close()

    def forget(self, bridge: str) -> None:
        """The bridge goes."""
        self._wanted.pop(bridge, None)
        for sandbox in self._ready.pop(bridge, ()):
            sandbox.close()

    def release(self, fd: int) -> None:
        """A container has left this namespace."""
        if fd >= 0:
            self._released.append(fd)

    @property
    def released(self) -> int:
        """How many wait for their end."""
        return len(self._released)

    def destroy_released(self) -> None:
        """End all of them at once: the kernel takes them down as one batch, in a thread of its own."""
        while self._released:
            os.close(self._released.pop())

    def close(self) -> None:
        for bridge in list(self._ready):
            self.forget(bridge)
        self.destroy_released()


@contextmanager
def within(fd: int) -> Iterator[None]:
    """The calling thread is in another network namespace within the block."""
    with _returning():
        syscalls.setns(fd, syscalls.CLONE_NEWNET)
        yield


@contextmanager
def _returning() -> Iterator[None]:
    """Whatever network namespace the calling thread goes to within the block, it comes back."""
    here = os.open(_OWN_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        syscalls.setns(here, syscalls.CLONE_NEWNET)
        os.close(here)


def _open_here() -> Sandbox:
    fd = os.open(_OWN_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return Sandbox(fd, RouteSocket())
    except OSError:
        os.close(fd)
        raise


def new_interface_name() -> str:
    """A name for the host's end of a veth pair."""
    return LINK_PREFIX + secrets.token_hex(4)


def write_sysctl(name: str, value: str) -> None:
    """Set a kernel parameter, "net/ipv4/ip_forward"; networks have theirs for each namespace. Raises OSError."""
    fd = os.open(f"/proc/sys/{name}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def _is_mount_point(directory: Path) -> bool:
    wanted = os.fsencode(directory.resolve())
    return any(line.split()[4] == wanted for line in Path("/proc/self/mountinfo").read_bytes().splitlines())
