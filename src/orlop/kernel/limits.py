"""Limits as the control files they become: two tables, one loop. Pure.

Keys are "controller/file" for version 1 and "file" for version 2, in the order in which they are written.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache

from orlop.kernel import cgroups, device_filter
from orlop.spec.errors import InvalidArgument, NotSupported
from orlop.spec.runtime import DeviceRule, LinuxResources, ThrottleDevice

Values = tuple[tuple[str, str], ...]
_Source = Callable[[LinuxResources], int | str | Iterable[str] | None]


def _throttles(devices: Iterable[ThrottleDevice], name: str = "") -> list[str]:
    """ "8:0 1048576", or with a name "8:0 rbps=1048576". A rate of 0 lifts the limit."""
    lifted = "max" if name else "0"
    return [f"{device.major}:{device.minor} {name}{device.rate or lifted}" for device in devices]


def _pids(limit: int | None) -> str | None:
    return None if limit is None else str(limit) if limit > 0 else "max"


def _cpu_max(resources: LinuxResources) -> str | None:
    cpu = resources.cpu
    if not cpu.quota and not cpu.period:
        return None
    return f"{cpu.quota if cpu.quota and cpu.quota > 0 else 'max'} {cpu.period or 100_000}"


def _cpu_weight(shares: int | None) -> int | None:
    """[2, 262144] on version 1 is [1, 10000] on version 2; the formula that runc and crun share."""
    return 1 + (min(max(shares, 2), 262_144) - 2) * 9999 // 262_142 if shares else None


def _io_weight(weight: int | None) -> int | None:
    """[10, 1000] on version 1 is [1, 10000] on version 2."""
    return 1 + (weight - 10) * 9999 // 990 if weight else None


def _bytes(amount: int | None) -> str | None:
    return None if amount is None else "max" if amount < 0 else str(amount)


def _swap(resources: LinuxResources) -> str | None:
    """Version 2 limits swap alone, the specification memory and swap together."""
    memory = resources.memory
    if memory.swap is None or memory.swap == 0:
        return None
    if memory.swap < 0:
        return "max"
    if memory.limit is None or memory.limit < 0:
        raise InvalidArgument("cannot limit swap: memory has no limit")
    if memory.swap < memory.limit:
        raise InvalidArgument("Minimum memoryswap limit should be larger than memory limit, see usage")
    return str(memory.swap - memory.limit)


def _rdma(resources: LinuxResources) -> list[str]:
    def limits(handles: int | None, objects: int | None) -> str:
        pairs = (("hca_handle", handles), ("hca_object", objects))
        return " ".join(f"{name}={amount}" for name, amount in pairs if amount is not None)

    return [f"{device} {limits(entry.hca_handles, entry.hca_objects)}" for device, entry in resources.rdma.items()]


V1: tuple[tuple[str, _Source], ...] = (
    ("memory/memory.limit_in_bytes", lambda r: r.memory.limit),
    ("memory/memory.memsw.limit_in_bytes", lambda r: r.memory.swap or None),
    ("memory/memory.soft_limit_in_bytes", lambda r: r.memory.reservation),
    ("memory/memory.kmem.tcp.limit_in_bytes", lambda r: r.memory.kernel_tcp),
    ("memory/memory.swappiness", lambda r: r.memory.swappiness),
    ("memory/memory.oom_control", lambda r: 1 if r.memory.disable_oom_killer else None),
    ("cpu/cpu.shares", lambda r: r.cpu.shares or None),
    ("cpu/cpu.cfs_period_us", lambda r: r.cpu.period or None),
    ("cpu/cpu.cfs_quota_us", lambda r: r.cpu.quota or None),
    ("cpu/cpu.cfs_burst_us", lambda r: r.cpu.burst),
    ("cpu/cpu.rt_period_us", lambda r: r.cpu.realtime_period or None),
    ("cpu/cpu.rt_runtime_us", lambda r: r.cpu.realtime_runtime or None),
    ("cpu/cpu.idle", lambda r: r.cpu.idle),
    ("cpuset/cpuset.cpus", lambda r: r.cpu.cpus or None),
    ("cpuset/cpuset.mems", lambda r: r.cpu.mems or None),
    ("pids/pids.max", lambda r: _pids(r.pids.limit)),
    ("blkio/blkio.weight", lambda r: r.block_io.weight or None),
    ("blkio/blkio.leaf_weight", lambda r: r.block_io.leaf_weight or None),
    (
        "blkio/blkio.weight_device",
        lambda r: [f"{d.major}:{d.minor} {d.weight}" for d in r.block_io.weight_device if d.weight is not None],
    ),
    ("blkio/blkio.throttle.read_bps_device", lambda r: _throttles(r.block_io.throttle_read_bps_device)),
    ("blkio/blkio.throttle.write_bps_device", lambda r: _throttles(r.block_io.throttle_write_bps_device)),
    ("blkio/blkio.throttle.read_iops_device", lambda r: _throttles(r.block_io.throttle_read_iops_device)),
    ("blkio/blkio.throttle.write_iops_device", lambda r: _throttles(r.block_io.throttle_write_iops_device)),
    ("net_cls/net_cls.classid", lambda r: r.network.class_id),
    ("net_prio/net_prio.ifpriomap", lambda r: [f"{p.name} {p.priority}" for p in r.network.priorities]),
    ("rdma/rdma.max", _rdma),
)

V2: tuple[tuple[str, _Source], ...] = (
    ("memory.max", lambda r: _bytes(r.memory.limit)),
    ("memory.swap.max", _swap),
    ("memory.low", lambda r: _bytes(r.memory.reservation)),
    ("cpu.weight", lambda r: _cpu_weight(r.cpu.shares)),
    ("cpu.max", _cpu_max),
    ("cpu.max.burst", lambda r: r.cpu.burst),
    ("cpu.idle", lambda r: r.cpu.idle),
    ("cpuset.cpus", lambda r: r.cpu.cpus or None),
    ("cpuset.mems", lambda r: r.cpu.mems or None),
    ("pids.max", lambda r: _pids(r.pids.limit)),
    ("io.weight", lambda r: _io_weight(r.block_io.weight)),
    (
        "io.weight",
        lambda r: [f"{d.major}:{d.minor} {_io_weight(d.weight)}" for d in r.block_io.weight_device if d.weight is not None],
    ),
    ("io.max", lambda r: _throttles(r.block_io.throttle_read_bps_device, "rbps=")),
    ("io.max", lambda r: _throttles(r.block_io.throttle_write_bps_device, "wbps=")),
    ("io.max", lambda r: _throttles(r.block_io.throttle_read_iops_device, "riops=")),
    ("io.max", lambda r: _throttles(r.block_io.throttle_write_iops_device, "wiops=")),
    ("rdma.max", _rdma),
)

# What version 2 has no file for.
_V1_ONLY: tuple[tuple[str, _Source], ...] = (
    ("memory swappiness", lambda r: r.memory.swappiness or None),
    ("disabling the OOM killer", lambda r: r.memory.disable_oom_killer or None),
    ("a limit on TCP buffers", lambda r: r.memory.kernel_tcp),
    ("a realtime period", lambda r: r.cpu.realtime_period or None),
    ("a realtime runtime", lambda r: r.cpu.realtime_runtime or None),
    ("leaf weights", lambda r: r.block_io.leaf_weight or None),
    ("network classes", lambda r: r.network.class_id or None),
)


def settings(resources: LinuxResources, layout: cgroups.Layout) -> Values:
    """What to write where, for the limits that are set. Raises NotSupported for those that this layout cannot express."""
    second = layout.version == 2
    if second and (name := next((name for name, of in _V1_ONLY if of(resources) is not None), None)):
        raise NotSupported(f"{name} is not supported with cgroup version 2")
    if not second and resources.unified:
        raise NotSupported(f"{next(iter(resources.unified))} needs cgroup version 2")
    values = [*_device_values(resources.devices, second), *_hugepage_values(resources, second), *resources.unified.items()]
    for key, of in V2 if second else V1:
        value = of(resources)
        if value is None:
            continue
        values.extend((key, str(line)) for line in ([value] if isinstance(value, int | str) else value))
    return tuple(values)


@lru_cache(64)
def _device_values(rules: tuple[DeviceRule, ...], second: bool) -> Values:
    """Almost every container has the same rules."""
    if second:
        return ((cgroups.DEVICES, device_filter.compile_rules(rules).hex()),) if rules else ()
    return tuple(map(_device_line, rules))


def _device_line(rule: DeviceRule) -> tuple[str, str]:
    numbers = ":".join("*" if number is None or number < 0 else str(number) for number in (rule.major, rule.minor))
    kind = rule.type or "a"
    line = "a" if kind == "a" and numbers == "*:*" else f"{kind} {numbers} {rule.access or 'rwm'}"
    return f"devices/devices.{'allow' if rule.allow else 'deny'}", line


def _hugepage_values(resources: LinuxResources, second: bool) -> Iterable[tuple[str, str]]:
    for entry in resources.hugepage_limits:
        name = f"hugetlb.{entry.page_size}"
        yield (f"{name}.max" if second else f"hugetlb/{name}.limit_in_bytes"), str(entry.limit)
