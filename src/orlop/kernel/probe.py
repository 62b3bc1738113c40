"""What this machine can do: `probe() -> Host`, once at the daemon's start."""

import os
import platform

from orlop.kernel import capabilities, cgroups, syscalls
from orlop.spec.host import Host
from orlop.spec.image import host_platform

INIT_PROGRAMS = ("/usr/libexec/orlop/tini", "/usr/bin/tini-static", "/usr/bin/docker-init")
"""Static programs for `--init`; Debian's package `tini` brings the second."""


def probe() -> Host:
    """Look at the kernel, at our own rights and at what is installed."""
    version = cgroups.layout().version
    last = int(_read("/proc/sys/kernel/cap_last_cap") or len(capabilities.NAMES) - 1)
    return Host(
        kernel=_kernel(platform.release()),
        machine=platform.machine(),
        architecture=host_platform().architecture,
        capabilities=capabilities.names_in(_bounding_set(last)),
        known_capabilities=frozenset(capabilities.NAMES[: last + 1]),
        x32=syscalls.has_x32(),
        cgroup_version=version,
        cgroup_mounts=_hierarchies() if version == 1 else {},
        apparmor=_read("/sys/module/apparmor/parameters/enabled") == "Y",
        init_program=next((path for path in INIT_PROGRAMS if os.access(path, os.X_OK)), ""),
    )


def _kernel(release: str) -> tuple[int, int]:
    major, minor = release.split("-")[0].split(".")[:2]
    return int(major), int(minor)


def _bounding_set(last: int) -> int:
    return sum(1 << number for number in range(last + 1) if syscalls.prctl(syscalls.PR_CAPBSET_READ, number))


def _hierarchies() -> dict[str, str]:
    """Controllers, as /proc/self/cgroup writes them, -> where their hierarchy of version 1 is mounted. cgroups(7)."""
    points: dict[frozenset[str], str] = {}
    for line in _read("/proc/self/mountinfo").splitlines():
        fields, _, tail = line.partition(" - ")
        fstype, _, options = tail.split(" ", 2)
        if fstype == "cgroup":
            points.setdefault(frozenset(options.split(",")), fields.split(" ", 5)[4])
    found: dict[str, str] = {}
    for line in _read("/proc/self/cgroup").splitlines():
        controllers = line.split(":", 2)[1]
        point = next((at for options, at in points.items() if frozenset(controllers.split(",")) <= options), None)
        if controllers and point:
            found[controllers] = point
    return found


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""
