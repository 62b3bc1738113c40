"""What a machine can do, as far as decisions depend on it. `kernel/probe.py` finds it out; tests make one up."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class Host:
    """Facts about this machine; they do not change while the daemon runs."""

    kernel: tuple[int, int] = (6, 1)  # uname -r
    machine: str = "x86_64"  # uname -m
    architecture: str = "amd64"  # in Go's names
    capabilities: frozenset[str] = frozenset()  # our bounding set: more than this no container can be given
    known_capabilities: frozenset[str] = frozenset()  # all that this kernel knows
    x32: bool = True  # whether the kernel takes calls of the x32 ABI (x86_64)
    cgroup_version: int = 2
    cgroup_mounts: Mapping[str, str] = field(default_factory=dict)  # v1: "cpu,cpuacct" or "name=systemd" -> where it is mounted
    apparmor: bool = False
    init_program: str = ""  # a static tini; "" where none is installed
