"""The throw-away mount and network namespace in which all tests of a pytest process run."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from orlop.kernel import syscalls

CLONE_NEWNS, CLONE_NEWNET = 0x0002_0000, 0x4000_0000
MS_REC, MS_PRIVATE = 0x4000, 0x4_0000

_host_network = -1


def enter() -> None:
    """Leave the host's mount and network namespaces. Root only; the process must have one thread."""
    global _host_network
    _host_network = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    syscalls.unshare(CLONE_NEWNS | CLONE_NEWNET)
    syscalls.mount("", "/", "", MS_REC | MS_PRIVATE)
    syscalls.mount("tmpfs", "/run", "tmpfs", 0, "mode=755")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


@contextmanager
def host_network() -> Iterator[None]:
    """Children started inside the block reach the package mirrors; nothing else of a test may."""
    own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    if _host_network >= 0:
        syscalls.setns(_host_network, CLONE_NEWNET)
    try:
        yield
    finally:
        syscalls.setns(own, CLONE_NEWNET)
        os.close(own)
