"""The kinds of namespaces. namespaces(7)."""

from typing import NamedTuple

from orlop.kernel import syscalls


class Kind(NamedTuple):
    """One kind of namespace."""

    name: str  # in the OCI runtime specification
    file: str  # in /proc/<pid>/ns
    flag: int


# In the order in which they are joined: user first, for it grants the rights that the others need; mount last, for the paths
# of the others are the host's.
KINDS = (
    Kind("user", "user", syscalls.CLONE_NEWUSER),
    Kind("pid", "pid", syscalls.CLONE_NEWPID),
    Kind("network", "net", syscalls.CLONE_NEWNET),
    Kind("ipc", "ipc", syscalls.CLONE_NEWIPC),
    Kind("uts", "uts", syscalls.CLONE_NEWUTS),
    Kind("cgroup", "cgroup", syscalls.CLONE_NEWCGROUP),
    Kind("time", "time", syscalls.CLONE_NEWTIME),
    Kind("mount", "mnt", syscalls.CLONE_NEWNS),
)
BY_NAME = {kind.name: kind for kind in KINDS}
