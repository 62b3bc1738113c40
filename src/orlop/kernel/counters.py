"""What a control group has used so far, read from its files. cgroups(7), cgroup v1 and v2 documentation of the kernel."""

import os
import time
from collections.abc import Iterable, Mapping

from orlop.kernel.cgroups import Cgroup
from orlop.spec.container import Stats

Devices = tuple[tuple[int, int, str, int], ...]
_UNLIMITED = 1 << 62  # version 1 writes "no limit" as the largest multiple of a page
_V2_OPERATIONS = (("rbytes", "Read"), ("wbytes", "Write"), ("dbytes", "Discard"))
_V2_COUNTS = (("rios", "Read"), ("wios", "Write"), ("dios", "Discard"))


def read_stats(group: Cgroup, *, with_host: bool = True) -> Stats:
    """A reading of the group's counters, without networks."""
    online = os.cpu_count() or 1
    host = _system_cpu_ns() if with_host else 0
    return (_read_v2 if group.layout.version == 2 else _read_v1)(group, host, online)


def _read_v1(group: Cgroup, system_cpu_ns: int, online: int) -> Stats:
    memory = _table(group.read("memory/memory.stat"))
    tick_ns = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    cpu, ticks = _table(group.read("cpu/cpu.stat")), _table(group.read("cpuacct/cpuacct.stat"))
    return Stats(
        read_ns=time.time_ns(),
        cpu_total_ns=_number(group.read("cpuacct/cpuacct.usage")),
        cpu_user_ns=ticks.get("user", 0) * tick_ns,
        cpu_system_ns=ticks.get("system", 0) * tick_ns,
        cpu_per_cpu_ns=tuple(int(word) for word in group.read("cpuacct/cpuacct.usage_percpu").split()),
        system_cpu_ns=system_cpu_ns,
        online_cpus=online,
        throttling=_throttling(cpu.get("nr_periods", 0), cpu.get("nr_throttled", 0), cpu.get("throttled_time", 0)),
        memory_usage_bytes=_number(group.read("memory/memory.usage_in_bytes")),
        memory_max_usage_bytes=_number(group.read("memory/memory.max_usage_in_bytes")),
        memory_limit_bytes=_limit(group.read("memory/memory.limit_in_bytes")),
        memory_failcnt=_number(group.read("memory/memory.failcnt")),
        memory_stats=memory,
        pids_current=_number(group.read("pids/pids.current")),
        pids_limit=_number(group.read("pids/pids.max")),
        blkio_bytes=_blkio(group.read("blkio/blkio.throttle.io_service_bytes_recursive")),
        blkio_operations=_blkio(group.read("blkio/blkio.throttle.io_serviced_recursive")),
    )


def _read_v2(group: Cgroup, system_cpu_ns: int, online: int) -> Stats:
    cpu = _table(group.read("cpu.stat"))
    events = _table(group.read("memory.events"))
    io = group.read("io.stat")
    return Stats(
        read_ns=time.time_ns(),
        cpu_total_ns=cpu.get("usage_usec", 0) * 1000,
        cpu_user_ns=cpu.get("user_usec", 0) * 1000,
        cpu_system_ns=cpu.get("system_usec", 0) * 1000,
        system_cpu_ns=system_cpu_ns,
        online_cpus=online,
        throttling=_throttling(cpu.get("nr_periods", 0), cpu.get("nr_throttled", 0), cpu.get("throttled_usec", 0) * 1000),
        memory_usage_bytes=_number(group.read("memory.current")),
        memory_max_usage_bytes=_number(group.read("memory.peak")),
        memory_limit_bytes=_limit(group.read("memory.max")),
        memory_failcnt=events.get("max", 0),
        memory_stats=_table(group.read("memory.stat")),
        pids_current=_number(group.read("pids.current")),
        pids_limit=_number(group.read("pids.max")),
        blkio_bytes=_io(io, _V2_OPERATIONS),
        blkio_operations=_io(io, _V2_COUNTS),
    )


def _throttling(periods: int, throttled: int, throttled_ns: int) -> Mapping[str, int]:
    return {"periods": periods, "throttled_periods": throttled, "throttled_ns": throttled_ns}


def _number(text: str) -> int:
    """The number in a file; 0 for none and for "max"."""
    text = text.strip()
    return int(text) if text.lstrip("-").isdigit() else 0


def _limit(text: str) -> int:
    """A limit in bytes; where there is none, the machine's memory, as Docker shows it."""
    number = _number(text)
    return number if 0 < number < _UNLIMITED else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _table(text: str) -> dict[str, int]:
    """Lines "name number"."""
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def _blkio(text: str) -> Devices:
    """Lines "8:0 Read 4096" of version 1."""
    found: list[tuple[int, int, str, int]] = []
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3:
            major, _, minor = words[0].partition(":")
            found.append((int(major), int(minor), words[1], int(words[2])))
    return tuple(found)


def _io(text: str, names: Iterable[tuple[str, str]]) -> Devices:
    """Lines "8:0 rbytes=4096 wbytes=0 rios=1 ..." of version 2."""
    found: list[tuple[int, int, str, int]] = []
    for line in text.splitlines():
        device, *words = line.split()
        values = dict(word.split("=", 1) for word in words if "=" in word)
        major, _, minor = device.partition(":")
        found.extend((int(major), int(minor), shown, int(values[name])) for name, shown in names if name in values)
    return tuple(found)


def _system_cpu_ns() -> int:
    """Time that all CPUs of the host have spent, in nanoseconds: user to softirq, as Docker sums it. proc_stat(5)."""
    with open("/proc/stat") as file:
        words = file.readline().split()
    return sum(int(word) for word in words[1:8]) * (1_000_000_000 // os.sysconf("SC_CLK_TCK"))
