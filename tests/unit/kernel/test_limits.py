"""kernel/limits.py and kernel/device_filter.py: what is asked for, as files and as a program."""

import struct

import pytest

from orlop.kernel import cgroups, device_filter
from orlop.kernel.limits import settings
from orlop.spec.errors import InvalidArgument, NotSupported
from orlop.spec.runtime import (
    BlockIo,
    Cpu,
    DeviceRule,
    HugepageLimit,
    LinuxResources,
    Memory,
    Pids,
    ThrottleDevice,
    WeightDevice,
)

V1 = cgroups.Layout(1, {"memory": "/m", "cpu": "/c"})
V2 = cgroups.Layout(2, {"": "/u"})
GIB = 1 << 30

EVERYTHING = LinuxResources(
    memory=Memory(limit=GIB, swap=2 * GIB, reservation=GIB // 2),
    cpu=Cpu(shares=512, quota=50_000, period=100_000, cpus="0-1", mems="0"),
    pids=Pids(limit=100),
    block_io=BlockIo(
        weight=500,
        weight_device=(WeightDevice(major=8, minor=0, weight=1000),),
        throttle_read_bps_device=(ThrottleDevice(major=8, minor=0, rate=1 << 20),),
        throttle_write_iops_device=(ThrottleDevice(major=8, minor=16, rate=10),),
    ),
    hugepage_limits=(HugepageLimit(page_size="2MB", limit=0),),
)


def test_version_1():
    assert settings(EVERYTHING, V1) == (
        ("hugetlb/hugetlb.2MB.limit_in_bytes", "0"),
        ("memory/memory.limit_in_bytes", str(GIB)),
        ("memory/memory.memsw.limit_in_bytes", str(2 * GIB)),
        ("memory/memory.soft_limit_in_bytes", str(GIB // 2)),
        ("cpu/cpu.shares", "512"),
        ("cpu/cpu.cfs_period_us", "100000"),
        ("cpu/cpu.cfs_quota_us", "50000"),
        ("cpuset/cpuset.cpus", "0-1"),
        ("cpuset/cpuset.mems", "0"),
        ("pids/pids.max", "100"),
        ("blkio/blkio.weight", "500"),
        ("blkio/blkio.weight_device", "8:0 1000"),
        ("blkio/blkio.throttle.read_bps_device", "8:0 1048576"),
        ("blkio/blkio.throttle.write_iops_device", "8:16 10"),
    )


def test_version_2():
    assert settings(EVERYTHING, V2) == (
        ("hugetlb.2MB.max", "0"),
        ("memory.max", str(GIB)),
        ("memory.swap.max", str(GIB)),
        ("memory.low", str(GIB // 2)),
        ("cpu.weight", "20"),
        ("cpu.max", "50000 100000"),
        ("cpuset.cpus", "0-1"),
        ("cpuset.mems", "0"),
        ("pids.max", "100"),
        ("io.weight", "4950"),
        ("io.weight", "8:0 10000"),
        ("io.max", "8:0 rbps=1048576"),
        ("io.max", "8:16 wiops=10"),
    )


def test_nothing_asked_is_nothing_written():
    assert settings(LinuxResources(), V1) == settings(LinuxResources(), V2) == ()


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        (LinuxResources(pids=Pids(limit=-1)), (("pids.max", "max"),)),
        (LinuxResources(memory=Memory(limit=-1, swap=-1)), (("memory.max", "max"), ("memory.swap.max", "max"))),
        (LinuxResources(cpu=Cpu(quota=-1)), (("cpu.max", "max 100000"),)),
        (LinuxResources(cpu=Cpu(shares=2)), (("cpu.weight", "1"),)),
        (LinuxResources(cpu=Cpu(shares=262_144)), (("cpu.weight", "10000"),)),
        (LinuxResources(unified={"memory.high": "1000"}), (("memory.high", "1000"),)),
    ],
)
def test_version_2_edges(resources, expected):
    assert settings(resources, V2) == expected


def test_what_a_version_cannot_do_is_refused_by_name():
    with pytest.raises(NotSupported, match="memory swappiness is not supported with cgroup version 2"):
        settings(LinuxResources(memory=Memory(swappiness=10)), V2)
    with pytest.raises(NotSupported, match=r"memory\.high needs cgroup version 2"):
        settings(LinuxResources(unified={"memory.high": "1"}), V1)
    with pytest.raises(InvalidArgument, match="memory has no limit"):
        settings(LinuxResources(memory=Memory(swap=GIB)), V2)


RULES = (
    DeviceRule(allow=False, access="rwm"),
    DeviceRule(allow=True, type="c", access="m"),
    DeviceRule(allow=True, type="c", major=1, minor=3, access="rwm"),
    DeviceRule(allow=True, type="c", major=136, access="rw"),
    DeviceRule(allow=True, type="b", major=8, minor=0, access="r"),
    DeviceRule(allow=False, type="c", major=136, minor=7, access="w"),
)


def test_devices_of_version_1_are_lines():
    assert settings(LinuxResources(devices=RULES), V1) == (
        ("devices/devices.deny", "a"),
        ("devices/devices.allow", "c *:* m"),
        ("devices/devices.allow", "c 1:3 rwm"),
        ("devices/devices.allow", "c 136:* rw"),
        ("devices/devices.allow", "b 8:0 r"),
        ("devices/devices.deny", "c 136:7 w"),
    )


def interpret(program: bytes, kind: str, major: int, minor: int, access: str) -> bool:
    """Run a device program as the kernel would."""
    bits = sum({"m": 1, "r": 2, "w": 4}[letter] for letter in access)
    context = {0: {"b": 1, "c": 2}[kind] | bits << 16, 4: major, 8: minor}
    registers, at = [0] * 11, 0
    while True:
        opcode, both, offset, immediate = struct.unpack_from("<BBhi", program, at * 8)
        target, source, at = both & 15, both >> 4, at + 1
        match opcode:
            case 0x61:
                registers[target] = context[offset]
            case 0x54:
                registers[target] &= immediate
            case 0x74:
                registers[target] >>= immediate
            case 0xBC:
                registers[target] = registers[source]
            case 0xB4:
                registers[target] = immediate
            case 0x56:
                at += offset if registers[target] != immediate else 0
            case 0x16:
                at += offset if registers[target] == immediate else 0
            case 0x5E:
                at += offset if registers[target] != registers[source] else 0
            case 0x95:
                return bool(registers[0])
            case _:
                raise AssertionError(hex(opcode))


@pytest.mark.parametrize(
    ("device", "allowed"),
    [
        (("c", 1, 3, "rw"), True),
        (("c", 1, 5, "r"), False),
        (("c", 1, 5, "m"), True),
        (("b", 1, 3, "m"), False),
        (("c", 136, 2, "rw"), True),
        (("c", 136, 2, "rwm"), False),
        (("c", 136, 7, "r"), True),
        (("c", 136, 7, "rw"), False),
        (("b", 8, 0, "r"), True),
        (("b", 8, 0, "rw"), False),
        (("b", 8, 1, "r"), False),
    ],
)
def test_devices_of_version_2_are_a_program(device, allowed):
    assert interpret(device_filter.compile_rules(RULES), *device) is allowed


def test_rules_before_one_for_everything_do_not_count():
    program = device_filter.compile_rules((*RULES, DeviceRule(allow=True, access="rwm")))
    assert interpret(program, "b", 9, 9, "rwm")
    assert len(program) == 8 * 8


MOUNTS = """\
31 23 0:26 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
34 31 0:29 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
35 31 0:30 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
36 31 0:31 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""


def test_a_hybrid_host_is_version_1():
    found = cgroups.layout(MOUNTS)
    assert (found.version, found.roots) == (
        1,
        {"cpu": "/sys/fs/cgroup/cpu,cpuacct", "cpuacct": "/sys/fs/cgroup/cpu,cpuacct", "memory": "/sys/fs/cgroup/memory"},
    )
    assert cgroups.Cgroup("/orlop/x", found).file("cpuacct/cpuacct.usage") == "/sys/fs/cgroup/cpu,cpuacct/orlop/x/cpuacct.usage"


def test_a_unified_host_is_version_2():
    found = cgroups.layout("30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw,nsdelegate,memory_recursiveprot")
    assert (found.version, found.roots) == (2, {"": "/sys/fs/cgroup"})
    with pytest.raises(NotSupported, match="no cgroup hierarchy"):
        cgroups.layout("1 1 0:1 / / rw - ext4 /dev/vda rw")
